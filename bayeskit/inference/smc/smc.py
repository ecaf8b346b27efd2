"""Adaptive tempered sequential Monte Carlo."""

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
from bayeskit.inference.smc import weights as w
from bayeskit.inference.smc.evidence import pooled
from bayeskit.inference.smc.moves import Particles, spread
from bayeskit.inference.smc.particles import check_finite_likelihood, compiled
from bayeskit.inference.smc.smc_state import TRACES, SMCState, check_prior_draws, noted, where_going
from bayeskit.inference.smc.split import prior_draws
from bayeskit.inference.smc.tempered import TemperedMethod, move_runs
from bayeskit.target import Target


class Reweighted(NamedTuple):
    """What a step of temperature makes of one run: the parents of the next particles, and the numbers that follow."""

    temperature: float
    parents: np.ndarray
    log_mean: float
    ess: float
    variance: float
    rounded: float
    undefined: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class SMC(TemperedMethod):
    r"""Sequential Monte Carlo from the prior to the posterior, with the evidence :math:`p(y)`.

    Particles are drawn from the prior :math:`p(z)` and pass through
    :math:`\pi_t(z) \propto p(z)\, p(y \mid z)^{\beta_t}`,
    :math:`0 = \beta_0 < \dots < \beta_T = 1`. At each stage they are weighted, resampled and moved:

    * :math:`w_i = p(y \mid z_i)^{\beta_{t} - \beta_{t-1}}`, with :math:`\beta_t` the largest for which the weights are
      worth ``target_ess`` of the particles, :math:`(\sum_i w_i)^2 / \sum_i w_i^2 = \mathtt{target\_ess} \cdot N`;
    * systematic resampling;
    * Markov moves that leave :math:`\pi_t` invariant, in the metric of the particles' covariance, with a step size
      tuned to their acceptance rate, until their mean squared distance from where they started no longer grows, their
      likelihoods have forgotten those at the start, and most have moved.

    The evidence, with :math:`z` the unconstrained values of all continuous latent sites and discrete ones summed out,

    .. math:: p(y) = \int p(z)\, p(y \mid z)\, dz \approx \prod_t \frac{1}{N} \sum_i w_i ,

    is averaged over ``num_chains`` independent runs. Its error is found from the genealogy of each run (Lee and
    Whiteley 2018), and is larger where the runs differ by more than that explains. ``post.attrs`` holds
    ``log_evidence``, ``log_evidence_error``, and ``log_evidence_chi2`` of the runs about their mean.
    Everything that is observed, and every ``numpyro.factor``, counts as likelihood.

    A run finds several modes that the prior reaches, and their weights. The draws are the particles at
    :math:`\beta = 1`, those with a common ancestor side by side, so that the effective sample size that
    :func:`bayeskit.check` finds knows of them. ``init=`` of :func:`bayeskit.infer` has no effect: particles start from
    the prior.

    Args:
        num_particles: particles a run, and draws.
        num_chains: independent runs.
        target_ess: effective number of particles at each stage, as a share: larger makes more stages.
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
        >>> post = bk.infer(model, {"y": 1.2}, bk.SMC(num_particles=500), key=0, progress=False)
        >>> exact = float(dist.Normal(0.0, 2**0.5).log_prob(1.2))
        >>> abs(post.attrs["log_evidence"] - exact) < 4 * post.attrs["log_evidence_error"] < 0.2
        True

    References:
        Del Moral, Doucet and Jasra (2006), "Sequential Monte Carlo samplers"; Dai, Heng, Jacob and Whiteley (2022), "An
        invitation to sequential Monte Carlo samplers".
    """

    kind: ClassVar[str] = "smc"

    num_particles: int = 2000
    num_chains: int = 4
    target_ess: float = 0.7
    kernel: str = "hmc"
    num_moves: int | None = None
    max_moves: int | None = None
    max_stages: int = 200
    particles_at_once: int | None = None

    def init(self, key: Array, target: Target, positions: Values) -> SMCState:
        runs, number = self.num_chains, self.num_particles
        keys = host_split(np.asarray(key), runs)
        each = np.stack([host_split(host_fold_in(one, 0), number) for one in keys])
        particles = jax.tree.map(np.asarray, Particles(*prior_draws(target, jax.device_put(each))))
        start = 1.0 if self.kernel == "hmc" else 2.38 / math.sqrt(target.size)
        zero = np.zeros(runs)
        return SMCState(
            key=keys,
            stage=np.zeros(runs, np.int32),
            temperature=zero,
            particles=particles,
            acceptance=np.ones_like(particles.log_prior),
            eve=np.broadcast_to(np.arange(number, dtype=np.int32), (runs, number)),
            rounded=zero,
            log_evidence=zero,
            variance=zero,
            undefined=zero,
            log_step=np.full(runs, math.log(start), particles.log_prior.dtype),
            cursor=np.zeros(runs, np.int32),
            trace={name: np.full((runs, self.max_stages), np.nan) for name in TRACES},
        )

    def stages(self, state: Any, target: Target) -> Generator[tuple[SMCState, str], None, None]:
        if (state.stage == 0).all():
            check_prior_draws(state.particles)
        while (state.temperature < 1).any():
            state = self._stage(state, target)
            yield state, f"temperature {state.temperature.min():.3g}"
        yield state, ""

    def _stage(self, state: SMCState, target: Target) -> SMCState:
        """One step of temperature of the runs that are not done."""
        going = state.temperature < 1
        if state.stage.max() >= self.max_stages:
            raise SamplingError(
                f"SMC is at temperature {state.temperature.min():.3g} of 1 after max_stages = {self.max_stages} "
                "stages: the posterior is very far from the prior. Allow more (max_stages), a smaller target_ess, or "
                "write priors that are nearer to the data"
            )
        keys = np.stack([host_fold_in(key, stage + 1) for key, stage in zip(state.key, state.stage, strict=True)])
        found = [self._reweigh(state, run, keys[run]) for run in range(self.num_chains)]
        parents = np.stack([one.parents for one in found])
        start = jax.tree.map(lambda leaf: _of_parents(leaf, parents), state.particles)
        temperature = np.array([one.temperature for one in found])
        factors = np.stack([spread(positions) for positions in start.position]).astype(start.position.dtype)
        near = temperature.astype(start.log_prior.dtype)
        found_there = compiled(move_runs)(self.plan, target, self.budget, keys, start, near, factors, state.log_step)
        moved: Any = jax.tree.map(np.asarray, found_there)
        check_finite_likelihood(moved.particles.log_likelihood)
        eve = np.take_along_axis(state.eve, parents, 1)
        new = state._replace(
            stage=state.stage + 1,
            temperature=temperature,
            particles=moved.particles,
            acceptance=moved.acceptance,
            eve=eve,
            rounded=np.array([one.rounded for one in found]),
            log_evidence=state.log_evidence + [one.log_mean for one in found],
            variance=np.array([one.variance for one in found]),
            undefined=np.maximum(state.undefined, [one.undefined for one in found]),
            log_step=moved.log_step,
        )
        numbers = {
            "temperature": temperature,
            "ess": [one.ess for one in found],
            "log_evidence": new.log_evidence,
            "acceptance_rate": moved.acceptance.mean(1),
            "step_size": np.exp(moved.log_step),
            "num_moves": moved.num_moves,
            "displacement": moved.displacement,
            "correlation": moved.correlation,
            "moved": moved.moved,
            "ancestors": [len(np.unique(one)) for one in eve],
        }
        trace = {name: noted(state.trace[name], state.stage, numbers[name]) for name in TRACES}
        return where_going(going, new._replace(trace=trace), state)

    def _reweigh(self, state: SMCState, run: int, key: np.ndarray) -> Reweighted:
        """Temperature, parents and evidence of one run."""
        log_likelihood = np.asarray(state.particles.log_likelihood[run], float)
        before, eve = float(state.temperature[run]), state.eve[run]
        temperature = w.next_temperature(log_likelihood, before, self.target_ess)
        increments = w.incremental(log_likelihood, temperature - before)
        weights = w.normalised(increments)
        uniform = np.random.default_rng(host_fold_in(key, 1)).uniform()
        return Reweighted(
            temperature=temperature,
            parents=w.systematic(weights, uniform),
            log_mean=w.log_mean_exp(increments),
            ess=w.effective_size(weights),
            variance=w.evidence_variance(eve, weights, float(state.rounded[run])),
            rounded=float(state.rounded[run]) + w.rounding(eve, weights),
            undefined=float(np.isnan(log_likelihood).mean()),
        )

    def deal(self, state: Any) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        lp = state.particles.log_prior + state.particles.log_likelihood
        return state.particles.position, {"lp": lp, "acceptance_rate": state.acceptance}

    def traces(self, state: Any) -> dict[str, np.ndarray]:
        last = int(np.max(state.stage))
        return {name: np.asarray(trace)[:, :last] for name, trace in state.trace.items()}

    def found(self, state: Any) -> dict[str, float]:
        errors = np.sqrt(np.maximum(state.variance, 0.0))
        numbers = pooled(np.asarray(state.log_evidence), errors, unbiased=True)
        undefined = float(np.max(state.undefined))
        return {**numbers, "undefined_likelihood": undefined} if undefined else numbers


def _of_parents(leaf: np.ndarray, parents: np.ndarray) -> np.ndarray:
    return np.stack([one[own] for one, own in zip(leaf, parents, strict=True)])
