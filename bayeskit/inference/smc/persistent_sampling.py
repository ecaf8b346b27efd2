"""Persistent sampling: tempered particles of which no generation is thrown away."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Generator
from typing import Any, ClassVar, NamedTuple

import jax
import numpy as np

from bayeskit._keys import host_fold_in, host_split
from bayeskit._typing import Array, Values
from bayeskit.errors import SamplingError
from bayeskit.inference.smc.ensemble import Ensemble, in_families
from bayeskit.inference.smc.evidence import pooled
from bayeskit.inference.smc.moves import Particles, spread
from bayeskit.inference.smc.particles import check_finite_likelihood, compiled
from bayeskit.inference.smc.smc_state import TRACES, check_prior_draws, noted
from bayeskit.inference.smc.split import prior_draws
from bayeskit.inference.smc.tempered import TemperedMethod, move_runs
from bayeskit.inference.smc.weights import effective_size, log_mean_exp, normalised
from bayeskit.target import Target


class PersistentState(NamedTuple):
    """Of each run; what has a generation axis grows by one a stage.

    Attributes:
        key: raw.
        stage: stages done; generations of a run beyond them are not its own.
        particles: of all generations, shape ``(run, generation, particle, ...)``.
        acceptance: mean acceptance probability of each in its moves.
        parents: place of the parent of each in the generations before.
        eve: the ancestor of each among the draws of the prior.
        temperatures: of the generations, shape ``(run, generation)``.
        log_evidences: found when they were made.
        chosen: places of the draws among all particles of a run, once it is done.
        log_evidence: by all generations, once it is done.
        variance: its relative variance.
        log_step: log of the tuned step size.
        cursor: draws dealt out.
        trace: numbers of each stage, NaN where there was none.
    """

    key: np.ndarray
    stage: np.ndarray
    particles: Particles
    acceptance: np.ndarray
    parents: np.ndarray
    eve: np.ndarray
    temperatures: np.ndarray
    log_evidences: np.ndarray
    chosen: np.ndarray
    log_evidence: np.ndarray
    variance: np.ndarray
    log_step: np.ndarray
    cursor: np.ndarray
    trace: dict[str, np.ndarray]

    def ensemble(self, run: int) -> Ensemble:
        """The generations of one run."""
        own = slice(int(self.stage[run]) + 1)
        return Ensemble(
            np.asarray(self.particles.log_likelihood[run, own], float),
            self.temperatures[run, own],
            self.log_evidences[run, own],
            self.parents[run, own],
            self.eve[run, own],
        )

    @property
    def reached(self) -> np.ndarray:
        """The temperature of each run."""
        return np.take_along_axis(self.temperatures, self.stage[:, None], 1)[:, 0]


class Step(NamedTuple):
    """What one run does at a stage: its temperature, log evidence, effective particles, and their parents."""

    temperature: float
    log_evidence: float
    ess: float
    parents: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class PersistentSampling(TemperedMethod):
    r"""Persistent sampling: sequential Monte Carlo that keeps the particles of all its stages.

    As :class:`bayeskit.SMC`, particles go from the prior to the posterior through
    :math:`p(z)\, p(y \mid z)^{\beta_t}`. But a stage chooses the parents of its particles among those of *all* stages
    before, :math:`t N` of them, as draws of the mixture of what they were made for:

    .. math:: w_t(z) = \frac{p(y \mid z)^{\beta_t}}{\frac1t \sum_{s<t} p(y \mid z)^{\beta_s} / \hat Z_s}, \qquad
        \hat Z_t = \frac{1}{tN} \sum_{s<t} \sum_j w_t(z_{sj}),

    with :math:`\beta_t` the largest for which all weights together are worth ``target_ess`` of :math:`N` particles. So
    steps of temperature are larger, parents more diverse, and the draws come from all particles, weighed at
    :math:`\beta = 1`, as does the evidence :math:`p(y)`. Particles are moved as those of :class:`bayeskit.SMC`. Memory
    grows with the number of stages.

    The error of the evidence is found in each run, from how much each family of particles moves it
    (``bayeskit/inference/smc/ensemble.py``), and is larger where the runs differ by more than that explains. The
    attributes of the result are those of :class:`bayeskit.SMC`, and so are its findings. ``init=`` of
    :func:`bayeskit.infer` has no effect: particles start from the prior.

    Args:
        num_particles: particles of a stage, and draws of a run.
        num_chains: independent runs.
        target_ess: effective number of particles at each stage, as a multiple of ``num_particles``: larger makes more
            stages. Above one the first stages stay at the prior until there are particles enough.
        kernel: ``"hmc"``; or ``"random_walk"``, which takes no gradients.
        num_moves: moves a stage; by default as many as it takes, up to ``max_moves``.
        max_moves: see ``num_moves``; by default 30, and 300 for a random walk.
        max_stages: an error where the posterior has not been reached by then.
        particles_at_once: particles of a run that are moved together, to save memory; by default all.

    Raises:
        MethodError: an impossible setting.
        ModelError: when it runs: a prior that is improper, scaled, masked or cannot be drawn from; discrete sites that
            cannot be separated from the prior.
        SamplingError: no draw of the prior has a finite likelihood; ``max_stages`` is not enough.

    Example:
        >>> import numpyro, numpyro.distributions as dist
        >>> import bayeskit as bk
        >>> def model(y):
        ...     mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
        ...     numpyro.sample("y", dist.Normal(mu, 1.0), obs=y)
        >>> post = bk.infer(model, {"y": 1.2}, bk.PersistentSampling(num_particles=500), key=0, progress=False)
        >>> exact = float(dist.Normal(0.0, 2**0.5).log_prob(1.2))
        >>> abs(post.attrs["log_evidence"] - exact) < 4 * post.attrs["log_evidence_error"] < 0.2
        True

    Reference: Karamanis and Seljak (2025), "Persistent sampling: enhancing the efficiency of sequential Monte Carlo",
    Statistics and Computing, arXiv:2407.20722, algorithm 2.
    """

    kind: ClassVar[str] = "persistent_sampling"
    most_ess: ClassVar[float] = 10.0

    num_particles: int = 1000
    num_chains: int = 4
    target_ess: float = 0.9
    kernel: str = "hmc"
    num_moves: int | None = None
    max_moves: int | None = None
    max_stages: int = 200
    particles_at_once: int | None = None

    def init(self, key: Array, target: Target, positions: Values) -> PersistentState:
        runs, number = self.num_chains, self.num_particles
        keys = host_split(np.asarray(key), runs)
        each = np.stack([host_split(host_fold_in(one, 0), number) for one in keys])
        drawn = jax.tree.map(np.asarray, Particles(*prior_draws(target, jax.device_put(each))))
        start = 1.0 if self.kernel == "hmc" else 2.38 / math.sqrt(target.size)
        places = np.broadcast_to(np.arange(number, dtype=np.int32), (runs, 1, number))
        return PersistentState(
            key=keys,
            stage=np.zeros(runs, np.int32),
            particles=jax.tree.map(lambda leaf: leaf[:, None], drawn),
            acceptance=np.ones_like(drawn.log_prior)[:, None],
            parents=places,
            eve=places,
            temperatures=np.zeros((runs, 1)),
            log_evidences=np.zeros((runs, 1)),
            chosen=np.zeros((runs, number), np.int32),
            log_evidence=np.zeros(runs),
            variance=np.zeros(runs),
            log_step=np.full(runs, math.log(start), drawn.log_prior.dtype),
            cursor=np.zeros(runs, np.int32),
            trace={name: np.full((runs, self.max_stages), np.nan) for name in TRACES},
        )

    def stages(self, state: Any, target: Target) -> Generator[tuple[PersistentState, str], None, None]:
        if (state.stage == 0).all():
            check_prior_draws(jax.tree.map(lambda leaf: leaf[:, 0], state.particles))
        while (state.reached < 1).any():
            state = self._stage(state, target)
            yield state, f"temperature {state.reached.min():.3g}"
        yield self._finished(state), ""

    def _stage(self, state: PersistentState, target: Target) -> PersistentState:
        """One more generation of the runs that are not done."""
        going = state.reached < 1
        if state.stage.max() >= self.max_stages:
            raise SamplingError(
                f"PersistentSampling is at temperature {state.reached.min():.3g} of 1 after max_stages = "
                f"{self.max_stages} stages: the posterior is very far from the prior. Allow more (max_stages), a "
                "smaller target_ess, or write priors that are nearer to the data"
            )
        keys = np.stack([host_fold_in(key, stage + 1) for key, stage in zip(state.key, state.stage, strict=True)])
        steps = [self._step(state, run, keys[run]) for run in range(self.num_chains)]
        parents = np.stack([step.parents for step in steps])
        temperature = np.array([step.temperature for step in steps])
        start = jax.tree.map(lambda leaf: _at(leaf, parents), state.particles)
        factors = np.stack([spread(positions) for positions in start.position]).astype(start.position.dtype)
        near = temperature.astype(start.log_prior.dtype)
        found = compiled(move_runs)(self.plan, target, self.budget, keys, start, near, factors, state.log_step)
        moved: Any = jax.tree.map(np.asarray, found)
        check_finite_likelihood(moved.particles.log_likelihood)
        eve = _at(state.eve, parents)
        log_evidence = np.array([step.log_evidence for step in steps])
        numbers = {
            "temperature": temperature,
            "ess": [step.ess for step in steps],
            "log_evidence": log_evidence,
            "acceptance_rate": moved.acceptance.mean(1),
            "step_size": np.exp(moved.log_step),
            "num_moves": moved.num_moves,
            "displacement": moved.displacement,
            "correlation": moved.correlation,
            "moved": moved.moved,
            "ancestors": [len(np.unique(one)) for one in eve],
        }
        trace = {name: noted(state.trace[name], state.stage, numbers[name]) for name in TRACES}
        return state._replace(
            stage=np.where(going, state.stage + 1, state.stage).astype(np.int32),
            particles=jax.tree.map(_grown, state.particles, moved.particles),
            acceptance=_grown(state.acceptance, moved.acceptance),
            parents=_grown(state.parents, parents),
            eve=_grown(state.eve, eve),
            temperatures=_grown(state.temperatures, temperature),
            log_evidences=_grown(state.log_evidences, log_evidence),
            log_step=moved.log_step,
            trace={n: np.where(going[:, None], new, state.trace[n]) for n, new in trace.items()},
        )

    def _step(self, state: PersistentState, run: int, key: np.ndarray) -> Step:
        """Temperature, evidence and parents of one run."""
        ensemble = state.ensemble(run)
        temperature = ensemble.next_temperature(self.target_ess)
        log_weights = ensemble.log_weights(temperature).ravel()
        weights = normalised(log_weights)
        return Step(
            temperature,
            log_mean_exp(log_weights),
            effective_size(weights),
            in_families(weights, ensemble.eve.ravel(), self.num_particles, _uniform(key)).astype(np.int32),
        )

    def _finished(self, state: PersistentState) -> PersistentState:
        """The draws and the evidence, by the particles of all generations."""
        chosen, evidences, variances = [], [], []
        for run in range(self.num_chains):
            ensemble = state.ensemble(run)
            log_weights = ensemble.log_weights(1.0).ravel()
            key = host_fold_in(state.key[run], int(state.stage[run]) + 1)
            places = in_families(normalised(log_weights), ensemble.eve.ravel(), self.num_particles, _uniform(key))
            chosen.append(places.astype(np.int32))
            evidences.append(log_mean_exp(log_weights))
            variances.append(ensemble.variance())
        return state._replace(chosen=np.stack(chosen), log_evidence=np.array(evidences), variance=np.array(variances))

    def deal(self, state: Any) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        chosen = jax.tree.map(lambda leaf: _at(leaf, state.chosen), (state.particles, state.acceptance))
        particles, acceptance = chosen
        return particles.position, {
            "lp": particles.log_prior + particles.log_likelihood,
            "acceptance_rate": acceptance,
        }

    def traces(self, state: Any) -> dict[str, np.ndarray]:
        last = int(np.max(state.stage))
        return {name: np.asarray(trace)[:, :last] for name, trace in state.trace.items()}

    def found(self, state: Any) -> dict[str, float]:
        errors = np.sqrt(np.maximum(state.variance, 0.0))
        numbers = pooled(np.asarray(state.log_evidence), errors, unbiased=False)
        undefined = float(np.isnan(np.asarray(state.particles.log_likelihood)).mean())
        return {**numbers, "undefined_likelihood": undefined} if undefined else numbers


def _uniform(key: np.ndarray) -> float:
    return float(np.random.default_rng(host_fold_in(key, 1)).uniform())


def _at(leaf: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Of each run, the particles at these places among all generations in a row."""
    rows = np.asarray(leaf).reshape(leaf.shape[0], -1, *leaf.shape[3:])
    return np.stack([one[own] for one, own in zip(rows, places, strict=True)])


def _grown(leaf: np.ndarray, new: np.ndarray) -> np.ndarray:
    return np.concatenate([leaf, np.asarray(new, leaf.dtype)[:, None]], axis=1)
