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
# # Infinitely wide networks and their scale mixtures
#
# What does it change, for functions, regression and digits, when an infinitely wide network has a random scale?
#
# A random network with infinitely wide layers is a Gaussian process. With a random scale of its last layer it is a
# mixture of Gaussian processes, with heavy tails: with an inverse gamma law a Student-t process. After Lee,
# Yun, Yang and Lee (2022), "Scale Mixtures of Neural Network Gaussian Processes"; the mathematics is on the page
# [Infinitely wide networks](../docs/nngp.md).

# %%
import os

import jax
import matplotlib.pyplot as plt
import numpy as np
import numpyro.distributions as dist
import scipy.ndimage
from sklearn.datasets import load_digits

import bayeskit as bk
from bayeskit.models import nngp

jax.config.update("jax_enable_x64", True)  # before anything is computed: 64-bit numbers

SMALL = os.environ.get("BAYESKIT_EXAMPLE_SIZE") == "small"  # for tests of this notebook

# %% [markdown]
# ## Functions before data
#
# Forty functions of a network with three hidden layers, whose activation is the error function, under three laws of
# the scale $\sigma^2$. A function has one scale throughout, so heavy tails do not mean single outliers: whole functions
# are large or small.

# %% tags=["cover"]
network = nngp.fully_connected(3, 1.7, 0.5, nngp.erf)
grid = np.linspace(-2.0, 2.0, 81)[:, None]
laws = {
    "σ² = 1 (a Gaussian process)": 1.0,
    "σ² ~ InverseGamma(2, 2)": dist.InverseGamma(2.0, 2.0),
    "σ² ~ half-Cauchy(1)": dist.HalfCauchy(1.0),
}
figure, axes = plt.subplots(1, 3, figsize=(11, 3.4), sharey=True)
for panel, (name, law) in zip(axes, laws.items(), strict=True):
    prior = nngp.ScaleMixture(network, law, noise_variance=1e-8).prior(grid)
    draws = np.asarray(prior.sample(jax.random.key(3), (40,)))
    panel.plot(grid[:, 0], draws.T, color="tab:blue", linewidth=0.8, alpha=0.7)
    panel.set(title=name, xlabel="input x", ylim=(-10, 10))
axes[0].set_ylabel("function f(x)")
figure.tight_layout()

# %% [markdown]
# ## Regression with few points
#
# Five noiseless points that happen to be close to each other. The Gaussian process takes the scale from the data,
# $\hat\sigma^2 = y^\top K^{-1} y / n$, and then treats it as known. The Student-t process knows that five points do not
# determine a scale: same mean, wider bands.

# %%
NU = 2.0
mixture = nngp.ScaleMixture(network, dist.InverseGamma(NU, NU))


def fitted_gaussian_process(x, y):
    """The same kernel with the scale that has the largest likelihood."""
    return nngp.ScaleMixture(network, float(y @ np.linalg.solve(network.nngp(x), y)) / len(y))


x = np.array([-1.6, -0.9, -0.2, 0.5, 0.7])[:, None]
y = np.array([0.9, 0.4, 0.8, 1.3, 1.0])
figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.6), sharey=True)
models = {"Gaussian process, fitted scale": fitted_gaussian_process(x, y), "Student-t process": mixture}
for panel, (name, model) in zip(axes, models.items(), strict=True):
    draws = model.condition(x, y).predict_each(grid).sample(jax.random.key(0), (4000,))
    low, middle, high = np.quantile(np.asarray(draws), [0.025, 0.5, 0.975], axis=0)
    panel.fill_between(grid[:, 0], low, high, alpha=0.25, color="tab:blue", label="95% band")
    panel.plot(grid[:, 0], middle, color="tab:blue", label="median")
    panel.scatter(x[:, 0], y, color="black", s=20, zorder=3, label="data")
    panel.set(title=name, xlabel="input x")
axes[0].set_ylabel("function f(x)")
axes[0].legend(fontsize=8, loc="lower left")
figure.tight_layout()

# %% [markdown]
# How much is lost by treating the scale as known? The log loss of both at one new point, on data sets from the model;
# that the difference is expected to be .170, .0377 and .0041 nats at 5, 10 and 30 points is known in closed form, the
# same for every kernel.

# %%
for size in (5,) if SMALL else (5, 10, 30):
    excess = []
    for key in jax.random.split(jax.random.key(1), 10 if SMALL else 400):
        for_x, for_y = jax.random.split(key)
        points = np.asarray(jax.random.normal(for_x, (size + 1, 3)))
        values = np.asarray(mixture.prior(points).sample(for_y))
        losses = [
            -model.condition(points[:size], values[:size]).predict_each(points[size:]).log_prob(values[size:])[0]
            for model in (fitted_gaussian_process(points[:size], values[:size]), mixture)
        ]
        excess.append(float(losses[0] - losses[1]))
    error = np.std(excess) / np.sqrt(len(excess))
    print(f"{size:3} points: the Gaussian process loses {np.mean(excess):.4f} ± {error:.4f} nats more")

# %% [markdown]
# ## Digits
#
# A thousand digits of 8 × 8 pixels, and a network of three convolutions. `SparseClassifier` approximates the posterior
# of ten functions and their common scale at inducing points, with an objective of `bk.expectation`. Three classifiers
# with the same kernel: Gaussian processes with scale 1, with the scale that maximises the bound, and a mixture.

# %%
TRAIN, TEST, INDUCING, STEPS = (150, 60, 20, 200) if SMALL else (1000, 797, 150, 1000)
data = load_digits()
order = np.random.default_rng(0).permutation(len(data.target))
images, labels = data.images[order] / 16.0, data.target[order]
train, test = slice(0, TRAIN), slice(TRAIN, TRAIN + TEST)
block = (nngp.Conv((3, 3), 2**0.5, 0.1), nngp.relu)
convolutional = nngp.serial(*block * (1 if SMALL else 3), nngp.Flatten(), nngp.Dense(2**0.5, 0.1))
scales = {"GP, scale 1": 1.0, "GP, fitted scale": None, "mixture": dist.InverseGamma(2.0, 2.0)}
if SMALL:
    del scales["GP, fitted scale"]
fits = {}
for name, scale in scales.items():
    classifier = nngp.SparseClassifier(convolutional, scale, inducing=INDUCING)
    fits[name] = classifier.fit(
        images[train, ..., None], labels[train], key=0, num_steps=STEPS, learning_rate=0.03, progress=False
    )
    print(
        f"{name:18} bound of the log evidence {fits[name].bound:8.1f} nats, mean σ² {float(fits[name].scale.mean):.1f}"
    )

# %% [markdown]
# Images that are rotated or noisy are less and less like those in the training set.

# %%
ANGLES = (0, 30, 60) if SMALL else (0, 15, 30, 45, 60)
noise = 0.3 * np.random.default_rng(1).normal(size=images[test].shape)
sets = {f"{angle}°": scipy.ndimage.rotate(images[test], angle, axes=(2, 1), reshape=False, order=1) for angle in ANGLES}
sets["noise"] = np.clip(images[test] + noise, 0.0, 1.0)
figure, grid_of_axes = plt.subplots(3, len(sets), figsize=(1.3 * len(sets), 3.9))
for column, (name, shifted) in zip(grid_of_axes.T, sets.items(), strict=True):
    column[0].set_title(name)
    for panel, image in zip(column, shifted, strict=False):
        panel.imshow(image, cmap="gray_r", vmin=0, vmax=1)
        panel.set(xticks=[], yticks=[])
figure.tight_layout(pad=0.4)

# %%
probabilities = {
    name: {kind: fit.predict_proba(shifted[..., None]) for kind, shifted in sets.items()} for name, fit in fits.items()
}
truth = labels[test]


def log_loss(p):
    return float(-np.log(p[np.arange(len(truth)), truth]).mean())


print(f"{'':18}" + "".join(f"{kind:>16}" for kind in sets))
for name, of_sets in probabilities.items():
    cells = [f"{log_loss(p):.3f} ({np.mean(p.argmax(axis=1) == truth):.3f})" for p in of_sets.values()]
    print(f"{name:18}" + "".join(f"{cell:>16}" for cell in cells))
print("log loss in nats (accuracy)")

# %% [markdown]
# A thousand labels determine the scale well. So the mixture finds what the fitted scale finds, and both are far better
# than a scale of 1 on images that are at all like those in the training set. Where hardly anything is recognised any
# more, from 45 degrees on, they are too sure of themselves, and the Gaussian processes with scale 1, which are never
# sure of anything, have the lower loss.
#
# ## Calibration
#
# Of the images that a classifier is 80% sure of, 80% should be right. Left, the log loss; right, how often the most
# probable class is right among images with like confidence, all of the rotated and noisy ones together.

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
for name, of_sets in probabilities.items():
    left.plot(ANGLES, [log_loss(of_sets[f"{angle}°"]) for angle in ANGLES], marker="o", label=name)
    p = np.concatenate([of_sets[kind] for kind in list(sets)[1:]])
    correct = p.argmax(axis=1) == np.tile(truth, len(sets) - 1)
    bins = np.digitize(p.max(axis=1), np.linspace(0.1, 1.0, 10)[1:-1])
    shown = [b for b in range(9) if np.sum(bins == b) >= 20]
    at = [(p.max(axis=1)[bins == b].mean(), correct[bins == b].mean()) for b in shown]
    right.plot(*np.transpose(at), marker="o", label=name)
right.plot([0, 1], [0, 1], color="black", linewidth=0.8, linestyle="--", label="calibrated")
left.set(title="Log loss of rotated digits", xlabel="rotation (degrees)", ylabel="log loss (nats)")
right.set(
    title="Calibration, shifted digits", xlabel="confidence", ylabel="share that is right", xlim=(0, 1), ylim=(0, 1)
)
left.legend(fontsize=8)
right.legend(fontsize=8, loc="lower right")
figure.tight_layout()

# %% [markdown]
# ## A digit that was never shown
#
# Without eights and nines in the training set, the entropy of a prediction should tell them from the rest.


# %%
def entropy(p):
    return -np.sum(p * np.log(np.maximum(p, 1e-300)), axis=1)


known, others = np.flatnonzero(labels < 8), np.flatnonzero(labels >= 8)[:TEST]
without = nngp.SparseClassifier(convolutional, scales["mixture"], inducing=INDUCING).fit(
    images[known[:TRAIN], ..., None], labels[known[:TRAIN]], key=0, num_steps=STEPS, learning_rate=0.03, progress=False
)
entropies = {
    kind: entropy(without.predict_proba(images[which, ..., None]))
    for kind, which in {"0 to 7, unseen": known[TRAIN:][: len(others)], "8 and 9, never shown": others}.items()
}
figure, axes = plt.subplots(figsize=(6, 3.4))
for kind, values in entropies.items():
    axes.hist(values, np.linspace(0.0, np.log(8), 25), density=True, alpha=0.6, label=kind)
axes.set(title="How unsure the mixture is", xlabel="entropy of the prediction (nats)", ylabel="density (1 / nat)")
axes.legend(fontsize=8)
figure.tight_layout()
seen, new = entropies.values()
print(f"a new digit has the higher entropy in {np.mean(new[:, None] > seen):.1%} of the pairs")

# %% [markdown]
# ## A referee for small data
#
# `classification_model` is the same model without the approximation, for MCMC. The first images of zeros and ones:

# %%
few = np.flatnonzero(labels < 2)[: 10 if SMALL else 30]
model = nngp.classification_model(convolutional, dist.InverseGamma(2.0, 2.0), images[few, ..., None], num_classes=2)
draws = 100 if SMALL else 500
post = bk.infer(
    model, model.data(labels[few]), bk.NUTS(num_chains=2, num_warmup=draws, num_draws=draws), key=0, progress=False
)
quick = nngp.SparseClassifier(convolutional, dist.InverseGamma(2.0, 2.0), inducing=len(few)).fit(
    images[few, ..., None], labels[few], key=0, num_steps=STEPS, progress=False
)
others = np.flatnonzero(labels < 2)[len(few) :][:50]
both = model.predict_proba(post, images[others, ..., None])[:, 1], quick.predict_proba(images[others, ..., None])[:, 1]
figure, axes = plt.subplots(figsize=(3.8, 3.8))
axes.plot([0, 1], [0, 1], color="black", linewidth=0.8, linestyle="--")
axes.scatter(*both, s=14)
axes.set(title="Probability of a one", xlabel="NUTS", ylabel="variational", aspect="equal")
figure.tight_layout()
print(f"largest difference {np.abs(both[0] - both[1]).max():.3f}")

# %% [markdown]
# ## What we saw, and what to try
#
# * A random scale makes whole functions large or small, and the bands of few points wide enough.
# * For digits the mixture finds its scale as a fit would, and says of digits it has never seen that it does not know.
# * The approximation agrees with NUTS on the same model, where NUTS can still be run.
# * Try `nngp.relu` in the first network, or a law of the scale with heavier tails, `dist.HalfCauchy(1.0)`, for the
#   digits.
