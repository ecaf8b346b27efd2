"""What every distribution of the package must do: a row in the table gets all tests.

Draws and densities are compared with each other by Stein's identity: for any density p on R^d that vanishes far away,
E[grad log p(x)] = 0 and E[x . grad log p(x)] = -d. Positive values are tested as logarithms.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
import tinygp
from numpyro import handlers
from numpyro.distributions import constraints
from numpyro.infer.util import log_density

from bayeskit import distributions
from bayeskit.models import nngp, schrodinger_bridge

X = np.linspace(-1.0, 1.0, 6)[:, None]
Y = np.array([0.3, -0.2, 0.5, 1.1, 0.4, -0.6])
NEW = np.array([[0.1], [1.3]])
KERNEL = tinygp.kernels.ExpSquared(0.8)
GAMMA, BURR = dist.InverseGamma(3.0, 2.0), distributions.BurrXII(2.0, 3.0)


def mixture(scale_prior, noise):
    return nngp.ScaleMixture(KERNEL, scale_prior, noise=noise, noise_variance=0.2)


def student_t():
    root = jnp.array([[1.0, 0.0, 0.0], [0.4, 0.8, 0.0], [-0.3, 0.2, 1.5]])
    return distributions.MultivariateStudentT(jnp.array([6.0, 9.0]), jnp.array([0.5, -1.0, 2.0]), root)


def bridge():
    maps = jnp.array([[0.7, 1.2], [1.5, 0.4]])
    return schrodinger_bridge.BridgeConditional(
        X @ np.ones((1, 2)), 0.5, jnp.log(jnp.array([0.3, 0.7])), 2 * maps - 2, S_diag=maps
    )


CASES = {
    "MultivariateStudentT": student_t,
    "BurrXII": lambda: distributions.BurrXII(jnp.array([2.0, 3.0]), 4.0, scale=1.5),
    "BridgeConditional": bridge,
    "prior, closed": lambda: mixture(GAMMA, "inside").prior(X),
    "prior, quadrature": lambda: mixture(BURR, "outside").prior(X),
    "scale, closed": lambda: mixture(GAMMA, "inside").condition(X, Y).scale,
    "scale, quadrature": lambda: mixture(BURR, "inside").condition(X, Y).scale,
    "scale, noise outside": lambda: mixture(GAMMA, "outside").condition(X, Y).scale,
    "joint prediction, closed": lambda: mixture(GAMMA, "inside").condition(X, Y).predict(NEW),
    "joint prediction, quadrature": lambda: mixture(BURR, "inside").condition(X, Y).predict(NEW),
    "joint prediction, noise outside": lambda: mixture(BURR, "outside").condition(X, Y).predict(NEW),
    "single predictions, closed": lambda: mixture(GAMMA, "inside").condition(X, Y).predict_each(NEW),
    "single predictions, noise outside": lambda: mixture(BURR, "outside").condition(X, Y).predict_each(NEW),
}
by_name = pytest.mark.parametrize("name", CASES)
DRAWS = 1000


def is_positive(law):
    return law.support is constraints.positive or not bool(jnp.all(law.support(-jnp.ones(law.event_shape))))


def scores(law, draws):
    """Of every draw: the gradient of the log density by the value, or by its logarithm where values are positive."""
    positive = is_positive(law)
    values = jnp.log(draws) if positive else draws

    def total(z):
        return jnp.sum(law.log_prob(jnp.exp(z)) + z if positive else law.log_prob(z))

    return values, jax.jit(jax.grad(total))(values)


def z_score(draws, expected):
    return (draws.mean(0) - expected) / (draws.std(0) / np.sqrt(len(draws)))


@partial(jax.jit, static_argnums=1)
def sample(law, shape, seed):
    return law.sample(jax.random.key(seed), shape)


@jax.jit
def log_prob(law, value):
    return law.log_prob(value)


@jax.jit
def moments(law):
    return law.mean, law.variance


@by_name
def test_shapes_and_support(name):
    law = CASES[name]()
    draws = sample(law, (3, 2), 0)
    assert draws.shape == (3, 2, *law.batch_shape, *law.event_shape)
    densities = log_prob(law, draws)
    assert densities.shape == (3, 2, *law.batch_shape)
    assert bool(np.all(law.support(draws)))
    assert bool(np.all(np.isfinite(densities)))
    mean, variance = moments(law)
    assert mean.shape == variance.shape == (*law.batch_shape, *law.event_shape)


@by_name
def test_draws_have_the_density(name):
    law = CASES[name]()
    draws = sample(law, (DRAWS,), 1)
    values, gradients = (np.asarray(part) for part in scores(law, draws))
    assert np.isfinite(gradients).all()
    assert np.abs(z_score(gradients, 0.0)).max() < 4
    axes = tuple(range(1 + len(law.batch_shape), gradients.ndim))
    size = int(np.prod(law.event_shape, dtype=int))
    assert np.abs(z_score((values * gradients).sum(axes), -size)).max() < 4


@by_name
def test_draws_have_the_moments(name):
    law = CASES[name]()
    draws = np.asarray(sample(law, (DRAWS,), 2))
    mean, variance = (np.asarray(moment) for moment in moments(law))
    assert np.abs(z_score(draws, mean)).max() < 4
    assert np.abs(z_score((draws - mean) ** 2, variance)).max() < 4


@by_name
def test_compiled_and_mapped_densities_are_the_same(name):
    law = CASES[name]()
    draws = sample(law, (4,), 3)
    expected = np.asarray(law.log_prob(draws))
    np.testing.assert_allclose(log_prob(law, draws), expected, rtol=1e-9)
    np.testing.assert_allclose(jax.jit(jax.vmap(law.log_prob))(draws), expected, rtol=1e-9)


@by_name
def test_single_precision_gives_the_same_density(name):
    law = CASES[name]()
    draws = sample(law, (4,), 4)
    expected = np.asarray(log_prob(law, draws))
    with jax.enable_x64(False):
        found = log_prob(CASES[name](), jnp.asarray(draws, jnp.float32))
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


@by_name
def test_it_is_a_site_of_a_model(name):
    law = CASES[name]()

    def model(value=None):
        numpyro.sample("x", law, obs=value)

    drawn = handlers.trace(handlers.seed(model, 0)).get_trace()["x"]["value"]
    found = jax.jit(lambda drawn: log_density(model, (drawn,), {}, {})[0])(drawn)
    np.testing.assert_allclose(found, log_prob(law, drawn).sum(), rtol=1e-9)
