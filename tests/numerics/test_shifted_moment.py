"""Moments about another point: those that are polynomials of the shift, and their derivatives."""

import jax
import numpy as np
import pytest
from scipy import special

from bayeskit.numerics.shifted_moment import log_shifted_moment

POWERS = np.array([0.1, 0.5, 1.0, 3.0, 20.0])[:, None]
SHIFTS = np.array([1e-12, 1e-3, 0.7, 1.0, 30.0, 1e5])


@jax.jit
def of_all(order, shift):
    def total(power, shift):
        return log_shifted_moment(power, order, shift).sum()

    return log_shifted_moment(POWERS, order, shift), jax.grad(total, 1)(POWERS, shift)


def moment(order):
    return special.gamma((order + 1) / POWERS) / special.gamma(1 / POWERS)


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_even_orders_are_polynomials(sign):
    for order, expected, slope in (
        (2.0, moment(2) + SHIFTS**2, 2 * SHIFTS),
        (4.0, moment(4) + 6 * moment(2) * SHIFTS**2 + SHIFTS**4, 12 * moment(2) * SHIFTS + 4 * SHIFTS**3),
    ):
        logs, by_shift = of_all(order, sign * SHIFTS)
        np.testing.assert_allclose(logs, np.log(expected), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(by_shift, sign * (slope / expected).sum(0), rtol=1e-8, atol=1e-11)


def test_it_is_closed_where_there_is_no_shift():
    logs, by_shift = of_all(0.3, np.zeros(6))
    np.testing.assert_allclose(logs, np.log(np.broadcast_to(moment(0.3), (5, 6))), rtol=1e-13)
    assert not by_shift.any()
    nearly, _ = of_all(0.3, np.full(6, 1e-9))
    np.testing.assert_allclose(nearly, logs, atol=1e-9)


def test_slopes_of_a_kink_that_is_steep():
    """The derivative by the shift has the integrand |y - c|^(r - 1)."""
    _, by_shift = of_all(0.1, SHIFTS)
    step = 1e-6 * SHIFTS
    difference = (of_all(0.1, SHIFTS + step)[0] - of_all(0.1, SHIFTS - step)[0]) / (2 * step)
    np.testing.assert_allclose(by_shift[1:], difference.sum(0)[1:], rtol=1e-6, atol=1e-6)
