"""What is asked of inputs and outputs before a network sees them."""

from __future__ import annotations

import jax
import numpy as np

from bayeskit._typing import ArrayLike
from bayeskit.errors import DataError

__all__ = ["check_inputs", "check_outputs"]


def as_numbers(name: str, value: ArrayLike) -> np.ndarray:
    """As float64 on the host.

    Raises:
        DataError: not numbers.
    """
    if isinstance(value, jax.core.Tracer):
        raise DataError(f"{name} is being traced by JAX; networks compile themselves, so call them outside of jax.jit")
    try:
        array = np.asarray(value)
        if array.dtype.kind not in "biuf":
            array = array.astype(np.float64) if array.dtype.kind == "O" else np.full((), "text")
        return array.astype(np.float64)
    except (TypeError, ValueError):
        raise DataError(
            f"{name} must be numbers, got {type(value).__name__} of {np.asarray(value, object).dtype}; give categories "
            "a number each"
        ) from None


def check_inputs(name: str, value: ArrayLike, num_features: int, missing: bool, *, fewer: bool = False) -> np.ndarray:
    """Inputs of shape `(..., rows, features)`, float32; with `fewer`, that many features at most.

    Raises:
        DataError: not numbers, another shape, not finite.
    """
    array = as_numbers(name, value)
    if array.ndim == 1 and num_features == 1:
        array = array[:, None]
    if array.size == 0 and array.shape[:1] == (0,):
        array = array.reshape(0, num_features)
    if fewer:
        if array.ndim < 2 or not 1 <= array.shape[-1] <= num_features:
            raise DataError(
                f"{name} must have shape (rows, columns) with 1 to {num_features} columns, as many as the network was "
                f"trained for; got shape {array.shape}"
            )
    elif array.ndim < 2 or array.shape[-1] != num_features:
        raise DataError(
            f"{name} must have shape (rows, {num_features}): the network was trained for {num_features} "
            f"input{'s' * (num_features != 1)}; got shape {array.shape}"
        )
    check_finite(name, array, missing)
    return single(name, array)


def single(name: str, array: np.ndarray) -> np.ndarray:
    """In float32, in which networks compute.

    Raises:
        DataError: a number that would be infinite there.
    """
    large = np.abs(array) > np.finfo(np.float32).max
    if large.any():
        at = tuple(map(int, np.argwhere(large)[0]))
        raise DataError(f"{name} is {array[at]} at {at}, beyond the range of float32; use other units")
    return array.astype(np.float32)


def check_finite(name: str, array: np.ndarray, missing: bool) -> None:
    """Every number is finite, or NaN where that stands for a missing one.

    Raises:
        DataError: one is not.
    """
    bad = ~np.isfinite(array)
    if missing:
        bad &= ~np.isnan(array)
    if bad.any():
        row = np.argwhere(bad)[0]
        hint = (
            ""
            if missing or not np.isnan(array).any()
            else ("; the network was trained without missing inputs (train with missing=True on a prior that has them)")
        )
        raise DataError(f"{name} is {array[tuple(row)]} at {tuple(map(int, row))}, which is not finite{hint}")


def check_outputs(value: ArrayLike, x: np.ndarray, num_classes: int) -> np.ndarray:
    """Outputs of the rows of `x`: float32, or classes as int32.

    Raises:
        DataError: not numbers, another shape, not finite, or classes that the network does not know.
    """
    y = as_numbers("y", value)
    if y.shape != x.shape[:-1]:
        raise DataError(f"y must have one number for each row of x, shape {x.shape[:-1]}; got shape {y.shape}")
    if not np.isfinite(y).all():
        at = tuple(map(int, np.argwhere(~np.isfinite(y))[0]))
        raise DataError(f"y is {y[at]} at {at}, which is not finite; leave out rows whose output is unknown")
    if not num_classes:
        return single("y", y)
    if not np.isin(y, np.arange(num_classes)).all():
        unknown = sorted(set(y[~np.isin(y, np.arange(num_classes))].tolist()))[:3]
        raise DataError(f"y has the classes {unknown}; the network knows 0 to {num_classes - 1}")
    return y.astype(np.int32)
