"""An inverse problem and two peers for it: least squares through a solver, and a physics-informed network.

    u_t = diffusion u_xx + 10 exp(-(x - place)^2 / (2 * .1^2))   on 0 < x < 1, 0 < t < 1,

u = 0 at both ends and at t = 0. From noisy readings of u at scattered points (x, t), the diffusion and the place.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from scipy.interpolate import RectBivariateSpline
from scipy.linalg import solve_banded
from scipy.optimize import least_squares
from scipy.stats import t as student_t

HEIGHT, WIDTH = 10.0, 0.1
NUM_READINGS, NOISE = 20, 0.05
START = (0.1, 0.5)  # diffusion and place from which both peers search


class Readings(NamedTuple):
    """Points (x, t), noisy readings there, the noise's standard deviation, and the readings without noise."""

    at: np.ndarray
    readings: np.ndarray
    noise_sd: float
    exact: np.ndarray


class InverseFit(NamedTuple):
    """Estimates; 90% intervals of diffusion and place where the method has any; seconds; steps taken."""

    diffusion: float
    place: float
    intervals: tuple[tuple[float, float], tuple[float, float]] | None
    seconds: float
    steps: int


def exact_solution(diffusion: float, place: float, at: np.ndarray, num_terms: int = 500) -> np.ndarray:
    """The solution at points (x, t), by its sine series.

    With b_k = 2 int s(x) sin(k pi x) dx and rates r_k = diffusion (k pi)^2, the coefficient of sin(k pi x) is
    b_k (1 - exp(-r_k t)) / r_k. The integrals are by Gauss and Legendre's rule; 500 terms leave less than 1e-7.
    """
    nodes, weights = quadrature(2 * num_terms)
    x, waves = (nodes + 1) / 2, np.pi * np.arange(1, num_terms + 1)
    coefficients = np.sin(waves[:, None] * x) @ (weights * source(x, place))
    rates = diffusion * waves**2
    terms = coefficients * -np.expm1(-rates * at[:, 1:]) / rates
    return np.sum(terms * np.sin(waves * at[:, :1]), axis=1)


@functools.cache
def quadrature(num_nodes: int) -> tuple[np.ndarray, np.ndarray]:
    return np.polynomial.legendre.leggauss(num_nodes)


def source(x: np.ndarray, place: float) -> np.ndarray:
    return HEIGHT * np.exp(-((x - place) ** 2) / (2 * WIDTH**2))


def reading_points() -> np.ndarray:
    """The same scattered points (x, t) for all data sets, away from where u is known to be zero."""
    return np.random.default_rng(2024).uniform((0.05, 0.05), (0.95, 1.0), (NUM_READINGS, 2))


def simulate_readings(diffusion: float, place: float, seed: int) -> Readings:
    """Readings with normal noise of 5% of the root mean square of the exact ones."""
    at = reading_points()
    exact = exact_solution(diffusion, place, at)
    noise_sd = NOISE * float(np.sqrt(np.mean(exact**2)))
    noise = noise_sd * np.random.default_rng(seed).normal(size=NUM_READINGS)
    return Readings(at, exact + noise, noise_sd, exact)


# ---------------------------------------------------------------- least squares


def crank_nicolson(diffusion: float, place: float, num_nodes: int, num_steps: int) -> RectBivariateSpline:
    """The solution by central differences in space and the trapezoidal rule in time, as a cubic spline."""
    x, t = np.linspace(0, 1, num_nodes), np.linspace(0, 1, num_steps + 1)
    ratio = diffusion / num_steps * (num_nodes - 1) ** 2
    bands = np.repeat([[-ratio / 2], [1 + ratio], [-ratio / 2]], num_nodes - 2, axis=1)
    gain = source(x[1:-1], place) / num_steps
    values = np.zeros((num_steps + 1, num_nodes))
    for now in range(num_steps):
        right = values[now, 1:-1] + ratio / 2 * np.diff(values[now], 2) + gain
        values[now + 1, 1:-1] = solve_banded((1, 1), bands, right, check_finite=False)
    return RectBivariateSpline(x, t, values.T)


def least_squares_inverse(
    readings: np.ndarray,
    at: np.ndarray,
    *,
    num_nodes: int = 101,
    num_steps: int = 100,
    start: tuple[float, float] = START,
    level: float = 0.9,
) -> InverseFit:
    """Least squares over (log diffusion, place), with intervals of the linear model at its minimum.

    The covariance is s^2 (J'J)^-1 with s^2 the residual variance, and quantiles are Student's with n - 2 degrees of
    freedom; the interval of the diffusion is that of its logarithm.
    """

    def residuals(unknowns: np.ndarray) -> np.ndarray:
        surface = crank_nicolson(np.exp(unknowns[0]), unknowns[1], num_nodes, num_steps)
        return surface.ev(*at.T) - readings

    begin = time.perf_counter()
    bounds = ([-np.inf, 0.0], [np.inf, 1.0])
    found = least_squares(residuals, (np.log(start[0]), start[1]), jac="3-point", bounds=bounds, xtol=1e-10)
    if not found.success:
        raise RuntimeError(f"least squares has not converged: {found.message}")
    freedom = len(readings) - 2
    covariance = np.linalg.inv(found.jac.T @ found.jac) * (2 * found.cost / freedom)
    half = student_t.ppf((1 + level) / 2, freedom) * np.sqrt(np.diag(covariance))
    (log_low, low), (log_high, high) = found.x - half, found.x + half
    intervals = ((float(np.exp(log_low)), float(np.exp(log_high))), (float(low), float(high)))
    seconds = time.perf_counter() - begin
    return InverseFit(float(np.exp(found.x[0])), float(found.x[1]), intervals, seconds, int(found.nfev))


# ---------------------------------------------------------------- a network


class Surrogate(eqx.Module):
    """u(x, t) = x (1 - x) t net(x, t), which is zero where u is, and the two unknowns."""

    net: eqx.nn.MLP
    log_diffusion: Array
    place: Array

    def __init__(self, start: tuple[float, float], key: Array):
        self.net = eqx.nn.MLP(2, "scalar", 32, 3, activation=jnp.tanh, dtype=jnp.float32, key=key)
        self.log_diffusion = jnp.log(jnp.asarray(start[0], jnp.float32))
        self.place = jnp.asarray(start[1], jnp.float32)

    def value(self, x: Array, t: Array) -> Array:
        return x * (1 - x) * t * self.net(jnp.stack([2 * x - 1, 2 * t - 1]))

    def residual(self, x: Array, t: Array) -> Array:
        """What is left of the equation at a point, relative to the height of the source."""
        bend = jax.grad(jax.grad(self.value))(x, t)
        heat = HEIGHT * jnp.exp(-((x - self.place) ** 2) / (2 * WIDTH**2))
        return (jax.grad(self.value, 1)(x, t) - jnp.exp(self.log_diffusion) * bend - heat) / HEIGHT


def pinn_inverse(
    readings: np.ndarray,
    at: np.ndarray,
    seconds: float,
    *,
    start: tuple[float, float] = START,
    num_points: int = 256,
    learning_rate: float = 2e-3,
    weight: float = 1.0,
    seed: int = 0,
) -> InverseFit:
    """A physics-informed network, trained by Adam until the seconds are over; compilation is not counted.

    Three hidden layers of 32 units, tanh, float32. The loss is the mean square of the misfit, relative to that of the
    readings, plus `weight` times the mean square of the relative residual of the equation at uniformly random points,
    new ones at every step.
    """
    of_network, key = jax.random.split(jax.random.key(seed))
    optimizer = optax.adam(learning_rate)
    surrogate = Surrogate(start, of_network)
    state = optimizer.init(eqx.filter(surrogate, eqx.is_array))
    train = trainer(optimizer, np.asarray(readings, np.float32), np.asarray(at, np.float32), num_points, weight)
    train = train.lower(surrogate, state, key).compile()
    begin, steps = time.perf_counter(), 0
    while time.perf_counter() - begin < seconds:
        surrogate, state, key = jax.block_until_ready(train(surrogate, state, key))
        steps += CHUNK
    elapsed = time.perf_counter() - begin
    return InverseFit(float(jnp.exp(surrogate.log_diffusion)), float(surrogate.place), None, elapsed, steps)


CHUNK = 100  # steps between looks at the clock


def trainer(
    optimizer: optax.GradientTransformation, readings: np.ndarray, at: np.ndarray, num_points: int, weight: float
) -> Callable:
    """A compiled function that takes `CHUNK` steps."""
    size = np.mean(readings**2)

    def loss(surrogate: Surrogate, points: Array) -> Array:
        misfit = jax.vmap(surrogate.value)(at[:, 0], at[:, 1]) - readings
        residual = jax.vmap(surrogate.residual)(points[:, 0], points[:, 1])
        return jnp.mean(misfit**2) / size + weight * jnp.mean(residual**2)

    @eqx.filter_jit
    def train(surrogate: Surrogate, state: optax.OptState, key: Array) -> tuple[Surrogate, optax.OptState, Array]:
        learned, fixed = eqx.partition(surrogate, eqx.is_array)

        def step(carry: tuple, key: Array) -> tuple[tuple, None]:
            learned, state = carry
            points = jax.random.uniform(key, (num_points, 2), jnp.float32)
            slopes = eqx.filter_grad(loss)(eqx.combine(learned, fixed), points)
            updates, state = optimizer.update(slopes, state)
            return (eqx.apply_updates(learned, updates), state), None

        keys = jax.random.split(key, CHUNK + 1)
        (learned, state), _ = jax.lax.scan(step, (learned, state), keys[1:])
        return eqx.combine(learned, fixed), state, keys[0]

    return train
