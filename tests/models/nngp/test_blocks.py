"""Symmetric kernel matrices by tiles of their lower triangle, against one block."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayeskit.models import nngp
from bayeskit.models.nngp.networks import blocks, network

X = np.random.default_rng(0).normal(size=(11, 3))
IMAGES = np.random.default_rng(0).normal(size=(11, 3, 3, 2))


def shallow(w):
    return nngp.fully_connected(1, w, 0.3)


def convolutional(w):
    return nngp.serial(nngp.Conv((2, 2), w, 0.1), nngp.relu, nngp.Flatten(), nngp.Dense(w))


@pytest.fixture(scope="module", autouse=True)
def tiles_taken():
    """Tiles of four inputs, in blocks of two rows; the last tile is cut. How often they were compiled."""
    taken = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "TILES", 4)
        patch.setattr(blocks, "VECTOR", 2)
        patch.setattr(blocks, "IN_CACHE", 8)
        patch.setattr(network, "by_tiles", lambda *args: taken.append(args) or blocks.by_tiles(*args))
        jax.clear_caches()
        yield taken
    jax.clear_caches()


@pytest.fixture(autouse=True)
def tiles_are_taken(tiles_taken):
    before = len(tiles_taken)
    yield
    assert len(tiles_taken) > before


# by default the shallow network has its values and derivatives in `test_transformations`
@pytest.mark.parametrize(
    ("make", "x"), [pytest.param(shallow, X, marks=pytest.mark.full), pytest.param(convolutional, IMAGES)]
)
def test_tiles_are_the_whole(make, x):
    weights = np.random.default_rng(1).normal(size=(2, 11, 11))

    def total(w, x, whole):
        kernels = make(w).nngp_and_ntk(x, block_size=11 if whole else None)
        return sum((k * g).sum() for k, g in zip(kernels, weights, strict=True)), kernels

    slopes = jax.jit(jax.value_and_grad(total, (0, 1), has_aux=True), static_argnums=2)
    tiles, block = (slopes(1.3, jnp.asarray(x), whole) for whole in (False, True))
    for one, two in zip(jax.tree.leaves(tiles), jax.tree.leaves(block), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-7, atol=1e-12)


def test_transformations():
    weights = jnp.array([0.7, 1.3])
    expected = jnp.stack([shallow(w).nngp(X, block_size=11) for w in weights])
    np.testing.assert_allclose(jax.jit(jax.vmap(lambda w: shallow(w).nngp(X)))(weights), expected, rtol=1e-12)

    @functools.partial(jax.jit, static_argnums=1)
    def derivatives(w, whole):
        def kernel(w):
            return shallow(w).nngp(X, block_size=11 if whole else None)

        return jax.jacfwd(kernel)(w), jax.hessian(lambda w: kernel(w).sum())(w)

    for tiles, block in zip(derivatives(1.3, False), derivatives(1.3, True), strict=True):
        np.testing.assert_allclose(tiles, block, rtol=1e-9, atol=1e-12)


def test_the_same_inputs_twice_are_seen():
    x = jnp.asarray(X)
    kernel = shallow(1.3)(x, x)
    np.testing.assert_array_equal(np.tril(kernel, -4), np.triu(kernel, 4).T)
    np.testing.assert_allclose(kernel, kernel.T, rtol=1e-14)
