"""What every distribution of the package must do: a row in the table gets all tests.

Draws and densities are compared with each other by Stein's identity: for any density p on R^d that vanishes far away,
E[grad log p(x)] = 0 and E[x . grad log p(x)] = -d. Positive values are tested as logarithms.
"""

from __future__ import annotations

from functools import cache, partial
from typing import NamedTuple

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
from bayeskit.models.pfn.normal_mixture import NormalMixture

from .extras import rows

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
    "GeneralizedNormal": lambda: distributions.GeneralizedNormal(0.5, jnp.array([1.5, 0.7]), jnp.array([1.3, 4.0])),
    "BridgeConditional": bridge,
    "NormalMixture": lambda: NormalMixture(jnp.zeros((2, 2)), jnp.array([-1.0, 2.0]), jnp.array([0.5, 1.5])),
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
FULL = {  # laws of NumPyro or of another row, for the same data in test_scale_mixture.py
    "scale, closed",
    "scale, noise outside",
    "joint prediction, closed",
    "single predictions, closed",
    "prior, quadrature",  # as "prior, closed" and "scale, quadrature"
    "joint prediction, noise outside",  # as "joint prediction, quadrature" and "single predictions, noise outside"
}
by_name = pytest.mark.parametrize("name", rows(CASES, full=FULL))
SHAPE = (250, 2)


class Found(NamedTuple):
    """Of a law, from one program.

    Attributes:
        draws: of shape `SHAPE` and that of the law.
        densities: the log densities of the draws.
        values: the draws, or their logarithms where values are positive.
        gradients: of the log densities of the `values` by them.
        moments: mean and variance of the law.
    """

    draws: np.ndarray
    densities: np.ndarray
    values: np.ndarray
    gradients: np.ndarray
    moments: tuple[np.ndarray, np.ndarray]


def is_positive(law):
    return law.support is constraints.positive or not bool(jnp.all(law.support(-jnp.ones(law.event_shape))))


@partial(jax.jit, static_argnums=1)
def look(law, positive):
    draws = law.sample(jax.random.key(1), SHAPE)
    values = jnp.log(draws) if positive else draws

    def total(values):
        densities = law.log_prob(jnp.exp(values) if positive else values)
        return jnp.sum(densities) + (jnp.sum(values) if positive else 0.0), densities

    gradients, densities = jax.grad(total, has_aux=True)(values)
    return Found(draws, densities, values, gradients, (law.mean, law.variance))


@cache
def found_of(name):
    law = CASES[name]()
    return law, jax.tree.map(np.asarray, look(law, is_positive(law)))


def flat(array):
    """Draws along one axis."""
    return array.reshape(-1, *array.shape[2:])


def z_score(draws, expected):
    return (draws.mean(0) - expected) / (draws.std(0) / np.sqrt(len(draws)))


@jax.jit
def log_prob(law, value):
    return law.log_prob(value)


@by_name
def test_shapes_and_support(name):
    law, found = found_of(name)
    assert found.draws.shape == (*SHAPE, *law.batch_shape, *law.event_shape)
    assert found.densities.shape == (*SHAPE, *law.batch_shape)
    assert bool(np.all(law.support(found.draws)))
    assert bool(np.all(np.isfinite(found.densities)))
    assert {moment.shape for moment in found.moments} == {(*law.batch_shape, *law.event_shape)}


@by_name
def test_draws_have_the_density(name):
    law, found = found_of(name)
    values, gradients = flat(found.values), flat(found.gradients)
    assert np.isfinite(gradients).all()
    assert np.abs(z_score(gradients, 0.0)).max() < 4
    axes = tuple(range(1 + len(law.batch_shape), gradients.ndim))
    size = int(np.prod(law.event_shape, dtype=int))
    assert np.abs(z_score((values * gradients).sum(axes), -size)).max() < 4


@by_name
def test_draws_have_the_moments(name):
    _, found = found_of(name)
    draws, (mean, variance) = flat(found.draws), found.moments
    assert np.abs(z_score(draws, mean)).max() < 4
    assert np.abs(z_score((draws - mean) ** 2, variance)).max() < 4


@by_name
def test_compiled_and_mapped_densities_are_the_same(name):
    law, found = found_of(name)
    draws, expected = found.draws[:4, 0], found.densities[:4, 0]
    np.testing.assert_allclose(law.log_prob(draws), expected, rtol=1e-9)
    np.testing.assert_allclose(jax.jit(jax.vmap(law.log_prob))(draws), expected, rtol=1e-9)


@by_name
def test_single_precision_gives_the_same_density(name):
    _, exact = found_of(name)
    with jax.enable_x64(False):
        found = log_prob(CASES[name](), jnp.asarray(exact.draws[:4, 1], jnp.float32))
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, exact.densities[:4, 1], rtol=1e-3, atol=1e-3)


@by_name
def test_it_is_a_site_of_a_model(name):
    law = CASES[name]()

    def model(value=None):
        numpyro.sample("x", law, obs=value)

    @jax.jit
    def both(key):
        drawn = handlers.trace(handlers.seed(model, key)).get_trace()["x"]["value"]
        return log_density(model, (drawn,), {}, {})[0], law.log_prob(drawn).sum()

    np.testing.assert_allclose(*both(jax.random.key(0)), rtol=1e-9)
