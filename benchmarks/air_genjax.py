"""One gradient step of attend-infer-repeat: bayeskit beside GenJAX's ADEV, in one process.

    python benchmarks/air_genjax.py [--rounds 30]

Needs an environment of its own with genjax 1.0 (Python 3.12, a newer JAX): `pip install genjax numpyro optax equinox
scikit-learn blackjax zarr xarray arviz-base arviz-stats rich typer platformdirs`. The canvases, networks and densities
are those of `air_programs.py` and `air_speed.py`; GenJAX runs a plain function that draws with its `flip_*` and
`normal_reparam`, and `vmap` goes over `grad_estimate`, as its interpreter asks. Medians of the milliseconds of a step
of 64 canvases; seconds to trace and compile.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import jax.numpy as jnp
import numpy as np
from air import BATCH, bound
from air_programs import APPEARANCE, NOISE, STEPS, Parameters, canvases, decode, digits, find, initial, look, place
from air_speed import ESTIMATORS, log_normal, timed
from genjax import adev
from genjax.pjax import seed

PLAIN = {  # ADEV's interpreter stops at a function with a derivative of its own, as these are in JAX
    "relu": lambda x: jnp.maximum(x, 0.0),
    "softplus": lambda x: jnp.log1p(jnp.exp(-jnp.abs(x))) + jnp.maximum(x, 0.0),
    "sigmoid": jax.lax.logistic,
    "log_sigmoid": lambda x: -jnp.log1p(jnp.exp(-jnp.abs(x))) + jnp.minimum(x, 0.0),
}
FLIPS = {"score": adev.flip_reinforce, "enumeration": adev.flip_enum, "measure-valued": adev.flip_mvd}


def log_weight(p: Parameters, canvas: jax.Array, flip: Callable) -> jax.Array:
    """Log of the model minus log of the guide, in one pass that draws."""
    there, left, total = 1.0, canvas, 0.0
    for _ in range(STEPS):
        logit, corner, spread = find(p, left)
        present = flip(jax.nn.sigmoid(logit)).astype(jnp.float32)
        total += there * (np.log(0.5) - jax.nn.log_sigmoid(jnp.where(present > 0, logit, -logit)))
        there = there * present
        where = adev.normal_reparam(corner, spread)
        loc, scale = look(p, left, where)
        what = adev.normal_reparam(loc, scale)
        gain = log_normal(where, 6.0, 4.0) - log_normal(where, corner, spread)
        gain += log_normal(what, jnp.zeros(APPEARANCE), 1.0) - log_normal(what, loc, scale)
        total += there * gain
        left = left - there * place(decode(p, what), where)
    return total + log_normal(left, 0.0, NOISE)


def genjax_gradient(name: str) -> Callable:
    def one(p, canvas):  # without types: `seed` would have beartype read them
        return adev.expectation(lambda p: log_weight(p, canvas, FLIPS[name])).grad_estimate(p)

    each = jax.vmap(seed(one), (0, None, 0))

    def gradient(key: jax.Array, p: Parameters, batch: jax.Array) -> Parameters:
        return jax.tree.map(lambda g: jnp.mean(g, 0), each(jax.random.split(key, len(batch)), p, batch))

    return jax.jit(gradient)


def row(name: str, batch: jax.Array, rounds: int) -> str:
    """One line of the table."""
    arguments = jax.random.key(1), initial(jax.random.key(0)), batch
    ours = jax.jit(jax.grad(bound(ESTIMATORS[name], 1), argnums=1))
    runs = [lambda f=f: f(*arguments) for f in (ours, genjax_gradient(name))]
    with mock.patch.multiple(jax.nn, **PLAIN):
        compiling = [timed(run) for run in runs]
    seconds = np.array([[timed(run) for run in runs] for _ in range(rounds)])
    mine, theirs = 1e3 * np.median(seconds, axis=0)
    return f"{name:16}{mine:13.2f}{theirs:12.2f}{mine / theirs:8.3f}" + "{:11.2f}{:9.2f}".format(*compiling)


def main() -> None:
    """Print one line an estimator."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    rounds = parser.parse_args().rounds
    batch = jnp.asarray(canvases(digits()[0], BATCH, seed=1)[0])
    print(f"{'presences':16}{'bayeskit ms':>13}{'GenJAX ms':>12}{'ratio':>8}{'compile s':>11}{'GenJAX':>9}")
    for name in FLIPS:
        begin = time.perf_counter()
        try:
            print(row(name, batch, rounds), flush=True)
        except Exception as error:  # the line of a benchmark that runs a package that may not run
            why = f"{type(error).__name__}: {str(error).splitlines()[0][:160]}"
            print(f"{name:16} does not run after {time.perf_counter() - begin:.0f} s: {why}", flush=True)


if __name__ == "__main__":
    main()
