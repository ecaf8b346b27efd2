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
# # A line through outliers
#
# How much should a measurement count that went wrong, when nobody knows which ones did?
#
# Under a normal likelihood an error counts by its square, so that a few gross errors decide. The generalized normal
# distribution lets the data say how much an error counts: by its power $p$, which is a site of the model like any
# other. Here a tenth of the measurements went wrong.

# %%
import os

import jax

jax.config.update("jax_enable_x64", True)  # before anything is computed: 64-bit numbers

import matplotlib.pyplot as plt
import numpy as np
import numpyro
import numpyro.distributions as dist

import bayeskit as bk
from bayeskit.distributions import GeneralizedNormal

SMALL = os.environ.get("BAYESKIT_EXAMPLE_SIZE") == "small"  # for tests of this notebook
SLOPE, INTERCEPT, NOISE, ROWS, BAD = 0.7, 1.0, 0.3, 100, 10


def measurements(seed):
    generator = np.random.default_rng(seed)
    x = np.linspace(-2.0, 2.0, ROWS)
    y = INTERCEPT + SLOPE * x + generator.normal(0.0, NOISE, ROWS)
    y[generator.choice(ROWS, BAD, replace=False)] += generator.normal(0.0, 6.0, BAD)
    return {"x": x, "y": y}


# %% [markdown]
# ## Two likelihoods
#
# They differ in one line. With power two the robust one is normal, with power one it is that of least absolute errors.
# The prior stays between them: below one the log density has a cusp at each measurement and is concave no longer, so
# that the posterior of the line is jagged and chains move through it slowly.


# %%
def line(x):
    slope = numpyro.sample("slope", dist.Normal(0.0, 2.0))
    intercept = numpyro.sample("intercept", dist.Normal(0.0, 2.0))
    return intercept + slope * x


def robust(x, y):
    scale = numpyro.sample("scale", dist.HalfNormal(1.0))
    power = numpyro.sample("power", dist.Uniform(1.0, 2.0))
    middle = line(x)
    with numpyro.plate("row", len(x)):
        numpyro.sample("y", GeneralizedNormal(middle, scale, power), obs=y)


def normal(x, y):
    scale = numpyro.sample("scale", dist.HalfNormal(5.0))
    middle = line(x)
    with numpyro.plate("row", len(x)):
        numpyro.sample("y", dist.Normal(middle, scale), obs=y)


# %%
DATA_SETS = 3 if SMALL else 6
method = bk.NUTS(num_chains=2, num_warmup=300, num_draws=500)
slopes = {"robust": [], "normal": []}
for seed in range(DATA_SETS):
    data = measurements(seed)
    for model in (robust, normal):
        post = bk.infer(model, data, method, key=seed, progress=False)
        draws = np.asarray(post["posterior/slope"])
        slopes[model.__name__].append((draws.mean(), draws.std()))
        if seed == 0:
            print(model.__name__)
            print(bk.summary(post))
            bk.check(post)

# %% [markdown]
# ## The slopes
#
# Each of several data sets has other outliers. The normal likelihood takes them into its scale: it is both further from
# the true slope and less sure of it.

# %%
for name, found in slopes.items():
    means, deviations = np.array(found).T
    error = np.sqrt(np.mean((means - SLOPE) ** 2))
    print(
        f"{name:7} root mean squared error of the slope {error:.3f}   mean posterior deviation {deviations.mean():.3f}"
    )

# %% tags=["cover"]
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2))
data = measurements(0)
left.plot(data["x"], data["y"], ".", color="0.6")
for name, colour in (("robust", "C0"), ("normal", "C1")):
    means, deviations = np.array(slopes[name]).T
    left.plot(data["x"], INTERCEPT + means[0] * data["x"], color=colour, label=name)
    offset = 0.2 if name == "robust" else -0.2
    right.errorbar(np.arange(DATA_SETS) + offset, means, 2 * deviations, fmt=".", color=colour, label=name)
right.axhline(SLOPE, color="k", linewidth=0.8)
left.set(xlabel="x", ylabel="y", title="the first data set, lines through the true intercept")
right.set(xlabel="data set", ylabel="slope, two deviations", xticks=[])
right.legend()
figure.tight_layout()

# %% [markdown]
# ## What we saw, and what to try
#
# * The robust likelihood found from the data that errors have heavy tails (a power near one, not two), and its slopes
#   are several times closer to the truth, with shorter intervals that hold it.
# * The normal likelihood is honest in its own way: it is less sure. It does not know why.
# * Try `dist.StudentT` with its degrees of freedom as a site, fewer outliers, or outliers on one side only: no
#   symmetric likelihood is right for those.
