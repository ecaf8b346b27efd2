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
# # Differential equations with Gaussian processes
#
# Which numbers in an equation fit twenty noisy readings, and how sure are we of them and of the solution?
#
# First that inverse problem. Then equations that are known, each with its exact solution beside it. The page
# [Differential equations](../docs/spectral_pde.md) has the mathematics.

# %%
import os

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import numpyro.distributions as dist

import bayeskit as bk
from bayeskit.models import spectral_pde as sp

SMALL = os.environ.get("BAYESKIT_EXAMPLE_SIZE") == "small"  # for tests of this notebook
generator = np.random.default_rng(0)


def known(*spectra):
    """Spectra that are given where this notebook is a test, and learned where it is read."""
    return spectra if SMALL else None


# %% [markdown]
# ## Where is the rod heated, and how fast does heat spread?
#
# $$u_t = D\, u_{xx} + 10 \exp\Bigl(-\tfrac{(x - c)^2}{2 \cdot 0.1^2}\Bigr), \qquad u(0, t) = u(1, t) = u(x, 0) = 0$$
#
# The truth is $D = 0.3$, $c = 0.4$, and the solution a sum of sines. The spectrum is given; left out, it is learned
# when the model is first used, at the medians of the priors.


# %%
def heating(x, t, place):
    del t
    return 10.0 * jnp.exp(-((x - place) ** 2) / (2 * 0.1**2))


problem = sp.Problem(
    domain=[(0.0, 1.0), (0.0, 1.0)],
    operator=lambda u, diffusion: u.t - diffusion * u.xx,
    source=heating,
    boundary=0.0,
    initial=0.0,
    coefficients={"diffusion": dist.LogNormal(-1.0, 1.0), "place": dist.Uniform(0.1, 0.9)},
    num_nodes=(12, 12) if SMALL else (25, 25),
)
spectrum = [sp.Spectrum(1.0, 0.0, 0.25), sp.Spectrum(1.0, 0.0, 0.8)]


# %%
def rod(x, t, diffusion=0.3, place=0.4):
    """The exact temperature."""
    nodes, weights = np.polynomial.legendre.leggauss(400)
    along = (nodes + 1) / 2
    waves = np.pi * np.arange(1, 101)
    coefficients = np.sin(np.outer(waves, along)) @ (weights * 10 * np.exp(-((along - place) ** 2) / (2 * 0.1**2)))
    decay = diffusion * waves**2
    terms = coefficients * -np.expm1(-decay * np.asarray(t)[..., None]) / decay
    return np.sum(terms * np.sin(waves * np.asarray(x)[..., None]), axis=-1)


at = generator.uniform(0.05, 0.95, size=(20, 2))
readings = rod(*at.T)
readings = readings + 0.05 * np.sqrt(np.mean(readings**2)) * generator.normal(size=20)

size = {"num_chains": 1, "num_warmup": 60, "num_draws": 100, "max_tree_depth": 3}
method = bk.NUTS(**size) if SMALL else bk.NUTS(num_chains=4, num_warmup=200, num_draws=250, max_tree_depth=5)
post = bk.infer(sp.model(problem, spectrum=spectrum), {"at": at, "readings": readings}, method, key=0, progress=False)
bk.check(post)
bk.summary(post)

# %%
truth = {"diffusion": 0.3, "place": 0.4}
draws = {name: np.asarray(post.posterior[name]).ravel() for name in truth}
figure, axes = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
for panel, (name, value) in zip(axes, truth.items(), strict=True):
    panel.hist(draws[name], bins=40, density=True, alpha=0.6, label="posterior")
    panel.axvline(value, color="black", ls="--", label="truth")
    panel.set(xlabel=name, yticks=[])
    panel.legend()

# %% [markdown]
# The temperature at the means of both. Readings have the colours of the image.

# %% tags=["cover"]
means = {name: float(values.mean()) for name, values in draws.items()}
field = sp.solve(problem, coefficients=means, spectrum=spectrum, tolerance=1e-5, key=0)
figure = sp.plot(field, readings=sp.Readings(at, readings), num=80)

# %% [markdown]
# ## Two scales at once
#
# Poisson's equation in one dimension, with a slow wave and one twenty times as fast. The frequencies, in cycles a unit,
# are found: $1 / 2 \pi$ is slow enough to be taken for a trend, and $20 / 2 \pi = 3.18$ is a component of its own.


# %%
def two_scales(x):
    return jnp.sin(x) + 0.1 * jnp.sin(20 * x)


problem = sp.Problem(
    domain=[(0.0, 2 * np.pi)],
    operator=lambda u: u.xx,
    source=lambda x: -jnp.sin(x) - 40 * jnp.sin(20 * x),
    boundary=two_scales,
    num_nodes=100,
)
solution = sp.solve(problem, key=0)
bk.check(solution)
print("frequencies", np.round(solution.spectrum[0].frequency, 3))
figure = sp.plot(solution, two_scales)

# %% [markdown]
# ## Two dimensions


# %%
def wave(x, y):
    return jnp.sin(6 * x) * jnp.cos(20 * y)


problem = sp.Problem(
    domain=[(0.0, 1.0), (0.0, 1.0)],
    operator=lambda u: u.xx + u.yy,
    source=lambda x, y: -436.0 * wave(x, y),
    boundary=wave,
    num_nodes=20 if SMALL else 30,
)
solution = sp.solve(problem, spectrum=known(sp.Spectrum(1.0, 0.95, 1.0), sp.Spectrum(1.0, 3.2, 2.0)), key=0)
bk.check(solution)
figure = sp.plot(solution, wave, num=60)

# %% [markdown]
# ## A nonlinear equation
#
# Allen and Cahn's. Nothing changes but the operator; that it is not linear is found out, and Gauss-Newton steps lead to
# the solution.


# %%
def reaction(u):
    return u * (u**2 - 1)


problem = sp.Problem(
    domain=[(0.0, 2.0)],
    operator=lambda u: u.xx + reaction(u.value),
    source=lambda x: -400.0 * jnp.sin(20 * x) + reaction(jnp.sin(20 * x)),
    boundary=lambda x: jnp.sin(20 * x),
    num_nodes=80,
)
print("linear:", problem.is_linear)
solution = sp.solve(problem, spectrum=known(sp.Spectrum(1.0, 3.2, 4.0)), key=0)
bk.check(solution)
print("steps of Gauss-Newton:", solution.tree.attrs["gauss_newton_steps"])
figure = sp.plot(solution, lambda x: jnp.sin(20 * x))

# %% [markdown]
# ## What flows in flows out
#
# Advection: values at the first time and where it flows in, none where it flows out.


# %%
def carried(x, t):
    return jnp.sin(10 * (x - 2 * t))


problem = sp.Problem(
    domain=[(0.0, 1.0), (0.0, 1.0)],
    operator=lambda u: u.t + 2.0 * u.x,
    boundary={"x": (carried, None)},
    initial=lambda x: carried(x, 0.0),
    num_nodes=(20, 30),
)
solution = sp.solve(problem, spectrum=known(sp.Spectrum(1.0, 1.6, 2.0), sp.Spectrum(1.0, 3.2, 2.0)), key=0)
bk.check(solution)
figure = sp.plot(solution, carried, num=60)

# %% [markdown]
# ## Noisy readings in the place of boundary values
#
# Nothing is known at the ends: thirty noisy readings decide what the equation leaves open. Their noise is learned (the
# truth is 0.05).


# %%
def read(x):
    return jnp.sin(20 * x) + jnp.exp(-x)


x = generator.uniform(0.0, 1.0, size=30)
noisy = sp.Readings(x, np.asarray(read(x)) + 0.05 * generator.normal(size=30))
problem = sp.Problem(
    domain=[(0.0, 1.0)],
    operator=lambda u: u.xx,
    source=lambda x: -400.0 * jnp.sin(20 * x) + jnp.exp(-x),
    boundary={},
    data=noisy,
    num_nodes=60,
)
solution = sp.solve(problem, spectrum=known(sp.Spectrum([1.0, 1.0], [0.0, 3.2], [1.0, 2.0])), key=0)
bk.check(solution)
print(f"noise {solution.noise:.3f}")
figure = sp.plot(solution, read, readings=noisy)

# %% [markdown]
# ## What we saw, and what to try
#
# * Unknown numbers of an equation are sites like any other: their posterior comes with a verdict, and holds the truth.
# * Given equations are solved to many digits by linear algebra, with a standard deviation at every point that is small
#   where the equation decides and large where nothing does.
# * Try fewer readings of the rod and see the posterior of the place widen first; a boundary that is not known; or an
#   equation of your own: only the operator changes.
