"""Kernels of whole networks against golden values, a plain recursion, finite differences; one row for each network."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tinygp

from bayeskit.models import nngp
from bayeskit.models.nngp.networks.inputs import first_distances, first_marginals
from bayeskit.models.nngp.networks.second_moments import Pairs


def matrix(n=7, d=3, seed=0):
    """Rows, some of them equal, opposite, nearly equal, and one of zeros."""
    x = np.random.default_rng(seed).normal(size=(n, d)) * 0.7
    return np.concatenate([x, x[:1], -x[:1], x[1:2] * (1 + 1e-6), np.zeros((1, d))])


def images(n=3, seed=0):
    x = np.random.default_rng(seed).normal(size=(n, 4, 5, 2))
    return np.concatenate([x, x[:1], -x[:1], np.zeros((1, 4, 5, 2))])


def deep(depth):
    return lambda w, b: nngp.fully_connected(depth, w, b)


BLOCK = nngp.serial(nngp.relu, nngp.Dense(1.1, 0.1))
NETWORKS = {
    "linear": (lambda w, b: nngp.serial(nngp.Dense(w, b)), matrix),
    "relu": (deep(1), matrix),
    "depth 3": (deep(3), matrix),
    "leaky": (lambda w, b: nngp.fully_connected(2, w, b, nngp.leaky_relu(b)), matrix),
    "abs": (lambda w, b: nngp.fully_connected(1, w, b, nngp.abs), matrix),
    "erf": (lambda w, b: nngp.fully_connected(2, w, b, nngp.erf), matrix),
    "gelu": (lambda w, b: nngp.fully_connected(2, w, b, nngp.gelu), matrix),
    "sin": (lambda w, b: nngp.fully_connected(2, w, b, nngp.sin), matrix),
    "rbf": (lambda w, b: nngp.fully_connected(1, w, b, nngp.rbf(w)), matrix),
    "own": (lambda w, b: nngp.fully_connected(1, w, b, nngp.Activation(jnp.tanh)), matrix),
    "residual": (lambda w, b: nngp.serial(nngp.Dense(w, b), nngp.residual(BLOCK)), matrix),
    "branches": (
        lambda w, b: nngp.serial(
            nngp.Dense(w, b), nngp.residual(nngp.relu, nngp.serial(nngp.erf, nngp.Dense(w))), nngp.Dense(1.0, b)
        ),
        matrix,
    ),
    "layer norm": (
        lambda w, b: nngp.serial(nngp.Dense(w, b), nngp.LayerNorm(0.1), nngp.relu, nngp.Dense(w), nngp.LayerNorm(0.1)),
        matrix,
    ),
    "flatten": (
        lambda w, b: nngp.serial(
            nngp.Conv((3, 2), w, b), nngp.relu, nngp.Conv((2, 3), w, b, (2, 1)), nngp.erf, nngp.Flatten(), nngp.Dense(w)
        ),
        images,
    ),
    "pool": (
        lambda w, b: nngp.serial(
            nngp.Conv((3, 2), w, b),
            nngp.relu,
            nngp.Conv((2, 3), w, b, (2, 1)),
            nngp.GlobalPool(),
            nngp.relu,
            nngp.Dense(),
        ),
        images,
    ),
    "wide filters": (
        lambda w, b: nngp.serial(
            nngp.Conv((2, 2), w, b, padding="VALID"),
            nngp.residual(nngp.serial(nngp.relu, nngp.Conv((3, 3), w, b, padding="CIRCULAR"), nngp.LayerNorm(0.1))),
            nngp.relu,
            nngp.GlobalPool(),
            nngp.Dense(w),
        ),
        images,
    ),
}
NAMES = list(NETWORKS)
SLOW = ("wide filters", "depth 3", "leaky", "gelu", "branches")  # to compile


def network(name, w=1.3, b=0.2):
    return NETWORKS[name][0](w, b)


@pytest.mark.smoke
def test_golden_values():
    x = np.array([[1.0, 0.0], [0.5, 0.5]])
    found = nngp.serial(nngp.Dense(1.7**0.5, 0.2**0.5), nngp.relu, nngp.Dense(1.7**0.5, 0.2**0.5)).nngp(x)
    np.testing.assert_allclose(found, [[1.0925, 0.75408666], [0.75408666, 0.73125]], atol=1e-8)


@pytest.mark.parametrize("depth", [1, 20])
def test_he_scaled_relu_keeps_the_diagonal(depth):
    x = np.random.default_rng(0).normal(size=(10, 4))
    layers = [nngp.Dense(1.0)]
    for _ in range(depth):
        layers += [nngp.relu, nngp.Dense(2**0.5)]
    kernel = nngp.serial(*layers).nngp(x)
    np.testing.assert_allclose(np.diag(kernel), (x**2).mean(1), rtol=1e-12)


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


@pytest.mark.parametrize("depth", [1, 3, 8])
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

    def correlation_gap(dtype):
        inputs = jnp.asarray(near, dtype)
        a = b = first_marginals(inputs, False)
        pairs = Pairs(first_distances(inputs, inputs, False))
        for layer in layers:
            a, b, pairs = layer.pairs(a, b, pairs)
        return float(pairs.delta[0, 1])

    exact = correlation_gap(np.float64)
    rounded = correlation_gap(np.float32)
    assert abs(rounded / exact - 1) < 2e-3  # of the input itself, x * 1e-4 rounded, and not of the recursion


@pytest.mark.parametrize("name", NAMES)
def test_kernels_agree_and_are_positive_semidefinite(name):
    net, x = network(name), NETWORKS[name][1]()
    both = net.nngp_and_ntk(x)
    np.testing.assert_allclose(both.nngp[:, :4], net.nngp(x, x[:4]), rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(net.variance(x), np.diag(both.nngp), rtol=1e-13, atol=1e-13)
    for kernel in both:
        np.testing.assert_allclose(kernel, kernel.T, rtol=1e-7, atol=1e-13)
        spectrum = np.linalg.eigvalsh(kernel)
        assert spectrum.min() > -1e-10 * spectrum.max()


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow) if n != "flatten" else n for n in ("leaky", "own", "flatten", "pool")],
)
def test_blocks_of_rows_are_the_whole(name):
    net, x = network(name), NETWORKS[name][1]()

    def total(net, size):
        kernels = net.nngp_and_ntk(x, x[1:], block_size=size)
        return sum((k * jnp.cos(jnp.arange(k.size).reshape(k.shape))).sum() for k in kernels), kernels

    (_, whole), gradient = eqx.filter_value_and_grad(total, has_aux=True)(net, None)
    (_, blocks), of_blocks = eqx.filter_value_and_grad(total, has_aux=True)(net, 4)
    for one, two in zip(jax.tree.leaves((whole, gradient)), jax.tree.leaves((blocks, of_blocks)), strict=True):
        # an angle is known to the root of the rounding error where inputs meet
        np.testing.assert_allclose(one, two, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_float32_is_float64_rounded(name):
    x = NETWORKS[name][1]()
    exact = network(name).nngp_and_ntk(x)
    with jax.enable_x64(False):
        rounded = network(name).nngp_and_ntk(np.asarray(x, np.float32))
    assert rounded.nngp.dtype == np.float32
    np.testing.assert_allclose(rounded.nngp, exact.nngp, rtol=1e-4, atol=1e-5)
    # the angle of nearly equal inputs is no better known than the inputs are
    np.testing.assert_allclose(rounded.ntk, exact.ntk, rtol=2e-3, atol=1e-4)


def weighted(make):
    """A sum of both kernels with its derivatives, by hyperparameters and inputs."""

    def total(w, b, x, weights):
        kernels = make(w, b).nngp_and_ntk(x)
        return (
            kernels.nngp * jnp.cos(jnp.arange(kernels.nngp.size)).reshape(weights.shape) + kernels.ntk * weights
        ).sum()

    return jax.jit(jax.value_and_grad(total, (0, 1, 2)))


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in NAMES])
def test_gradients(name):
    """They are finite differences, and finite for equal, opposite, nearly equal and zero inputs."""
    make, inputs = NETWORKS[name]
    special = jnp.asarray(inputs())[-5:]
    x = jnp.asarray(np.random.default_rng(1).normal(size=special.shape)) * 0.6
    total = weighted(make)
    off = 1 - jnp.eye(len(x))  # on the diagonal the tangent kernel of ReLU has a kink
    direction = jnp.asarray(np.random.default_rng(2).normal(size=x.shape))
    _, gradients = total(1.3, 0.2, x, off)
    step = 1e-5
    for k, (dw, db, dx) in enumerate([(1.0, 0.0, 0 * x), (0.0, 1.0, 0 * x), (0.0, 0.0, direction)]):
        plus, minus = (total(1.3 + s * dw, 0.2 + s * db, x + s * dx, off)[0] for s in (step, -step))
        found = gradients[k] if k < 2 else jnp.vdot(gradients[2], direction)
        np.testing.assert_allclose(found, (plus - minus) / (2 * step), rtol=1e-5, atol=1e-7)
    for bias in (0.0, 0.2):
        assert all(np.isfinite(np.asarray(part)).all() for part in jax.tree.leaves(total(1.3, bias, special, off + 1)))


@pytest.mark.parametrize("name", ["relu", "erf", *(pytest.param(n, marks=pytest.mark.slow) for n in ("gelu", "pool"))])
def test_gradients_are_finite_in_float32(name):
    make, inputs = NETWORKS[name]
    with jax.enable_x64(False):
        x = jnp.asarray(inputs()[-5:])
        for bias in (0.0, 0.2):
            found = weighted(make)(1.3, bias, x, jnp.ones((5, 5)))
            assert all(np.isfinite(np.asarray(part)).all() for part in jax.tree.leaves(found))


@pytest.mark.parametrize("x64", [pytest.param(True, marks=pytest.mark.slow), False])
def test_derivatives_are_finite_to_depth_20(x64):
    """In one direction, forward."""
    with jax.enable_x64(x64):
        x = jnp.asarray(matrix())

        def both(w, b, x):
            return deep(20)(w, b).nngp(x)

        for bias in (0.0, 0.2):
            found = jax.jit(lambda b: jax.jvp(both, (1.4, b, x), (1.0, 1.0, jnp.cos(x))))(bias)
            assert all(np.isfinite(np.asarray(part)).all() for part in jax.tree.leaves(found))


@pytest.mark.slow
@pytest.mark.parametrize("x64", [True, False])
@pytest.mark.parametrize("activation", [nngp.relu, nngp.erf, nngp.gelu], ids=repr)
def test_gradients_are_finite_to_depth_20(activation, x64):
    with jax.enable_x64(x64):
        x = jnp.asarray(matrix())
        total = weighted(lambda w, b: nngp.fully_connected(20, w, b, activation))
        for bias in (0.0, 0.2):
            found = total(1.4, bias, x, jnp.ones((len(x), len(x))))
            assert all(np.isfinite(np.asarray(part)).all() for part in jax.tree.leaves(found))


@pytest.mark.parametrize("name", ["erf", "flatten"])
def test_jit_and_vmap(name):
    make, inputs = NETWORKS[name]
    x = inputs()
    expected = make(1.3, 0.2).nngp(x)
    np.testing.assert_allclose(
        jax.jit(lambda w, x: make(w, 0.2).nngp(x, block_size=2))(1.3, x), expected, rtol=1e-12, atol=1e-12
    )
    many = jax.vmap(lambda w: make(w, 0.2).nngp(x))(jnp.array([1.0, 1.3]))
    np.testing.assert_allclose(many[1], expected, rtol=1e-12, atol=1e-12)
    batches = jax.vmap(lambda x: make(1.3, 0.2).nngp(x))(jnp.stack([x, x[::-1]]))
    np.testing.assert_allclose(batches[1], expected[::-1, ::-1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["relu", "flatten"])
def test_kernels_of_tinygp(name):
    net, x = network(name), jnp.asarray(NETWORKS[name][1]())
    nngp_matrix, ntk_matrix = net.nngp_and_ntk(x)
    np.testing.assert_allclose(net(x, x), nngp_matrix, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(net(x), np.diag(nngp_matrix), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(
        (2.0 * net + net.ntk_kernel * net)(x, x[:2]),
        (2 * nngp_matrix + ntk_matrix * nngp_matrix)[:, :2],
        rtol=1e-11,
        atol=1e-11,
    )
    np.testing.assert_allclose((net + net.ntk_kernel)(x), np.diag(nngp_matrix + ntk_matrix), rtol=1e-11, atol=1e-11)


def test_a_process_of_tinygp():
    x = np.random.default_rng(0).normal(size=(20, 3))
    y = np.sin(x[:, 0])
    net = nngp.fully_connected(2, 1.3, 0.2)
    kernel = net + tinygp.kernels.Matern32(0.5)
    gp = tinygp.GaussianProcess(kernel, x, diag=0.1)
    covariance = net.nngp(x) + tinygp.kernels.Matern32(0.5)(x, x) + 0.1 * np.eye(20)
    expected = -0.5 * y @ np.linalg.solve(covariance, y) - 0.5 * np.linalg.slogdet(2 * np.pi * covariance)[1]
    np.testing.assert_allclose(gp.log_probability(y), expected, rtol=1e-10)


def test_settings_for_each_layer():
    x = matrix()
    one = nngp.fully_connected(2, [1.0, 1.2, 1.4], [0.1, 0.2, 0.3], nngp.erf)
    two = nngp.serial(nngp.Dense(1.0, 0.1), nngp.erf, nngp.Dense(1.2, 0.2), nngp.erf, nngp.Dense(1.4, 0.3))
    np.testing.assert_array_equal(one.nngp(x), two.nngp(x))
    np.testing.assert_allclose(nngp.fully_connected(0, 2.0).nngp(x), 4 / 3 * x @ x.T, atol=1e-13)


def test_networks_nest():
    x = matrix()
    block = nngp.serial(nngp.relu, nngp.Dense(1.2))
    nested = nngp.serial(nngp.Dense(1.0), block, nngp.serial(block, block))
    flat = nngp.serial(nngp.Dense(1.0), *[nngp.relu, nngp.Dense(1.2)] * 3)
    np.testing.assert_array_equal(nested.ntk(x), flat.ntk(x))


def test_a_residual_block_adds_covariances():
    x = matrix()
    inner, branch = nngp.serial(nngp.Dense(1.1, 0.2)), nngp.serial(nngp.relu, nngp.Dense(1.3, 0.1))
    block = nngp.serial(inner, nngp.residual(branch))
    apart = [inner.nngp_and_ntk(x), nngp.serial(inner, branch).nngp_and_ntk(x)]
    for k, found in enumerate(block.nngp_and_ntk(x)):
        np.testing.assert_allclose(found, apart[0][k] + apart[1][k], atol=1e-13)
    same = nngp.serial(inner, nngp.residual(nngp.identity, branch)).nngp(x)
    np.testing.assert_allclose(same, block.nngp(x), atol=1e-13)


def test_layer_norm_gives_correlations():
    x = matrix()[:6]
    net = nngp.serial(nngp.Dense(1.1, 0.2))
    kernel = net.nngp(x)
    root = np.sqrt(np.diag(kernel) + 0.3)
    found = nngp.serial(net, nngp.LayerNorm(0.3)).nngp(x)
    np.testing.assert_allclose(found, kernel / np.outer(root, root), rtol=1e-12)
