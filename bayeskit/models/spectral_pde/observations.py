"""Observations of a process on a line and of its derivatives: errors that name the argument."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from bayeskit._typing import Array, ArrayLike
from bayeskit.errors import DataError

__all__ = ["Observations", "observations", "vector"]


class Observations(NamedTuple):
    """Sums of a process and its first two derivatives, seen with noise."""

    x: Float[Array | np.ndarray, " n"]
    coefficients: Float[Array | np.ndarray, "n 3"]
    targets: Float[Array | np.ndarray, " n"]
    noise_sd: Float[Array | np.ndarray, " n"]


def observations(x: ArrayLike, coefficients: ArrayLike, targets: ArrayLike, noise_sd: ArrayLike) -> Observations:
    """The same, checked as far as the values are known.

    Raises:
        DataError: as said by :func:`bayeskit.models.spectral_pde.state_space.condition`.
    """
    points = vector(x, "x")
    size = points.size
    if size == 0:
        raise DataError("x is empty; give at least one observation")
    linear, seen = _real(coefficients, "coefficients"), vector(targets, "targets")
    noise = _real(noise_sd, "noise_sd")
    if linear.shape != (size, 3):
        raise DataError(f"coefficients must have shape ({size}, 3), a row a point of x, got {linear.shape}")
    if seen.size != size:
        raise DataError(f"targets must have one number for each of the {size} points of x, got {seen.size}")
    if noise.shape not in ((), (size,)):
        raise DataError(f"noise_sd must be a number or have shape ({size},), got {noise.shape}")
    if isinstance(noise, np.ndarray) and (noise <= 0).any():
        raise DataError(f"noise_sd must be above 0, got {noise.min()}")
    return Observations(
        points,
        linear,
        seen,
        jnp.broadcast_to(noise, (size,)) if isinstance(noise, jax.Array) else np.broadcast_to(noise, (size,)),
    )


def vector(x: ArrayLike, name: str) -> Float[Array | np.ndarray, " n"]:
    """Real numbers, finite as far as they are known.

    Raises:
        DataError: they are not.
    """
    array = _real(x, name)
    if array.ndim != 1:
        raise DataError(f"{name} must have shape (points,), got {array.shape}")
    return array


def _real(x: ArrayLike, name: str) -> Array | np.ndarray:
    """Traced numbers as they are, and known ones in float64.

    Raises:
        DataError: not real, or NaN or infinite.
    """
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(x)):
        return jnp.asarray(x, float)
    array = np.asarray(x)
    if not (np.issubdtype(array.dtype, np.floating) or np.issubdtype(array.dtype, np.integer)):
        raise DataError(f"{name} must hold real numbers, got {array.dtype}")
    wrong = ~np.isfinite(array)
    if wrong.any():
        place = tuple(map(int, np.argwhere(wrong)[0]))
        raise DataError(f"{name} must be finite, got {array[place]} at {place}")
    return array.astype(np.float64)
