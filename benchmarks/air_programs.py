r"""Attend, infer, repeat: how many digits are on a canvas, where, and what do they look like?

A canvas shows up to three objects. Step $t$ adds one with probability one half, and the first step that does not is the
last:

$$b_t \sim \mathrm{Bernoulli}(\tfrac12), \quad z_t \sim \mathrm{Normal}(6, 4^2), \quad a_t \sim \mathrm{Normal}(0, I),
  \quad y \sim \mathrm{Normal}\Bigl(\sum_t b_1 \cdots b_t \, \mathrm{place}(\mathrm{decode}(a_t), z_t), \; 0.3^2\Bigr)$$

with $z_t$ the corner of the object and $a_t$ its appearance. The guide is amortised: at each step a network looks at
what the steps before left unexplained and says whether there is an object and where, and another one looks there and
says what. Eslami et al. (2016), "Attend, infer, repeat: fast scene understanding with generative models".
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from sklearn.datasets import load_digits

import bayeskit as bk

Parameters = dict[str, jax.Array]

STEPS = 3  # objects at most
SIZE, GLYPH = 20, 8  # sides of the canvas and of an object, in pixels
APPEARANCE, HIDDEN = 8, 128
NOISE = 0.3
NEVER = -20.0  # logit of another object after the last


def model(p: Parameters, canvas: jax.Array, ink: list[jax.Array] | None = None) -> None:
    """`p` as from `initial`; `canvas` of shape `(SIZE, SIZE)`, from 0 to 1; `ink` of the objects, if it is known."""
    there, drawn = 1.0, 0.0
    for step in range(STEPS):
        there, where, what = choices(step, there, 0.0, (6.0, 4.0), lambda _: (jnp.zeros(APPEARANCE), 1.0))
        drawn += there * (ink[step] if ink else place(decode(p, what), where))
    numpyro.sample("canvas", dist.Normal(drawn, NOISE).to_event(2), obs=canvas)


def guide(p: Parameters, canvas: jax.Array, ink: list[jax.Array] | None = None) -> None:
    """Has the arguments of the model, and fills the list `ink`, so that no object is decoded twice."""
    there, left, ink = 1.0, canvas, [] if ink is None else ink
    ink.clear()
    for step in range(STEPS):
        logit, corner, spread = find(p, left)
        seen = left  # of this step, for the function below
        there, where, what = choices(step, there, logit, (corner, spread), lambda at, seen=seen: look(p, seen, at))
        ink.append(place(decode(p, what), where))
        left = left - ink[step]


def choices(
    step: int, there: jax.Array, logit: jax.Array, position: tuple, appearance: Callable
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Sites of a step: whether its object is there, where, and what it looks like."""
    there = there * numpyro.sample(f"present{step}", dist.Bernoulli(logits=jnp.where(there > 0, logit, NEVER)))
    with numpyro.handlers.mask(mask=there > 0):
        loc, scale = position
        where = numpyro.sample(f"where{step}", dist.Normal(loc, scale * jnp.ones(2)).to_event(1))
        loc, scale = appearance(where)
        what = numpyro.sample(f"what{step}", dist.Normal(loc, scale).to_event(1))
    return there, where, what


def presences(estimator: bk.Estimator) -> dict[str, bk.Estimator]:
    """The same estimator for all presences, for `bk.with_estimators`."""
    return {f"present{step}": estimator for step in range(STEPS)}


def window(where: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Two matrices that interpolate between the rows (columns) of a glyph and those of the canvas."""
    glyph, canvas = jnp.arange(GLYPH)[:, None], jnp.arange(SIZE)
    rows, columns = (jnp.maximum(0.0, 1.0 - jnp.abs(canvas - glyph - corner)) for corner in (where[0], where[1]))
    return rows, columns


def place(glyph: jax.Array, where: jax.Array) -> jax.Array:
    """A glyph on an empty canvas."""
    rows, columns = window(where)
    return rows.T @ glyph @ columns


def network(p: Parameters, name: str, x: jax.Array) -> jax.Array:
    """Two layers."""
    hidden = jax.nn.relu(x @ p[f"{name}_in"] + p[f"{name}_in_bias"])
    return hidden @ p[f"{name}_out"] + p[f"{name}_out_bias"]


def decode(p: Parameters, what: jax.Array) -> jax.Array:
    """The ink of an object."""
    return jax.nn.sigmoid(network(p, "decode", what) - 1.0).reshape(GLYPH, GLYPH)


def find(p: Parameters, left: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Logit of a presence; mean and scale of the corner."""
    out = network(p, "find", left.reshape(-1))
    return out[0], 6.0 + 4.0 * out[1:3], jax.nn.softplus(out[3:5])


def look(p: Parameters, left: jax.Array, where: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and scale of the appearance of what is at a place."""
    rows, columns = window(where)
    out = network(p, "look", (rows @ left @ columns.T).reshape(-1))
    return out[:APPEARANCE], jax.nn.softplus(out[APPEARANCE:])


def initial(key: jax.Array) -> Parameters:
    """Parameters to start from."""
    shapes = {
        "find": (SIZE * SIZE, HIDDEN, 5),
        "look": (GLYPH * GLYPH, HIDDEN, 2 * APPEARANCE),
        "decode": (APPEARANCE, HIDDEN, GLYPH * GLYPH),
    }
    p = {}
    for name, (inputs, hidden, outputs) in shapes.items():
        key, first, second = jax.random.split(key, 3)
        p[f"{name}_in"] = jax.random.normal(first, (inputs, hidden)) * (2 / inputs) ** 0.5
        p[f"{name}_in_bias"] = jnp.zeros(hidden)
        p[f"{name}_out"] = jax.random.normal(second, (hidden, outputs)) * hidden**-0.5
        p[f"{name}_out_bias"] = jnp.zeros(outputs)
    return p


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Ink of scikit-learn's 1,797 digits, shuffled and split: 1,400 to train with, the rest to test with."""
    ink = load_digits().images.astype(np.float32) / 16
    ink = ink[np.random.default_rng(0).permutation(len(ink))]
    return ink[:1400], ink[1400:]


def canvases(ink: np.ndarray, num: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Canvases with none, one or two of the digits, at random places that do not overlap.

    `ink` of the digits, shape `(digit, GLYPH, GLYPH)`, is from 0 to 1. Returns canvases `(num, SIZE, SIZE)` and
    counts `(num,)`.
    """
    generator = np.random.default_rng(seed)
    counts = generator.integers(0, 3, num)
    drawn = np.zeros((num, SIZE, SIZE), np.float32)
    for canvas, count in zip(drawn, counts, strict=True):
        corners = generator.integers(0, SIZE - GLYPH + 1, (count, 2))
        while count == 2 and np.abs(corners[0] - corners[1]).max() < GLYPH:
            corners = generator.integers(0, SIZE - GLYPH + 1, (count, 2))
        for row, column in corners:
            canvas[row : row + GLYPH, column : column + GLYPH] += ink[generator.integers(len(ink))]
    return drawn, counts


@jax.jit
def count(p: Parameters, batch: jax.Array, key: jax.Array) -> jax.Array:
    """How many objects one draw of the guide sees on each canvas."""

    def one(key: jax.Array, canvas: jax.Array) -> jax.Array:
        drawn, _ = bk.draw(lambda: guide(p, canvas), key=key)
        present = jnp.stack([drawn[f"present{step}"] for step in range(STEPS)])
        return jnp.sum(jnp.cumprod(present))

    return jax.vmap(one)(jax.random.split(key, len(batch)), batch)
