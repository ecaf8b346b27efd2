"""What inputs may be, and their variances and distances before the first layer."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from bayeskit._typing import Array
from bayeskit.errors import DataError
from bayeskit.models.nngp.networks.second_moments import Marginals
from bayeskit.models.nngp.tracing import is_traced

__all__ = ["as_inputs", "check_alike", "first_distances", "first_marginals", "squared_distances"]

UNROLL = 16
"""Columns that are added in one pass over the pairs."""


def as_inputs(x: object, name: str) -> Array:
    """Rows of numbers, or images.

    Raises:
        DataError: of another number of axes, empty, not real, or with NaN or infinity (not seen inside a compiled
            function).
    """
    array = jnp.asarray(x)
    if not (jnp.issubdtype(array.dtype, jnp.floating) or jnp.issubdtype(array.dtype, jnp.integer)):
        raise DataError(f"{name} must hold real numbers, got {array.dtype}")
    if array.ndim not in (2, 4):
        raise DataError(
            f"{name} must have shape (n, features), or (n, height, width, channels) for images, got {array.shape}; one "
            "vector is x[None], and numbers are x[:, None]"
        )
    if 0 in array.shape:
        raise DataError(f"{name} is empty: its shape is {array.shape}")
    if not is_traced(array):
        bad = np.flatnonzero(~np.isfinite(np.asarray(array)).reshape(array.shape[0], -1).all(axis=1))
        if bad.size:
            raise DataError(f"{name} has NaN or infinity in {bad.size} rows, the first is row {bad[0]}; remove them")
    return array if jnp.issubdtype(array.dtype, jnp.floating) else array.astype(float)


def check_alike(x1: Array, x2: Array) -> None:
    """Refuse rows that cannot be compared.

    Raises:
        DataError: they are of different shapes.
    """
    if x1.shape[1:] != x2.shape[1:]:
        raise DataError(f"the rows of x1 have shape {x1.shape[1:]} and those of x2 {x2.shape[1:]}; they must agree")


@jax.custom_jvp
def squared_distances(x: Array, y: Array) -> Array:
    """Sums of squared differences of the rows: exactly zero for equal ones, and no (n, m, d) array."""

    def add(total: Array, columns: tuple[Array, Array]) -> tuple[Array, None]:
        return total + (columns[0][:, None] - columns[1][None]) ** 2, None

    zero = jnp.zeros((x.shape[0], y.shape[0]), jnp.result_type(x, y))
    return jax.lax.scan(add, zero, (x.T, y.T), unroll=min(x.shape[1], UNROLL))[0]


@squared_distances.defjvp
def _squared_distances_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    """By matrix products, in either mode."""
    (x, y), (dx, dy) = primals, tangents
    own = jnp.sum(x * dx, axis=1)[:, None] + jnp.sum(y * dy, axis=1)[None]
    return squared_distances(x, y), 2 * (own - dx @ y.T - x @ dy.T)


def first_marginals(x: Array, all_pairs: bool) -> Marginals:
    r"""$x^\top x / d$ for vectors, or for the channels of each pixel; distances within an image if ``all_pairs``."""
    variance = jnp.mean(x**2, axis=-1)
    if not all_pairs:
        return Marginals(variance)
    pixels = x.reshape(x.shape[0], -1, x.shape[-1])
    within = jax.vmap(lambda image: squared_distances(image, image))(pixels) / x.shape[-1]
    return Marginals(variance, within.reshape(*variance.shape, *variance.shape[1:]))


def first_distances(x: Array, y: Array, all_pairs: bool) -> Array:
    r"""$|x - y|^2 / d$, of vectors, equal pixels, or all pairs of pixels."""
    if x.ndim == 2:
        return squared_distances(x, y) / x.shape[-1]
    (n, height, width, channels), m = x.shape, y.shape[0]
    if all_pairs:
        found = squared_distances(x.reshape(-1, channels), y.reshape(-1, channels)) / channels
        return jnp.moveaxis(found.reshape(n, height, width, m, height, width), 3, 1)
    by_pixel = jax.vmap(squared_distances, in_axes=1, out_axes=-1)
    found = by_pixel(x.reshape(n, -1, channels), y.reshape(m, -1, channels)) / channels
    return found.reshape(n, m, height, width)
