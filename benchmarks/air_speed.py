"""One gradient step of attend-infer-repeat: bayeskit, and the same estimators by hand in JAX.

    python benchmarks/air_speed.py [--rounds 100] [--check]

The programs of `air_programs.py`, 64 canvases, float32, Adam; the presences by the score, by enumeration and by
measure-valued gradients. By hand, the objects are found once, as though all were there, and what follows is summed over
the four possible counts (enumeration), or taken at the drawn presences and at those with one of them flipped
(measure-valued). The two take turns in one process; medians of the milliseconds of a step, their ratio, and seconds to
trace and compile. `--check` compares the means of 4,000 gradients of both instead.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import jax.numpy as jnp
import numpy as np
import optax
from air import BATCH, RATE, bound
from air_programs import APPEARANCE, NOISE, STEPS, Parameters, canvases, decode, digits, find, initial, look, place

import bayeskit as bk

ESTIMATORS = {
    "score": bk.estimators.Score(),
    "enumeration": bk.estimators.Enumeration(),
    "measure-valued": bk.estimators.MeasureValued(),
}


def log_normal(x: jax.Array, loc: jax.Array | float, scale: jax.Array | float) -> jax.Array:
    return jnp.sum(-0.5 * ((x - loc) / scale) ** 2 - jnp.log(scale) - 0.5 * np.log(2 * np.pi))


def objects(p: Parameters, canvas: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Of each step, as though its object were there: the logit of that, log prior minus log guide, and the ink."""
    noise = jax.random.normal(key, (STEPS, 2 + APPEARANCE))
    left, out = canvas, []
    for step in range(STEPS):
        logit, corner, spread = find(p, left)
        where = corner + spread * noise[step, :2]
        loc, scale = look(p, left, where)
        what = loc + scale * noise[step, 2:]
        ink = place(decode(p, what), where)
        left = left - ink
        gain = log_normal(where, 6.0, 4.0) - log_normal(where, corner, spread)
        out.append((logit, gain + log_normal(what, 0.0, 1.0) - log_normal(what, loc, scale), ink))
    return tuple(jnp.stack(part) for part in zip(*out, strict=True))


def presences(logits: jax.Array, key: jax.Array) -> jax.Array:
    return (jax.random.uniform(key, (STEPS,)) < jax.nn.sigmoid(logits)).astype(jnp.float32)


def log_guide(present: jax.Array, logits: jax.Array) -> jax.Array:
    """Log probability of the presences up to the first that is not."""
    there = jnp.cumprod(present)
    asked = jnp.concatenate([jnp.ones(1), there[:-1]])
    return jnp.sum(asked * jax.nn.log_sigmoid(jnp.where(present > 0, logits, -logits)))


def log_weight(present: jax.Array, canvas: jax.Array, parts: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
    """Log of the model minus log of the guide."""
    logits, gains, ink = parts
    there = jnp.cumprod(present)
    asked = 1.0 + jnp.sum(there[:-1])
    fit = log_normal(canvas, jnp.tensordot(there, ink, 1), NOISE)
    return fit + jnp.sum(there * gains) + asked * np.log(0.5) - log_guide(present, logits)


def by_score(p: Parameters, canvas: jax.Array, key: jax.Array) -> jax.Array:
    first, second = jax.random.split(key)
    parts = objects(p, canvas, first)
    present = presences(parts[0], second)
    log_q = log_guide(present, parts[0])
    return log_weight(present, canvas, parts) * jnp.exp(log_q - jax.lax.stop_gradient(log_q))


def by_enumeration(p: Parameters, canvas: jax.Array, key: jax.Array) -> jax.Array:
    parts = objects(p, canvas, key)
    counts = jnp.tril(jnp.ones((STEPS + 1, STEPS)), -1)  # none, one, ... are there
    weights = jnp.exp(jax.vmap(log_guide, (0, None))(counts, parts[0]))
    return jnp.sum(weights * jax.vmap(log_weight, (0, None, None))(counts, canvas, parts))


def measure_valued(p: Parameters, canvas: jax.Array, key: jax.Array) -> jax.Array:
    first, second = jax.random.split(key)
    parts = objects(p, canvas, first)
    present = presences(parts[0], second)
    main = log_weight(present, canvas, parts)
    flipped = jnp.where(jnp.eye(STEPS, dtype=bool), 1.0 - present, present)
    others = jax.vmap(log_weight, (0, None, None))(flipped, canvas, jax.lax.stop_gradient(parts))
    differences = jax.lax.stop_gradient((1.0 - 2.0 * present) * (others - main))
    probabilities = jax.nn.sigmoid(parts[0])
    asked = jnp.concatenate([jnp.ones(1), jnp.cumprod(present)[:-1]])
    return main + jnp.sum(asked * differences * (probabilities - jax.lax.stop_gradient(probabilities)))


BY_HAND = {"score": by_score, "enumeration": by_enumeration, "measure-valued": measure_valued}


def hand(name: str) -> Callable:
    each = jax.vmap(BY_HAND[name], (None, 0, 0))
    return lambda key, p, batch: jnp.mean(each(p, batch, jax.random.split(key, len(batch))))


def step(objective: Callable) -> Callable:
    """One step of Adam."""
    optimizer = optax.adam(RATE)

    def advance(key: jax.Array, p: Parameters, moments: object, batch: jax.Array) -> tuple:
        value, gradient = jax.value_and_grad(lambda p: -objective(key, p, batch))(p)
        updates, moments = optimizer.update(gradient, moments)
        return optax.apply_updates(p, updates), moments, value

    return jax.jit(advance)


def timed(run: Callable) -> float:
    start = time.perf_counter()
    jax.block_until_ready(run())
    return time.perf_counter() - start


def row(name: str, batch: jax.Array, rounds: int) -> str:
    """One line of the table."""
    p = initial(jax.random.key(0))
    arguments = jax.random.key(1), p, optax.adam(RATE).init(p), batch
    steps = step(bound(ESTIMATORS[name], 1)), step(hand(name))
    runs = [lambda step=step: step(*arguments) for step in steps]
    compiling = [timed(run) for run in runs]
    seconds = np.array([[timed(run) for run in runs] for _ in range(rounds)])
    ours, theirs = 1e3 * np.median(seconds, axis=0)
    return f"{name:16}{ours:13.2f}{theirs:12.2f}{ours / theirs:8.3f}" + "{:11.2f}{:9.2f}".format(*compiling)


def check(name: str, batch: jax.Array, num: int = 4000) -> str:
    """How many standard errors the two mean gradients are apart, at most, along some random directions."""
    p = initial(jax.random.key(0))
    directions = [initial(jax.random.key(i)) for i in range(10, 18)]

    def along(objective: Callable) -> Callable:
        def one(key: jax.Array) -> jax.Array:
            gradient = jax.grad(lambda p: objective(key, p, batch))(p)
            return jnp.stack([optax.tree.vdot(gradient, direction) for direction in directions])

        return jax.jit(lambda keys: jax.lax.map(one, keys))

    keys = jax.random.split(jax.random.key(5), num)
    both = [np.asarray(along(f)(keys)) for f in (bound(ESTIMATORS[name], 1), hand(name))]
    errors = np.sqrt(sum(draws.var(axis=0) / num for draws in both))
    apart = np.abs(both[0].mean(axis=0) - both[1].mean(axis=0)) / errors
    spread = both[0].std(axis=0) / both[1].std(axis=0)
    ratio = f"{spread.min():.2f} to {spread.max():.2f}"
    return f"{name:16} |z| at most {apart.max():.2f}; standard deviations {ratio} of those by hand"


def main() -> None:
    """Print one line an estimator."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--check", action="store_true", help="compare gradients instead of times")
    options = parser.parse_args()
    batch = jnp.asarray(canvases(digits()[0], BATCH, seed=1)[0])
    if not options.check:
        print(f"{'presences':16}{'bayeskit ms':>13}{'by hand ms':>12}{'ratio':>8}{'compile s':>11}{'by hand':>9}")
    for name in ESTIMATORS:
        print(check(name, batch[:8]) if options.check else row(name, batch, options.rounds), flush=True)


if __name__ == "__main__":
    main()
