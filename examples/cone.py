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
# # A posterior that is a ring: guides and objectives
#
# Which guides and objectives can follow a posterior that is a ring?
#
# A cone-shaped model: $x, y \sim \mathrm{Normal}(0, 10)$ and
# $z \sim \mathrm{Normal}(r, 0.1 + r / 100)$ with $r = x^2 + y^2$, observed at $z = 5$. Becker et al. (2024) compare
# guides and objectives on it. `python benchmarks/cone.py` runs them to convergence.

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
STEPS = 300 if SMALL else 5000
BATCH, DRAWS = (16, 4000) if SMALL else (32, 20_000)


def sample(name, loc, scale):
    return numpyro.sample(name, dist.Normal(loc, scale))


def cone():
    radius = sample("x", 0.0, 10.0) ** 2 + sample("y", 0.0, 10.0) ** 2
    numpyro.sample("z", dist.Normal(radius, 0.1 + radius / 100), obs=5.0)


# %% [markdown]
# ## The exact posterior
#
# In two dimensions a fine grid will do; its sum is the probability of the observation, and no bound lies above its log.

# %%
grid = jnp.linspace(-4.0, 4.0, 801)
log_joint = jax.jit(jax.vmap(jax.vmap(lambda x, y: bk.log_density(cone, {"x": x, "y": y}), (0, None)), (None, 0)))
log_posterior = log_joint(grid, grid)  # rows are y
log_z = float(jax.nn.logsumexp(log_posterior) + 2 * jnp.log(grid[1] - grid[0]))
print(f"log Z = {log_z:.4f}")

# %% [markdown]
# ## The guides
#
# * Independent normals, which can sit on a part of the ring only.
# * A ring: an angle is drawn first and hidden by `bk.marginal`, and $x$ and $y$ are normal around that point of the
#   ring. The density of $x$ and $y$ is an integral over the angle, which is estimated with particles: the uniform
#   distribution proposes angles. One particle is hierarchical variational inference (HVI); more of them bound the
#   density closer (IWHVI), and the guide may be narrower.


# %%
def independent(p):
    def guide():
        sample("x", p[0], jnp.exp(p[1]))
        sample("y", p[2], jnp.exp(p[3]))

    return guide


def angle():
    return 2 * jnp.pi * numpyro.sample("u", dist.Uniform(0.0, 1.0))


def around(p):
    def guide():
        u = angle()
        sample("x", 5**0.5 * jnp.cos(u), jnp.exp(p[0]))
        sample("y", 5**0.5 * jnp.sin(u), jnp.exp(p[1]))

    return guide


def ring(p, num_particles):
    return bk.marginal(around(p), ["x", "y"], bk.integrators.ImportanceSampling(num_particles, lambda _: angle))


NORMAL, RING = jnp.array([2.0, -1.0, 0.5, -1.0]), jnp.array([-1.0, -1.0])
OBJECTIVES = {
    "ELBO, independent normals": (lambda p: bk.objectives.ELBO()(cone, independent(p)), NORMAL, independent),
    "IWELBO(5), independent normals": (
        lambda p: bk.objectives.ImportanceWeightedELBO(5)(cone, independent(p)),
        NORMAL,
        independent,
    ),
    "HVI, ring": (lambda p: bk.objectives.ELBO()(cone, ring(p, 1)), RING, around),
    "IWHVI(5), ring": (lambda p: bk.objectives.ELBO()(cone, ring(p, 5)), RING, around),
    "IWHVI(50), ring": (lambda p: bk.objectives.ELBO()(cone, ring(p, 50)), RING, around),
}

# %% [markdown]
# ## The fits


# %%
def maximise(objective, start):
    """Parameters after some steps of Adam, and estimates of the bound there."""
    optimizer = optax.adam(optax.cosine_decay_schedule(0.03, STEPS))
    estimate = jax.vmap(bk.expectation(objective), (0, None))

    def step(carry, key):
        p, state = carry
        gradient = jax.grad(lambda p: -jnp.mean(estimate(jax.random.split(key, BATCH), p)))(p)
        updates, state = optimizer.update(gradient, state)
        return (optax.apply_updates(p, updates), state), None

    keys = jax.random.split(jax.random.key(1), STEPS)
    p = jax.jit(lambda: jax.lax.scan(step, (start, optimizer.init(start)), keys)[0][0])()
    return p, np.asarray(jax.jit(estimate)(jax.random.split(jax.random.key(2), DRAWS), p))


fits = {name: maximise(objective, start) for name, (objective, start, _) in OBJECTIVES.items()}
print(f"{'':32}{'bound':>8}{'± s.e.':>8}{'below log Z':>13}")
for name, (_, values) in fits.items():
    print(f"{name:32}{values.mean():8.2f}{values.std() / DRAWS**0.5:8.2f}{log_z - values.mean():13.2f}")

# %% [markdown]
# ## The pictures
#
# The exact posterior in grey, and 1,500 draws of each guide. The importance-weighted bound spreads the normals wider:
# it asks only that good points are *among* the draws. The rings look alike, and are good guides all of them; the bounds
# differ by how well the density of the guide is known. One particle takes the density around the angle that was drawn
# for that of the whole ring, which is far too high; the more particles, the closer.

# %% tags=["cover"]
figure, panels = plt.subplots(1, len(fits), figsize=(11, 2.7), sharey=True)
for axes, (name, (p, values)) in zip(panels, fits.items(), strict=True):
    axes.contourf(grid, grid, jnp.exp(log_posterior - log_posterior.max()), levels=[0.05, 0.3, 0.6, 1.0], cmap="Greys")
    guide = OBJECTIVES[name][2](p)
    draws = jax.vmap(lambda key, guide=guide: bk.draw(guide, key=key)[0])(jax.random.split(jax.random.key(3), 1500))
    axes.scatter(draws["x"], draws["y"], s=2, color="C1", alpha=0.4, linewidths=0)
    axes.set(xlim=(-3.2, 3.2), ylim=(-3.2, 3.2), aspect="equal", xlabel="x")
    axes.set_title(f"{name.replace(', ', chr(10))}\nbound {values.mean():.2f}", fontsize=9)
panels[0].set_ylabel("y")
figure.tight_layout()

# %% [markdown]
# ## What we saw, and what to try
#
# * Independent normals lose more than two nats, whatever the objective; a guide with the right shape loses what its own
#   density is not known by.
# * The more particles estimate that density, the closer the bound comes to $\log Z$, and no bound lies above it.
# * Try 500 particles, or `bk.objectives.ImportanceWeightedELBO(5)` around the ring. What a guide is made of is on the
#   page [Variational inference](../docs/variational.md).
