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
# # From a table to a report
#
# A beetle was counted at 24 sites over ten years: is it declining, everywhere, and what should be expected at a site
# that nobody has visited yet?
#
# From a table to an answer, in the order in which it is usually done: look at the table, write the model as a formula,
# fit it, read the verdict, ask whether the family and the varying slopes are needed, whether the priors decide, what is
# to be expected elsewhere, and write a page for those who were not there. The counts are simulated, so that at the end
# the truth is known (`data/README.md`).

# %%
import os
import tempfile
from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)  # before anything is computed: 64-bit numbers

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import bayeskit as bk

SMALL = os.environ.get("BAYESKIT_EXAMPLE_SIZE") == "small"  # for tests of this notebook
METHOD = bk.NUTS(num_chains=2, num_warmup=500, num_draws=1200) if SMALL else bk.NUTS()
SHORTER = bk.NUTS(num_chains=2, num_warmup=300, num_draws=400) if SMALL else METHOD  # for models to compare with
ROOT = Path.cwd() if Path("data").is_dir() else Path.cwd().parent

# %% [markdown]
# ## The table
#
# One row a visit. Years are counted from the middle of the survey, so that the intercept is the level there and a slope
# is a change a year. Not every site was visited in every year.

# %%
table = pd.read_csv(ROOT / "data" / "counts.csv")
table["year"] = table["year"] - 2019.5
print(f"{len(table)} visits to {table['site'].nunique()} sites, {table['count'].mean():.1f} beetles a visit")
table.head(4)

# %%
figure, axes = plt.subplots(figsize=(7, 3.6))
for _, rows in table.groupby("site"):
    colour = "C2" if rows["habitat"].iloc[0] == "woodland" else "C4"
    axes.plot(rows["year"] + 2019.5, rows["count"] + 0.5, color=colour, alpha=0.5, linewidth=1, marker=".")
axes.plot([], [], color="C4", label="heath")
axes.plot([], [], color="C2", label="woodland")
axes.set(yscale="log", xlabel="year", ylabel="beetles a visit (+ ½)", title="A line for each site")
axes.legend()
plt.show()

# %% [markdown]
# ## The model, in one line
#
# Counts are positive and vary more the larger they are: a negative binomial. Each site has a level and a slope of its
# own, scattered around common ones. `bk.formula` writes the NumPyro function, with bambi's default priors; printed, it
# can be taken and changed by hand.

# %%
model = bk.formula("count ~ year + habitat + (1 + year | site)", table, family="negative_binomial")
print(model)

# %%
post = bk.infer(model, table, METHOD, key=0, log_likelihood=True, progress=False)
verdict = bk.check(post)
assert SMALL or verdict.ok

# %% [markdown]
# ## What it says
#
# Effects are on the scale of the logarithm: a slope of -0.12 is a loss of 11% a year.

# %%
scalars = ["Intercept", "year", "habitat", "1|site_sigma", "year|site_sigma", "alpha"]
bk.summary(post, scalars)

# %%
yearly = np.expm1(post["posterior/year"].values.ravel())
low, high = np.quantile(yearly, [0.05, 0.95])
print(f"change a year: {yearly.mean():.1%}, with 90% between {low:.1%} and {high:.1%}")
print(f"probability of a decline: {np.mean(yearly < 0):.3f}")

# %% [markdown]
# ## Does it decline everywhere?
#
# The slope of a site is the common one and its own deviation. Sites with few beetles say little of their slope, and are
# drawn towards the common one. That is what varying slopes are for: neither one slope for all, nor 24 unrelated ones.

# %% tags=["cover"]
slopes = post["posterior/year"] + post["posterior/year|site"]
order = np.argsort(slopes.mean(("chain", "draw")).values)
low, middle, high = np.quantile(slopes.values.reshape(-1, len(order))[:, order], [0.05, 0.5, 0.95], axis=0)
names = slopes["site__factor_dim"].values[order]
woodland = table.groupby("site")["habitat"].first()[names].values == "woodland"
figure, axes = plt.subplots(figsize=(7, 4.6))
for kind, colour, label in ((~woodland, "C4", "heath"), (woodland, "C2", "woodland")):
    at = np.arange(len(names))[kind]
    axes.hlines(at, low[kind], high[kind], color=colour, linewidth=2, alpha=0.6, label=label)
    axes.plot(middle[kind], at, "o", color=colour, markersize=4)
axes.axvline(float(post["posterior/year"].mean()), color="0.4", linestyle="--", linewidth=1, label="common slope")
axes.axvline(0.0, color="black", linewidth=0.8)
axes.set(
    yticks=range(len(names)), xlabel="change of the log count a year (median, 90%)", title="The slope of each site"
)
axes.set_yticklabels(names, fontsize=7)
axes.legend(fontsize=8)
plt.show()

# %% [markdown]
# ## Which family, and are varying slopes needed?
#
# Leave-one-out cross-validation asks each model for the probability of a visit that it has not seen. A difference of
# several times its standard error `dse` settles a question; a smaller one does not, and the simpler model will do.

# %%
others = {
    "Poisson": ("count ~ year + habitat + (1 + year | site)", "poisson"),
    "one slope for all": ("count ~ year + habitat + (1 | site)", "negative_binomial"),
}
fits = {"negative binomial, varying slopes": post}
for number, (name, (formula, family)) in enumerate(others.items()):
    other = bk.formula(formula, table, family=family)
    fits[name] = bk.infer(other, table, SHORTER, key=1 + number, log_likelihood=True, progress=False)
comparison = bk.compare(fits)
comparison.round(2)

# %%
figure, axes = plt.subplots(figsize=(7, 2.2))
axes.errorbar(comparison["elpd_diff"], range(len(comparison)), xerr=comparison["dse"], fmt="o", capsize=3)
axes.axvline(0.0, color="0.6", linewidth=0.8)
axes.set(yticks=range(len(comparison)), yticklabels=comparison.index, ylim=(len(comparison) - 0.5, -0.5))
axes.set(xlabel="log predictive density, less that of the best (± its standard error)")
plt.show()

# %% [markdown]
# The Poisson model is far behind: it does not expect visits with many beetles. Whether the slopes differ, these data
# can hardly tell; in truth they do not.
#
# ## Could this model have produced the counts?
#
# The counts of each simulated survey, as how often each number of beetles was found, beside those observed. Square
# roots make the rare ones visible.

# %%
checked = bk.predict(model, table, post, key=3)
simulated = checked["posterior_predictive/count"].values.reshape(-1, len(table))[:200]
values = np.arange(25)
shares = np.sqrt([[np.sum(survey == value) for value in values] for survey in simulated])
figure, axes = plt.subplots(figsize=(7, 3.2))
axes.bar(values, np.sqrt([np.sum(table["count"] == value) for value in values]), color="0.85", label="observed")
axes.fill_between(values, *np.quantile(shares, [0.05, 0.95], axis=0), alpha=0.4, label="simulated, 90%")
axes.plot(values, shares.mean(axis=0), color="C0")
axes.set(xlabel="beetles at a visit", ylabel="√ number of visits", title="A rootogram")
axes.legend()
plt.show()

# %% [markdown]
# ## Do the priors decide?
#
# The draws are weighed as if the prior, then the likelihood, had counted a little more. Where the posterior moves with
# the likelihood alone, the data decide. The standard normal deviations of the sites are part of the model, not of what
# was believed of it, so `prior_names` leaves them out.

# %%
sensitive = bk.log_likelihood(model, table, bk.log_prior(model, table, post))
believed = ["Intercept_at_means", "year", "habitat", "1|site_sigma", "year|site_sigma", "alpha"]
bk.power_scale(sensitive, scalars, prior_names=believed).round(3)

# %% [markdown]
# ## A site that nobody has visited
#
# Three years ahead, at a known site and at one that the fit has never seen: the latter is drawn from the distribution
# of sites, and is far less certain.

# %%
ahead = pd.DataFrame({"site": [str(names[0]), "a new site"], "year": [7.5, 7.5], "habitat": ["heath", "heath"]})
ahead.loc[0, "habitat"] = table.loc[table["site"] == names[0], "habitat"].iloc[0]
predicted = bk.predict(model, ahead, post, key=4, new_levels="prior")["predictions/count"]
for row, name in enumerate(ahead["site"]):
    low, middle, high = np.quantile(predicted[..., row], [0.05, 0.5, 0.95])
    print(f"{name:12} in 2027: median {middle:.0f}, 90% between {low:.0f} and {high:.0f} beetles")

# %% [markdown]
# ## A page for those who were not there
#
# One file with the verdict, the estimates, the checks and the model. It opens in any browser and loads nothing.

# %%
page = Path(tempfile.mkdtemp()) / "beetles.html"
bk.report(checked, page, title="Beetles of the heath")
print(f"{page.name}: {page.stat().st_size / 1000:.0f} kB")

# %% [markdown]
# ## What we saw, and what to try
#
# * The beetle declines by about a tenth a year (the truth: $e^{-0.12} - 1 = -11\%$), and woodland has fewer (the truth:
#   0.9 less on the log scale). Only of the concentration `alpha` does the prior have a say: bambi's half-Cauchy(1)
#   prefers smaller ones.
# * A Poisson model would have given intervals that are too narrow; cross-validation found it out.
# * Try: the temperature as a further column; `priors={"year": dist.Normal(0, 0.1)}`; the whole site left out, by
#   `bk.loo(post, group="site")`. All of it is in [Formulas](../docs/formula.md) and
#   [Calibration and comparison](../docs/calibration.md).
