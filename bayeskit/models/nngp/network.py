"""`Network`: layers in sequence, their kernels, and the same as kernels of tinygp."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from tinygp.kernels import Kernel

from bayeskit._typing import Array, ArrayLike
from bayeskit.models.nngp.activations import relu
from bayeskit.models.nngp.blocks import block_rows, by_row_blocks
from bayeskit.models.nngp.composition import ANYTHING, Signal
from bayeskit.models.nngp.inputs import as_inputs, check_alike, first_side, squared_distances
from bayeskit.models.nngp.layers import Dense, Layer
from bayeskit.models.nngp.state import Pairs, covariance

__all__ = ["Kernels", "Network", "NtkKernel", "fully_connected", "serial"]


class Kernels(NamedTuple):
    """Both kernels of a network.

    Attributes:
        nngp: covariance of the outputs at the start of training.
        ntk: the tangent kernel.
    """

    nngp: Array
    ntk: Array


class Network(Kernel):
    layers: tuple[Layer, ...]

    def nngp(self, x1: ArrayLike, x2: ArrayLike | None = None, *, block_size: int | None = None) -> Array:
        return self._kernels(x1, x2, block_size, False)[0]

    def ntk(self, x1: ArrayLike, x2: ArrayLike | None = None, *, block_size: int | None = None) -> Array:
        return self._kernels(x1, x2, block_size, True)[1]

    def nngp_and_ntk(self, x1: ArrayLike, x2: ArrayLike | None = None, *, block_size: int | None = None) -> Kernels:
        return Kernels(*self._kernels(x1, x2, block_size, True))

    def variance(self, x: ArrayLike) -> Array:
        x = as_inputs(x, "x")
        return variances(self, x)

    @property
    def ntk_kernel(self) -> NtkKernel:
        return NtkKernel(self)

    def evaluate(self, X1: Array, X2: Array) -> Array:
        return pair_kernels(self, jnp.asarray(X1)[None], jnp.asarray(X2)[None], False)[0][0, 0]

    def evaluate_diag(self, X: Array) -> Array:
        return variances(self, jnp.asarray(X)[None])[0]

    def __call__(self, X1: Array, X2: Array | None = None) -> Array:
        return self.variance(X1) if X2 is None else self.nngp(X1, X2)

    def _kernels(
        self, x1: ArrayLike, x2: ArrayLike | None, block_size: int | None, with_ntk: bool
    ) -> tuple[Array, ...]:
        first = as_inputs(x1, "x1")
        second = first if x2 is None else as_inputs(x2, "x2")
        check_alike(first, second)
        rows = block_rows(first.shape[0], second.shape[0], 1, block_size)
        return _compiled(self, first, second, with_ntk, rows)


@partial(jax.jit, static_argnums=(3, 4))
def _compiled(network: Network, x1: Array, x2: Array, with_ntk: bool, rows: int) -> tuple[Array, ...]:
    return by_row_blocks(lambda one, two: pair_kernels(network, one, two, with_ntk), x1, x2, rows)


class NtkKernel(Kernel):
    network: Network

    def evaluate(self, X1: Array, X2: Array) -> Array:
        return pair_kernels(self.network, jnp.asarray(X1)[None], jnp.asarray(X2)[None], True)[1][0, 0]

    def __call__(self, X1: Array, X2: Array | None = None) -> Array:
        if X2 is None:
            return jax.vmap(lambda x: self.evaluate(x, x))(X1)
        return self.network.ntk(X1, X2)


def pair_kernels(network: Network, x1: Array, x2: Array, with_ntk: bool) -> tuple[Array, ...]:
    a, b = first_side(x1), first_side(x2)
    delta = squared_distances(x1, x2) / x1.shape[-1]
    pairs = Pairs(delta, jnp.zeros_like(delta) if with_ntk else None)
    signal = Signal(image=False, gaussian=False, wide=False, fresh=False)
    for layer in network.layers:
        signal = layer.signal(signal)
        a, b, pairs = layer.pairs(a, b, pairs)
    nngp = covariance(a, b, pairs.delta)
    return (nngp, pairs.ntk) if with_ntk else (nngp,)


def variances(network: Network, x: Array) -> Array:
    side = first_side(x)
    signal = Signal(image=False, gaussian=False, wide=False, fresh=False)
    for layer in network.layers:
        signal = layer.signal(signal)
        side = layer.side(side)
    return side.variance


def serial(*layers: Layer | Network) -> Network:
    flat = tuple(part for layer in layers for part in (layer.layers if isinstance(layer, Network) else (layer,)))
    signal = ANYTHING
    for layer in flat:
        signal = layer.signal(signal)
    return Network(flat)


def fully_connected(depth: int, weight_std: ArrayLike, bias_std: ArrayLike = 0.0, activation: Layer = relu) -> Network:
    layers: list[Layer] = []
    weights = jnp.broadcast_to(jnp.asarray(weight_std), (depth + 1,))
    for k in range(depth):
        layers.extend((Dense(weights[k], bias_std), activation))
    return serial(*layers, Dense(weights[-1], bias_std))
