"""How a computation went, as a number returned with its value: a compiled function cannot raise."""

from __future__ import annotations

import jax.numpy as jnp

from bayeskit._typing import Array, ArrayLike
from bayeskit.errors import ModelError
from bayeskit.models.nngp.tracing import is_traced

__all__ = ["FINE", "INDEFINITE", "UNRESOLVED", "nan_unless_fine", "raise_singular", "raise_unless_fine", "status_of"]

FINE, INDEFINITE, UNRESOLVED = 0, 1, 2


def status_of(definite: ArrayLike, resolved: ArrayLike = True) -> Array:
    """The number of what went wrong first."""
    return jnp.where(definite, jnp.where(resolved, FINE, UNRESOLVED), INDEFINITE).astype(jnp.int32)


def nan_unless_fine(status: Array, value: Array) -> Array:
    """The value, or NaN where it cannot be trusted."""
    return jnp.where(status == FINE, value, jnp.nan)


def raise_unless_fine(status: Array, covariance: str, size: int) -> None:
    """The error that a status stands for, outside compiled functions.

    Args:
        status: from `status_of`.
        covariance: the formula of the covariance of the responses.
        size: the number of responses.

    Raises:
        ModelError: something went wrong.
    """
    if is_traced(status) or int(status) == FINE:
        return
    if int(status) == INDEFINITE:
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


def raise_singular(status: Array, size: int) -> None:
    """The error that a status stands for, for a joint law at new inputs.

    Raises:
        ModelError: something went wrong.
    """
    if not is_traced(status) and int(status) != FINE:
        raise ModelError(
            f"the joint law at the {size} points of x_new has a covariance that is not positive definite, "
            "as it is where points are nearly equal or the function is already known; use predict_each or, with noise, "
            "include_noise=True"
        )
