"""A factor, or NaN: never a matrix with something added to its diagonal."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayeskit.numerics import positive_definite
from bayeskit.numerics.positive_definite import log_determinant, whiten

factor = jax.jit(positive_definite.factor)


def test_factor_of_a_positive_definite_matrix():
    matrix = np.array([[2.0, 0.5], [0.5, 1.0]])
    root = factor(jnp.asarray(matrix))
    np.testing.assert_allclose(root @ root.T, matrix, rtol=1e-14)
    assert log_determinant(root) == pytest.approx(np.log(np.linalg.det(matrix)))
    np.testing.assert_allclose(root @ whiten(root, jnp.array([1.0, 2.0])), [1.0, 2.0], rtol=1e-14)


def test_singular_up_to_rounding_and_indefinite_are_nan():
    features = np.random.default_rng(0).normal(size=(30, 5))
    assert jnp.isnan(factor(jnp.asarray(features @ features.T))).all()
    assert jnp.isnan(factor(jnp.array([[1.0, 2.0], [2.0, 1.0]]))).all()
    # Cholesky itself succeeds here, with a pivot that is rounding alone
    assert jnp.isnan(factor(jnp.array([[1.0, 1.0], [1.0, 1.0 + 2.3e-16]]))).all()


def test_a_batch_is_judged_one_by_one():
    batch = jnp.stack([jnp.eye(2), jnp.ones((2, 2))])
    np.testing.assert_array_equal(jnp.isnan(factor(batch)).all(axis=(1, 2)), [False, True])


def test_scale_does_not_matter():
    assert jnp.isfinite(factor(1e-200 * jnp.eye(3))).all()
