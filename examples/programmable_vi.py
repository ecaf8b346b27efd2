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
# # Programmable variational inference
#
# What can be done with a variational bound when its gradient, its guide and its objective are programs?
#
# Three things that a fixed ELBO cannot do: choose how the gradient passes each random choice, write a guide with
# hidden variables, and tighten the bound. Then the same in one call, checked. The page
# [Variational inference](../docs/variational.md) has the mathematics.

# %%
import os

import jax

jax.config.update("jax_enable_x64", True)  # before anything is computed: 64-bit numbers

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import numpyro
import numpyro.distributions as dist
import optax

import bayeskit as bk

SMALL = os.environ.get("BAYESKIT_EXAMPLE_SIZE") == "small"  # for tests of this notebook
STEPS = 300 if SMALL else 6000

# %% [markdown]
# ## One coin, five gradients
#
# $\mathrm E\,(2b + 1)^2$ with $b \sim \mathrm{Bernoulli}(p)$ is $1 + 8p$, so its derivative is 8. Every estimator
# has that mean; they differ in how far a single estimate is from it.


# %%
def squared(p, estimator):
    choices, _ = bk.draw(lambda: numpyro.sample("b", dist.Bernoulli(p), infer={"estimator": estimator}))
    return (2.0 * choices["b"] + 1.0) ** 2


def gradients(f, num=4000):
    estimate = jax.vmap(jax.grad(bk.expectation(f), argnums=1), (0, None))
    return np.asarray(jax.jit(estimate)(jax.random.split(jax.random.key(0), num), 0.3))


rows = {
    "score": gradients(lambda p: squared(p, bk.estimators.Score())),
    "score, baseline 3": gradients(lambda p: squared(p, bk.estimators.Score(baseline=3.0))),
    "score, mean of 4": gradients(lambda p: bk.average(4, squared, p, bk.estimators.Score())),
    "measure-valued": gradients(lambda p: squared(p, bk.estimators.MeasureValued())),
    "enumeration": gradients(lambda p: squared(p, bk.estimators.Enumeration())),
}
figure, axes = plt.subplots(figsize=(7, 2.6))
axes.violinplot([row + 1e-9 * np.arange(row.size) for row in rows.values()], orientation="horizontal", widths=0.9)
axes.axvline(8.0, color="black", linewidth=0.8)
axes.set(yticks=range(1, len(rows) + 1), yticklabels=list(rows), xlabel="one estimate of the derivative (truth: 8)")
figure.tight_layout()
for name, row in rows.items():
    print(f"{name:20} mean {row.mean():6.2f} ± {row.std() / row.size**0.5:.2f}   standard deviation {row.std():6.2f}")

# %% [markdown]
# ## A posterior that is a ring
#
# $x$ and $y$ are normal, and $x^2 + y^2$ was observed to be about 5: the posterior is a circle, which no normal
# distribution is close to. A guide that draws a *hidden* angle first is a ring; its density, an integral over the
# angle, is estimated by `bk.marginal` with five particles (Sobolev and Vetrov 2019).


# %%
def cone():
    x = numpyro.sample("x", dist.Normal(0.0, 10.0))
    y = numpyro.sample("y", dist.Normal(0.0, 10.0))
    radius = x**2 + y**2
    numpyro.sample("z", dist.Normal(radius, 0.1 + radius / 100), obs=5.0)


def normal_guide(p):
    def guide():
        numpyro.sample("x", dist.Normal(p[0], jnp.exp(p[1])))
        numpyro.sample("y", dist.Normal(p[2], jnp.exp(p[3])))

    return guide


def angle():
    return 2 * jnp.pi * numpyro.sample("u", dist.Uniform(0.0, 1.0))


def ring_guide(p, num_particles=5):
    def guide():
        u = angle()
        numpyro.sample("x", dist.Normal(jnp.sqrt(5.0) * jnp.cos(u), jnp.exp(p[0])))
        numpyro.sample("y", dist.Normal(jnp.sqrt(5.0) * jnp.sin(u), jnp.exp(p[1])))

    return bk.marginal(guide, ["x", "y"], bk.integrators.ImportanceSampling(num_particles, lambda _: angle))


def maximise(objective, start, batch=32):
    """Parameters after some steps of Adam, and the bound there with its standard error."""
    optimizer = optax.adam(optax.cosine_decay_schedule(0.03, STEPS))
    estimate = jax.vmap(bk.expectation(objective), (0, None))

    def step(carry, key):
        p, state = carry
        gradient = jax.grad(lambda p: -jnp.mean(estimate(jax.random.split(key, batch), p)))(p)
        updates, state = optimizer.update(gradient, state)
        return (optax.apply_updates(p, updates), state), None

    keys = jax.random.split(jax.random.key(1), STEPS)
    p = jax.jit(lambda: jax.lax.scan(step, (start, optimizer.init(start)), keys)[0][0])()
    values = jax.jit(estimate)(jax.random.split(jax.random.key(2), 20_000), p)
    return p, f"{values.mean():.2f} ± {values.std() / 20_000**0.5:.2f}"


fits = {
    "normal guide, ELBO": maximise(
        lambda p: bk.objectives.ELBO()(cone, normal_guide(p)), jnp.array([2.0, -1.0, 0.5, -1.0])
    ),
    "ring guide, ELBO": maximise(lambda p: bk.objectives.ELBO()(cone, ring_guide(p)), jnp.array([-1.0, -1.0])),
    "ring guide, 5 particles outside": maximise(
        lambda p: bk.objectives.ImportanceWeightedELBO(5)(cone, ring_guide(p)), jnp.array([-1.0, -1.0])
    ),
}
for name, (_, bound) in fits.items():
    print(f"{name:34} {bound}   (log Z is -5.32)")


# %% tags=["cover"]
def draws(program, num=1500):
    def point():
        choices, _ = bk.draw(program)
        return choices["x"], choices["y"]

    return jax.vmap(bk.expectation(point))(jax.random.split(jax.random.key(3), num))


figure, axes = plt.subplots(1, 3, figsize=(9, 3.2), sharex=True, sharey=True)
turn = np.linspace(0, 2 * np.pi, 200)
for panel, (name, (p, bound)) in zip(axes, fits.items(), strict=True):
    x, y = draws(normal_guide(p) if name.startswith("normal") else ring_guide(p))
    panel.plot(5**0.5 * np.cos(turn), 5**0.5 * np.sin(turn), color="black", linewidth=0.8)
    panel.scatter(x, y, s=3, alpha=0.4)
    panel.set(title=f"{name}\n{bound}", aspect="equal", xlabel="x")
axes[0].set_ylabel("y")
figure.tight_layout()


# %% [markdown]
# ## In one call, with a verdict
#
# For most models a normal guide over the unconstrained parameters is the place to start. `bk.VI` fits it and draws from
# it, and the verdict says whether the draws can stand for the posterior. Here they cannot at first: two parameters are
# strongly correlated, and independent normals are too narrow. A full-rank guide is right.


# %%
def regression(x, y):
    intercept = numpyro.sample("intercept", dist.Normal(0.0, 5.0))
    slope = numpyro.sample("slope", dist.Normal(0.0, 5.0))
    with numpyro.plate("row", len(y)):
        numpyro.sample("y", dist.Normal(intercept + slope * x, 0.5), obs=y)


generator = np.random.default_rng(0)
covariate = generator.uniform(1.0, 3.0, size=40)
data = {"x": covariate, "y": 1.0 - 0.5 * covariate + 0.5 * generator.normal(size=40)}
for guide in (bk.guides.MeanField(), bk.guides.FullRank()):
    objective = bk.objectives.ELBO(8, sticking_the_landing=True)
    fit = bk.infer(regression, data, bk.VI(guide=guide, objective=objective, num_steps=3000), key=0, progress=False)
    print(type(guide).__name__)
    bk.check(fit)

# %%
figure, axes = plt.subplots(figsize=(6, 2.6))
axes.plot(fit["warmup_sample_stats/loss"][0], linewidth=0.5)
axes.set(xlabel="step", ylabel="loss (minus the bound)", yscale="log")
figure.tight_layout()

# %% [markdown]
# ## What we saw, and what to try
#
# * Five gradients of one number have the same mean; which of them is used decides how many draws it takes.
# * A guide with a hidden variable follows a posterior that no normal distribution can, and more particles tighten the
#   bound.
# * `bk.check` weighs the draws of a fit against the posterior: it refused the mean-field guide and took the full-rank
#   one. That is what makes an approximation safe to use.
# * Try `bk.importance_resample(fit, 1000, key=1)` on the fit that was refused, and NUTS started from it:
#   `bk.infer(regression, data, bk.NUTS(), key=0, init=fit)`.
