# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Attend, infer, repeat
#
# How many digits are on a canvas, where are they, and what do they look like?
#
# The number of objects is random, so the guide makes discrete choices, and how their gradient is estimated decides
# whether it learns to count (Eslami et al. 2016; Becker et al. 2024). The canvases are made from scikit-learn's digits:
# none, one or two of them.
#
# This notebook trains for a short time, to show the pieces. The full training, with the accuracy by estimator, is
# `python benchmarks/air.py`; it takes the same programs.

# %%
import inspect
import os
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

import bayeskit as bk

SMALL = os.environ.get("BAYESKIT_EXAMPLE_SIZE") == "small"  # for tests of this notebook
STEPS, BATCH = (150, 32) if SMALL else (3000, 64)

ROOT = Path.cwd() if Path("benchmarks").is_dir() else Path.cwd().parent
sys.path.insert(0, str(ROOT / "benchmarks"))
import air_programs as air

seen, unseen = air.digits()
train, _ = air.canvases(seen, 2000 if SMALL else 10_000, seed=1)
test, counts = air.canvases(unseen, 200 if SMALL else 500, seed=2)

# %% [markdown]
# ## Model and guide
#
# At each of three steps an object is there or not, and the first that is not is the last. The guide looks at what the
# steps before left unexplained.

# %%
for program in (air.model, air.guide, air.choices):
    print(inspect.getsource(program))

# %% [markdown]
# ## The objective
#
# The programs say nothing of estimators; `bk.with_estimators` chooses them from outside. One expectation a canvas.


# %%
def bound(estimator):
    def one(p, canvas):
        ink = []
        guide = bk.with_estimators(lambda: air.guide(p, canvas, ink), air.presences(estimator))
        return bk.objectives.ELBO()(lambda: air.model(p, canvas, ink), guide)

    each = jax.vmap(bk.expectation(one), (0, None, 0))
    return lambda key, p, batch: jnp.mean(each(jax.random.split(key, len(batch)), p, batch))


def fit(estimator):
    objective, optimizer = bound(estimator), optax.adam(optax.cosine_decay_schedule(1e-3, STEPS))

    def step(carry, inputs):
        p, state = carry
        key, batch = inputs
        value, gradient = jax.value_and_grad(lambda p: -objective(key, p, batch))(p)
        updates, state = optimizer.update(gradient, state)
        return (optax.apply_updates(p, updates), state), -value

    start = air.initial(jax.random.key(0))
    inputs = jax.random.split(jax.random.key(1), STEPS), jnp.asarray(train[batches])
    (p, _), values = jax.jit(lambda inputs: jax.lax.scan(step, (start, optimizer.init(start)), inputs))(inputs)
    return p, np.asarray(values)


batches = np.random.default_rng(0).integers(len(train), size=(STEPS, BATCH))
estimators = {"enumeration": bk.estimators.Enumeration(), "score": bk.estimators.Score()}
if SMALL:
    del estimators["score"]
fits = {name: fit(estimator) for name, estimator in estimators.items()}

# %%
figure, axes = plt.subplots(figsize=(7, 3))
for name, (p, values) in fits.items():
    axes.plot(np.arange(20, STEPS + 1), np.convolve(values, np.ones(20) / 20, "valid"), label=name, linewidth=1)
    right = np.mean(np.asarray(air.count(p, test, jax.random.key(2))) == counts)
    print(
        f"{name:12} after {STEPS} steps: bound {values[-50:].mean():.1f} nats, count right on {right:.0%} of canvases"
    )
axes.set(xlabel="step", ylabel="bound (nats a canvas)")
axes.legend()
figure.tight_layout()

# %% [markdown]
# ## What it sees
#
# Test canvases above, what the model draws from one draw of the guide below; a box for each object that the guide sees,
# in the order of its steps. More steps make the boxes tighter and the count right.


# %% tags=["cover"]
def explained(p, canvas, key):
    """Ink, presences and corners of one draw of the guide."""
    drawn, _ = bk.draw(lambda: air.guide(p, canvas), key=key)
    there = jnp.cumprod(jnp.stack([drawn[f"present{step}"] for step in range(air.STEPS)]))
    where = jnp.stack([drawn[f"where{step}"] for step in range(air.STEPS)])
    objects = [air.place(air.decode(p, drawn[f"what{step}"]), where[step]) for step in range(air.STEPS)]
    return jnp.tensordot(there, jnp.stack(objects), 1), there, where


p, _ = fits["enumeration"]
chosen = np.concatenate([np.flatnonzero(counts == count)[:shown] for count, shown in enumerate((1, 3, 5))])
keys = jax.random.split(jax.random.key(3), len(chosen))
ink, there, where = jax.vmap(explained, (None, 0, 0))(p, jnp.asarray(test[chosen]), keys)

figure, grid = plt.subplots(2, len(chosen), figsize=(10, 2.5))
for column, index in enumerate(chosen):
    for axes, image in zip(grid[:, column], (test[index], ink[column]), strict=True):
        axes.imshow(image, cmap="gray_r", vmin=0, vmax=1)
        axes.set(xticks=[], yticks=[])
    for step, colour in enumerate(["C0", "C1", "C2"]):
        if there[column, step]:
            corner = np.asarray(where[column, step])[::-1] - 0.5
            for axes in grid[:, column]:
                axes.add_patch(plt.Rectangle(corner, air.GLYPH, air.GLYPH, fill=False, edgecolor=colour))
grid[0, 0].set_ylabel("canvas")
grid[1, 0].set_ylabel("model")
figure.tight_layout(pad=0.3)

# %% [markdown]
# ## What we saw, and what to try
#
# * A guide can look at an image, decide how often to look again, and be trained by an ordinary gradient of an
#   expectation: enumeration takes the choices one after the other, the score takes what it draws.
# * After so few steps it reconstructs before it counts. `python benchmarks/air.py` trains long enough for the accuracy
#   by estimator, and the page [Speed](../docs/benchmarks.md) has the numbers.
# * Try `bk.estimators.DisARM()` for the choices, or three digits on a canvas.
