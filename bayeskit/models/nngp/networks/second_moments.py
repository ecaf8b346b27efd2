r"""What is carried from layer to layer: variances of either side, squared distances and tangent kernels of pairs.

Arrays are laid out in one of three ways, which the shape of `Side.variance` and the presence of `Side.within` tell:

* vectors: variances `(n,)`, pairs `(n1, n2)`;
* images, covariances of equal pixels only: variances `(n, h, w)`, pairs `(n1, n2, h, w)`;
* images, all pairs of pixels: variances `(n, h, w)`, pairs `(n1, n2, h, w, h, w)`, and within an image
  `(n, h, w, h, w)`.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from bayeskit._typing import Array
from bayeskit.numerics.products import outer

__all__ = ["Pairs", "Side", "at_least", "covariance", "of_pixels", "spread"]


class Side(NamedTuple):
    """One of the two sets of inputs.

    Attributes:
        variance: of a feature at each input (and pixel).
        within: squared distances between the pixels of each image, where all pairs of pixels are carried.
    """

    variance: Array
    within: Array | None = None


class Pairs(NamedTuple):
    """Between the two sets.

    Attributes:
        delta: squared distances of the features.
        ntk: the tangent kernel, where it is asked for.
    """

    delta: Array
    ntk: Array | None = None


def spread(a: Side, b: Side) -> tuple[Array, Array]:
    """The variances of both sides in shapes that broadcast to that of the pairs."""
    if a.within is None:
        return a.variance[:, None], b.variance[None]
    return a.variance[:, None, :, :, None, None], b.variance[None, :, None, None]


def of_pixels(side: Side) -> tuple[Array, Array]:
    """The variances of one side in shapes that broadcast to that of its pairs of pixels."""
    return side.variance[:, :, :, None, None], side.variance[:, None, None]


def covariance(a: Side, b: Side, delta: Array) -> Array:
    r"""$(K_{11} + K_{22} - \delta) / 2$."""
    first, second = spread(a, b)
    return (outer(first, jnp.ones_like(second)) + outer(jnp.ones_like(first), second) - delta) / 2


def at_least(x: Array, bound: float) -> Array:
    """``x``, but not below what mathematics allows and only rounding breaks; derivatives are those of ``x``."""
    return x + jax.lax.stop_gradient(jnp.maximum(x, bound) - x)
