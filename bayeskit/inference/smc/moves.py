"""Markov moves of many particles at once, tuned by the particles themselves."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bayeskit._typing import Array
from bayeskit.inference.smc.split import parts, tempered
from bayeskit.target import Target

TRAJECTORY = math.pi / 2
"""Length of a trajectory in standard deviations: a quarter of a period of a normal density, whose end is independent of
its start."""
MOST_LEAPFROGS = 64
JITTER = 0.2
CLIP = 4.0
ACCEPT = {"hmc": 0.8, "random_walk": 0.234}
"""Acceptance rates that the step sizes are tuned to."""


class Particles(NamedTuple):
    """Of each particle its position, log prior and log likelihood; the leading axes are the caller's."""

    position: Array
    log_prior: Array
    log_likelihood: Array


class Leap(NamedTuple):
    """A particle with the gradient of its tempered log density."""

    particle: Particles
    gradient: Array


def spread(positions: np.ndarray) -> np.ndarray:
    """A factor of the covariance of particles ``(particle, size)``: lower triangular ``(size, size)``, or standard
    deviations ``(size,)`` where the particles are too few for correlations.

    The scales are from quantiles and the correlations from clipped values: one particle in the tail of a Cauchy prior
    must not decide the step of all others.
    """
    number, size = positions.shape
    low, centre, high = np.quantile(positions, [0.1587, 0.5, 0.8413], axis=0)
    scale = 0.5 * (high - low)
    scale = np.where(scale > 0, scale, 1e-8)
    if not has_correlations(number, size):
        return scale
    standard = np.clip((positions - centre) / scale, -CLIP, CLIP)
    covariance = np.atleast_2d(np.cov(standard, rowvar=False))
    return scale[:, None] * np.linalg.cholesky(covariance + 1e-6 * np.eye(size))


def has_correlations(number: int, size: int) -> bool:
    """Whether there are particles enough for correlations, and these can be afforded."""
    return number >= 10 * size and size <= 200


def times(factor: Array, vector: Array) -> Array:
    """The factor of `spread` times a vector."""
    return factor * vector if factor.ndim == 1 else factor @ vector


def transposed_times(factor: Array, vector: Array) -> Array:
    """Its transpose times a vector."""
    return factor * vector if factor.ndim == 1 else factor.T @ vector


def evaluate(target: Target, position: Array, temperature: Array) -> Leap:
    """A particle at a position."""

    def density(position: Array) -> tuple[Array, tuple[Array, Array]]:
        log_prior, log_likelihood = parts(target, position)
        return tempered(log_prior, log_likelihood, temperature), (log_prior, log_likelihood)

    (_, both), gradient = jax.value_and_grad(density, has_aux=True)(position)
    return Leap(Particles(position, *both), gradient)


def leapfrogs(step_size: Array) -> Array:
    """How many make a trajectory; rounded, for one of twice the length would only change the sign."""
    return jnp.clip(jnp.round(TRAJECTORY / step_size), 1, MOST_LEAPFROGS).astype(jnp.int32)


def hmc(
    key: Array, target: Target, leap: Leap, temperature: Array, factor: Array, step_size: Array
) -> tuple[Leap, Array]:
    """One trajectory of Hamiltonian Monte Carlo, and the probability with which its end was accepted.

    The metric is the inverse of the covariance that `factor` is a factor of; the step size is jittered by a fifth.
    """
    velocity_key, jitter_key, accept_key = jax.random.split(key, 3)
    dtype = leap.gradient.dtype
    velocity = jax.random.normal(velocity_key, leap.gradient.shape, dtype)
    jitter = jax.random.uniform(jitter_key, (), dtype, 1.0 - JITTER, 1.0 + JITTER)
    step = (step_size * jitter).astype(dtype)

    def leapfrog(_: Any, carry: tuple[Leap, Array]) -> tuple[Leap, Array]:
        leap, velocity = carry
        velocity = velocity + 0.5 * step * transposed_times(factor, leap.gradient)
        position = leap.particle.position + step * times(factor, velocity)
        leap = evaluate(target, position, temperature)
        return leap, velocity + 0.5 * step * transposed_times(factor, leap.gradient)

    end, last = jax.lax.fori_loop(0, leapfrogs(step_size), leapfrog, (leap, velocity))
    kinetic = 0.5 * (velocity @ velocity - last @ last)
    return choose(accept_key, leap, end, temperature, kinetic)


def random_walk(
    key: Array, target: Target, leap: Leap, temperature: Array, factor: Array, step_size: Array
) -> tuple[Leap, Array]:
    """One step of a random walk with the covariance of the particles, and the probability with which it was accepted.

    No gradient is taken; that of the result has no meaning.
    """
    step_key, accept_key = jax.random.split(key)
    noise = jax.random.normal(step_key, leap.gradient.shape, leap.gradient.dtype)
    position = leap.particle.position + step_size.astype(noise.dtype) * times(factor, noise)
    end = Leap(Particles(position, *parts(target, position)), leap.gradient)
    return choose(accept_key, leap, end, temperature, jnp.zeros((), noise.dtype))


MOVES: dict[str, Callable[..., tuple[Leap, Array]]] = {"hmc": hmc, "random_walk": random_walk}


def choose(key: Array, start: Leap, end: Leap, temperature: Array, kinetic: Array) -> tuple[Leap, Array]:
    """The end of a move or its start, by Metropolis' rule; what cannot be evaluated is refused."""
    new = tempered(end.particle.log_prior, end.particle.log_likelihood, temperature)
    old = tempered(start.particle.log_prior, start.particle.log_likelihood, temperature)
    log_ratio = new - old + kinetic
    rate = jnp.where(jnp.isnan(log_ratio), 0.0, jnp.exp(jnp.minimum(log_ratio, 0.0)))
    taken = jax.random.uniform(key, (), rate.dtype) < rate
    return jax.tree.map(lambda a, b: jnp.where(taken, a, b), end, start), rate


class Moved(NamedTuple):
    """Particles after the moves of a stage.

    Attributes:
        particles: where they are.
        acceptance: mean acceptance probability of each.
        log_step: the tuned log step size.
        num_moves: how many were made.
        displacement: mean squared distance from the start, as a share of that of independent draws.
        correlation: of the log likelihood with that at the start.
        moved: share of the particles that are not where they were.
    """

    particles: Particles
    acceptance: Array
    log_step: Array
    num_moves: Array
    displacement: Array
    correlation: Array
    moved: Array


class Plan(NamedTuple):
    """How particles are moved: the kernel, and how many particles together."""

    kernel: str
    at_once: int | None


class Budget(NamedTuple):
    """At least so many moves, and at most so many."""

    least: int
    most: int


NO_SPREAD = 1e-3
"""Nats; log likelihoods that differ by less do not move the evidence, and their differences may be rounding."""
SETTLED = 0.02
"""Particles have moved enough where a further move takes them further from their start by no more than this share, """
FORGOTTEN = 0.1
"""and the correlation of their log likelihoods, which the evidence depends on, with those at the start is below this,
or no longer falls by the share above, as between modes of unequal height; """
MOVED = 0.9
"""and so large a share of them has moved at all."""


def move(
    plan: Plan,
    target: Target,
    budget: Budget,
    key: Array,
    start: Particles,
    temperature: Array,
    factor: Array,
    log_step: Array,
) -> Moved:
    """Move the particles of one run, arrays ``(particle, ...)``, until their distance from the start no longer grows
    and their likelihoods have forgotten it.

    The step size is tuned after each move by the mean acceptance rate of all particles.

    Reference: for the rule, South, Pettitt and Drovandi (2019), "Sequential Monte Carlo samplers with independent
    Markov chain Monte Carlo proposals"; Buchholz, Chopin and Jacob (2021), "Adaptive tuning of Hamiltonian Monte Carlo
    within sequential Monte Carlo".
    """
    kernel, number = MOVES[plan.kernel], start.log_prior.shape[0]
    scale = factor if factor.ndim == 1 else jnp.sqrt(jnp.square(factor).sum(1))

    def moved(leaps: Leap) -> Array:
        return jnp.mean(jnp.any(leaps.particle.position != start.position, axis=1).astype(start.log_prior.dtype))

    def many(function: Any, *arrays: Any) -> Any:
        return jax.lax.map(lambda one: function(*one), arrays, batch_size=min(plan.at_once or number, number))

    def is_moving(carry: Any) -> Array:
        _, _, _, count, _, _, _, done = carry
        return ((count < budget.least) | ~done) & (count < budget.most)

    def one(carry: Any) -> Any:
        leaps, total, log_step, count, before, remembered, enough, _ = carry
        keys = jax.random.split(jax.random.fold_in(key, count), number)
        leaps, rates = many(
            lambda key, leap: kernel(key, target, leap, temperature, factor, jnp.exp(log_step)), keys, leaps
        )
        log_step = jnp.clip(log_step + rates.mean() - ACCEPT[plan.kernel], -8.0, math.log(TRAJECTORY))
        away = 0.5 * jnp.mean(jnp.square((leaps.particle.position - start.position) / scale))
        correlation = _correlation(leaps.particle.log_likelihood, start.log_likelihood)
        forgetting = (correlation > FORGOTTEN) & (correlation < (1.0 - SETTLED) * remembered)
        going = (away > (1.0 + SETTLED) * before) | forgetting | (moved(leaps) < MOVED)
        # one move more after that is decided: particles at the moment of the decision are a choice among particles
        return leaps, total + rates, log_step, count + 1, away, correlation, ~going, enough

    if plan.kernel == "hmc":
        leaps = many(lambda position: evaluate(target, position, temperature), start.position)
    else:
        leaps = Leap(start, start.position)
    zero, no = jnp.zeros((), start.log_prior.dtype), jnp.asarray(False)
    carry = (
        leaps,
        jnp.zeros_like(start.log_prior),
        log_step,
        jnp.zeros((), jnp.int32),
        zero,
        zero + 1.0,
        no,
        no,
    )
    leaps, total, log_step, count, away, correlation, _, _ = jax.lax.while_loop(is_moving, one, carry)
    return Moved(leaps.particle, total / count, log_step, count, away, correlation, moved(leaps))


def _correlation(first: Array, second: Array) -> Array:
    """Pearson's; zero where they do not vary, but for rounding."""
    first, second = first - first.mean(), second - second.mean()
    size = jnp.sqrt(jnp.square(first).mean() * jnp.square(second).mean())
    varies = size > NO_SPREAD**2
    return jnp.where(varies, (first * second).mean() / jnp.where(varies, size, 1.0), 0.0)
