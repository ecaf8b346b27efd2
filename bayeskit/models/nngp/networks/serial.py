"""Networks from layers: in sequence, in branches, and the plain fully connected one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from bayeskit._settings import is_whole
from bayeskit._typing import ArrayLike
from bayeskit.errors import ModelError
from bayeskit.models.nngp.networks.activations import relu
from bayeskit.models.nngp.networks.layers import Dense, Layer
from bayeskit.models.nngp.networks.network import Network
from bayeskit.models.nngp.networks.residual import Residual
from bayeskit.models.nngp.networks.signal import ANYTHING

__all__ = ["fully_connected", "residual", "serial"]


def serial(*layers: Layer | Network) -> Network:
    r"""Layers in sequence.

    Args:
        layers: layers, or networks, which are taken apart.

    Raises:
        ModelError: none, not layers, or layers that cannot follow each other.

    Example:
        >>> from bayeskit.models import nngp
        >>> block = nngp.serial(nngp.relu, nngp.Dense(1.0))
        >>> network = nngp.serial(nngp.Dense(1.4), nngp.residual(block), nngp.residual(block), nngp.Dense(1.0))
        >>> len(network.layers)
        4
    """
    flat = _flat(layers, "serial")
    if not flat:
        raise ModelError("serial needs at least one layer")
    signal = ANYTHING
    for place, layer in enumerate(flat):
        try:
            signal = layer.signal(signal)
        except ModelError as error:
            raise ModelError(f"layer {place} of serial: {error}") from None
    return Network(flat)


def _flat(layers: Sequence[object], name: str) -> tuple[Layer, ...]:
    flat: list[Layer] = []
    for layer in layers:
        if not isinstance(layer, Layer | Network):
            made = "; call it first, e.g. Dense(1.4, 0.1), Flatten(), rbf(1.0)" if callable(layer) else ""
            raise ModelError(f"{name} takes layers, got {layer!r}{made}")
        flat.extend(layer.layers)
    return tuple(flat)


def residual(*branches: Layer | Network) -> Residual:
    r"""The sum of branches: with one branch $h$ the residual block $x + h(x)$.

    $K' = \sum_k K^{(k)}$ and $\Theta' = \sum_k \Theta^{(k)}$, where the weights of all branches are independent. All
    of them but one must end in a Dense or Conv; what is added must be infinitely wide, so that the raw input cannot
    be skipped to.

    Args:
        branches: a layer or a network each, with the input of the block as theirs; `identity` is a bare skip.

    Raises:
        ModelError: branches that are correlated, of different kinds, or that pass the raw input on (the last when the
            input is known, in :func:`serial` or when a kernel is computed).

    Source: Yang (2019), "Tensor Programs I", for sums of branches; He et al. (2016), "Identity Mappings in Deep
    Residual Networks".

    Example:
        >>> import numpy as np
        >>> from bayeskit.models import nngp
        >>> block = nngp.residual(nngp.serial(nngp.relu, nngp.Dense(1.0)))
        >>> network = nngp.serial(nngp.Dense(1.0), block)
        >>> np.asarray(network.nngp(np.array([[1.0, 1.0]]))).tolist()
        [[1.5]]
    """
    flat = tuple(_flat((branch,), "residual") for branch in branches)
    if not flat:
        raise ModelError("residual needs at least one branch")
    block = Residual(flat if len(flat) > 1 else ((), *flat))
    block.signal(ANYTHING)
    return block


def fully_connected(
    depth: int,
    weight_std: ArrayLike | Sequence[float] = 1.0,
    bias_std: ArrayLike | Sequence[float] = 0.0,
    activation: Layer = relu,
) -> Network:
    r"""``depth`` hidden layers, and a linear readout: Dense, activation, ..., Dense.

    Args:
        depth: hidden layers, zero or more.
        weight_std: $\sigma_w$: one number, or one for each of the `depth + 1` dense layers, from the input on.
        bias_std: $\sigma_b$, likewise.
        activation: after each dense layer but the last.

    Raises:
        ModelError: impossible arguments.

    Example:
        >>> import numpy as np
        >>> from bayeskit.models import nngp
        >>> network = nngp.fully_connected(20, 2**0.5)
        >>> x = np.array([[1.0, 1.0], [1.0, -1.0]])
        >>> [round(float(v), 4) for v in network.variance(x)]
        [2.0, 2.0]
    """
    if not is_whole(depth) or depth < 0:
        raise ModelError(f"depth must be a number of hidden layers, zero or more, got {depth!r}")
    weights, biases = (
        _each(std, depth + 1, name) for std, name in ((weight_std, "weight_std"), (bias_std, "bias_std"))
    )
    layers: list[Layer] = []
    for weight, bias in zip(weights, biases, strict=True):
        layers.extend((Dense(weight, bias), activation))
    return serial(*layers[:-1])


def _each(std: ArrayLike | Sequence[float], num: int, name: str) -> list[Any]:
    array = jnp.asarray(std)
    if array.ndim == 0:
        return [std] * num  # as it was given: a number of Python takes the precision of what it is multiplied with
    if array.shape != (num,):
        raise ModelError(f"{name} must be one number or one for each of {num} dense layers, got shape {array.shape}")
    return list(array)
