"""Nested sampling."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Generator
from typing import Any, ClassVar

import jax
import numpy as np

from bayeskit._keys import host_fold_in, host_split
from bayeskit._settings import is_number, is_whole, require
from bayeskit._typing import Array, Values
from bayeskit.errors import SamplingError
from bayeskit.inference.smc.evidence import pooled
from bayeskit.inference.smc.moves import Particles
from bayeskit.inference.smc.nested_slices import Plan, rounds
from bayeskit.inference.smc.nested_state import TRACES, NestedState
from bayeskit.inference.smc.particles import (
    ParticleMethod,
    check_finite_likelihood,
    check_share,
    check_whole,
    compiled,
)
from bayeskit.inference.smc.shrinkage import account, counts, log_shells, ties
from bayeskit.inference.smc.split import check_prior, check_split, prior_draws
from bayeskit.target import Target

MOST_BATCHES = 50
"""Batches of prior draws until there are live points enough of positive likelihood."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class NestedSampling(ParticleMethod):
    r"""Nested sampling: the evidence as an integral over the volume of the prior above a likelihood.

    With :math:`X(\lambda)` the share of the prior whose likelihood is above :math:`\lambda`,

    .. math:: p(y) = \int_0^1 L(X)\, dX \approx \sum_i L_i\, (X_{i-1} - X_i),
        \qquad E \log \frac{X_i}{X_{i-1}} = -\frac{1}{n_i} .

    Of ``num_live`` points drawn from the prior those of the lowest likelihood die, :math:`n_i` alive before each death,
    and are replaced by draws of the prior above their likelihood, by slice sampling along random directions in the
    metric of the live points. It ends when the live points hold less than ``tolerance`` of the evidence. The error is
    that of the unknown volumes, the first of which is the share of the prior with a positive likelihood; it supposes
    that replacements are independent, which more ``num_moves`` make truer.
    ``post.attrs`` holds ``log_evidence``, ``log_evidence_error``, ``log_evidence_chi2`` of the runs about their mean,
    and ``information``, the nats from prior to posterior. :func:`bayeskit.check` says where a run was cut by its limit.

    The draws are chosen among the dead points by their weights, and so may be repeated:
    ``sample_stats/effective_draws`` says how many independent ones those of a run are worth at most, and the verdict
    goes by it. ``init=`` of :func:`bayeskit.infer` has no effect: the points start from the prior.

    Args:
        num_live: live points a run; the error falls with the square root.
        num_chains: independent runs.
        num_draws: draws a run.
        tolerance: share of the evidence at which to stop.
        num_delete: points that die together; by default a tenth of the live ones. More are faster where they are
            computed together.
        num_moves: slice moves for a replacement; by default 2 a dimension, and at least 10.
        max_compression: at most, by how many factors :math:`e` the volume shrinks.

    Raises:
        MethodError: an impossible setting.
        ModelError: when it runs: a prior that is improper, scaled, masked or cannot be drawn from; discrete sites that
            cannot be separated from the prior.
        SamplingError: too few draws of the prior have a positive likelihood.

    Example:
        >>> import numpyro, numpyro.distributions as dist
        >>> import bayeskit as bk
        >>> def model(y):
        ...     mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
        ...     numpyro.sample("y", dist.Normal(mu, 1.0), obs=y)
        >>> post = bk.infer(model, {"y": 1.2}, bk.NestedSampling(num_live=100), key=0, progress=False)
        >>> exact = float(dist.Normal(0.0, 2**0.5).log_prob(1.2))
        >>> abs(post.attrs["log_evidence"] - exact) < 4 * post.attrs["log_evidence_error"] < 0.4
        True

    References:
        Skilling (2006), "Nested sampling for general Bayesian computation"; Yallup, Kroupa and Handley (2026),
        "Nested slice sampling", arXiv:2601.23252.
    """

    kind: ClassVar[str] = "nested_sampling"
    how_to_improve: ClassVar[str] = (
        "more live points (num_live), more moves for a replacement (num_moves), and more runs (num_chains); there is "
        "no warmup, and runs start from the prior."
    )

    num_live: int = 500
    num_chains: int = 4
    num_draws: int = 1000
    tolerance: float = 0.01
    num_delete: int | None = None
    num_moves: int | None = None
    max_compression: float = 100.0

    @property
    def library(self) -> str:
        return "blackjax"

    def __post_init__(self) -> None:
        check_whole("num_live", self.num_live, 10)
        check_whole("num_chains", self.num_chains, 1)
        check_whole("num_draws", self.num_draws, 1)
        check_share("tolerance", self.tolerance)
        if self.num_delete is not None:
            most = self.num_live // 2
            fits = is_whole(self.num_delete) and 1 <= self.num_delete <= most
            require(fits, "num_delete", self.num_delete, f"an integer from 1 to {most}, half of the live points")
        if self.num_moves is not None:
            check_whole("num_moves", self.num_moves, 1)
        limit = self.max_compression
        require(is_number(limit) and 1 <= limit < math.inf, "max_compression", limit, "a number of at least 1")

    @property
    def num_warmup(self) -> int:  # type: ignore[override]
        """None: the stages are as many as it takes."""
        return 0

    def _plan(self, size: int) -> Plan:
        num_delete = self.num_delete or max(1, self.num_live // 10)
        return Plan(num_delete, max(1, self.num_live // (2 * num_delete)), self.num_moves or max(10, 2 * size))

    def _most_stages(self, plan: Plan) -> int:
        return math.ceil(self.max_compression * self.num_live / (plan.num_delete * plan.num_rounds))

    def check_target(self, target: Target) -> None:
        super().check_target(target)
        check_split(target, "NestedSampling")
        check_prior(target, "NestedSampling")

    def init(self, key: Array, target: Target, positions: Values) -> NestedState:
        runs, plan = self.num_chains, self._plan(target.size)
        keys = host_split(np.asarray(key), runs)
        live, log_volume, volume_error, undefined = self._live(keys, target)
        none = jax.tree.map(lambda leaf: np.zeros((runs, self.num_draws, *leaf.shape[2:]), leaf.dtype), live)
        stages = self._most_stages(plan)
        return NestedState(
            key=keys,
            stage=np.zeros(runs, np.int32),
            live=live,
            draws=none,
            log_weight=np.full(runs, -np.inf),
            log_volume=log_volume,
            volume_error=volume_error,
            volume_left=log_volume,
            dead=np.zeros((runs, stages * plan.num_delete * plan.num_rounds)),
            num_dead=np.zeros(runs, np.int32),
            undefined=undefined,
            finished=np.zeros(runs, bool),
            cursor=np.zeros(runs, np.int32),
            trace={name: np.full((runs, stages), np.nan) for name in TRACES},
        )

    def _live(self, keys: np.ndarray, target: Target) -> tuple[Particles, np.ndarray, np.ndarray, np.ndarray]:
        """Draws of the prior that have a positive likelihood, the log of the share that has and its error."""
        found: list[list[Particles]] = [[] for _ in keys]
        positive, undefined, wanted = np.zeros(len(keys)), np.zeros(len(keys)), self.num_live
        for batch in range(1, MOST_BATCHES + 1):
            each = np.stack([host_split(host_fold_in(key, 2**31 - batch), wanted) for key in keys])
            points = Particles(*jax.tree.map(np.asarray, prior_draws(target, jax.device_put(each))))
            if not np.isfinite(points.position).all():
                raise SamplingError(
                    "draws of the prior lie on the boundary of their support, at infinity in unconstrained "
                    "coordinates; use float64, or a prior that keeps away from its boundary"
                )
            check_finite_likelihood(points.log_likelihood)
            good = points.log_likelihood > -np.inf
            positive += good.sum(1)
            undefined += np.isnan(points.log_likelihood).sum(1)
            for run, one in enumerate(found):
                one.append(Particles(*(leaf[run][good[run]] for leaf in points)))
            if (positive >= wanted).all():
                rows = [jax.tree.map(lambda *leaves: np.concatenate(leaves)[:wanted], *one) for one in found]
                live = jax.tree.map(lambda *leaves: np.stack(leaves), *rows)
                share = positive / (batch * wanted)
                return live, np.log(share), np.sqrt((1.0 - share) / positive), undefined / (batch * wanted)
        raise SamplingError(
            f"fewer than {wanted} of {MOST_BATCHES * wanted} draws of the prior have a positive likelihood; look at "
            "the prior with bayeskit.predict(model, data, key=...), and write one that the data are possible under"
        )

    def stages(self, state: Any, target: Target) -> Generator[tuple[NestedState, str], None, None]:
        plan = self._plan(target.size)
        while not state.finished.all() and state.stage.max() < self._most_stages(plan):
            state = self._stage(state, target, plan)
            left = np.nanmax(state.trace["remaining"][:, state.stage.max() - 1])
            yield state, f"{left:.2g} of the evidence is left"
        yield self._with_live(state), ""

    def _stage(self, state: NestedState, target: Target, plan: Plan) -> NestedState:
        """Let points die and be replaced, in all runs that are not finished."""
        keys = np.stack([host_fold_in(key, stage) for key, stage in zip(state.key, state.stage, strict=True)])
        live, dead, expansions = jax.tree.map(np.asarray, compiled(rounds)(plan, target, keys, state.live))
        check_finite_likelihood(live.log_likelihood)
        new = jax.tree.map(np.array, state)
        for run in map(int, np.flatnonzero(~state.finished)):
            for leaf, fresh in zip(new.live, live, strict=True):
                leaf[run] = fresh[run]
            gone, count = Particles(*(leaf[run] for leaf in dead)), int(state.num_dead[run])
            log_likelihood = np.asarray(gone.log_likelihood, float)
            number = counts(self.num_live, plan.num_delete, len(log_likelihood))
            shells, left = log_shells(float(state.volume_left[run]), number)
            random = np.random.default_rng(host_fold_in(keys[run], 1))
            _choose(new, run, gone, log_likelihood + shells, random)
            new.dead[run, count : count + len(log_likelihood)] = log_likelihood
            new.num_dead[run], new.volume_left[run] = count + len(log_likelihood), left
            inside = np.logaddexp.reduce(np.asarray(live.log_likelihood[run], float)) - np.log(self.num_live) + left
            total = np.logaddexp(new.log_weight[run], inside)
            remaining = math.exp(inside - total)
            new.finished[run] = remaining < self.tolerance
            for name, value in zip(TRACES, (total, left, remaining, expansions[run]), strict=True):
                new.trace[name][run, state.stage[run]] = value
            new.stage[run] += 1
        return new

    def _with_live(self, state: NestedState) -> NestedState:
        """The draws chosen among the live points too."""
        new = jax.tree.map(np.array, state)
        for run in range(self.num_chains):
            live = Particles(*(leaf[run] for leaf in state.live))
            log_weights = np.asarray(live.log_likelihood, float) + state.volume_left[run] - np.log(self.num_live)
            random = np.random.default_rng(host_fold_in(state.key[run], 2**31 - 1))
            _choose(new, run, live, log_weights, random)
        return new

    def _accounts(self, state: Any) -> list[Any]:
        num_delete = self.num_delete or max(1, self.num_live // 10)
        return [
            account(
                state.dead[run, : state.num_dead[run]],
                np.asarray(state.live.log_likelihood[run], float),
                float(state.log_volume[run]),
                num_delete,
                np.random.default_rng(host_fold_in(state.key[run], 2**31 - 2)),
            )
            for run in range(self.num_chains)
        ]

    def deal(self, state: Any) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        lp = state.draws.log_prior + state.draws.log_likelihood
        effective = np.array([_effective(self, state, run) for run in range(self.num_chains)])
        return state.draws.position, {"lp": lp, "effective_draws": np.broadcast_to(effective[:, None], lp.shape)}

    def traces(self, state: Any) -> dict[str, np.ndarray]:
        last = int(np.max(state.stage))
        return {name: np.asarray(trace)[:, :last] for name, trace in state.trace.items()}

    def found(self, state: Any) -> dict[str, float]:
        runs = self._accounts(state)
        errors = np.hypot([one.error for one in runs], state.volume_error)
        numbers = pooled(np.array([one.log_evidence for one in runs]), errors, unbiased=False)
        numbers["information"] = float(np.mean([one.information for one in runs]))
        stages = np.arange(self.num_chains), np.maximum(np.asarray(state.stage) - 1, 0)
        numbers["evidence_remaining"] = float(np.max(np.asarray(state.trace["remaining"])[stages]))
        dead = [np.asarray(state.dead)[run, : state.num_dead[run]] for run in range(self.num_chains)]
        tied = max(ties(one, self.num_live) for one in dead)
        undefined = float(np.max(state.undefined))
        if tied:
            numbers["likelihood_ties"] = tied
        return {**numbers, "undefined_likelihood": undefined} if undefined else numbers


def _effective(method: NestedSampling, state: NestedState, run: int) -> float:
    """What the draws of a run are worth: no more than the weighted points, and no more than they are."""
    number = counts(method.num_live, method.num_delete or max(1, method.num_live // 10), int(state.num_dead[run]))
    shells, left = log_shells(float(state.log_volume[run]), number)
    log_likelihood = np.concatenate([state.dead[run, : state.num_dead[run]], state.live.log_likelihood[run]])
    log_weights = log_likelihood + np.append(shells, np.full(method.num_live, left - np.log(method.num_live)))
    weights = np.exp(log_weights - log_weights.max())
    points = weights.sum() ** 2 / np.square(weights).sum()
    # draws that were chosen at random have the noise of the choice besides that of the points
    return float(1.0 / (1.0 / points + 1.0 / method.num_draws))


def _choose(
    state: NestedState, run: int, points: Particles, log_weights: np.ndarray, random: np.random.Generator
) -> None:
    """Let each draw be one of these points instead, with the probability that their weights have among all so far."""
    batch = float(np.logaddexp.reduce(log_weights))
    before = state.log_weight[run]
    state.log_weight[run] = np.logaddexp(before, batch)
    share = math.exp(batch - state.log_weight[run]) if np.isfinite(state.log_weight[run]) else 0.0
    slots = np.flatnonzero(random.uniform(size=state.draws.log_prior.shape[1]) < share)
    weights = np.exp(log_weights - batch) if share else np.ones(len(log_weights))
    chosen = random.choice(len(log_weights), len(slots), p=weights / weights.sum())
    for leaf, fresh in zip(state.draws, points, strict=True):
        leaf[run, slots] = fresh[chosen]
