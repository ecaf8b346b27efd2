"""Kernels against random networks of finite width: the mean over many of them, with its standard error."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayeskit.models import nngp

W, B = 1.3, 0.3


def dense(x, parameters):
    weights, bias = parameters
    return W * x @ weights / weights.shape[0] ** 0.5 + B * bias


def conv(x, parameters, padding="SAME"):
    weights, bias = parameters
    if padding == "CIRCULAR":
        x, padding = jnp.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)], mode="wrap"), "VALID"
    out = jax.lax.conv_general_dilated(x, weights, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return W * out / math.prod(weights.shape[:3]) ** 0.5 + B * bias


def norm(x):
    return x / jnp.sqrt(x.var(-1, keepdims=True) + 0.1)


def relu_network(p, x):
    return dense(jax.nn.relu(dense(x, p[0])), p[1])


def erf_network(p, x):
    return dense(jax.scipy.special.erf(dense(x, p[0])), p[1])


def residual_network(p, x):
    x = dense(x, p[0])
    return dense(jax.nn.relu(x + dense(jax.nn.relu(x), p[1])), p[2])


def normalised_network(p, x):
    return dense(jax.nn.relu(norm(dense(jax.nn.relu(dense(x, p[0])), p[1]))), p[2])


def flat_network(p, x):
    x = jax.nn.relu(conv(jax.nn.relu(conv(x, p[0])), p[1], "VALID"))
    return dense(x.reshape(len(x), -1), p[2])


def pooled_network(p, x):
    x = jax.nn.relu(conv(jax.nn.relu(conv(x, p[0])), p[1], "CIRCULAR"))
    return dense(x.mean((1, 2)), p[2])


D, R, C = nngp.Dense(W, B), nngp.relu, nngp.Conv((3, 3), W, B)
VECTORS, IMAGES = (4, 3), (3, 4, 4, 2)


def measured(apply, shapes, x, num):
    """Means over networks and their standard errors: of f fᵀ, and of the tangent kernel of the first output.

    That output alone is differentiated, which saves most of the work.
    """

    @jax.jit
    def both(parameters):
        outputs = apply(parameters, x)
        weights, bias = parameters[-1]
        first = [*parameters[:-1], (weights[:, :1], bias[:1])]
        by_row = jax.vmap(lambda row: jax.grad(lambda p: apply(p, row[None])[0, 0])(first))(x)
        flat = [leaf.reshape(len(x), -1) for leaf in jax.tree.leaves(by_row)]
        return outputs @ outputs.T / outputs.shape[1], sum(leaf @ leaf.T for leaf in flat)

    generator = np.random.default_rng(0)

    def normal(*shape):
        return generator.standard_normal(shape, np.float32)

    networks = [both([(normal(*shape), normal(shape[-1])) for shape in shapes]) for _ in range(num)]
    return [(np.mean(f, axis=0), np.std(f, axis=0) / num**0.5) for f in map(np.asarray, zip(*networks, strict=True))]


def inputs(shape):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


@pytest.mark.full  # by default smaller ones, within standard errors, below
def test_networks_of_width_1024():
    """Within 2 % of the NNGP kernel and 4 % of the tangent kernel."""
    x = inputs(VECTORS)
    found = measured(relu_network, [(3, 1024), (1024, 256)], x, 500)
    for (mean, _), kernel, bound in zip(found, nngp.serial(D, R, D).nngp_and_ntk(x), (0.02, 0.04), strict=True):
        scale = np.sqrt(np.outer(np.diag(kernel), np.diag(kernel)))
        assert np.abs((mean - kernel) / scale).max() < bound


NETWORKS = {
    "erf": (erf_network, [(3, 512), (512, 256)], VECTORS, nngp.serial(D, nngp.erf, D)),
    "residual": (
        residual_network,
        [(3, 512), (512, 512), (512, 256)],
        VECTORS,
        nngp.serial(D, nngp.residual(nngp.serial(R, D)), R, D),
    ),
    "layer norm": (
        normalised_network,
        [(3, 512), (512, 512), (512, 256)],
        VECTORS,
        nngp.serial(D, R, D, nngp.LayerNorm(0.1), R, D),
    ),
    "flatten": (
        flat_network,
        [(3, 3, 2, 128), (3, 3, 128, 128), (4 * 128, 128)],
        IMAGES,
        nngp.serial(C, R, nngp.Conv((3, 3), W, B, padding="VALID"), R, nngp.Flatten(), D),
    ),
    "pool": (
        pooled_network,
        [(3, 3, 2, 192), (3, 3, 192, 192), (192, 192)],
        IMAGES,
        nngp.serial(C, R, nngp.Conv((3, 3), W, B, padding="CIRCULAR"), R, nngp.GlobalPool(), D),
    ),
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if name in ("erf", "layer norm", "pool") else name
        for name in NETWORKS
    ],
)
def test_finite_networks(name):
    apply, shapes, shape, network = NETWORKS[name]
    x = inputs(shape)
    for (mean, error), kernel in zip(measured(apply, shapes, x, 40), network.nngp_and_ntk(x), strict=True):
        assert np.abs((mean - kernel) / error).max() < 4
