"""`log_gamma_ratio` against sums of logarithms and an identity that holds for any argument."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import digamma, gammaln

from bayeskit.numerics.log_gamma import log_gamma_ratio

ARGUMENTS = [1e-3, 0.5, 3.0, 9.999, 10.0, 10.001, 50.0, 1e3, 1e6, 1e12]


@pytest.mark.covering
@pytest.mark.parametrize("z", ARGUMENTS)
@pytest.mark.parametrize("h", [1, 7, 2000])
def test_whole_steps_are_sums_of_logarithms(z, h):
    expected = math.fsum(math.log(z + k) for k in range(h))
    assert log_gamma_ratio(z, h) == pytest.approx(expected, rel=2e-14, abs=2e-14)
    slope = math.fsum(1 / (z + k) for k in range(h))
    assert jax.grad(log_gamma_ratio)(z, float(h)) == pytest.approx(slope, rel=1e-12)


@pytest.mark.parametrize("z", ARGUMENTS)
def test_two_half_steps_are_one(z):
    assert log_gamma_ratio(z, 0.5) + log_gamma_ratio(z + 0.5, 0.5) == pytest.approx(math.log(z), rel=1e-13, abs=1e-13)


def test_scipy_where_it_does_not_cancel():
    z, h = np.meshgrid(np.linspace(0.1, 40, 60), np.linspace(0, 30, 50))
    np.testing.assert_allclose(log_gamma_ratio(z, h), gammaln(z + h) - gammaln(z), rtol=1e-13, atol=1e-12)
    slopes = jax.vmap(jax.grad(log_gamma_ratio, argnums=1))(jnp.ravel(z), jnp.ravel(h))
    np.testing.assert_allclose(slopes, digamma(z + h).ravel(), rtol=1e-11, atol=1e-11)


def test_single_precision_keeps_its_digits():
    with jax.enable_x64(False):
        assert log_gamma_ratio(1e8, 0.5) == pytest.approx(0.5 * math.log(1e8), rel=1e-6)
