"""What inputs and responses may be."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from bayeskit._typing import Array
from bayeskit.errors import DataError
from bayeskit.models.nngp.tracing import is_traced

__all__ = ["inputs", "new_inputs", "responses"]


def inputs(x: object, name: str = "x") -> Array:
    """Inputs with the points along the first axis.

    Raises:
        DataError: not an array of real numbers, empty, or not finite (seen only outside compiled functions).
    """
    array = _real(x, name)
    if array.ndim == 0 or array.size == 0:
        raise DataError(f"{name} must have shape (points, ...) and hold at least one point, got shape {array.shape}")
    return _finite(array, name)


def new_inputs(x_new: object, x: Array) -> Array:
    """Inputs like those of the data.

    Raises:
        DataError: as `inputs`, or points of another shape.
    """
    array = inputs(x_new, "x_new")
    if array.shape[1:] != x.shape[1:]:
        raise DataError(
            f"x_new has points of shape {array.shape[1:]} where x has {x.shape[1:]}; one point is x_new[None]"
        )
    return array


def responses(y: object, x: Array, name: str = "y") -> Array:
    """One real response a point.

    Raises:
        DataError: whole numbers (labels), another shape than `(points,)`, or not finite.
    """
    array = _real(y, name)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise DataError(
            f"{name} holds {array.dtype}: labels are for classification; measurements that are whole numbers need "
            f"{name}.astype(float)"
        )
    if array.shape != (x.shape[0],):
        raise DataError(f"{name} must have shape ({x.shape[0]},), one response a point of x, got {array.shape}")
    return _finite(array, name)


def _real(values: object, name: str) -> Array | np.ndarray:
    try:
        array = values if isinstance(values, jax.Array) else np.asarray(values)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} must be an array of real numbers: {error}") from error
    if not (jnp.issubdtype(array.dtype, jnp.floating) or jnp.issubdtype(array.dtype, jnp.integer)):
        raise DataError(f"{name} must hold real numbers, got {array.dtype}")
    return array


def _finite(array: Array | np.ndarray, name: str) -> Array:
    if not is_traced(array):
        bad = np.flatnonzero(~np.isfinite(np.asarray(array, float)).reshape(array.shape[0], -1).all(axis=1))
        if bad.size:
            raise DataError(
                f"{name} has NaN or infinity in {bad.size} points, the first is point {bad[0]}; remove them"
            )
    if isinstance(array, jax.Array):
        return array if jnp.issubdtype(array.dtype, jnp.floating) else array.astype(float)
    with jax.enable_x64(True), jax.ensure_compile_time_eval():  # float64 where float32 is the default, and never traced
        return jnp.asarray(array, jnp.float64)
