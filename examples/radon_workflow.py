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
# # A Bayesian workflow on the radon survey
#
# How much radon is there in a county, and how sure can we be where only a house or two was measured?
#
# Radon is a radioactive gas that rises from the soil into houses. The survey measured it in 919 houses of 85
# counties in Minnesota, in some counties in a hundred houses, in others in one.
#
# The steps: look at the data, write a model, see what its prior believes, fit, read the verdict, see whether the
# fitted model could have produced the data, and compare it with a simpler one.
#
# This file is a notebook kept as text. Open it with Jupyter and jupytext, or run `make examples`.

# %%
import os
from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)  # before anything is computed: 64-bit numbers

import arviz_plots as azp
import matplotlib.pyplot as plt
import numpy as np
import numpyro
import numpyro.distributions as dist

import bayeskit as bk

SMALL = os.environ.get("BAYESKIT_EXAMPLE_SIZE") == "small"  # for tests of this notebook
METHOD = bk.NUTS(num_chains=2, num_warmup=500, num_draws=1000) if SMALL else bk.NUTS(num_chains=4)

azp.style.use("arviz-variat")
ROOT = Path.cwd() if Path("data").is_dir() else Path.cwd().parent

# %% [markdown]
# ## The data

# %%
columns = bk.read_data(ROOT / "data" / "radon.csv")
counties, first_house, county = np.unique(columns["county"], return_index=True, return_inverse=True)
data = {
    "county": county,
    "floor": columns["floor"],
    "log_uranium": columns["log_uranium"][first_house],
    "log_radon": columns["log_radon"],
}
houses = np.bincount(county)
print(f"{len(county)} houses in {len(counties)} counties; from {houses.min()} to {houses.max()} houses a county")

# %%
figure, axes = plt.subplots(figsize=(7, 3.5))
jitter = np.random.default_rng(0).uniform(-0.15, 0.15, len(county))
axes.plot(columns["floor"] + jitter, columns["log_radon"], ".", alpha=0.3)
axes.set(xticks=[0, 1], xticklabels=["basement", "first floor"], ylabel="log radon (pCi/L)")
plt.show()

# %% [markdown]
# ## Two models
#
# The pooled model has one level of radon for the whole state. The hierarchical model gives every county its own level,
# scattered around a line in the uranium of the county's soil, and learns from the data how much counties scatter.


# %%
def pooled(floor, log_radon=None):
    mu = numpyro.sample("mu", dist.Normal(0.0, 2.0))
    beta = numpyro.sample("beta", dist.Normal(0.0, 1.0))
    sigma = numpyro.sample("sigma", dist.HalfNormal(1.0))
    with numpyro.plate("house", floor.shape[0]):
        numpyro.sample("log_radon", dist.Normal(mu + beta * floor, sigma), obs=log_radon)


def hierarchical(county, floor, log_uranium, log_radon=None):
    mu = numpyro.sample("mu", dist.Normal(0.0, 2.0))
    gamma = numpyro.sample("gamma", dist.Normal(0.0, 1.0))
    beta = numpyro.sample("beta", dist.Normal(0.0, 1.0))
    tau = numpyro.sample("tau", dist.HalfNormal(1.0))
    sigma = numpyro.sample("sigma", dist.HalfNormal(1.0))
    with numpyro.plate("county", log_uranium.shape[0]):
        z = numpyro.sample("z", dist.Normal(0.0, 1.0))
        alpha = numpyro.deterministic("alpha", mu + gamma * log_uranium + tau * z)
    with numpyro.plate("house", county.shape[0]):
        numpyro.sample("log_radon", dist.Normal(alpha[county] + beta * floor, sigma), obs=log_radon)


# %% [markdown]
# ## What the prior believes
#
# Before the data have a say: which measurements does the prior think possible? It should cover everything
# plausible and leave out the absurd. Indoor radon lies between 0.1 and 100 pCi/L nearly everywhere, which is -2.3
# to 4.6 on the log scale.

# %%
unobserved = {**data, "log_radon": None}
prior = bk.predict(hierarchical, unobserved, None, key=1, num_draws=200)
simulated = prior["prior_predictive/log_radon"].values
low, high = np.quantile(simulated, [0.05, 0.95])
print(f"the prior puts 90% of the log measurements between {low:.1f} and {high:.1f}")

# %%
figure, axes = plt.subplots(figsize=(7, 3.5))
bins = np.linspace(-8, 10, 60)
axes.hist(simulated.ravel(), bins, density=True, alpha=0.5, label="prior predictive")
axes.hist(columns["log_radon"], bins, density=True, alpha=0.7, label="measured")
axes.set(xlabel="log radon (pCi/L)", yticks=[], title="The prior is wide, but not absurd")
axes.legend()
plt.show()

# %% [markdown]
# ## Fit, and read the verdict

# %%
options = {"log_likelihood": True, "progress": False}
post = bk.infer(hierarchical, data, METHOD, key=2, coords={"county": counties}, **options)
verdict = bk.check(post)
assert SMALL or verdict.ok

# %%
bk.summary(post, ["mu", "gamma", "beta", "tau", "sigma"]).round(3)

# %% [markdown]
# `beta`: on the first floor there is about half as much radon as in the basement, exp(-0.65). `gamma`: uranium in
# the soil explains a good part of the difference between counties; `tau` is what it leaves unexplained.
#
# The chains should be indistinguishable: each should have its fair share of every rank.

# %%
azp.plot_rank(post, var_names=["mu", "tau", "sigma"])
plt.show()

# %% [markdown]
# ## Counties lean on each other
#
# The fewer houses a county has, the more its estimate is drawn from its own mean (the start of an arrow) towards
# the line of all counties (its end). That is partial pooling.

# %% tags=["cover"]
adjusted = columns["log_radon"] - float(post["posterior/beta"].mean()) * columns["floor"]
raw = np.bincount(county, adjusted) / houses
alpha = post["posterior/alpha"].mean(("chain", "draw")).values
line = float(post["posterior/mu"].mean()) + float(post["posterior/gamma"].mean()) * data["log_uranium"]

figure, axes = plt.subplots(figsize=(7, 4))
for at in range(len(counties)):
    axes.annotate(
        "", (houses[at], alpha[at]), (houses[at], raw[at]), arrowprops={"arrowstyle": "->", "color": "0.6", "lw": 0.8}
    )
axes.plot(houses, raw, ".", color="C1", label="mean of the county's houses")
axes.plot(houses, alpha, ".", color="C0", label="estimate")
axes.set(xscale="log", xlabel="houses measured in the county", ylabel="log radon in the basement")
axes.legend()
plt.show()

# %%
shown = [str(name) for name in counties[np.argsort(-alpha)[:10]]]
azp.plot_forest(post, var_names=["alpha"], coords={"county": shown}, combined=True)
plt.show()

# %% [markdown]
# ## Could this model have produced the data?

# %%
post = bk.predict(hierarchical, unobserved, post, key=3)
azp.plot_ppc_dist(post, num_samples=50)
plt.show()

# %% [markdown]
# The simulated surveys look like the real one, but for the lowest measurements: the detector rounds, the model
# does not.
#
# ## Is the hierarchy worth it?
#
# Leave-one-out cross-validation asks each model to predict a house that it has not seen.

# %%
simple = bk.infer(pooled, {name: data[name] for name in ("floor", "log_radon")}, METHOD, key=4, **options)
table = bk.compare({"hierarchical": post, "pooled": simple})
table.round(2)

# %%
azp.plot_compare(table)
plt.show()

# %%
difference = float(table.loc["pooled", "elpd_diff"]), float(table.loc["pooled", "dse"])
print(f"the pooled model predicts worse by {abs(difference[0]):.0f} ± {difference[1]:.0f} units of log density")

# %% [markdown]
# The hierarchical model predicts better, by more than the uncertainty of the comparison, in spite of its 85 extra
# parameters: it learns from the data how much to use them.
#
# ## What we saw, and what to try
#
# * Counties with many houses speak for themselves; those with one or two lean on the uranium of their soil and on the
#   other counties.
# * The verdict was good, the check of the model found what it does not know (the detector), and cross-validation
#   preferred the hierarchy by several standard errors.
# * Try a slope of the floor that varies among counties, Student-t noise, or the same in one line:
#   `bk.formula("log_radon ~ floor + log_uranium + (1 | county)")` ([Formulas](../docs/formula.md)).
#
# The result can be kept, and a page with the plots above be made from it:
#
# ```python
# bk.save(post, "radon.zarr")
# bk.report(post, "radon.html")
# ```
