"""What arguments may be: errors that name them.

Of values that are traced only shapes can be refused; those that are out of range become NaN, which no result hides.
"""

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

    Integers become JAX's default floating-point type.

    Raises:
        DataError: they are not.
    """
    array = _as_array(x, name)
    is_integer = jnp.issubdtype(array.dtype, jnp.integer)
    if not (is_integer or jnp.issubdtype(array.dtype, jnp.floating)):
        raise DataError(f"{name} must hold real numbers, got {array.dtype}")
    to = dtype or (jnp.result_type(float) if is_integer else jnp.promote_types(array.dtype, jnp.float32))
    # NumPy's integers go there at once: as those of JAX they may have 32 bits
    numbers = jnp.asarray(array, jax.dtypes.canonicalize_dtype(to))
    _all_are(numbers, name, np.isfinite, "finite")
    return numbers


def _as_array(x: object, name: str) -> Array | np.ndarray:
    if isinstance(x, jax.Array):
        return x
    try:
        return np.asarray(x)
    except jax.errors.TracerArrayConversionError:
        return jnp.asarray(x)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} must hold real numbers in rows of one length: {error}") from None


def positive(x: ArrayLike, name: str) -> Array:
    """Finite numbers above zero.

    Raises:
        DataError: they are not.
    """
    array = finite(x, name)
    _all_are(array, name, lambda known: known > 0, "positive")
    return array if is_known(array) else jnp.where(array > 0, array, jnp.nan)


def within(x: ArrayLike, name: str, low: float, high: float, dtype: jnp.dtype | None = None) -> Array:
    """Numbers of a closed interval.

    Raises:
        DataError: they are not.
    """
    array = finite(x, name, dtype)
    _all_are(array, name, lambda known: (known >= low) & (known <= high), f"between {low:g} and {high:g}")
    return array if is_known(array) else jnp.where((array >= low) & (array <= high), array, jnp.nan)


def _all_are(array: Array, name: str, holds: Callable[[np.ndarray], np.ndarray], what: str) -> None:
    if not is_known(array):
        return
    known = np.asarray(array)
    bad = np.argwhere(~holds(known))
    if len(bad):
        place = tuple(map(int, bad[0]))
        where = f" at {place if len(place) > 1 else place[0]}" if place else ""
        raise DataError(f"{name} must be {what}, got {known[place]:g}{where}")
