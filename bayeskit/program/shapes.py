"""Refuse values that would broadcast against their distribution, and so be counted more than once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bayeskit._typing import Array
from bayeskit.errors import ModelError
from bayeskit.program.sites import describe

__all__ = ["check_observation", "check_value"]


def check_observation(site: Mapping[str, Any], shape: tuple[int, ...]) -> None:
    """An observation must have one likelihood term for each of its elements.

    Raises:
        ModelError: naming the site and both shapes.
    """
    name, distribution = site["name"], site["fn"]
    event_dim = distribution.event_dim
    event = tuple(distribution.event_shape)
    if event_dim and shape[len(shape) - event_dim :] != event:
        raise ModelError(
            f"observed site {name!r}: the observation has shape {shape}, but {describe(distribution)} has event shape "
            f"{event}"
        )
    batch = shape[: len(shape) - event_dim]
    expected = tuple(distribution.batch_shape)
    try:
        terms = jnp.broadcast_shapes(batch, expected)
    except ValueError:
        raise ModelError(
            f"observed site {name!r}: the observation has shape {shape}, which does not match the distribution's "
            f"batch shape {expected} ({describe(distribution)})"
        ) from None
    if _strip(terms) != _strip(batch) and not site["infer"].get("allow_broadcast"):
        raise ModelError(
            f"observed site {name!r}: the observation has shape {shape} and the distribution batch shape {expected}; "
            f"together they broadcast to {terms}, so every observation would be counted more than once. Give them the "
            'same shape, or, if it is meant, write infer={"allow_broadcast": True} at the site'
        )


def check_value(site: Mapping[str, Any], program: str, value: Array) -> None:
    """The value given for a random choice must be one that its distribution could have drawn.

    Raises:
        ModelError: another shape, integers for a continuous site, or NaN.
    """
    name, distribution = site["name"], site["fn"]
    sample_shape = site["kwargs"].get("sample_shape", ())
    expected = (*sample_shape, *distribution.batch_shape, *distribution.event_shape)
    if value.shape != expected:
        raise ModelError(
            f"site {name!r} of {program!r} has shape {expected}, and the value given for it has shape {value.shape}; "
            "they would broadcast to a density of something else"
        )
    whole = jnp.issubdtype(value.dtype, jnp.integer) or value.dtype == jnp.bool_
    if whole and not value.weak_type and not distribution.support.is_discrete:
        raise ModelError(
            f"site {name!r} of {program!r} is continuous, and the value given for it is of dtype {value.dtype}: a "
            "discrete guide has no density there"
        )
    if not whole and not isinstance(value, jax.core.Tracer) and np.isnan(np.asarray(value, float)).any():
        raise ModelError(f"the value given for site {name!r} of {program!r} is NaN")


def _strip(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape without its leading ones, which change nothing in a broadcast."""
    while shape and shape[0] == 1:
        shape = shape[1:]
    return shape
