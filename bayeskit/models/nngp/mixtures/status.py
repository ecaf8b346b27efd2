"""What can go wrong in a compiled computation, as a number that comes back with its value."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from bayeskit._typing import Array, ArrayLike
from bayeskit.errors import ModelError

__all__ = ["INDEFINITE", "NONE", "UNRESOLVED", "nan_if", "raise_singular", "raise_trouble", "trouble_of"]

NONE, INDEFINITE, UNRESOLVED = 0, 1, 2


def trouble_of(definite: ArrayLike, resolved: ArrayLike = True) -> Array:
    """The number of what went wrong first."""
    return jnp.where(definite, jnp.where(resolved, NONE, UNRESOLVED), INDEFINITE).astype(jnp.int32)


def nan_if(trouble: Array, value: Array) -> Array:
    """The value, NaN with trouble."""
    return jnp.where(trouble == NONE, value, jnp.nan)


def raise_trouble(trouble: Array, noise: str, size: int) -> None:
    """An error in words, outside of compiled functions.

    Raises:
        ModelError: there is trouble.
    """
    if isinstance(trouble, jax.core.Tracer) or int(trouble) == NONE:
        return
    if int(trouble) == INDEFINITE:
        covariance = "K + noise_variance * I" if noise == "inside" else "σ² K + noise_variance * I"
        raise ModelError(
            f"the covariance of the {size} responses, {covariance}, is not positive definite in float64: equal or "
            "nearly equal inputs, or more points than the kernel has features, need a larger noise_variance; nothing "
            "is added to the diagonal silently (or a parameter of the kernel is NaN or out of range)"
        )
    raise ModelError(
        "the integral over σ² is not resolved: its law given the responses is improper, or so heavy-tailed, rough or "
        "narrow that 1025 points do not describe it; use a scale_prior with a smooth density that vanishes at zero and "
        "at infinity"
    )


def raise_singular(trouble: Array, size: int) -> None:
    """An error in words for a joint law at new inputs, outside of compiled functions.

    Raises:
        ModelError: there is trouble.
    """
    if not isinstance(trouble, jax.core.Tracer) and int(trouble) != NONE:
        raise ModelError(
            f"the joint law at the {size} points of x_new has a covariance that is not positive definite, "
            "as it is where points are nearly equal or the function is already known; use predict_each or, with noise, "
            "include_noise=True"
        )
