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
# # Values from rewards with outliers
#
# What is a state worth, and how sure are we, when rewards have heavy tails?
#
# A random walk along a line of states, whose values are known, so that every estimate can be held against the truth.
# The page [Values from temporal differences](../docs/td_error.md) has the mathematics.

# %%
import os

import jax
import matplotlib.pyplot as plt
import numpy as np
import numpyro.distributions as dist

import bayeskit as bk
from bayeskit.models import td_error

jax.config.update("jax_enable_x64", True)  # sums over thousands of transitions
SMALL = os.environ.get("BAYESKIT_EXAMPLE_SIZE") == "small"  # for tests of this notebook
STATES = 5 if SMALL else 19
LENGTHS = (300, 600) if SMALL else (500, 2000, 8000)
walk = td_error.random_walk(STATES, discount=0.9)
state = np.arange(1, STATES + 1)
noise = dist.Laplace(0.0, 1.0)
records = [walk.simulate(length, noise=noise, key=0) for length in LENGTHS]

# %% [markdown]
# ## Three estimates
#
# Temporal differences with squared errors approach the solution of least squares (LSTD). A generalised Gaussian
# learns from the errors themselves that their tails are heavy (a shape near one, where two is normal), and counts large
# errors less.

# %%
figure, panel = plt.subplots(figsize=(6.5, 3.6))
panel.plot(state, walk.values, color="black", label="truth")
for method, colour in (("td", "C0"), ("lstd", "C1"), ("generalized_gaussian", "C2")):
    value = td_error.evaluate(records[-1], method)
    found = np.asarray(value.values(walk.features))
    bars = 2 * np.asarray(value.standard_errors(walk.features))
    panel.errorbar(state, found, bars, color=colour, fmt="o", markersize=3, linewidth=0.8, label=method)
    error = np.sqrt(np.mean((found - np.asarray(walk.values)) ** 2))
    print(f"{method:22} root mean squared error {error:.4f}   shape of errors {float(value.shape):.2f}")
panel.set(xlabel="state", ylabel="value", title=f"{LENGTHS[-1]} transitions; bars of two standard errors")
panel.legend()
figure.tight_layout()

# %% [markdown]
# ## Two kinds of uncertainty
#
# The same as a NumPyro model, so that the posterior is over values. Of the variance of a target $r + \gamma v(s')$, the
# part that is the noise of rewards and transitions stays (aleatoric), and the part that is not yet known falls with the
# number of transitions (epistemic).

# %% tags=["cover"]
draws = 300
figure, panels = plt.subplots(1, 2, figsize=(9.5, 3.8))
parts = []
for record, length, colour in zip(records, LENGTHS, ("C0", "C1", "C2"), strict=False):
    model = td_error.value_model(record)
    method = bk.NUTS(num_chains=1, num_warmup=draws, num_draws=draws)
    post = bk.infer(model, record.data, method, key=0, progress=False)
    low, middle, high = np.quantile(post["posterior/value"].to_numpy().reshape(-1, STATES), [0.05, 0.5, 0.95], axis=0)
    panels[0].fill_between(state, low, high, color=colour, alpha=0.25, label=f"{length} transitions")
    panels[0].plot(state, middle, color=colour, linewidth=0.8)
    parts.append(td_error.uncertainty(post))
    inside = np.mean((low < np.asarray(walk.values)) & (np.asarray(walk.values) < high))
    print(f"{length:6} transitions: {inside:.0%} of the values in their intervals of 90%")
    verdict = bk.check(post, quiet=True)
    print(f"{'':6} {verdict.ok=}, R-hat at most {verdict.max_r_hat:.3f}, ESS at least {verdict.min_ess_bulk:.0f}")
panels[0].plot(state, walk.values, color="black", linewidth=1.0)
panels[0].set(xlabel="state", ylabel="value", title="posterior, 90%")
panels[0].legend()
middle = STATES // 2
for at, label, style in ((middle, "the middle", "-"), (0, "an end", "--")):
    sds = [float(np.sqrt(part["epistemic"][at])) for part in parts]
    panels[1].plot(LENGTHS, sds, style, color="C0", marker="o", label=f"epistemic, {label}")
sds = [float(np.sqrt(part["aleatoric"][middle])) for part in parts]
panels[1].plot(LENGTHS, sds, color="C3", marker="s", label="aleatoric")
panels[1].set(xscale="log", yscale="log", xlabel="transitions", ylabel="standard deviation")
panels[1].set(title="what stays, and what is learned")
panels[1].legend(fontsize=8)
figure.tight_layout()

# %% [markdown]
# ## What we saw, and what to try
#
# * Squared errors listen to every outlier; a generalised Gaussian learns from the errors how heavy their tails are.
# * The part of the uncertainty that more transitions take away falls with their number, and the part that is noise
#   stays. An agent that explores should follow the first, one that avoids risk the second.
# * Try normal noise, where least squares are right, or a walk with `discount=0.99`, whose values travel further.
