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
# # Simulation-based calibration
#
# A sampler can be wrong in a consistent way that no chain can see. How would we notice, before the data are touched?
#
# The verdict on one fit compares chains with each other. If the model that is fitted is not the one that was meant (an
# index off by one, a prior with another scale), all chains agree on the wrong answer. But in simulated data the truth
# is known: draw parameters from the prior, data from the parameters, fit, and look where the truth lies among the
# draws. Over many such replicates its rank must be uniform, whatever the model is (Talts et al. 2018).

# %%
import os
from dataclasses import dataclass
from typing import ClassVar

import jax

jax.config.update("jax_enable_x64", True)  # before anything is computed: 64-bit numbers

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import numpyro
import numpyro.distributions as dist

import bayeskit as bk
from bayeskit.inference.method import DirectMethod, Method

SMALL = os.environ.get("BAYESKIT_EXAMPLE_SIZE") == "small"  # for tests of this notebook
REPLICATES = 60 if SMALL else 300
NUTS = bk.NUTS(num_chains=1, num_warmup=200, num_draws=300)
data = {"x": np.linspace(0.0, 2.0, 12)}

# %% [markdown]
# ## The model that is meant
#
# A line through twelve measurements. `scale` and `offset` are there to break it later.


# %%
def line(x, y=None, scale=1.0, offset=0):
    intercept = numpyro.sample("intercept", dist.Normal(0.0, scale))
    slope = numpyro.sample("slope", dist.Normal(0.0, scale))
    mean = intercept + slope * jnp.roll(x, offset)
    with numpyro.plate("row", len(x)):
        numpyro.sample("y", dist.Normal(mean, 0.5), obs=y)


# %% [markdown]
# ## One replicate, by hand
#
# The truth is one more draw from the posterior: its rank among 99 draws is any of 0 to 99 with equal probability.

# %%
truth = bk.predict(line, data, None, key=7, num_draws=1)
made = {**data, "y": truth["prior_predictive/y"].values[0, 0]}
post = bk.infer(line, made, NUTS, key=7, progress=False)
slope, true_slope = post["posterior/slope"].values.ravel()[::3][:99], float(truth["prior/slope"].values[0, 0])
figure, axes = plt.subplots(figsize=(6, 2.4))
axes.hist(slope, 30, color="0.8", label="99 draws of the posterior")
axes.axvline(true_slope, color="C3", label=f"the truth: rank {np.sum(slope < true_slope)}")
axes.set(xlabel="slope", yticks=[])
axes.legend(fontsize=8)
plt.show()

# %% [markdown]
# ## Many replicates
#
# `bk.sbc` does that for every element of every site, and for the log likelihood, which sees what no single parameter
# shows.

# %%
right = bk.sbc(line, data, NUTS, num_replicates=REPLICATES, key=0, progress=False)
verdict = bk.check(right)
assert verdict.ok
bk.calibration(right)

# %% [markdown]
# Histograms of ranks are the picture to have in mind; the picture to judge by is the cumulative distribution, less that
# of uniform ranks, in a band that holds all of the curve in 95% of the cases.


# %%
def histograms(ranks, names=("intercept", "slope", "log_likelihood")):
    figure, panels = plt.subplots(1, len(names), figsize=(9, 2.4), sharey=True)
    for axes, name in zip(panels, names, strict=True):
        u = ranks[f"pit/{name}"].values.ravel()
        axes.hist(u, np.linspace(0, 1, 11), color="C0", alpha=0.6)
        axes.axhline(len(u) / 10, color="black", linewidth=0.8, linestyle="--")
        axes.set(xlabel="rank of the truth, as a share", title=name)
    panels[0].set_ylabel("replicates")
    figure.tight_layout()


histograms(right)

# %%
bk.plot_calibration(right)

# %% [markdown]
# ## What a broken model looks like
#
# Now simulate from the model that is meant, and fit one that is not. A `DirectMethod` is anything that answers with a
# posterior; this one fits the model with other arguments.


# %%
@dataclass(frozen=True, kw_only=True)
class Mistaken(DirectMethod):
    """Fits the model with arguments that the simulation does not have."""

    kind: ClassVar[str] = "mistaken"

    method: Method
    arguments: tuple[tuple[str, float], ...]

    def answer(self, model, data, *, key):
        return bk.infer(model, {**data, **dict(self.arguments)}, self.method, key=key, progress=False)


narrow = bk.sbc(
    line, data, Mistaken(method=NUTS, arguments=(("scale", 0.25),)), num_replicates=REPLICATES, key=1, progress=False
)
bk.check(narrow)

# %% [markdown]
# The prior of the fit is four times too narrow. The draws are too sure of themselves: the truth lies too often beyond
# all of them, and ranks pile up at both ends.

# %% tags=["cover"]
histograms(narrow)

# %%
bk.plot_calibration(narrow)

# %% [markdown]
# Off by one: each measurement is taken for its neighbour's. Such a mistake compiles, converges, and has a good verdict
# on every single fit.

# %%
shifted = bk.sbc(
    line, data, Mistaken(method=NUTS, arguments=(("offset", 1),)), num_replicates=REPLICATES, key=2, progress=False
)
bk.check(shifted)
bk.calibration(shifted)

# %%
histograms(shifted)

# %% [markdown]
# ## What an approximation looks like
#
# The same test judges methods. Intercept and slope are correlated in the posterior, and independent normals cannot be:
# a mean-field guide is too narrow in both.

# %%
guide = bk.VI(guide=bk.guides.MeanField(), objective=bk.objectives.ELBO(8), num_steps=600, num_draws=300)
approximate = bk.sbc(line, data, guide, num_replicates=REPLICATES, key=3, progress=False)
bk.check(approximate)
bk.calibration(approximate)

# %% [markdown]
# ## Where the data are
#
# A prior is wide, and much of what it simulates will never be seen. Once there are data, simulate from their posterior
# instead, and fit both data sets together (Säilynoja et al. 2025): is the method right *here*?

# %%
observed = {**data, "y": 0.4 + 0.9 * data["x"] + 0.5 * np.random.default_rng(0).normal(size=12)}
post = bk.infer(line, observed, NUTS, key=4, progress=False)
near = bk.sbc(line, observed, NUTS, num_replicates=REPLICATES // 2, key=5, around=post, progress=False)
bk.check(near)
bk.calibration(near)

# %% [markdown]
# ## What we saw, and what to try
#
# * Uniform ranks for the model that is meant; ranks at both ends for draws that are too narrow, at one end for draws
#   that are moved. The verdict says which, in words.
# * The log likelihood finds the shifted index most clearly: no prior of the parameters is wrong there.
# * A fault smaller than the replicates can tell is not found: try a prior of the fit that is twice too *wide*, and see
#   how many replicates it takes.
# * `executor=2` spreads the replicates over processes. The page
#   [Calibration and comparison](../docs/calibration.md) has the mathematics.
