"""What the kernels of every network must do: a row in the table gets all tests.

They are symmetric and positive semidefinite, the same by blocks, for other inputs and in single precision, their
derivatives are finite differences, and networks are kernels of tinygp.
"""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayeskit.models import nngp

from .extras import rows


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
# activations have their own table, tests/models/nngp/test_activations.py; the other two are parts of rows that stay
FULL = ("depth 3", "abs", "gelu", "sin", "rbf", "residual", "pool")
by_name = pytest.mark.parametrize("name", rows(NETWORKS, full=FULL))
SLOW = ("wide filters", "depth 3", "leaky", "gelu", "branches")  # to compile
# the derivatives of a network are those of its layers: those of activations are tested there, and there is one row here
# of each kind of layer
GRADIENTS_FULL = ("linear", "abs", "erf", "sin", "rbf", "own", "flatten")


GOLDEN = {"relu": (np.array([[1.0, 0.0], [0.5, 0.5]]), [[1.0925, 0.75408666], [0.75408666, 0.73125]])}


def network(name, w=1.3, b=0.2):
    return NETWORKS[name][0](w, b)


@functools.cache
def kernels_of(name):
    """Both kernels of the inputs of a row."""
    return network(name).nngp_and_ntk(NETWORKS[name][1]())


@pytest.mark.smoke
@pytest.mark.parametrize("name", GOLDEN)
def test_golden_values(name):
    x, expected = GOLDEN[name]
    np.testing.assert_allclose(network(name, 1.7**0.5, 0.2**0.5).nngp(x), expected, atol=1e-8)


@by_name
def test_kernels_agree_and_are_positive_semidefinite(name):
    net, x = network(name), NETWORKS[name][1]()
    both = kernels_of(name)
    rows, variances = jax.jit(lambda net, x: (net.nngp(x, x[:4]), net.variance(x)))(net, x)
    np.testing.assert_allclose(both.nngp[:, :4], rows, rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(variances, np.diag(both.nngp), rtol=1e-13, atol=1e-13)
    for kernel in both:
        np.testing.assert_allclose(kernel, kernel.T, rtol=1e-7, atol=1e-13)
        spectrum = np.linalg.eigvalsh(kernel)
        assert spectrum.min() > -1e-10 * spectrum.max()


@pytest.mark.parametrize(
    "name",
    ["relu", *(pytest.param(n, marks=pytest.mark.slow) for n in ("leaky", "own", "flatten", "pool"))],
)
def test_blocks_of_rows_are_the_whole(name):
    net, x = network(name), NETWORKS[name][1]()

    def total(net, size):
        kernels = net.nngp_and_ntk(x, x[1:], block_size=size)
        return sum((k * jnp.cos(jnp.arange(k.size).reshape(k.shape))).sum() for k in kernels), kernels

    by_size = eqx.filter_jit(eqx.filter_value_and_grad(total, has_aux=True))
    ((_, whole), gradient), ((_, blocks), of_blocks) = by_size(net, None), by_size(net, 4)
    for one, two in zip(jax.tree.leaves((whole, gradient)), jax.tree.leaves((blocks, of_blocks)), strict=True):
        # an angle is known to the root of the rounding error where inputs meet
        np.testing.assert_allclose(one, two, rtol=1e-7, atol=1e-12)


@by_name
def test_float32_is_float64_rounded(name):
    x = NETWORKS[name][1]()
    exact = kernels_of(name)
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


@pytest.mark.parametrize("name", rows(NETWORKS, full=GRADIENTS_FULL, slow=SLOW))
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


@pytest.mark.parametrize("name", rows(["relu", "erf", "gelu", "pool"], full=["erf"], slow=["gelu", "pool"]))
def test_gradients_are_finite_in_float32(name):
    make, inputs = NETWORKS[name]
    with jax.enable_x64(False):
        x = jnp.asarray(inputs()[-5:])
        total = weighted(make)
        for bias in (0.0, 0.2):
            found = total(1.3, bias, x, jnp.ones((5, 5)))
            assert all(np.isfinite(np.asarray(part)).all() for part in jax.tree.leaves(found))


@pytest.mark.parametrize("name", rows(["erf", "flatten"], full=["erf"]))
def test_jit_and_vmap(name):
    make, inputs = NETWORKS[name]
    x = inputs()
    expected = kernels_of(name).nngp

    @jax.jit
    def compiled(w, x):
        many = jax.vmap(lambda w: make(w, 0.2).nngp(x))(jnp.stack([1.0, w]))
        batches = jax.vmap(lambda x: make(1.3, 0.2).nngp(x))(jnp.stack([x, x[::-1]]))
        return make(w, 0.2).nngp(x, block_size=2), many[1], batches[1]

    one, many, batches = compiled(1.3, x)
    np.testing.assert_allclose(one, expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(many, expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(batches, expected[::-1, ::-1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", rows(["relu", "flatten"], full=["flatten"]))
def test_kernels_of_tinygp(name):
    net, x = network(name), jnp.asarray(NETWORKS[name][1]())
    nngp_matrix, ntk_matrix = kernels_of(name)
    np.testing.assert_allclose(net(x, x), nngp_matrix, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(net(x), np.diag(nngp_matrix), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(
        (2.0 * net + net.ntk_kernel * net)(x, x[:2]),
        (2 * nngp_matrix + ntk_matrix * nngp_matrix)[:, :2],
        rtol=1e-11,
        atol=1e-11,
    )
    np.testing.assert_allclose((net + net.ntk_kernel)(x), np.diag(nngp_matrix + ntk_matrix), rtol=1e-11, atol=1e-11)


@pytest.mark.full  # the derivatives of test_gradients, deeper; by default there are the kernels to that depth
@pytest.mark.parametrize("x64", [pytest.param(True, marks=pytest.mark.slow), False])
def test_derivatives_are_finite_to_depth_20(x64):
    """In one direction, forward."""
    with jax.enable_x64(x64):
        x = jnp.asarray(matrix())

        def both(w, b, x):
            return deep(20)(w, b).nngp(x)

        slopes = jax.jit(lambda b: jax.jvp(both, (1.4, b, x), (1.0, 1.0, jnp.cos(x))))
        for bias in (0.0, 0.2):
            found = slopes(bias)
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
