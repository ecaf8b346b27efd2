"""The arc-cosine function against a series in many digits, its derivatives, and the places where it has none."""

from decimal import Decimal, getcontext

import jax
import numpy as np
import pytest

from bayeskit.numerics.arc_cosine import _angle, _coefficients, _wedge, arc_cosine

getcontext().prec = 60


def exact(t):
    """θ and sin θ - θ cos θ for t = sin²(θ/2) in [0, 1/2], by their power series in t."""
    t = Decimal(float(t))
    coefficient, angle, wedge, power = Decimal(1), Decimal(0), Decimal(0), Decimal(1)
    for k in range(200):
        angle += coefficient / (2 * k + 1) * power
        wedge += 8 * coefficient / ((2 * k + 1) * (2 * k + 3)) * power
        coefficient *= Decimal(2 * k + 1) / Decimal(2 * k + 2)
        power *= t
    return 2 * t.sqrt() * angle, t * t.sqrt() * wedge


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_all_digits_for_small_angles_too(dtype):
    ts = np.r_[np.logspace(-20, -1, 40), np.linspace(0.1, 0.5, 20)].astype(dtype)
    angle, wedge = jax.tree.map(np.asarray, jax.jit(lambda t: (_angle(t), _wedge(t)))(ts))
    for t, *found in zip(ts, angle, wedge, strict=True):
        for one, right in zip(found, exact(t), strict=True):
            assert abs(Decimal(float(one)) / right - 1) < 4 * np.finfo(dtype).eps


def test_large_angles():
    theta = np.linspace(np.pi / 2, np.pi, 101)
    np.testing.assert_allclose(
        jax.jit(_wedge)((1 - np.cos(theta)) / 2), np.sin(theta) - theta * np.cos(theta), rtol=1e-14
    )


def test_hardly_anything_cancels_in_the_polynomials():
    for bits in (16, 32, 64):
        for table in _coefficients(bits):
            terms = np.asarray(table) / 2.0 ** np.arange(len(table))
            assert np.abs(terms).sum() < 1.02 * terms.sum()


@pytest.mark.parametrize("function", [arc_cosine, jax.grad(arc_cosine, 2)], ids=["value", "derivative"])
def test_derivatives_are_finite_differences(function):
    value = jax.jit(jax.vmap(function))
    derivatives = jax.jit(jax.vmap(jax.grad(function, (0, 1, 2))))
    point = np.array([[1.3, 0.4, 2.0], [0.7, 0.4, 2.5], [1.1, 0.1, 8.0]])
    step = 1e-5
    for k, found in enumerate(derivatives(*point)):
        plus, minus = (point + sign * step * np.eye(3)[:, [k]] for sign in (1, -1))
        np.testing.assert_allclose(found, (value(*plus) - value(*minus)) / (2 * step), rtol=1e-7)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_derivatives_are_finite_where_the_angle_has_none(dtype):
    points = [
        (1.0, 1.0, 0.0),
        (1.0, 1.0, 4.0),
        (0.0, 0.0, 0.0),
        (0.0, 2.0, 2.0),
        (1.0, 1.0, -1e-9),
        (1.0, 1.0, 4.1),
        (1e-12, 1e2, 1e2),
    ]
    every = (0, 1, 2)
    rules = jax.jit(jax.vmap(lambda *x: (jax.grad(arc_cosine, every)(*x), jax.hessian(arc_cosine, every)(*x))))
    found = np.stack(jax.tree.leaves(rules(*np.array(points, dtype).T)))
    assert found.shape == (3 + 9, len(points))
    assert np.isfinite(found).all()


def test_equal_vectors_have_no_angle_and_no_value():
    a = np.linspace(0.1, 3.0, 50)
    assert np.all(np.asarray(jax.jit(arc_cosine)(a, a, np.zeros(50))) == 0)


def test_nan_stays_nan():
    assert np.isnan(jax.jit(arc_cosine)(1.0, 1.0, np.nan))
