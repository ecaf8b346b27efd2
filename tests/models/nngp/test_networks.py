"""Networks against the textbook recursion, and how layers combine."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tinygp

from bayeskit.models import nngp
from bayeskit.models.nngp.networks.inputs import first_distances, first_marginals
from bayeskit.models.nngp.networks.second_moments import Pairs

X = np.random.default_rng(0).normal(size=(7, 3)) * 0.7
X = np.concatenate([X, X[:1], -X[:1], np.zeros((1, 3))])


@pytest.mark.parametrize("depth", [1, 20])
def test_he_scaled_relu_keeps_the_diagonal(depth):
    x = np.random.default_rng(0).normal(size=(10, 4))
    layers = [nngp.Dense(1.0)]
    for _ in range(depth):
        layers += [nngp.relu, nngp.Dense(2**0.5)]
    np.testing.assert_allclose(nngp.serial(*layers).variance(x), (x**2).mean(1), rtol=1e-12)


def test_gram_matrix_of_twenty_layers_is_positive_definite():
    x = np.random.default_rng(0).normal(size=(60, 5))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    network = nngp.fully_connected(20, 2**0.5, 0.1)
    assert np.linalg.eigvalsh(network.nngp(x)).min() > 1e-7
    with jax.enable_x64(False):
        assert np.isfinite(jnp.linalg.cholesky(network.nngp(x))).all()


def plain_recursion(x, depth, w, b):
    """The textbook form for ReLU: covariances, arccos and all."""
    kernel = w**2 * x @ x.T / x.shape[1] + b**2
    tangent = kernel
    for _ in range(depth):
        root = np.sqrt(np.outer(np.diag(kernel), np.diag(kernel)))
        theta = np.arccos(np.clip(kernel / root, -1, 1))
        dual = root * (np.sin(theta) + (np.pi - theta) * np.cos(theta)) / (2 * np.pi)
        tangent = tangent * (np.pi - theta) / (2 * np.pi)
        kernel = w**2 * dual + b**2
        tangent = kernel + w**2 * tangent
    return kernel, tangent


@pytest.mark.parametrize("depth", [pytest.param(1, marks=pytest.mark.full), 3, pytest.param(8, marks=pytest.mark.full)])
def test_relu_networks_are_the_plain_recursion(depth):
    x = np.random.default_rng(1).normal(size=(12, 4))
    kernel, tangent = nngp.fully_connected(depth, 1.4, 0.3).nngp_and_ntk(x)
    expected_kernel, expected_tangent = plain_recursion(x, depth, 1.4, 0.3)
    np.testing.assert_allclose(kernel, expected_kernel, rtol=1e-13)
    np.testing.assert_allclose(tangent, expected_tangent, rtol=1e-7)  # arccos near one has half of the digits


def test_the_distance_of_near_inputs_keeps_its_digits_in_float32():
    """Where a covariance has none left: both at a relative distance of 1e-4."""
    x = np.random.default_rng(0).normal(size=(1, 4))
    near = np.concatenate([x, x * (1 + 1e-4) + 1e-4])
    layers = [nngp.Dense(1.4, 0.3), nngp.relu, nngp.Dense(1.4, 0.3)]

    @jax.jit
    def distance(inputs):
        a = b = first_marginals(inputs, False)
        pairs = Pairs(first_distances(inputs, inputs, False))
        for layer in layers:
            a, b, pairs = layer.pairs(a, b, pairs)
        return pairs.delta[0, 1]

    exact, rounded = (float(distance(jnp.asarray(near, dtype))) for dtype in (np.float64, np.float32))
    assert abs(rounded / exact - 1) < 2e-3  # of the input itself, x * 1e-4 rounded, and not of the recursion


def test_a_process_of_tinygp():
    x = np.random.default_rng(0).normal(size=(20, 3))
    y = np.sin(x[:, 0])
    net = nngp.fully_connected(2, 1.3, 0.2)
    kernel = net + tinygp.kernels.Matern32(0.5)

    @jax.jit
    def log_density(kernel):
        return tinygp.GaussianProcess(kernel, x, diag=0.1).log_probability(y)

    covariance = net.nngp(x) + tinygp.kernels.Matern32(0.5)(x, x) + 0.1 * np.eye(20)
    expected = -0.5 * y @ np.linalg.solve(covariance, y) - 0.5 * np.linalg.slogdet(2 * np.pi * covariance)[1]
    np.testing.assert_allclose(log_density(kernel), expected, rtol=1e-10)


def test_settings_for_each_layer():
    one = nngp.fully_connected(2, [1.0, 1.2, 1.4], [0.1, 0.2, 0.3], nngp.erf)
    two = nngp.serial(nngp.Dense(1.0, 0.1), nngp.erf, nngp.Dense(1.2, 0.2), nngp.erf, nngp.Dense(1.4, 0.3))
    np.testing.assert_array_equal(one.nngp(X), two.nngp(X))
    np.testing.assert_allclose(nngp.fully_connected(0, 2.0).nngp(X), 4 / 3 * X @ X.T, atol=1e-13)


def test_networks_nest():
    block = nngp.serial(nngp.relu, nngp.Dense(1.2))
    nested = nngp.serial(nngp.Dense(1.0), block, nngp.serial(block, block))
    flat = nngp.serial(nngp.Dense(1.0), *[nngp.relu, nngp.Dense(1.2)] * 3)
    np.testing.assert_array_equal(nested.ntk(X), flat.ntk(X))


def test_a_residual_block_adds_covariances():
    inner, branch = nngp.serial(nngp.Dense(1.1, 0.2)), nngp.serial(nngp.relu, nngp.Dense(1.3, 0.1))
    block = nngp.serial(inner, nngp.residual(branch))
    apart = [inner.nngp_and_ntk(X), nngp.serial(inner, branch).nngp_and_ntk(X)]
    for k, found in enumerate(block.nngp_and_ntk(X)):
        np.testing.assert_allclose(found, apart[0][k] + apart[1][k], atol=1e-13)
    same = nngp.serial(inner, nngp.residual(nngp.identity, branch)).nngp(X)
    np.testing.assert_allclose(same, block.nngp(X), atol=1e-13)


def test_layer_norm_gives_correlations():
    net = nngp.serial(nngp.Dense(1.1, 0.2))
    kernel = net.nngp(X[:6])
    root = np.sqrt(np.diag(kernel) + 0.3)
    found = nngp.serial(net, nngp.LayerNorm(0.3)).nngp(X[:6])
    np.testing.assert_allclose(found, kernel / np.outer(root, root), rtol=1e-12)
