"""The rule for a loss that still falls, on recorded losses and within a compiled program."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from bayeskit.train.settling import Window, fall, falls, settled, window


def test_a_window_has_the_mean_and_its_standard_error():
    losses = np.random.default_rng(0).normal(3.0, 2.0, size=(2, 50))
    mean, squared_error = window(losses)
    np.testing.assert_allclose(mean, losses.mean(axis=1))
    np.testing.assert_allclose(squared_error, losses.var(axis=1, ddof=1) / 50)
    with_gaps = np.concatenate([losses, np.full((2, 7), np.nan)], axis=1)
    np.testing.assert_allclose(window(with_gaps), window(losses))


def test_settled_and_falls_are_the_ends_of_one_interval():
    earlier, later = Window(5.0, 0.03), Window(4.0, 0.01)
    np.testing.assert_allclose(fall(earlier, later), [0.6, 1.4])
    said = [(bool(settled(earlier, later, at)), bool(falls(earlier, later, at))) for at in (0.5, 1.0, 1.5)]
    assert said == [(False, True), (False, False), (True, False)]


def test_the_rule_is_the_same_in_a_compiled_program():
    losses = np.random.default_rng(1).normal(size=(2, 100))
    here = fall(*map(window, losses))
    there = jax.jit(lambda a, b: fall(a, b))(*(Window(*map(jnp.asarray, window(row))) for row in losses))
    np.testing.assert_allclose(here, there, rtol=1e-6)


def test_the_interval_covers_the_fall_as_often_as_two_standard_errors_do():
    generator = np.random.default_rng(2)
    least, most = fall(window(generator.normal(1.0, 1.0, (2000, 40))), window(generator.normal(0.5, 3.0, (2000, 40))))
    missed = np.mean((least > 0.5) | (most < 0.5))
    assert 0.03 < missed < 0.08  # of two normal standard errors: .0455, and a little more as they are estimated
