"""The Laplace approximation: a normal distribution around the mode."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import logsumexp

from bayeskit._keys import host_fold_in, host_split
from bayeskit._settings import check_choice, is_whole, require
from bayeskit._typing import Array, Values
from bayeskit.errors import ModelError
from bayeskit.inference.chains.independent import (
    CHAIN_METHODS,
    CONSTRAINED_AT_ONCE,
    ChainMethod,
    factorises,
    map_chains,
)
from bayeskit.inference.method import check_counts
from bayeskit.inference.no_mode import complaint, inverse_root
from bayeskit.inference.starts import more_starts
from bayeskit.inference.weighted import Pool, Weighted, choose, nothing_chosen
from bayeskit.numerics.mode import Mode, expansion, find_mode
from bayeskit.target import Target

__all__ = ["Laplace"]

MAX_SIZE = 5000
"""Coordinates whose Hessian, and its eigenvalues at every step of Newton's method, are still to be had in minutes."""
APART = 1.0
"""Posterior standard deviations between two places that count as different modes."""
ADVICE = "start elsewhere (init=), reparameterise, or use bayeskit.Pathfinder() or bayeskit.NUTS()"


class LaplaceState(NamedTuple):
    """All with a leading chain axis. `key`: raw; `step`: draws so far; `starts`: of the searches; `chosen`: the draws
    to come; `log_evidence`, `share`, `modes`, `failed`, `condition`: what the searches have found.
    """

    key: Array
    step: Array
    starts: Array
    chosen: Weighted
    log_evidence: Array
    share: Array
    modes: Array
    failed: Array
    condition: Array


@dataclasses.dataclass(frozen=True)
class Laplace(ChainMethod):
    r"""The Laplace approximation: draws of :math:`N(\hat z, H^{-1})` around the mode.

    :math:`\hat z` is a mode of the log density over the unconstrained values (Jacobians included) and :math:`H` minus
    its Hessian there. From ``num_starts`` points L-BFGS and then Newton's method look for modes. Each has the evidence

    .. math:: \log \hat p(y) = \log\pi(\hat z) + \tfrac d2 \log 2\pi - \tfrac12 \log |H|,

    and the one with the largest is drawn from; the attribute ``log_evidence`` of the result holds it. Where the others
    together have more than 5% of the sum over all different modes, the verdict is bad (``other_modes``): the draws know
    nothing of them. How far the posterior is from normal around its mode is told by the Pareto :math:`\hat k` of the
    weights, as for :class:`bayeskit.VI`; :func:`bayeskit.importance_resample` corrects what is left where
    :math:`\hat k \le 0.7`. A Hessian that is singular to the precision of its numbers makes it bad too
    (``flat_direction``).

    To optimise a normal distribution from there on, see :class:`bayeskit.guides.Laplace`.

    Args:
        num_starts: searches. The first starts where ``init`` of :func:`bayeskit.infer` says, the others at points that
            are uniform on (-2, 2).
        num_draws: draws of each chain.
        max_iterations: of L-BFGS.
        num_chains: independent repetitions.
        chain_method: how searches are spread: ``"auto"``, ``"threads"``, ``"vectorized"``, ``"sharded"``.

    Raises:
        MethodError: an impossible setting.
        ModelError: when it runs: more than 5,000 coordinates; no search has reached a mode (a saddle point, a flat or
            unbounded direction), with the site; a function that cannot be differentiated twice.

    Example:
        >>> import numpyro, numpyro.distributions as dist
        >>> import bayeskit as bk
        >>> def model(y):
        ...     mu = numpyro.sample("mu", dist.Normal(0.0, 10.0))
        ...     numpyro.sample("y", dist.Normal(mu, 1.0).expand([3]).to_event(1), obs=y)
        >>> post = bk.infer(model, {"y": [1.2, 0.7, 1.9]}, bk.Laplace(), key=0, progress=False)
        >>> bool(abs(post["posterior/mu"].mean() - 3.8 / 3.01) < 0.1), post.attrs["num_modes"]
        (True, 1)

    Reference: Tierney and Kadane (1986), "Accurate approximations for posterior moments and marginal densities".
    """

    kind: ClassVar[str] = "laplace"
    extends: ClassVar[bool] = False

    num_starts: int = 4
    num_draws: int = 1000
    max_iterations: int = 1000
    num_chains: int = 1
    chain_method: str = "auto"

    def __post_init__(self) -> None:
        for name in ("num_starts", "max_iterations"):
            value = getattr(self, name)
            require(is_whole(value) and value >= 1, name, value, "a positive integer")
        check_counts(self)
        check_choice("chain_method", self.chain_method, CHAIN_METHODS)

    @property
    def num_warmup(self) -> int:  # type: ignore[override]
        """None: the searches are one stage before the draws."""
        return 0

    def check_target(self, target: Target) -> None:
        super().check_target(target)
        if target.size > MAX_SIZE:
            raise ModelError(
                f"model {target.program.name!r} has {target.size} unconstrained coordinates, and bayeskit.Laplace() "
                f"takes up to {MAX_SIZE}: the Hessian would have {target.size**2:,} numbers; use "
                "bayeskit.Pathfinder(), bayeskit.VI(guide=bayeskit.guides.LowRank()) or bayeskit.NUTS()"
            )

    def init(self, key: Array, target: Target, positions: Values) -> LaplaceState:
        raw = np.asarray(key)
        first = np.asarray(jax.vmap(target.ravel)(positions))
        whole, real = np.zeros(self.num_chains, np.int32), np.zeros(self.num_chains, first.dtype)
        chosen = nothing_chosen(self.num_chains, self.num_draws, target.size, first.dtype)
        starts = more_starts(target, host_fold_in(raw, 0), first, self.num_starts)
        keys = host_split(raw, self.num_chains)
        leaves: list[Any] = [keys, whole, starts, chosen, real, real, whole, whole, real]  # on the host
        return LaplaceState(*leaves)

    def stages(self, state: Any, target: Target) -> Generator[tuple[Any, str], None, None]:
        state = self.warmup(state, target)
        yield state, f"{int(np.max(state.modes))} modes, Pareto k {float(np.max(state.chosen.pareto_k)):.2f}"

    def warmup(self, state: Any, target: Target) -> LaplaceState:
        chains, size = self.num_chains, target.size
        each = dataclasses.replace(self, num_chains=chains * self.num_starts)
        ends = map_chains(each, _search, (state.starts.reshape(-1, size),), target)
        ends = jax.tree.map(lambda leaf: np.asarray(leaf).reshape(chains, self.num_starts, *leaf.shape[1:]), ends)
        for chain in np.flatnonzero(~ends.is_mode.any(axis=1)):
            self._refuse(state.starts[chain, :1], target)
        evidence = np.where(ends.is_mode, ends.log_evidence, -np.inf)
        best = evidence.argmax(axis=1)
        modes = ends.position[np.arange(chains), best]
        keys = np.stack([host_fold_in(key, 1) for key in np.asarray(state.key)])
        pool, apart = map_chains(self, _draw, (keys, modes, ends.position), target)
        pool = jax.tree.map(np.asarray, pool)
        unused = jnp.asarray(keys[0])
        chosen = [
            choose(Pool(*(leaf[c] for leaf in pool)), self.num_draws, unused, resample=False) for c in range(chains)
        ]
        found = [_distinct(evidence[c], np.asarray(apart[c])) for c in range(chains)]
        real = modes.dtype
        return state._replace(
            chosen=jax.tree.map(lambda *leaves: np.stack(leaves), *chosen),
            log_evidence=evidence.max(axis=1).astype(real),
            share=np.array([share for share, _ in found], real),
            modes=np.array([number for _, number in found], np.int32),
            failed=np.sum(~ends.is_mode, axis=1).astype(np.int32),
            condition=ends.condition[np.arange(chains), best].astype(real),
        )

    def _refuse(self, start: np.ndarray, target: Target) -> None:
        """Say why the first search has found no mode."""
        mode = map_chains(dataclasses.replace(self, num_chains=1), _find, (start,), target)
        one = jax.tree.map(lambda leaf: leaf[0], mode)
        what = complaint(target, one, ADVICE)
        raise ModelError(
            f"bayeskit.Laplace(): none of {self.num_starts} searches has reached a mode; of the first, {what}"
        )

    def init_chain(self, key: Array, target: Target, position: Array) -> Any:
        raise NotImplementedError  # `init` starts all searches

    def step_chain(self, state: LaplaceState, target: Target) -> tuple[LaplaceState, Array, dict[str, Array]]:
        del target
        position, stats = state.chosen.at(state.step, weights=True)
        return state._replace(step=state.step + 1), position, stats

    def found(self, state: Any) -> dict[str, float]:
        """The evidence, share and number of modes, searches that failed, and the condition of the Hessian."""
        size = np.shape(state.chosen.points)[-1]
        real = np.asarray(state.condition).dtype
        return {
            "log_evidence": float(np.max(state.log_evidence)),
            "num_modes": int(np.max(state.modes)),
            "mode_share": float(np.min(state.share)),
            "num_starts_failed": int(np.sum(state.failed)),
            "hessian_condition": float(np.max(state.condition)),
            "hessian_condition_limit": float(0.1 / (np.finfo(real).eps * size)),  # an eigenvalue is then off by 10%
        }


class _End(NamedTuple):
    """Where a search has ended."""

    position: Array
    is_mode: Array
    log_evidence: Array
    condition: Array


def _find(method: Laplace, target: Target, position: Array) -> Mode:
    return find_mode(lambda flat: target.log_density(target.unravel(flat)), position, lbfgs_steps=method.max_iterations)


def _search(method: Laplace, target: Target, position: Array) -> _End:
    mode = _find(method, target, position)
    unit = jnp.sqrt(jnp.abs(jnp.diag(mode.precision)))
    values = jnp.linalg.eigvalsh(mode.precision / unit[:, None] / unit)
    log_det = 2.0 * jnp.sum(jnp.log(unit)) + jnp.sum(jnp.log(values))
    value = target.log_density(target.unravel(mode.position))
    log_evidence = value + 0.5 * target.size * jnp.log(2.0 * jnp.pi) - 0.5 * log_det
    return _End(mode.position, mode.is_mode & jnp.isfinite(log_evidence), log_evidence, values[-1] / values[0])


def _draw(method: Laplace, target: Target, key: Array, mode: Array, others: Array) -> tuple[Pool, Array]:
    """Draws around the mode; and how far the ends of searches are from one another, in standard deviations there."""

    def density(flat: Array) -> Array:
        return jnp.asarray(target.log_density(target.unravel(flat)))

    _, _, precision = expansion(lambda flat, _: -density(flat), mode)
    root = inverse_root(precision)
    noise = jax.random.normal(jax.random.wrap_key_data(key), (method.num_draws, target.size), mode.dtype)
    points = mode + noise @ root.T
    together = None if factorises(density, target.size) else CONSTRAINED_AT_ONCE
    constant = jnp.sum(jnp.log(jnp.abs(jnp.diag(root)))) + 0.5 * target.size * jnp.log(2.0 * jnp.pi)
    log_q = -0.5 * jnp.sum(noise**2, axis=-1) - constant.astype(mode.dtype)
    white = others @ jnp.linalg.cholesky(precision)
    apart = jnp.sqrt(jnp.sum((white[:, None] - white) ** 2, axis=-1))
    return Pool(points, jax.lax.map(density, points, batch_size=together), log_q), apart  # type: ignore[arg-type]


def _distinct(evidence: np.ndarray, apart: np.ndarray) -> tuple[float, int]:
    """The share of the best of the different modes in their evidence, and how many there are."""
    different: list[int] = []
    for end in np.argsort(-evidence):
        if np.isfinite(evidence[end]) and all(apart[end, other] > APART for other in different):
            different.append(int(end))
    share = np.exp(evidence[different[0]] - logsumexp(evidence[different]))
    return float(share), len(different)
