"""Non-reversible parallel tempering."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Generator
from functools import cache, partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bayeskit._keys import host_split
from bayeskit._typing import Array, Values
from bayeskit.inference.method import Draws, Method, check_accept, check_counts
from bayeskit.inference.smc.evidence import pooled
from bayeskit.inference.smc.ladder import equalised, first_ladder, stepping_stones
from bayeskit.inference.smc.moves import Leap, Particles, evaluate, has_correlations, hmc, leapfrogs, spread
from bayeskit.inference.smc.particles import check_whole, chunk_of, compiled, constrained
from bayeskit.inference.smc.split import check_prior, check_split, parts
from bayeskit.target import Target
from bayeskit.target.start import draw_prior

BLOCKS = 20
"""Blocks of draws of which the error of the evidence is found."""


class Rung(NamedTuple):
    """Of each level of each chain: temperature, particle, factor of its covariance, and log step size."""

    temperature: Array
    particle: Particles
    factor: Array
    log_step: Array


class TemperedState(NamedTuple):
    """Of each chain.

    Attributes:
        key: raw.
        step: steps taken.
        rungs: of each level, from the prior to the posterior.
        replica: the replica at each level.
        came_from: of each replica the end that it has been to last: 0 none, 1 the prior, 2 the posterior.
        arrivals: how often a replica has come from the prior to the posterior, while drawing.
        round_trips: and back to the prior.
        rejected: sum over steps of the probability that the swap with the next level was rejected.
        tried: number of these swaps.
        log_sums: of powers of the likelihood, by block and level, for the evidence.
        counts: draws in each block.
        drawn: draws made.
        rounds: rounds of adaptation that are done.
    """

    key: Array
    step: Array
    rungs: Rung
    replica: Array
    came_from: Array
    arrivals: Array
    round_trips: Array
    rejected: Array
    tried: Array
    log_sums: Array
    counts: Array
    drawn: Array
    rounds: Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class ParallelTempering(Method):
    r"""Parallel tempering: chains at a ladder of temperatures from prior to posterior that exchange their places.

    Level :math:`k` has the density :math:`p(z)\, p(y \mid z)^{\beta_k}`, :math:`0 = \beta_1 < \dots < \beta_K = 1`. A step
    moves each level by a trajectory of Hamiltonian Monte Carlo, the first by a fresh draw of the prior, and then
    proposes to swap neighbours, levels :math:`(1, 2), (3, 4), \dots` and :math:`(2, 3), (4, 5), \dots` in turn, accepted with
    probability :math:`\min(1, p(y \mid z_{k+1})^{\beta_k - \beta_{k+1}}\, p(y \mid z_k)^{\beta_{k+1} - \beta_k})`. So draws of
    the prior travel straight to the posterior, and modes are visited in proportion to their weights. The
    temperatures are adapted during warmup such that all swaps are rejected equally often.

    ``post.attrs`` holds ``round_trips`` and ``arrivals`` (of draws of the prior at the posterior) of all chains together,
    ``barrier``, the sum of the rejection rates of one ladder, ``swap_rate``, the smallest acceptance rate of a pair, and
    ``log_evidence`` with ``log_evidence_error``, by stepping stones. About twice the barrier is a good number of
    temperatures.

    Args:
        num_chains: independent ladders.
        num_temperatures: levels of each.
        num_warmup: steps of adaptation.
        num_draws: draws a chain.
        moves_per_draw: trajectories at each level between swaps.
        target_accept: acceptance rate that the step sizes are tuned to.

    Raises:
        MethodError: an impossible setting.
        ModelError: when it runs: a prior that is improper, scaled, masked or cannot be drawn from; discrete sites that
            cannot be separated from the prior.

    Example:
        >>> import jax.numpy as jnp, numpyro, numpyro.distributions as dist
        >>> import bayeskit as bk
        >>> def model(y):  # of mu only the square is seen
        ...     mu = numpyro.sample("mu", dist.Normal(0.0, 5.0))
        ...     numpyro.sample("y", dist.Normal(mu**2, 1.0), obs=y)
        >>> method = bk.ParallelTempering(num_chains=2, num_temperatures=6, num_warmup=200, num_draws=500)
        >>> post = bk.infer(model, {"y": 9.0}, method, key=0, progress=False)
        >>> bool(0.3 < (post["posterior/mu"] > 0).mean() < 0.7), post.attrs["round_trips"] > 10
        (True, True)

    Reference: Syed, Bouchard-Côté, Deligiannidis and Doucet (2022), "Non-reversible parallel tempering: a scalable highly
    parallel MCMC scheme".
    """

    kind: ClassVar[str] = "parallel_tempering"

    num_chains: int = 4
    num_temperatures: int = 12
    num_warmup: int = 2000
    num_draws: int = 1000
    moves_per_draw: int = 1
    target_accept: float = 0.8

    def __post_init__(self) -> None:
        check_counts(self)
        check_whole("num_temperatures", self.num_temperatures, 2)
        check_whole("moves_per_draw", self.moves_per_draw, 1)
        check_accept(self.target_accept)

    @property
    def warmup_steps(self) -> int:
        return 0

    def check_target(self, target: Target) -> None:
        super().check_target(target)
        check_split(target, "ParallelTempering")
        check_prior(target, "ParallelTempering")

    @property
    def _rounds(self) -> list[int]:
        """Of each round of adaptation, how many chunks of a run it takes, twice as many as the one before.

        In chunks, so that one program serves warmup and draws.
        """
        left, rounds = math.ceil(self.num_warmup / chunk_of(self.num_draws)), list[int]()
        while left > 0:
            size = 2 ** len(rounds)
            rounds.append(left if left < 3 * size else size)  # what is too little for a round goes to the last
            left -= rounds[-1]
        return rounds

    def init(self, key: Array, target: Target, positions: Values) -> TemperedState:
        chains, levels = self.num_chains, self.num_temperatures
        keys = host_split(np.asarray(key), chains)
        particle = jax.tree.map(np.asarray, compiled(_start)(levels, target, positions))
        dtype, size = particle.position.dtype, target.size
        shape = (size, size) if has_correlations(self.num_chains * self.num_draws // 4, size) else (size,)
        unit = np.eye(size) if len(shape) == 2 else np.ones(size)
        zero = np.zeros((chains, levels - 1))
        return TemperedState(
            key=keys,
            step=np.zeros(chains, np.int32),
            rungs=Rung(
                np.broadcast_to(first_ladder(levels).astype(dtype), (chains, levels)),
                particle,
                np.broadcast_to(unit.astype(dtype), (chains, levels, *shape)),
                np.full((chains, levels), -1.0, dtype),
            ),
            replica=np.broadcast_to(np.arange(levels, dtype=np.int32), (chains, levels)),
            came_from=np.zeros((chains, levels), np.int32),
            arrivals=np.zeros(chains, np.int32),
            round_trips=np.zeros(chains, np.int32),
            rejected=zero.astype(dtype),
            tried=zero.astype(dtype),
            log_sums=np.full((chains, BLOCKS, levels - 1), -np.inf, dtype),
            counts=np.zeros((chains, BLOCKS), np.int32),
            drawn=np.zeros(chains, np.int32),
            rounds=np.zeros(chains, np.int32),
        )

    def stages(self, state: Any, target: Target) -> Generator[tuple[TemperedState, str], None, None]:
        rounds, run = self._rounds, compiled(_steps(chunk_of(self.num_draws)))
        for index in range(int(state.rounds[0]), len(rounds)):
            made = []
            for _ in range(rounds[index]):
                state, (positions, _) = run(self, target, state, True)
                made.append(np.asarray(positions))
            state, barrier = self._adapted(jax.tree.map(np.asarray, state), np.concatenate(made, 1))
            yield state, f"round {index + 1} of {len(rounds)}: barrier {barrier:.2f}"
        yield state, ""

    def _adapted(self, state: TemperedState, positions: np.ndarray) -> tuple[TemperedState, float]:
        """Temperatures, the same for all chains, and metrics, after a round; the counts begin anew."""
        rejection = state.rejected.sum(0) / np.maximum(state.tried.sum(0), 1)
        rungs = state.rungs
        factors = np.array(rungs.factor)
        last = positions[:, positions.shape[1] // 2 :]
        together = last.reshape(-1, *last.shape[2:])
        if len(together) >= 20:
            for level in range(self.num_temperatures):
                factor = spread(together[:, level])
                # chains and their draws are alike but not independent: correlations of few of them are noise
                if factors.ndim == 4 and factor.ndim == 1:
                    factor = np.diag(factor)
                factors[:, level] = factor if factors.ndim == 4 or factor.ndim == 1 else np.sqrt((factor**2).sum(1))
        temperatures = equalised(np.asarray(rungs.temperature[0], float), np.asarray(rejection, float))
        new = np.broadcast_to(temperatures.astype(rungs.temperature.dtype), rungs.temperature.shape)
        none = np.zeros_like(state.rejected)
        state = state._replace(
            rungs=rungs._replace(temperature=new, factor=factors),
            rejected=none,
            tried=none,
            came_from=np.zeros_like(state.came_from),
            rounds=state.rounds + np.int32(1),
        )
        return state, float(rejection.sum())

    def advance(self, state: Any, target: Target, num_steps: int) -> tuple[TemperedState, Draws]:
        state, (positions, stats) = compiled(_steps(num_steps))(self, target, state, False)
        last = positions[:, :, -1]
        return state, Draws(constrained(target, last), stats, last)

    def found(self, state: Any) -> dict[str, float]:
        rejection = np.asarray(state.rejected).sum(0) / np.maximum(np.asarray(state.tried).sum(0), 1)
        stones = [
            stepping_stones(np.asarray(one, float), np.asarray(count))
            for one, count in zip(state.log_sums, state.counts, strict=True)
        ]
        estimates, errors = (np.array(column) for column in zip(*stones, strict=True))
        evidence = pooled(estimates, errors, unbiased=False) if np.isfinite(errors).all() else {}
        return {
            **evidence,
            "round_trips": float(np.sum(state.round_trips)),
            "arrivals": float(np.sum(state.arrivals)),
            "barrier": float(rejection.sum()),
            "swap_rate": float(1.0 - rejection.max()),
        }


def _start(levels: int, target: Target, positions: Values) -> Particles:
    def one(values: Values) -> Particles:
        position = target.ravel(values)
        particle = Particles(position, *parts(target, position))
        return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (levels, *leaf.shape)), particle)

    return jax.vmap(one)(positions)


@cache
def _steps(num_steps: int) -> Any:
    return partial(_run, num_steps=num_steps)


def _run(method: ParallelTempering, target: Target, state: TemperedState, warm: bool, *, num_steps: int) -> Any:
    """Steps of all chains: positions of all levels, and the statistics of the last."""

    def step(state: TemperedState, _: None) -> Any:
        return _step(method, target, state, jnp.asarray(warm))

    def one_chain(state: TemperedState) -> Any:
        return jax.lax.scan(step, state, None, length=num_steps)

    return jax.vmap(one_chain)(jax.tree.map(jnp.asarray, state))


def _step(method: ParallelTempering, target: Target, state: TemperedState, warm: Array) -> Any:
    """One step of one chain: moves at every level, then swaps; `warm` says whether to adapt or to count."""
    move_key, prior_key, swap_key = jax.random.split(jax.random.fold_in(state.key, state.step), 3)
    rungs, rates = _moved(method, target, state.rungs, move_key, prior_key)
    gain = jnp.where(warm, jnp.maximum((state.step + 1.0) ** -0.5, 0.05), 0.0).astype(rungs.log_step.dtype)
    stats = {
        "acceptance_rate": rates[-1],
        "step_size": jnp.exp(rungs.log_step[-1]),
        "n_steps": method.moves_per_draw * leapfrogs(jnp.exp(rungs.log_step[-1])),
    }
    rungs = rungs._replace(log_step=rungs.log_step + gain * (rates - method.target_accept))
    state = _counted(method, state._replace(rungs=rungs), warm)
    state = _travelled(_swapped(state, swap_key), warm)
    last = jax.tree.map(lambda leaf: leaf[-1], state.rungs.particle)
    stats |= {"lp": last.log_prior + last.log_likelihood, "replica": state.replica[-1]}
    return state._replace(step=state.step + 1), (state.rungs.particle.position, stats)


def _moved(method: ParallelTempering, target: Target, rungs: Rung, key: Array, prior_key: Array) -> tuple[Rung, Array]:
    """The levels after their moves, and mean acceptance probabilities; the first has a new draw of the prior."""

    def one(key: Array, rung: Rung) -> tuple[Particles, Array]:
        def again(leap: Leap, key: Array) -> tuple[Leap, Array]:
            return hmc(key, target, leap, rung.temperature, rung.factor, jnp.exp(rung.log_step))

        leap = evaluate(target, rung.particle.position, rung.temperature)
        leap, rates = jax.lax.scan(again, leap, jax.random.split(key, method.moves_per_draw))
        return leap.particle, rates.mean()

    levels = rungs.temperature.shape[0]
    upper = jax.tree.map(lambda leaf: leaf[1:], rungs)
    particles, rates = jax.vmap(one)(jax.random.split(key, levels - 1), upper)
    position = target.ravel(draw_prior(target, prior_key))
    log_prior, log_likelihood = parts(target, position)
    fresh = Particles(position, log_prior, jnp.where(jnp.isnan(log_likelihood), -jnp.inf, log_likelihood))
    together = jax.tree.map(
        lambda first, rest, old: jnp.concatenate([first[None], rest]).astype(old.dtype),
        fresh,
        particles,
        rungs.particle,
    )
    rates = jnp.concatenate([jnp.full(1, method.target_accept, rates.dtype), rates])
    return rungs._replace(particle=together), rates


def _swapped(state: TemperedState, key: Array) -> TemperedState:
    """Neighbours of one parity after the exchange of their places."""
    temperature, likelihood = state.rungs.temperature, state.rungs.particle.log_likelihood
    levels = temperature.shape[0]
    log_ratio = (temperature[:-1] - temperature[1:]) * (likelihood[1:] - likelihood[:-1])
    rate = jnp.where(jnp.isnan(log_ratio), 0.0, jnp.exp(jnp.minimum(log_ratio, 0.0)))
    tried = jnp.arange(levels - 1) % 2 == state.step % 2
    taken = tried & (jax.random.uniform(key, rate.shape, rate.dtype) < rate)
    place = jnp.arange(levels)
    order = place + jnp.append(taken, False) - jnp.insert(taken, 0, False)
    particle = jax.tree.map(lambda leaf: leaf[order], state.rungs.particle)
    return state._replace(
        rungs=state.rungs._replace(particle=particle),
        replica=state.replica[order],
        rejected=state.rejected + jnp.where(tried, 1.0 - rate, 0.0).astype(state.rejected.dtype),
        tried=state.tried + tried.astype(state.tried.dtype),
    )


def _travelled(state: TemperedState, warm: Array) -> TemperedState:
    """What ends of the ladder the replicas have been to."""
    first, last = state.replica[0], state.replica[-1]
    came_from = state.came_from
    arrived, returned = came_from[last] == 1, came_from[first] == 2
    came_from = came_from.at[first].set(1)
    came_from = came_from.at[last].set(jnp.where(came_from[last] > 0, 2, 0))
    return state._replace(
        came_from=came_from,
        arrivals=state.arrivals + (arrived & ~warm).astype(state.arrivals.dtype),
        round_trips=state.round_trips + (returned & ~warm).astype(state.round_trips.dtype),
    )


def _counted(method: ParallelTempering, state: TemperedState, warm: Array) -> TemperedState:
    """Powers of the likelihood added to the sums for the evidence; a run's last chunk may reach beyond its end."""
    temperature, likelihood = state.rungs.temperature, state.rungs.particle.log_likelihood
    power = (temperature[1:] - temperature[:-1]) * likelihood[:-1]
    block = jnp.minimum(state.drawn * BLOCKS // method.num_draws, BLOCKS - 1)
    counts = (state.drawn < method.num_draws) & ~warm
    sums = jnp.where(counts, jnp.logaddexp(state.log_sums[block], power), state.log_sums[block])
    return state._replace(
        log_sums=state.log_sums.at[block].set(sums),
        counts=state.counts.at[block].add(counts.astype(state.counts.dtype)),
        drawn=state.drawn + jnp.where(warm, 0, 1).astype(state.drawn.dtype),
    )
