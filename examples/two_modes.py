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
# # Two modes, and what the evidence is for
#
# When a posterior has two separate modes, which methods find both, weigh them rightly, and say so when they do not?
#
# NUTS follows gradients and stays in the mode that it finds. Methods that begin with draws of the prior and follow them
# to the posterior weigh modes, and find on the way the evidence $p(y)$, by which whole models are compared. The example
# is small enough for a grid to give the exact answer.

# %%
import os

import jax

jax.config.update("jax_enable_x64", True)  # before anything is computed: 64-bit numbers

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import numpyro
import numpyro.distributions as dist

import bayeskit as bk

SMALL = os.environ.get("BAYESKIT_EXAMPLE_SIZE") == "small"  # for tests of this notebook

# %% [markdown]
# ## Where is the transmitter?
#
# Two receivers on a line measure how far away a transmitter is, not in which direction. A transmitter on one side of
# the line looks almost like its mirror image; a third receiver, slightly off the line and noisy, prefers one of them.

# %%
receivers = np.array([[-2.0, 0.0], [2.0, 0.0], [0.0, 0.4]])
noise = np.array([0.15, 0.15, 0.5])
distances = np.array([2.9, 2.7, 1.7])


def transmitter(receivers, noise, distance=None, north_only=False):
    x = numpyro.sample("x", dist.Normal(0.0, 3.0))
    y = numpyro.sample("y", dist.HalfNormal(3.0) if north_only else dist.Normal(0.0, 3.0))
    away = jnp.sqrt((x - receivers[:, 0]) ** 2 + (y - receivers[:, 1]) ** 2)
    with numpyro.plate("receiver", len(noise)):
        numpyro.sample("distance", dist.Normal(away, noise), obs=distance)


data = {"receivers": receivers, "noise": noise, "distance": distances}

# %% [markdown]
# ## The exact answer, by a grid
#
# In two dimensions a sum over a fine grid is exact to many digits. It says how much of the posterior lies north of the
# line, and what the evidence is.

# %%
line = np.linspace(-9.0, 9.0, 1201)
x, y = np.meshgrid(line, line)
away = np.hypot(x[..., None] - receivers[:, 0], y[..., None] - receivers[:, 1])
log_joint = -((x**2 + y**2) / 18.0) - np.log(2 * np.pi * 9.0)
log_joint += (-0.5 * ((distances - away) / noise) ** 2 - np.log(noise * np.sqrt(2 * np.pi))).sum(-1)
weights = np.exp(log_joint) * (line[1] - line[0]) ** 2
exact_evidence, exact_north = np.log(weights.sum()), weights[y > 0].sum() / weights.sum()
print(f"log evidence {exact_evidence:.3f}; north of the line {exact_north:.3f}")

# %% [markdown]
# ## NUTS, and what the verdict says
#
# Four chains. Each finds one of the modes, and none can know from its own draws what the other is worth.

# %%
few = {"num_warmup": 300, "num_draws": 300} if SMALL else {}
nuts = bk.infer(transmitter, data, bk.NUTS(num_chains=4, **few), key=1, progress=False)
verdict = bk.check(nuts)
assert not verdict.ok

# %% [markdown]
# The verdict refuses the result: chains that have no ground in common are not draws of one distribution. The share of
# draws in the north is a matter of where chains have started.

# %%
print("share of each chain in the north:", (nuts["posterior/y"].values > 0).mean(axis=1))

# %% [markdown]
# ## Methods that come from the prior
#
# Sequential Monte Carlo moves particles through $p(z)\, p(y \mid z)^\beta$ from $\beta = 0$, the prior, to 1. Parallel
# tempering keeps chains at many $\beta$ at once, that exchange places. Nested sampling closes in on ever higher
# likelihoods.

# %%
methods = {
    "SMC": bk.SMC(num_particles=500 if SMALL else 2000),
    "parallel tempering": bk.ParallelTempering(**({"num_chains": 2, "num_draws": 1500} if SMALL else {})),
    "nested sampling": bk.NestedSampling(num_live=200 if SMALL else 400, num_chains=2),
}
fits = {}
for name, method in methods.items():
    fits[name] = bk.infer(transmitter, data, method, key=2, progress=False)
    print(f"--- {name}")
    bk.check(fits[name])

# %% tags=["cover"]
figure, panels = plt.subplots(1, 4, figsize=(11, 3.1), sharex=True, sharey=True)
shown = np.exp(log_joint - log_joint.max())
for axes, (name, fit) in zip(panels, {"NUTS": nuts, **fits}.items(), strict=True):
    axes.contourf(line, line, shown, levels=[0.02, 0.1, 0.3, 0.6, 1.0], cmap="Greys", alpha=0.8)
    of_chain = np.stack([fit["posterior/x"].values, fit["posterior/y"].values], axis=-1)
    some = of_chain.reshape(-1, 2)[:: max(1, of_chain[..., 0].size // 400)]
    axes.plot(*some.T, ".", markersize=3, alpha=0.5, color="C1")
    axes.plot(*receivers.T, "^", color="C0", markersize=6)
    north = np.mean(of_chain[..., 1] > 0)
    axes.set(xlim=(-3, 3), ylim=(-3.2, 3.2), aspect="equal", xlabel="x", title=f"{name}\n{north:.2f} in the north")
panels[0].set_ylabel("y")
figure.suptitle(f"Grey: the exact posterior, {exact_north:.2f} of it in the north", y=1.02, fontsize=10)
plt.show()

# %% [markdown]
# ## The evidence
#
# Each method states its log evidence with an error, from within one run. The grid says what is right.

# %%
print(f"{'':20}{'log evidence':>14}{'stated error':>14}{'off by':>10}")
for name, fit in fits.items():
    value, error = fit.attrs["log_evidence"], fit.attrs["log_evidence_error"]
    print(f"{name:20}{value:14.3f}{error:14.3f}{(value - exact_evidence) / error:8.1f} errors")

# %% [markdown]
# How SMC went: the temperature of each stage, and the evidence so far.

# %%
stages = fits["SMC"]["warmup_sample_stats"]
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 2.8))
for chain in range(stages.sizes["chain"]):
    left.plot(stages["temperature"][chain], marker=".", color=f"C{chain}")
    right.plot(stages["log_evidence"][chain], marker=".", color=f"C{chain}", label=f"run {chain + 1}")
right.axhline(exact_evidence, color="black", linewidth=0.8, linestyle="--", label="exact")
left.set(xlabel="stage", ylabel="β", title="from the prior (0) to the posterior (1)")
right.set(xlabel="stage", ylabel="log evidence so far", title="the evidence on the way")
right.legend(fontsize=8)
figure.tight_layout()

# %% [markdown]
# ## Comparing two models by it
#
# Someone says that the transmitter can only be in the north. That model has half the prior mass to spend on the south,
# and spends it in the north: its evidence is larger by the logarithm of twice the share that was there already. If that
# share were below a half, it would be smaller.

# %%
north_only = bk.infer(transmitter, {**data, "north_only": True}, methods["SMC"], key=3, progress=False)
gain = north_only.attrs["log_evidence"] - fits["SMC"].attrs["log_evidence"]
error = np.hypot(north_only.attrs["log_evidence_error"], fits["SMC"].attrs["log_evidence_error"])
print(f"log Bayes factor {gain:.2f} ± {error:.2f}; exactly {np.log(2 * exact_north):.2f}")

# %% [markdown]
# ## What we saw, and what to try
#
# * NUTS was sure of itself within each mode, and the verdict refused it. Not its draws are wrong, but their shares.
# * SMC and parallel tempering have the weights of the modes; nested sampling has a good evidence, and weights that are
#   less certain than its number of draws suggests ([measured](../docs/smc.md#measured)).
# * The evidence depends on the prior: try a prior of twice the width, and see both evidences fall by nearly $\log 4$,
#   two coordinates, while the posterior hardly moves.
# * Try a receiver further off the line: from some distance on one mode is all there is, and NUTS is right again.
