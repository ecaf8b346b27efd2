"""Products with Kronecker matrices: against the matrices themselves, in NumPy."""

import functools

import jax
import numpy as np
import pytest
import scipy.stats

from bayeskit.numerics.kronecker import kronecker_apply, kronecker_gram, kronecker_log_density, kronecker_rows

NODES, COLUMNS, OTHERS = (5, 3, 4), (2, 6, 3), (3, 1, 2)
axes = pytest.mark.parametrize("num_axes", [1, 2, 3])
RNG = np.random.default_rng(0)
LEFT = [RNG.normal(size=shape) for shape in zip(NODES, COLUMNS, strict=True)]
RIGHT = [RNG.normal(size=shape) for shape in zip(NODES, OTHERS, strict=True)]
WEIGHT = RNG.normal(size=NODES)  # of either sign


def whole(factors):
    return functools.reduce(np.kron, factors)


@axes
def test_apply(num_axes):
    left = LEFT[:num_axes]
    array = np.random.default_rng(1).normal(size=COLUMNS[:num_axes])
    found = jax.jit(kronecker_apply)(left, array)
    assert found.shape == NODES[:num_axes]
    np.testing.assert_allclose(found.ravel(), whole(left) @ array.ravel(), rtol=1e-12, atol=1e-12)


@axes
def test_rows(num_axes):
    """The row of a point is the row of the whole matrix whose index is the same along all axes."""
    square = [np.random.default_rng(axis).normal(size=(4, r)) for axis, r in enumerate(COLUMNS[:num_axes])]
    same = np.ravel_multi_index((np.arange(4),) * num_axes, (4,) * num_axes)
    np.testing.assert_allclose(jax.jit(kronecker_rows)(square), whole(square)[same], rtol=1e-13)


@axes
def test_gram(num_axes):
    left, right = LEFT[:num_axes], RIGHT[:num_axes]
    weight = WEIGHT[(slice(None),) * num_axes + (0,) * (3 - num_axes)]
    plain, weighted = jax.jit(lambda a, b, w: (kronecker_gram(a, b), kronecker_gram(a, b, w)))(left, right, weight)
    np.testing.assert_allclose(plain, whole(left).T @ whole(right), rtol=1e-12, atol=1e-12)
    expected = whole(left).T @ (weight.reshape(-1, 1) * whole(right))
    np.testing.assert_allclose(weighted, expected, rtol=1e-12, atol=1e-12)


@axes
def test_log_density(num_axes):
    covariances = [a @ a.T + 0.5 * np.eye(len(a)) for a in LEFT[:num_axes]]
    array = np.random.default_rng(2).normal(size=NODES[:num_axes])
    found = jax.jit(kronecker_log_density)([np.linalg.cholesky(one) for one in covariances], array)
    expected = scipy.stats.multivariate_normal(np.zeros(array.size), whole(covariances)).logpdf(array.ravel())
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_factors_without_a_partner_are_refused():
    for weight in (None, WEIGHT[:, :, 0]):
        with pytest.raises(ValueError, match="zip"):
            kronecker_gram(LEFT[:2], RIGHT[:1], weight)
