"""Distribution function and quantiles of densities that SciPy has."""

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
    density = PiecewiseDensity.of(log_density, jnp.asarray(low), jnp.asarray(high))
    t = np.linspace(low, high, 777)
    np.testing.assert_allclose(density.cdf(jnp.asarray(t)), law.cdf(t), atol=1e-12)
    mass = np.array([1e-9, 1e-3, 0.2, 0.5, 0.9, 0.9999])
    np.testing.assert_allclose(density.icdf(jnp.asarray(mass)), law.ppf(mass), rtol=1e-9, atol=1e-9)


def test_outside_of_the_interval():
    density = PiecewiseDensity.of(lambda t: -0.5 * t**2, jnp.asarray(-9.0), jnp.asarray(9.0))
    np.testing.assert_array_equal(density.cdf(jnp.array([-100.0, 100.0])), [0.0, 1.0])
