"""Attend, infer, repeat on canvases of scikit-learn's digits: accuracy of the count, by estimator of the presences.

    python benchmarks/air.py [--steps 4000] [--seeds 2]

The programs are those of `air_programs.py`; Adam, batches of 64 canvases, an expectation a canvas. The test canvases
show digits that no training canvas shows. A count is right where one draw of the guide has it right. Becker et al.
(2024), "Probabilistic Programming with Programmable Variational Inference", report .984 with measure-valued gradients
and .275 with the plain score on canvases of MNIST.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import jax.numpy as jnp
import numpy as np
import optax
from air_programs import Parameters, canvases, count, digits, guide, initial, model, presences

import bayeskit as bk

BATCH, RATE, TRAIN, TEST = 64, 1e-3, 20_000, 2_000
PARTS, CHECKPOINTS = 8, (1, 2, 4, 8)
ROWS = {  # estimator of the presences, particles
    "enumeration": (bk.estimators.Enumeration(), 1),
    "measure-valued": (bk.estimators.MeasureValued(), 1),
    "score": (bk.estimators.Score(), 1),
    "score, mean of 4": (bk.estimators.Score(), 4),
}


def bound(estimator: bk.Estimator, num_particles: int) -> Callable:
    """The estimate of the evidence lower bound of a batch of canvases, one expectation a canvas."""

    def objective(p: Parameters, canvas: jax.Array) -> jax.Array:
        ink: list[jax.Array] = []
        chosen = bk.with_estimators(lambda: guide(p, canvas, ink), presences(estimator))
        return bk.objectives.ELBO(num_particles)(lambda: model(p, canvas, ink), chosen)

    each = jax.vmap(bk.expectation(objective), (0, None, 0))
    return lambda key, p, batch: jnp.mean(each(jax.random.split(key, len(batch)), p, batch))


def trainer(objective: Callable, num_steps: int) -> tuple[optax.GradientTransformation, Callable]:
    """Adam, and a function that takes some steps of it."""
    optimizer = optax.adam(optax.cosine_decay_schedule(RATE, num_steps))

    def step(train: jax.Array, carry: tuple, key: jax.Array) -> tuple[tuple, jax.Array]:
        p, moments = carry
        pick, key = jax.random.split(key)
        batch = train[jax.random.randint(pick, (BATCH,), 0, len(train))]
        value, gradient = jax.value_and_grad(lambda p: -objective(key, p, batch))(p)
        updates, moments = optimizer.update(gradient, moments)
        return (optax.apply_updates(p, updates), moments), value

    return optimizer, jax.jit(lambda carry, keys, train: jax.lax.scan(partial(step, train), carry, keys))


def row(name: str, num_steps: int, seed: int, train: jax.Array, test: jax.Array, counts: np.ndarray) -> str:
    """Train once; accuracy after an eighth, a quarter, half and all of the steps."""
    optimizer, advance = trainer(bound(*ROWS[name]), num_steps)
    p = initial(jax.random.key(seed))
    carry, seconds, line = (p, optimizer.init(p)), 0.0, f"{name:18}{seed:5}"
    keys = jax.random.split(jax.random.key(1000 + seed), (PARTS, num_steps // PARTS))
    compiled = advance.lower(carry, keys[0], train).compile()
    for part in range(PARTS):
        start = time.perf_counter()
        carry, losses = jax.block_until_ready(compiled(carry, keys[part], train))
        seconds += time.perf_counter() - start
        if part + 1 in CHECKPOINTS:
            accuracy = np.mean(np.asarray(count(carry[0], test, jax.random.key(2))) == counts)
            line += f"{accuracy:10.3f}"
    return line + f"{-float(losses[-100:].mean()):10.1f}{seconds:9.0f}"


def main() -> None:
    """Print one line an estimator and seed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--seeds", type=int, default=2)
    options = parser.parse_args()
    seen, unseen = digits()
    train = jnp.asarray(canvases(seen, TRAIN, seed=1)[0])
    test, counts = canvases(unseen, TEST, seed=2)
    print(f"accuracy of the count after so many steps of {BATCH} canvases; bound in nats at the end; seconds in steps")
    steps = "".join(f"{options.steps * part // PARTS:10}" for part in CHECKPOINTS)
    print(f"{'presences':18}{'seed':>5}{steps}{'bound':>10}{'seconds':>9}")
    for seed in range(options.seeds):
        for name in ROWS:
            print(row(name, options.steps, seed, train, jnp.asarray(test), counts), flush=True)


if __name__ == "__main__":
    main()
