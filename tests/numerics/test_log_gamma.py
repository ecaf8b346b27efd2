"""`log_gamma_ratio` against sums of logarithms and an identity that holds for any argument."""

import math

import jax
import numpy as np
import pytest
from scipy.special import digamma, gammaln

from bayeskit.numerics.log_gamma import log_gamma_ratio

ARGUMENTS = [1e-3, 0.5, 3.0, 9.999, 10.0, 10.001, 50.0, 1e3, 1e6, 1e12]


@jax.jit
@jax.vmap
def values_and_slopes(z, h):
    return log_gamma_ratio(z, h), *jax.grad(log_gamma_ratio, (0, 1))(z, h)


def test_whole_steps_are_sums_of_logarithms():
    points = [(z, h) for z in ARGUMENTS for h in (1, 7, 2000)]
    values, slopes, _ = values_and_slopes(*np.array(points, float).T)
    for (z, h), value, slope in zip(points, values, slopes, strict=True):
        assert value == pytest.approx(math.fsum(math.log(z + k) for k in range(h)), rel=2e-14, abs=2e-14), (z, h)
        assert slope == pytest.approx(math.fsum(1 / (z + k) for k in range(h)), rel=1e-12), (z, h)


def test_two_half_steps_are_one():
    z = np.array(ARGUMENTS)
    both = jax.jit(log_gamma_ratio)(np.stack([z, z + 0.5]), 0.5)
    for argument, found in zip(ARGUMENTS, np.asarray(both).sum(0), strict=True):
        assert found == pytest.approx(math.log(argument), rel=1e-13, abs=1e-13)


def test_scipy_where_it_does_not_cancel():
    z, h = (x.ravel() for x in np.meshgrid(np.linspace(0.1, 40, 60), np.linspace(0, 30, 50)))
    values, _, slopes = values_and_slopes(z, h)
    np.testing.assert_allclose(values, gammaln(z + h) - gammaln(z), rtol=1e-13, atol=1e-12)
    np.testing.assert_allclose(slopes, digamma(z + h), rtol=1e-11, atol=1e-11)


def test_single_precision_keeps_its_digits():
    with jax.enable_x64(False):
        assert jax.jit(log_gamma_ratio)(1e8, 0.5) == pytest.approx(0.5 * math.log(1e8), rel=1e-6)
