"""Distribution function and quantiles of densities that SciPy has."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from bayeskit.numerics.piecewise_density import PiecewiseDensity


@pytest.mark.parametrize(
    ("law", "log_density", "low", "high"),
    [
        (stats.norm(), lambda t: -0.5 * t**2, -9.0, 9.0),
        (stats.loggamma(0.5), lambda t: 0.5 * t - jnp.exp(t), -80.0, 5.0),
        (stats.logistic(), lambda t: -t - 2 * jnp.log1p(jnp.exp(-t)), -40.0, 40.0),
    ],
)
def test_against_scipy(law, log_density, low, high):
    @jax.jit
    def rules(low, high, t, mass):
        density = PiecewiseDensity.of(log_density, low, high)
        return density.cdf(t), density.icdf(mass), density.cdf(jnp.array([low - 91.0, high + 91.0]))

    t, mass = np.linspace(low, high, 777), np.array([1e-9, 1e-3, 0.2, 0.5, 0.9, 0.9999])
    below, at, outside = rules(low, high, t, mass)
    np.testing.assert_allclose(below, law.cdf(t), atol=1e-12)
    np.testing.assert_allclose(at, law.ppf(mass), rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(outside, [0.0, 1.0])
