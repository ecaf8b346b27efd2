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
# # Light Schrödinger bridges
#
# Given a cloud of particles at two times, how did they get from the one to the other?
#
# A Schrödinger bridge is the most likely way for Brownian particles. With a Gaussian mixture as potential the plan, the
# paths and the drift are all closed form; the page [Schrödinger bridges](../docs/schrodinger_bridge.md) has the
# mathematics.

# %%
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import numpyro
import numpyro.distributions as dist

import bayeskit as bk
from bayeskit.models import schrodinger_bridge

SMALL = os.environ.get("BAYESKIT_EXAMPLE_SIZE") == "small"  # for tests of this notebook
POINTS = 500 if SMALL else 5000
generator = np.random.default_rng(0)


def draw_paths(panel, paths, color="black"):
    """Thin lines, with a dot at the end."""
    panel.plot(paths[..., 0].T, paths[..., 1].T, color=color, linewidth=0.5, alpha=0.5)
    panel.scatter(paths[:, -1, 0], paths[:, -1, 1], s=6, color=color, zorder=3)


# %% [markdown]
# ## From a Gaussian to a mixture
#
# Paths for a small and a large $\varepsilon$, the variance of the Brownian motion: the smaller it is, the straighter
# the paths and the more of where a particle goes is decided by where it starts.

# %% tags=["cover"]
centres = 4.0 * np.stack([np.cos(np.arange(5) * 2 * np.pi / 5), np.sin(np.arange(5) * 2 * np.pi / 5)], axis=1)
x0 = generator.normal(size=(POINTS, 2))
x1 = centres[generator.integers(5, size=POINTS)] + 0.4 * generator.normal(size=(POINTS, 2))
times = np.linspace(0.0, 1.0, 60)
figure, axes = plt.subplots(1, 2, figsize=(9, 4.4), sharex=True, sharey=True)
bridges = {}
for panel, epsilon in zip(axes, (0.05, 2.0), strict=True):
    fit = schrodinger_bridge.LightBridge(5, epsilon, num_restarts=1 if SMALL else 3).fit(x0, x1, key=0)
    bridges[epsilon] = fit.bridge
    cost, energy = fit.bridge.transport_cost(x0), fit.bridge.energy(x0, key=1)
    panel.scatter(*x1[:800].T, s=3, color="tab:orange", alpha=0.5)
    draw_paths(panel, np.asarray(fit.bridge.sample_path(x0[:40], times, key=2)))
    panel.set(title=f"ε = {epsilon}: cost {cost.value:.2f}, energy {energy.value:.2f} ± {energy.standard_error:.2f}")
    panel.set_aspect("equal")
    print(f"ε = {epsilon}: {len(fit.losses) - 1} steps, {fit.seconds:.1f} s, {fit.stopped}")
figure.tight_layout()

# %% [markdown]
# The drift $g(x, t)$ of the diffusion with these paths, at three times. Early on it leads outwards with little
# preference; late it leads to the nearest cluster.

# %%
axis = np.linspace(-5.0, 5.0, 17)
grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
figure, axes = plt.subplots(1, 3, figsize=(11, 4), sharex=True, sharey=True)
for panel, t in zip(axes, (0.0, 0.5, 0.95), strict=True):
    at = bridges[2.0].sample_path(x0[:800], [t], key=3)[:, 0]
    panel.scatter(*np.asarray(at).T, s=2, color="tab:blue", alpha=0.4)
    arrows = np.asarray(bridges[2.0].drift(grid, t))
    panel.quiver(*grid.T, *arrows.T, angles="xy", scale_units="xy", scale=12, width=0.004)
    panel.set(title=f"t = {t}", aspect="equal")
figure.tight_layout()

# %% [markdown]
# ## A swiss roll
#
# Some tens of components follow the roll. Their number is chosen by the loss on points that were held out.

# %%
turn = 1.5 * np.pi * (1 + 2 * generator.uniform(size=POINTS))
roll = np.stack([turn * np.cos(turn), turn * np.sin(turn)], axis=1) / 3.0 + 0.1 * generator.normal(size=(POINTS, 2))
settings = schrodinger_bridge.LightBridge(1, 0.1, validation_fraction=0.2)
candidates = [5, 20] if SMALL else [10, 25, 50]
from bayeskit.models.schrodinger_bridge import choose_num_components

best, held_out = choose_num_components(settings, candidates, x0, roll, key=0)
print({num: round(loss, 2) for num, loss in held_out.items()}, "chosen:", best.num_components)
fit = best.fit(x0, roll, key=0)
moved = np.asarray(fit.bridge.sample(generator.normal(size=(POINTS, 2)), key=1))
figure, axes = plt.subplots(1, 3, figsize=(11, 4), sharex=True, sharey=True)
for panel, points, title in zip(axes, (roll, moved, roll), ("target", "moved by the bridge", "paths"), strict=True):
    panel.scatter(*points.T, s=2, color="tab:orange", alpha=0.3 if title == "paths" else 0.6)
    panel.set(title=title, aspect="equal")
draw_paths(axes[2], np.asarray(fit.bridge.sample_path(x0[:40], times, key=2)))
figure.tight_layout()

# %% [markdown]
# ## A posterior over bridges
#
# The plan $\pi(x_1 \mid x_0)$ is a NumPyro distribution, so a bridge is a likelihood: priors on $\alpha$, $r$ and
# $S$ make a posterior over bridges. Two samples of forty points. Every draw of the posterior transports the same normal
# distribution; the band is what the posterior says of where it lands, and the maximum-likelihood fit lies inside.

# %%
few0 = generator.normal(size=(40, 1))
few1 = np.where(generator.uniform(size=(40, 1)) < 0.4, -2.0, 1.5) + 0.5 * generator.normal(size=(40, 1))
EPSILON = 0.5


def bridge_model(x0, x1=None):
    share = numpyro.sample("share", dist.Normal(0.0, 1.5))
    low = numpyro.sample("low", dist.Normal(0.0, 2.0))
    gap = numpyro.sample("gap", dist.LogNormal(0.5, 0.7))  # the second component lies above the first
    s = numpyro.sample("s", dist.LogNormal(-0.7, 0.7).expand([2]).to_event(1))
    plan = plan_of(x0, share, low, gap, s)
    with numpyro.plate("point", len(x0)):
        numpyro.sample("x1", plan, obs=x1)


def plan_of(x0, share, low, gap, s):
    r = jnp.stack([low, low + gap])[:, None]
    return schrodinger_bridge.BridgeConditional(x0, EPSILON, jnp.stack([share, 0.0 * share]), r, S_diag=s[:, None])


data = {"x0": few0.astype(np.float32), "x1": few1.astype(np.float32)}
sizes = {"num_warmup": 300, "num_draws": 300} if SMALL else {"num_warmup": 500, "num_draws": 500}
method = bk.NUTS(num_chains=2, target_accept=0.95, **sizes)
post = bk.infer(bridge_model, data, method, key=0, progress=False)
bk.check(post)
approximate = bk.infer(
    bridge_model, data, bk.VI(guide=bk.guides.FullRank(), num_steps=2000 if SMALL else 5000), key=1, progress=False
)
bk.check(approximate)

# %%
fresh = jnp.asarray(np.linspace(-3.0, 3.0, 301)[:, None], jnp.float32)
weight = jnp.exp(-(fresh[:, 0] ** 2) / 2)
weight = weight / weight.sum()
line = jnp.linspace(-5.0, 5.0, 201)


def marginal_density(share, low, gap, s):
    """Density of the transported N(0, 1), by quadrature over its start."""
    bridge = plan_of(fresh, share, low, gap, s).bridge
    starts = jnp.repeat(fresh, len(line), axis=0)
    ends = jnp.tile(line[:, None], (len(fresh), 1))
    return weight @ jnp.exp(bridge.log_density(ends, starts)).reshape(len(fresh), len(line))


def band(fit, num=20 if SMALL else 150):
    values = [fit[f"posterior/{name}"].values for name in ("share", "low", "gap", "s")]
    flat = [jnp.asarray(v.reshape(-1, *v.shape[2:])) for v in values]
    pick = np.linspace(0, len(flat[0]) - 1, num).astype(int)
    densities = jax.jit(lambda draws: jax.lax.map(lambda d: marginal_density(*d), draws))([v[pick] for v in flat])
    return np.quantile(np.asarray(densities), [0.05, 0.95], axis=0)


frequentist = (
    schrodinger_bridge.LightBridge(2, EPSILON, covariance="diagonal", prior_count=0.1).fit(**data, key=0).bridge
)
starts, ends = jnp.repeat(fresh, len(line), axis=0), jnp.tile(line[:, None], (len(fresh), 1))
by_fit = np.asarray(weight @ jnp.exp(frequentist.log_density(ends, starts)).reshape(len(fresh), len(line)))
figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), sharey=True)
for panel, name, draws in zip(axes, ("NUTS", "variational"), (post, approximate), strict=True):
    low, high = band(draws)
    panel.fill_between(line, low, high, alpha=0.3, label="90 % band of the posterior")
    panel.plot(line, by_fit, color="black", linewidth=1, label="maximum likelihood")
    panel.plot(few1[:, 0], np.full(len(few1), -0.01), "|", color="tab:orange", label="the 40 ends")
    inside = np.mean((by_fit >= low) & (by_fit <= high))
    panel.set(title=f"{name}: the fit lies inside at {100 * inside:.0f} % of the points", xlabel="x1")
axes[0].legend(fontsize=8)
figure.tight_layout()

# %% [markdown]
# ## Single cells
#
# Gene expression of cells on days 2, 3 and 4, in principal components. A bridge from day 2 to day 4 says where cells
# were on day 3, which it has not seen. The environment variable `MSCI_FOLDER` names the folder with `day_2.npy`,
# `day_3.npy` and `day_4.npy`; without it a synthetic differentiation with two branches stands in.

# %%
folder = Path(os.environ.get("MSCI_FOLDER", "no such folder"))
if folder.is_dir():
    days = [np.load(folder / f"day_{day}.npy") for day in (2, 3, 4)]
    label = "day {}, principal components"
else:
    branch = np.sign(generator.normal(size=(3, POINTS, 1)))
    centre = np.array([[0.0], [1.5], [4.0]])[:, None] * np.concatenate([np.ones_like(branch), branch], axis=2)
    days = list(centre + generator.normal(size=(3, POINTS, 2)))
    label = "stage {} of a synthetic differentiation"
if SMALL:
    days = [day[:1000, :5] for day in days]
scale = np.concatenate(days).std(axis=0).mean()
early, middle, late = (day / scale for day in days)
fit = schrodinger_bridge.LightBridge(10, 0.1, covariance="diagonal", num_steps=15).fit(early, late, key=0)
predicted = np.asarray(fit.bridge.sample_path(early, [0.5], key=1)[:, 0])
paths = np.asarray(fit.bridge.sample_path(early[:60], np.linspace(0.0, 1.0, 40), key=2))
figure, axes = plt.subplots(1, 2, figsize=(10, 4.4), sharex=True, sharey=True)
for points, color, name in ((early, "tab:blue", label.format(2)), (late, "tab:orange", label.format(4))):
    axes[0].scatter(*points[:2000, :2].T, s=2, color=color, alpha=0.4, label=name)
draw_paths(axes[0], paths)
axes[1].scatter(*middle[:2000, :2].T, s=2, color="tab:green", alpha=0.5, label=label.format(3) + ", measured")
axes[1].scatter(*predicted[:2000, :2].T, s=2, color="black", alpha=0.5, label="predicted")
for panel in axes:
    panel.legend(fontsize=8, markerscale=4)
    panel.set(xlabel="first coordinate")
figure.tight_layout()


# %%
def energy_distance(x, y):
    """Unbiased; zero for equal distributions."""

    def mean_distance(a, b):
        return np.mean([np.linalg.norm(a - row, axis=1).mean() for row in b])

    n, m = len(x), len(y)
    return mean_distance(x, y) - (n / (n - 1) * mean_distance(x, x) + m / (m - 1) * mean_distance(y, y)) / 2


thin = slice(None, 1500)
for name, cells in (("bridge", predicted), ("cells of the day before", early), ("cells of the day after", late)):
    print(f"energy distance to the held-out day, {name:24} {scale * energy_distance(cells[thin], middle[thin]):.2f}")

# %% [markdown]
# ## What we saw, and what to try
#
# * One fit gives everything: the plan, paths, the drift, and the cost, all without a network or a simulation.
# * With forty points the posterior over bridges says how little is known of the second cluster; the verdicts say which
#   of two ways to get it can be trusted.
# * A bridge between two days predicts the day between better than either of them does.
# * Try a smaller $\varepsilon$ for straighter paths, more components for the roll, and your own samples.
