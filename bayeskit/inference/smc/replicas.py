"""One step of a ladder of temperatures: moves at every level, swaps, and the journeys of replicas."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from bayeskit._typing import Array
from bayeskit.inference.smc.moves import Leap, Particles, evaluate, hmc, leapfrogs
from bayeskit.inference.smc.split import parts
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
        undefined: of the draws of the prior then, how many had a likelihood that was NaN.
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
    undefined: Array
    rounds: Array


class Plan(NamedTuple):
    """The settings that steps depend on, as in :class:`bayeskit.ParallelTempering`."""

    moves_per_draw: int
    target_accept: float
    num_draws: int


def one_step(plan: Plan, target: Target, state: TemperedState, warm: Array) -> Any:
    """One step of one chain: moves at every level, then swaps; `warm` says whether to adapt or to count."""
    move_key, prior_key, swap_key = jax.random.split(jax.random.fold_in(state.key, state.step), 3)
    rungs, rates, undefined = _moved(plan, target, state.rungs, move_key, prior_key)
    state = state._replace(undefined=state.undefined + (undefined & ~warm).astype(state.undefined.dtype))
    gain = jnp.where(warm, jnp.maximum((state.step + 1.0) ** -0.5, 0.05), 0.0).astype(rungs.log_step.dtype)
    stats = {
        "acceptance_rate": rates[-1],
        "step_size": jnp.exp(rungs.log_step[-1]),
        "n_steps": plan.moves_per_draw * leapfrogs(jnp.exp(rungs.log_step[-1])),
    }
    rungs = rungs._replace(log_step=rungs.log_step + gain * (rates - plan.target_accept))
    state = _counted(plan, state._replace(rungs=rungs), warm)
    state = _travelled(_swapped(state, swap_key), warm)
    last = jax.tree.map(lambda leaf: leaf[-1], state.rungs.particle)
    stats |= {"lp": last.log_prior + last.log_likelihood, "replica": state.replica[-1]}
    return state._replace(step=state.step + 1), (state.rungs.particle.position, stats)


def _moved(plan: Plan, target: Target, rungs: Rung, key: Array, prior_key: Array) -> tuple[Rung, Array, Array]:
    """The levels after their moves, and mean acceptance probabilities; the first has a new draw of the prior, and
    whether its likelihood is NaN.
    """

    def one(key: Array, rung: Rung) -> tuple[Particles, Array]:
        def again(leap: Leap, key: Array) -> tuple[Leap, Array]:
            return hmc(key, target, leap, rung.temperature, rung.factor, jnp.exp(rung.log_step))

        leap = evaluate(target, rung.particle.position, rung.temperature)
        leap, rates = jax.lax.scan(again, leap, jax.random.split(key, plan.moves_per_draw))
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
    rates = jnp.concatenate([jnp.full(1, plan.target_accept, rates.dtype), rates])
    return rungs._replace(particle=together), rates, jnp.isnan(log_likelihood)


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


def _counted(plan: Plan, state: TemperedState, warm: Array) -> TemperedState:
    """Powers of the likelihood added to the sums for the evidence; a run's last chunk may reach beyond its end."""
    temperature, likelihood = state.rungs.temperature, state.rungs.particle.log_likelihood
    power = (temperature[1:] - temperature[:-1]) * likelihood[:-1]
    block = jnp.minimum(state.drawn * BLOCKS // plan.num_draws, BLOCKS - 1)
    counts = (state.drawn < plan.num_draws) & ~warm
    sums = jnp.where(counts, jnp.logaddexp(state.log_sums[block], power), state.log_sums[block])
    return state._replace(
        log_sums=state.log_sums.at[block].set(sums),
        counts=state.counts.at[block].add(counts.astype(state.counts.dtype)),
        drawn=state.drawn + jnp.where(warm, 0, 1).astype(state.drawn.dtype),
    )
