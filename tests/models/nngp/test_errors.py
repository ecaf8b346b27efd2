"""What cannot be computed says so: inputs, settings, and layers that cannot follow each other."""

import jax
import numpy as np
import pytest

from bayeskit.errors import DataError, MethodError, ModelError
from bayeskit.models import nngp
from bayeskit.models.nngp.networks.serial import _flat

NETWORK = nngp.fully_connected(1)
IMAGES = np.ones((2, 4, 4, 1))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.array([[1.0, np.nan], [1.0, 2.0], [np.inf, 0.0]]), "x1 has NaN or infinity in 2 rows, the first is row 0"),
        (np.ones((0, 3)), "x1 is empty"),
        (np.ones((3, 0)), "x1 is empty"),
        (np.ones(3), r"x1 must have shape .n, features.*one vector is x\[None\], and numbers are x\[:, None\]"),
        (np.ones((3, 2, 2)), "x1 must have shape"),
        (np.ones((3, 2), complex), "x1 must hold real numbers, got complex"),
    ],
)
def test_inputs(x, message):
    with pytest.raises(DataError, match=message):
        NETWORK.nngp(x)


def test_second_inputs():
    with pytest.raises(DataError, match=r"rows of x1 have shape \(3,\) and those of x2 \(2,\)"):
        NETWORK.ntk(np.ones((2, 3)), np.ones((2, 2)))
    with pytest.raises(DataError, match="x2 has NaN"):
        NETWORK.ntk(np.ones((2, 3)), np.full((2, 3), np.nan))
    with pytest.raises(DataError, match="x has NaN"):
        NETWORK.variance(np.full((2, 3), np.nan))
    with pytest.raises(DataError, match="X1 must have shape"):
        (NETWORK + NETWORK)(np.ones(3), np.ones(3))


@pytest.mark.parametrize("size", [0, -1, True])
def test_block_size(size):
    with pytest.raises(MethodError, match="block_size must be a positive integer"):
        NETWORK.nngp(np.ones((2, 3)), block_size=size)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nngp.Dense(-1.0), "weight_std of Dense must be finite and not negative, got -1.0"),
        (lambda: nngp.Dense(1.0, np.nan), "bias_std of Dense must be finite"),
        (lambda: nngp.Dense(np.ones(2)), r"weight_std of Dense must be one number, got an array of shape \(2,\)"),
        (lambda: nngp.Conv((3, 3), -1.0), "weight_std of Conv"),
        (
            lambda: nngp.Conv((3, 3), padding="REFLECT"),
            "padding of Conv must be one of SAME, VALID, CIRCULAR, got 'REFLECT'",
        ),
        (lambda: nngp.Conv((3,)), "filter_shape of Conv must be two positive integers"),
        (lambda: nngp.Conv((3, 3), strides=(0, 1)), "strides of Conv must be two positive integers"),
        (lambda: nngp.LayerNorm(0.0), "epsilon of LayerNorm must be positive"),
        (lambda: nngp.serial(), "serial needs at least one layer"),
        (lambda: _flat((nngp.Dense,), "serial"), "serial takes layers, got .*call it first"),
        (
            lambda: nngp.serial(nngp.Dense(), nngp.relu, nngp.erf),
            "layer 2 of serial: erf comes after features that are not",
        ),
        (
            lambda: nngp.serial(nngp.Conv((1, 1)), nngp.Dense()),
            r"layer 1 of serial: Dense got images.*Flatten\(\) or GlobalPool",
        ),
        (lambda: nngp.serial(nngp.Conv((1, 1)), nngp.Flatten(), nngp.relu), "layer 2 of serial: relu comes after"),
        (lambda: nngp.serial(nngp.Dense(), nngp.Conv((1, 1))), "layer 1 of serial: Conv needs images"),
        (lambda: nngp.serial(nngp.Dense(), nngp.relu, nngp.LayerNorm()), "LayerNorm comes after features"),
        (lambda: nngp.residual(), "residual needs at least one branch"),
        (lambda: nngp.residual(nngp.relu), "two branches of residual do not end with weights of their own"),
        (lambda: nngp.residual(nngp.serial(nngp.Dense(), nngp.relu), nngp.erf), "two branches of residual do not end"),
        (lambda: nngp.residual(nngp.Conv((1, 1)), nngp.Dense()), "one branch of residual ends with images"),
        (
            lambda: nngp.serial(nngp.Dense(), nngp.residual(nngp.relu, nngp.Dense()), nngp.erf),
            "erf comes after features",
        ),
        (lambda: nngp.fully_connected(-1), "depth must be a number of hidden layers"),
        (
            lambda: nngp.fully_connected(2, [1.0, 2.0]),
            "weight_std must be one number or one for each of 3 dense layers",
        ),
    ],
)
def test_impossible_networks(make, message):
    with pytest.raises(ModelError, match=message):
        make()


@pytest.mark.parametrize(
    ("network", "x", "message"),
    [
        (
            nngp.serial(nngp.relu, nngp.Dense()),
            np.ones((2, 3)),
            r"layer 0 .*shape \(2, 3\): relu comes after the raw input",
        ),
        (nngp.serial(nngp.LayerNorm()), np.ones((2, 3)), "LayerNorm comes after the raw input"),
        (nngp.serial(nngp.residual(nngp.Dense())), np.ones((2, 3)), "passes the raw input on"),
        (
            nngp.serial(nngp.Conv((1, 1)), nngp.Flatten()),
            np.ones((2, 3)),
            r"layer 0 .*shape \(2, 3\): Conv needs images",
        ),
        (nngp.serial(nngp.GlobalPool()), np.ones((2, 3)), "GlobalPool needs images"),
        (nngp.serial(nngp.Dense()), IMAGES, r"layer 0 .*shape \(2, 4, 4, 1\): Dense got images"),
        (nngp.serial(nngp.Conv((1, 1))), IMAGES, "the network ends with images"),
        (
            nngp.serial(nngp.Conv((5, 2), padding="VALID"), nngp.Flatten()),
            IMAGES,
            r"filter of Conv has shape \(5, 2\) and the images before it have \(4, 4\)",
        ),
        (
            nngp.serial(nngp.Conv((1, 1)), nngp.residual(nngp.Conv((2, 2), padding="VALID")), nngp.Flatten()),
            IMAGES,
            "branches of residual end with images of different sizes",
        ),
    ],
)
def test_networks_that_do_not_fit_their_inputs(network, x, message):
    for kernel in (network.nngp, network.variance):
        with pytest.raises(ModelError, match=message):
            kernel(x)


def test_what_a_compiled_function_cannot_refuse_is_not_a_number():
    kernel = jax.jit(lambda w, b: nngp.serial(nngp.Dense(w, b)).nngp(np.ones((1, 1)))[0, 0])
    assert np.isnan(kernel(-1.0, 0.0))
    assert np.isnan(kernel(1.0, -1.0))
    assert kernel(2.0, 0.0) == 4
