"""Products with a column, a row or a number, whose derivatives are matrix products.

The derivative of a broadcast is a sum over rows, columns or all of a matrix. XLA on CPUs computes such a sum together
with all that leads up to the matrix, once more for each sum; the product with a vector it computes of the stored
matrix.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from bayeskit._typing import Array

__all__ = ["outer", "scaled"]


def outer(u: Array, v: Array) -> Array:
    """``u * v``, as a matrix product where one is a column and the other a row.

    Example:
        >>> outer(jnp.ones((3, 1)), jnp.arange(2.0)[None]).shape
        (3, 2)
    """
    if u.ndim == v.ndim == 2 and u.shape[1] == v.shape[0] == 1 and u.size > 1 and v.size > 1:
        return jnp.matmul(u, v, precision=jax.lax.Precision.HIGHEST)
    return u * v


@jax.custom_jvp
def scaled(factor: Array, x: Array) -> Array:
    """``factor * x`` for a number and an array.

    Example:
        >>> x = jnp.arange(6.0).reshape(2, 3)
        >>> float(jax.grad(lambda factor: scaled(factor, x).sum())(jnp.array(2.0)))
        15.0
    """
    return factor * x


@scaled.defjvp
def _scaled_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    (factor, x), (change, x_change) = primals, tangents
    spread = outer(jnp.full((x.shape[0], 1), change), jnp.ones((1, x.shape[1]), x.dtype)) if x.ndim == 2 else change
    return factor * x, factor * x_change + spread * x
