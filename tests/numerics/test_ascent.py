"""The ascents of several points at once, against functions whose maxima are known."""

from __future__ import annotations

import numpy as np

from bayeskit.numerics.ascent import ascend, log_volume

RANDOM = np.random.default_rng(0)
ROOT = RANDOM.normal(size=(6, 6))
PRECISION = ROOT @ ROOT.T + np.diag(10.0 ** np.arange(-2, 4))
MEAN = RANDOM.normal(size=6)


def normal(positions):
    away = positions - MEAN
    return -0.5 * np.einsum("ij,jk,ik->i", away, PRECISION, away), -away @ PRECISION


def banana(positions):
    x, y = positions.T
    bent = y - x**2
    return -((1 - x) ** 2) - 100 * bent**2, np.stack([2 * (1 - x) + 400 * x * bent, -200 * bent], axis=1)


def half_line(positions):
    """log x - x, not a number below zero."""
    inside = np.where(positions > 0, positions, np.nan)
    return (np.log(inside) - inside)[:, 0], 1 / inside - 1


def climb(function, positions, **options):
    return ascend(function, positions, *function(positions), **{"tolerance": 1e-6, "max_evaluations": 300, **options})


def test_the_top_of_a_normal_density_whose_scales_differ():
    end = climb(normal, 5 * RANDOM.normal(size=(8, 6)))
    assert end.arrived.all()
    assert end.evaluations < 100
    np.testing.assert_allclose(end.values, 0, atol=1e-5)


def test_the_top_of_a_curved_ridge():
    end = climb(banana, np.array([[-1.2, 1.0], [0.0, 0.0], [3.0, -4.0]]))
    assert end.arrived.all()
    np.testing.assert_allclose(end.positions, 1.0, atol=1e-2)


def test_a_step_out_of_the_support_is_shortened():
    end = climb(half_line, np.array([[1e-3], [50.0]]))
    assert end.arrived.all()
    np.testing.assert_allclose(end.positions, 1.0, rtol=1e-3)


def test_without_a_bound_nothing_arrives():
    end = climb(lambda x: (3 * x[:, 0], np.broadcast_to([3.0, 0.0], x.shape)), np.zeros((2, 2)), max_evaluations=50)
    assert not end.arrived.any()
    assert end.evaluations == 50
    assert (end.values > 100).all()


def test_a_point_without_a_finite_value_stays_and_has_not_arrived():
    start = np.array([[-1.0], [2.0]])
    end = climb(half_line, start)
    assert end.positions[0] == -1.0
    assert list(end.arrived) == [False, True]


def test_the_path_of_a_point_does_not_depend_on_the_others():
    start = 5 * RANDOM.normal(size=(3, 6))
    together = climb(normal, start)
    for i in range(3):
        np.testing.assert_allclose(climb(normal, start[i : i + 1]).positions[0], together.positions[i], atol=1e-3)


def test_volume_of_a_normal_density():
    expected = -0.5 * np.linalg.slogdet(PRECISION / (2 * np.pi))[1]
    np.testing.assert_allclose(log_volume(normal, np.stack([MEAN, MEAN + 3]), 1e-5), expected, rtol=1e-6)
    assert log_volume(half_line, np.array([[1e-6]]), 1e-5) == -np.inf
