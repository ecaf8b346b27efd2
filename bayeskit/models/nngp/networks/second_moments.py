r"""What layers map: variances of both sets of inputs, squared distances and tangent kernels of pairs.

Arrays are laid out in one of three ways, told by the shape of `Marginals.variance` and the presence of
`Marginals.within`:

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

__all__ = ["Marginals", "Pairs", "at_least", "covariance", "of_pixels", "spread"]


class Marginals(NamedTuple):
    """Within one of the two sets of inputs.

    Attributes:
        variance: of a feature at each input (and pixel).
        within: squared distances between the pixels of each image, where all pairs of pixels are carried.
    """

    variance: Array
    within: Array | None = None


class Pairs(NamedTuple):
    """Between the two sets of inputs.

    Attributes:
        delta: squared distances of the features.
        ntk: the tangent kernel, where it is asked for.
    """

    delta: Array
    ntk: Array | None = None


def spread(a: Marginals, b: Marginals) -> tuple[Array, Array]:
    """The variances of both sets in shapes that broadcast to that of the pairs."""
    if a.within is None:
        return a.variance[:, None], b.variance[None]
    return a.variance[:, None, :, :, None, None], b.variance[None, :, None, None]


def of_pixels(own: Marginals) -> tuple[Array, Array]:
    """The variances of one set in shapes that broadcast to that of its pairs of pixels."""
    return own.variance[:, :, :, None, None], own.variance[:, None, None]


def covariance(a: Marginals, b: Marginals, delta: Array) -> Array:
    r"""$(K_{11} + K_{22} - \delta) / 2$."""
    first, second = spread(a, b)
    return (outer(first, jnp.ones_like(second)) + outer(jnp.ones_like(first), second) - delta) / 2


def at_least(x: Array, bound: float) -> Array:
    """``x``, but not below what mathematics allows and only rounding breaks; derivatives are those of ``x``."""
    return x + jax.lax.stop_gradient(jnp.maximum(x, bound) - x)
