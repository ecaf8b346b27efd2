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
# # A variational autoencoder of handwritten digits
#
# Which few numbers stand for an image of a digit, and how are new digits drawn from them?
#
# scikit-learn's digits are 8 × 8 pixels of 0 to 16: each is the number of black ones among the 4 × 4 pixels of a finer
# scan. So a pixel is a binomial count. A network turns eight normal numbers into the probabilities of an image (the
# model), and another one guesses the eight numbers from the image (the guide). Kingma and Welling (2014).

# %%
import os

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import numpyro
import numpyro.distributions as dist
import optax
from sklearn.datasets import load_digits

import bayeskit as bk

SMALL = os.environ.get("BAYESKIT_EXAMPLE_SIZE") == "small"  # for tests of this notebook
STEPS = 600 if SMALL else 6000
LATENT, HIDDEN, INK, BATCH = 8, 128, 16, 128

images = np.random.default_rng(0).permutation(load_digits().data.astype(np.float32))
train, unseen = jnp.asarray(images[:1500]), jnp.asarray(images[1500:])

# %% [markdown]
# ## Model and guide
#
# Parameters are a plain dictionary that both programs take.


# %%
def network(p, name, x):
    return jax.nn.relu(x @ p[f"{name}_in"] + p[f"{name}_bias"]) @ p[f"{name}_out"]


def model(p, batch):
    with numpyro.plate("image", len(batch)):
        z = numpyro.sample("z", dist.Normal(jnp.zeros(LATENT), 1.0).to_event(1))
        logits = network(p, "decode", z) + p["ink"]
        numpyro.sample("ink", dist.Binomial(INK, logits=logits).to_event(1), obs=batch)


def guide(p, batch):
    loc, scale = jnp.split(network(p, "encode", batch / INK), 2, axis=1)
    with numpyro.plate("image", len(batch)):
        numpyro.sample("z", dist.Normal(loc, jax.nn.softplus(scale)).to_event(1))


def initial(key):
    keys = jax.random.split(key, 4)
    sizes = {"encode": (64, HIDDEN, 2 * LATENT), "decode": (LATENT, HIDDEN, 64)}
    p = {"ink": jnp.zeros(64)}
    for i, (name, (inputs, hidden, outputs)) in enumerate(sizes.items()):
        p[f"{name}_in"] = jax.random.normal(keys[2 * i], (inputs, hidden)) * inputs**-0.5
        p[f"{name}_bias"] = jnp.zeros(hidden)
        p[f"{name}_out"] = jax.random.normal(keys[2 * i + 1], (hidden, outputs)) * hidden**-0.5
    return p


@jax.jit
def bound(key, p, batch):
    """The evidence lower bound of an image, in nats."""
    return bk.expectation(bk.objectives.ELBO())(key, lambda: model(p, batch), lambda: guide(p, batch)) / len(batch)


# %% [markdown]
# ## Training
#
# `jax.grad` of the expectation is the gradient; the loop is Adam's usual one.

# %%
optimizer = optax.adam(optax.cosine_decay_schedule(2e-3, STEPS))


def step(carry, key):
    p, state = carry
    pick, key, test = jax.random.split(key, 3)
    batch = train[jax.random.choice(pick, len(train), (BATCH,), replace=False)]
    value, gradient = jax.value_and_grad(lambda p: -bound(key, p, batch))(p)
    updates, state = optimizer.update(gradient, state)
    p = optax.apply_updates(p, updates)
    return (p, state), (-value, bound(test, p, unseen))


start = initial(jax.random.key(0))
keys = jax.random.split(jax.random.key(1), STEPS)
(p, _), (seen_bound, unseen_bound) = jax.jit(lambda: jax.lax.scan(step, (start, optimizer.init(start)), keys))()

figure, axes = plt.subplots(figsize=(7, 3))
for name, values in {"training": seen_bound, "unseen": unseen_bound}.items():
    axes.plot(np.arange(20, STEPS + 1), np.convolve(values, np.ones(20) / 20, "valid"), label=name, linewidth=1)
final = float(unseen_bound[-100:].mean())
axes.set(xlabel="step", ylabel="bound (nats an image)", ylim=(final - 60, float(seen_bound[-100:].mean()) + 5))
axes.legend()
figure.tight_layout()
print(
    f"bound of the unseen digits {final:.1f} nats an image, before training {float(bound(keys[0], start, unseen)):.1f}"
)

# %% [markdown]
# ## Reconstructions and new digits
#
# Above, digits that were not trained with; in the middle, what the model makes of one draw of the guide for each;
# below, images of draws from the prior.


# %% tags=["cover"]
def shown(z):
    return INK * jax.nn.sigmoid(network(p, "decode", z) + p["ink"])


drawn, _ = bk.draw(lambda: guide(p, unseen[:12]), key=0)
prior = jax.random.normal(jax.random.key(4), (12, LATENT))
figure, grid = plt.subplots(3, 12, figsize=(9, 2.5))
for row, name, batch in zip(
    grid, ["unseen", "reconstructed", "from the prior"], [unseen, shown(drawn["z"]), shown(prior)], strict=True
):
    row[0].set_ylabel(name, rotation=0, horizontalalignment="right", verticalalignment="center")
    for axes, image in zip(row, batch, strict=False):
        axes.imshow(image.reshape(8, 8), cmap="gray_r", vmin=0, vmax=INK)
        axes.set(xticks=[], yticks=[])
figure.tight_layout(pad=0.3)

# %% [markdown]
# ## A tighter bound
#
# The same programs under another objective: averaging the weights of more draws inside of the logarithm comes closer to
# the log probability of an image. An expectation an image, so that the average is over the draws of one image.


# %%
def importance_weighted(p, image, num):
    batch = image[None]
    return bk.objectives.ImportanceWeightedELBO(num)(lambda: model(p, batch), lambda: guide(p, batch))


for num in (1, 10, 100):
    each = jax.vmap(bk.expectation(lambda p, image, num=num: importance_weighted(p, image, num)), (0, None, 0))
    values = jax.jit(each)(jax.random.split(jax.random.key(5), len(unseen)), p, unseen)
    print(f"{num:4} draws: {float(values.mean()):.2f} nats an image")

# %% [markdown]
# ## What we saw, and what to try
#
# * Model and guide are two functions with parameters, and the objective a third: training is the gradient of an
#   expectation.
# * The bound of unseen digits follows that of the training until the network begins to learn the digits by heart.
# * More draws inside of the logarithm bring the bound closer to the log probability, without another training.
# * Try two numbers in place of eight and draw what a grid of them looks like, or train with
#   `bk.objectives.ImportanceWeightedELBO(10)`.
