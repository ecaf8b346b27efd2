"""The search for a mode: saddle points are left, failures are told, derivatives are those of the implicit function."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayeskit.numerics.mode import find_mode, reason


@pytest.fixture(params=[True, False], ids=["float64", "float32"], autouse=True)
def precision(request):
    with jax.enable_x64(request.param):
        yield


def log_gamma(x, a, b):
    """Of the logarithms of Gamma(a, b) variables: the mode is log(a / b), the precision a."""
    return jnp.sum(a * x - b * jnp.exp(x))


@pytest.mark.covering
@pytest.mark.parametrize("lbfgs_steps", [0, 200])
def test_a_mode_in_closed_form_with_units_that_differ(lbfgs_steps):
    a, b = jnp.array([3.0, 0.5, 400.0]), jnp.array([1e-3, 2.0, 1e4])
    mode = jax.jit(lambda: find_mode(lambda x: log_gamma(x, a, b), jnp.zeros(3), lbfgs_steps=lbfgs_steps))()
    assert bool(mode.is_mode)
    assert reason(mode.status) == ""
    np.testing.assert_allclose(mode.position, jnp.log(a / b), atol=1e-3 if a.dtype == np.float32 else 1e-8)
    np.testing.assert_allclose(mode.precision, jnp.diag(a), rtol=1e-3, atol=1e-6)


def test_first_and_second_derivatives_pass_the_mode():
    def position(a):
        return find_mode(lambda x: log_gamma(x, a, 1.0), jnp.zeros(1)).position[0]

    @jax.jit
    def derivatives(a, several):
        return jax.grad(position)(a), jax.hessian(position)(a), jax.vmap(jax.grad(position))(several)

    slope, bend, slopes = derivatives(4.0, jnp.array([1.0, 2.0]))
    np.testing.assert_allclose(slope, 1 / 4, rtol=1e-3)
    np.testing.assert_allclose(bend, -1 / 16, rtol=1e-3)
    np.testing.assert_allclose(slopes, [1.0, 0.5], rtol=1e-3)


@pytest.mark.covering
@pytest.mark.parametrize("lbfgs_steps", [0, 200])
def test_saddle_points_are_left(lbfgs_steps):
    def two_peaks(x):
        return -((x[0] ** 2 - 1) ** 2) - x[1] ** 2

    starts = jnp.array([[1e-3, 1.0], [1e-3, 0.0]])
    modes = jax.jit(jax.vmap(lambda start: find_mode(two_peaks, start, lbfgs_steps=lbfgs_steps)))(starts)
    assert modes.is_mode.all()
    np.testing.assert_allclose(np.abs(modes.position), [[1.0, 0.0]] * 2, atol=1e-3)


def test_a_saddle_point_itself_is_no_mode():
    assert not jax.jit(lambda start: find_mode(lambda x: x[0] ** 2 - x[1] ** 2, start).is_mode)(jnp.zeros(2))


def test_no_mode_no_error():
    log_densities = [
        lambda x: -jnp.abs(x[0] - 0.3) - 0.1 * x[0] ** 2,  # a kink
        lambda x: x[0],  # no bound
        lambda x: 0.0 * x[0],  # flat
        lambda x: jnp.log1p(x[0] ** 2),  # no bound either
        lambda x: jnp.nan * x[0],
        lambda x: -((x[0] - 0.3) ** 2),  # this one has a mode
    ]

    def is_mode(i):
        return find_mode(lambda x: jax.lax.switch(i, log_densities, x), jnp.ones(1), lbfgs_steps=50).is_mode

    np.testing.assert_array_equal(
        jax.jit(lambda which: jax.lax.map(is_mode, which))(jnp.arange(6)), [False] * 5 + [True]
    )


def test_the_reason_is_that_of_optimistix():
    def far(x):
        return log_gamma(x, 1.0, 1.0)

    both = jax.jit(jax.vmap(lambda start: find_mode(far, start, newton_steps=6)))(jnp.array([[40.0], [0.1]]))
    np.testing.assert_array_equal(both.is_mode, [False, True])
    assert "maximum number of steps was reached" in reason(jax.tree.map(lambda leaf: leaf[0], both.status))
    assert [bool(reason(jax.tree.map(lambda leaf, i=i: leaf[i], both.status))) for i in range(2)] == [True, False]
