"""What arguments may be: errors that name them. Values that are traced are checked by their shapes alone."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from bayeskit._typing import Array, ArrayLike
from bayeskit.errors import DataError

__all__ = ["finite", "is_known", "positive", "within"]


def is_known(x: object) -> bool:
    """Whether the numbers are there, and not traced."""
    return not isinstance(x, jax.core.Tracer)


def finite(x: ArrayLike, name: str, dtype: jnp.dtype | None = None) -> Array:
    """Real numbers without NaN and infinity.

    Raises:
        DataError: they are not.
    """
    array = jnp.asarray(x)
    if array.dtype == bool or not (
        jnp.issubdtype(array.dtype, jnp.floating) or jnp.issubdtype(array.dtype, jnp.integer)
    ):
        raise DataError(f"{name} must hold real numbers, got {array.dtype}")
    _all_are(array, name, np.isfinite, "finite")
    return array.astype(dtype or jnp.promote_types(array.dtype, jnp.float32))


def positive(x: ArrayLike, name: str) -> Array:
    """Finite numbers above zero.

    Raises:
        DataError: they are not.
    """
    array = finite(x, name)
    _all_are(array, name, lambda known: known > 0, "positive")
    return array


def within(x: ArrayLike, name: str, low: float, high: float) -> Array:
    """Numbers of a closed interval.

    Raises:
        DataError: they are not.
    """
    array = finite(x, name)
    _all_are(array, name, lambda known: (known >= low) & (known <= high), f"between {low:g} and {high:g}")
    return array


def _all_are(array: Array, name: str, holds: Callable[[np.ndarray], np.ndarray], what: str) -> None:
    if not is_known(array):
        return
    known = np.asarray(array)
    bad = np.argwhere(~holds(known))
    if len(bad):
        place = tuple(map(int, bad[0]))
        where = f" at {place if len(place) > 1 else place[0]}" if place else ""
        raise DataError(f"{name} must be {what}, got {known[place]:g}{where}")
