"""What the arguments of kernels may be: errors that name the argument and say what is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from bayeskit._typing import Array, ArrayLike
from bayeskit.errors import DataError, MethodError

__all__ = ["Parameter", "components", "coordinate", "order_of", "point"]

Parameter: TypeAlias = ArrayLike | Sequence[ArrayLike]
"""One number a component."""


def components(value: Parameter, name: str, *, zero: bool) -> Float[Array, " q"]:
    """A parameter as a vector.

    Raises:
        DataError: not real, not a number or a vector, or (where it is known) with impossible values.
    """
    traced = any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(value))
    array = jnp.asarray(value) if traced else np.asarray(value)
    if not (jnp.issubdtype(array.dtype, jnp.floating) or jnp.issubdtype(array.dtype, jnp.integer)):
        raise DataError(f"{name} must hold real numbers, got {array.dtype}")
    if array.ndim > 1 or array.size == 0:
        raise DataError(f"{name} must be a number or have shape (components,), got shape {array.shape}")
    if isinstance(array, np.ndarray):
        wrong = np.atleast_1d(~np.isfinite(array) | (array < 0 if zero else array <= 0))
        if wrong.any():
            place = int(np.flatnonzero(wrong)[0])
            rule = "finite and at least 0" if zero else "finite and above 0"
            raise DataError(f"{name} must be {rule}, got {np.atleast_1d(array)[place]} in component {place}")
    return jnp.atleast_1d(jnp.asarray(array, float))


def order_of(order: int, name: str) -> int:
    """A number of derivatives.

    Raises:
        MethodError: not an integer, or negative.
    """
    if isinstance(order, bool) or not isinstance(order, int | np.integer) or order < 0:
        raise MethodError(f"{name} must be an integer of at least 0, got {order!r}")
    return int(order)


def coordinate(x: ArrayLike, name: str) -> Float[Array, ""]:
    """A point of a kernel of one coordinate.

    Raises:
        DataError: more than one number.
    """
    array = jnp.asarray(x)
    if array.shape not in ((), (1,)):
        raise DataError(f"{name} must be a number or have shape (1,), got {array.shape}; use Product for coordinates")
    return array.reshape(())


def point(x: ArrayLike, name: str, size: int) -> Float[Array, " d"]:
    """A point of a kernel of several coordinates.

    Raises:
        DataError: not one number a coordinate.
    """
    array = jnp.asarray(x)
    if array.shape != (size,):
        raise DataError(f"{name} must have shape ({size},), one number a coordinate, got {array.shape}")
    return array
