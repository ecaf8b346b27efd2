"""How close a fitted light Schrödinger bridge comes to a known one: cBW2-UVP in percent, and the seconds of the fit.

    python benchmarks/bridge.py [--dimensions 2 16 64 128] [--epsilon 0.1 1 10] [--seed 0]

The pairs: P0 = N(0, I); the potential a mixture of five Gaussians with means on the sphere of radius 5 and rotated
covariances with eigenvalues from .3 to 1.5; its exact map makes the plan, and P1 is where the plan leads. The fit
sees independent points of P0 and P1 and has as many components as the potential. Error: 100 times the mean over 1,000
draws of x0 of the squared Bures-Wasserstein distance (halved) between the moments of the true and the fitted
conditional law of x1, over half of the total variance of P1. float32; the error itself is computed in float64 from
closed forms. "paper" is the LightSB column of Korotin, Gushchin and Burnaev (2024), whose pairs are other draws of
the same kind. The fit stops when a step lowers the loss by less than 1e-5 nats per point, when its line search finds
no lower loss, or after `--steps` steps; its seconds include compilation;
"CPU s" adds up all threads, and depends less on what else the machine does.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import jax.numpy as jnp
import numpy as np

from bayeskit.models import schrodinger_bridge
from bayeskit.numerics.gaussian_mixture import GaussianMixture
from bayeskit.numerics.gaussian_mixture_covariance import full_covariance

COMPONENTS = 5
NUM_SAMPLES = {2: 400_000, 16: 300_000, 64: 100_000, 128: 100_000}
BARS = {
    2: (0.03, 0.01, 0.01),
    16: (0.5, 0.05, 0.05),
    64: (0.28, 0.24, 0.21),
    128: (0.60, 0.62, 0.37),
}
PAPER = {2: (0.03, 0.05, 0.07), 16: (0.08, 0.09, 0.11), 64: (0.28, 0.24, 0.21), 128: (0.60, 0.62, 0.37)}
LEVELS = (0.1, 1.0, 10.0)


def true_bridge(dimension: int, epsilon: float, seed: int) -> schrodinger_bridge.Bridge:
    """The bridge of a random mixture potential, in float64."""
    generator = np.random.default_rng(seed)
    means = generator.normal(size=(COMPONENTS, dimension))
    means *= 5 / np.linalg.norm(means, axis=1, keepdims=True)
    rotations = np.linalg.qr(generator.normal(size=(COMPONENTS, dimension, dimension)))[0]
    spectrum = generator.uniform(0.3, 1.5, size=(COMPONENTS, dimension))
    covariances = np.einsum("kij,kj,klj->kil", rotations, spectrum, rotations)
    weights = jnp.full(COMPONENTS, -np.log(COMPONENTS))
    mixture = GaussianMixture(weights, jnp.asarray(means), full_covariance(jnp.asarray(covariances)))
    return schrodinger_bridge.Bridge.from_potential(mixture, epsilon)


def as_float(bridge: schrodinger_bridge.Bridge, dtype: type) -> schrodinger_bridge.Bridge:
    return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf), dtype), bridge)


def root(matrix: jax.Array) -> jax.Array:
    values, vectors = jnp.linalg.eigh(matrix)
    return (vectors * jnp.sqrt(jnp.maximum(values, 0))) @ vectors.T


def bures(one: jax.Array, two: jax.Array) -> jax.Array:
    """Half of the squared Bures distance between covariances."""
    half = root(one)
    cross = jnp.sqrt(jnp.maximum(jnp.linalg.eigvalsh(half @ two @ half), 0))
    return (jnp.trace(one) + jnp.trace(two)) / 2 - jnp.sum(cross)


def unexplained(fitted: schrodinger_bridge.Bridge, true: schrodinger_bridge.Bridge, num: int) -> float:
    """CBW2-UVP in percent."""

    def total_variance() -> jax.Array:
        x0 = jax.random.normal(jax.random.key(98), (20_000, true.r.shape[1]), jnp.float64)
        return jnp.sum(jnp.var(true.sample(x0, key=97), axis=0))

    def gap(fitted: schrodinger_bridge.Bridge, true: schrodinger_bridge.Bridge, x0: jax.Array) -> jax.Array:
        (mean, spread), (other, other_spread) = fitted.moments(x0[None]), true.moments(x0[None])
        return jnp.sum((mean - other) ** 2) / 2 + bures(spread[0], other_spread[0])

    x0 = jax.random.normal(jax.random.key(99), (num, true.r.shape[1]), jnp.float64)
    every = jax.jit(lambda fitted, true, x0: jax.lax.map(lambda row: gap(fitted, true, row), x0, batch_size=50))
    gaps = every(fitted, true, x0)
    return float(100 * jnp.mean(gaps) / (total_variance() / 2))


def row(dimension: int, epsilon: float, seed: int, num_samples: int, num_steps: int, num_draws: int) -> str:
    """One line of the table."""
    with jax.enable_x64(True):
        true = true_bridge(dimension, epsilon, seed)
    single = as_float(true, jnp.float32)

    def start(key: jax.Array, num: int) -> jax.Array:
        return jax.random.normal(key, (num, dimension))

    def end(key: jax.Array, num: int) -> jax.Array:
        of_start, of_plan = jax.random.split(key)
        return single.sample(start(of_start, num), key=of_plan)

    method = schrodinger_bridge.LightBridge(
        COMPONENTS, epsilon, num_samples=num_samples, num_steps=num_steps, num_restarts=4
    )
    before = time.process_time()
    fit = method.fit(start, end, key=seed)
    processor = time.process_time() - before
    with jax.enable_x64(True):
        error = unexplained(as_float(fit.bridge, jnp.float64), true, num_draws)
    at = LEVELS.index(epsilon) if epsilon in LEVELS else None
    bar, paper = (f"{table[dimension][at]:8.2f}" if at is not None else " " * 8 for table in (BARS, PAPER))
    return (
        f"{dimension:4}{epsilon:8.1f}{num_samples:10}{error:12.4f}{bar}{paper}{fit.seconds:9.1f}{processor:9.1f}"
        f"{len(fit.losses) - 1:7}  {fit.stopped}"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dimensions", type=int, nargs="+", default=list(BARS), choices=list(BARS))
    parser.add_argument("--epsilon", type=float, nargs="+", default=list(LEVELS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--samples", type=int, help="points of each end; by default by dimension")
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--draws", type=int, default=1000)
    asked = parser.parse_args()
    print("   D epsilon    points  cBW2-UVP %     bar   paper  seconds    CPU s  steps  stopped because")
    for dimension in asked.dimensions:
        for epsilon in asked.epsilon:
            num = asked.samples or NUM_SAMPLES[dimension]
            print(row(dimension, epsilon, asked.seed, num, asked.steps, asked.draws), flush=True)


if __name__ == "__main__":
    main()
