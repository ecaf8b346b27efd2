"""Integrals with known values, and integrals that must be refused."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from bayeskit.numerics.trapezoid import integrate_log, nodes_for


@partial(jax.jit, static_argnums=0)
def integral(log_integrand, *arguments):
    def integrand(t):
        return log_integrand(t, *arguments)

    grid = nodes_for(integrand, -350.0, 350.0, 1025)
    return integrate_log(integrand(grid.nodes), grid)


def log_normal(t, centre, deviation):
    return -0.5 * ((t - centre) / deviation) ** 2 - jnp.log(deviation * jnp.sqrt(2 * jnp.pi))


def log_gamma(t, shape):
    return shape * t - jnp.exp(t)


@pytest.mark.parametrize("deviation", [1e-6, 1e-4, 0.02, 1.0, 20.0])
@pytest.mark.parametrize("centre", [-200.3, 0.0, 3.7])
def test_a_normal_density_has_mass_one_however_narrow(deviation, centre):
    value, trusted = integral(log_normal, centre, deviation)
    assert trusted
    assert abs(value) < 1e-11 + 4e-16 * abs(centre) / deviation  # the rounding of the nodes


@pytest.mark.parametrize("shape", [0.2, 1.0, 700.0])
def test_a_log_gamma_density(shape):
    value, trusted = integral(log_gamma, shape)
    assert trusted
    assert float(value) == pytest.approx(special.gammaln(shape), rel=1e-11, abs=1e-11)


def test_two_peaks_are_both_found():
    def two(t):
        return jnp.logaddexp(-0.5 * ((t + 40) / 0.3) ** 2, -0.5 * ((t - 60) / 0.5) ** 2)

    value, trusted = integral(two)
    assert trusted
    assert np.exp(value) == pytest.approx(0.8 * np.sqrt(2 * np.pi), rel=1e-9)


@pytest.mark.parametrize(
    "log_integrand",
    [
        lambda t: -0.01 * jnp.abs(t),  # its tails reach beyond the range
        lambda t: jnp.zeros_like(t),
        lambda t: t,
        lambda t: jnp.full_like(t, jnp.nan),
        lambda t: -0.5 * t**2 + jnp.where(t > 0.3, 1.0, 0.0),  # a jump: the rule is no longer exact
    ],
)
def test_what_is_not_resolved_is_said(log_integrand):
    assert not integral(log_integrand)[1]


def test_the_derivative_is_that_of_the_integral():
    slope = jax.jit(jax.grad(lambda s: integral(log_gamma, s)[0]))(3.3)
    assert float(slope) == pytest.approx(special.digamma(3.3), rel=1e-11)
