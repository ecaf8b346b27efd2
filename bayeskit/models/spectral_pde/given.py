"""What a problem is given, checked: intervals, nodes, coefficients, points, and functions of the coordinates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.distributions import Distribution

from bayeskit._settings import is_number, is_whole
from bayeskit._typing import Array
from bayeskit.errors import DataError
from bayeskit.models.spectral_pde.conditions import Function
from bayeskit.models.spectral_pde.operator import arguments_of

__all__ = ["check_finite", "check_points", "coefficients_of", "counts_of", "domain_of", "evaluate", "median_of"]

FEWEST = 4
"""Nodes along a coordinate."""


def evaluate(
    what: str,
    value: Function,
    grid: Sequence[np.ndarray | Array],
    shape: tuple[int, ...],
    coefficients: Mapping[str, Any],
) -> Array:
    """A function of the coordinates, or a number, on a grid.

    Raises:
        ModelError: it cannot be called so.
        DataError: what it returns has another shape.
    """
    if not callable(value):
        return jnp.full(shape, float(value))
    names = arguments_of(what, value, len(grid), tuple(coefficients))
    values = jnp.asarray(
        value(*(jnp.asarray(g) for g in grid), **{name: jnp.asarray(coefficients[name]) for name in names})
    )
    if jnp.iscomplexobj(values):
        raise DataError(f"{what} returned complex numbers; it must return real ones")
    if values.shape not in ((), shape):
        raise DataError(
            f"{what} returned an array of shape {values.shape} for coordinates of shape {shape}; it must return one "
            "number a point"
        )
    return jnp.broadcast_to(values, shape)


def check_points(
    what: str, points: np.ndarray, domain: Sequence[tuple[float, float]], coordinates: Sequence[str]
) -> None:
    """Refuse points that are not finite, not of the right shape, or outside the domain.

    Raises:
        DataError: so.
    """
    if points.ndim != 2 or points.shape[1] != len(domain) or len(points) == 0:
        raise DataError(
            f"{what} must have the shape (points, {len(domain)}), a column a coordinate ({', '.join(coordinates)}); "
            f"it is {points.shape}"
        )
    if not np.isfinite(points).all():
        raise DataError(f"{what} has {int((~np.isfinite(points)).sum())} entries that are not finite")
    for axis, (low, high) in enumerate(domain):
        slack = 1e-9 * (high - low)
        outside = (points[:, axis] < low - slack) | (points[:, axis] > high + slack)
        if outside.any():
            row = int(np.argmax(outside))
            raise DataError(
                f"{what}: {coordinates[axis]} of row {row} is {points[row, axis]:.6g}, outside the domain "
                f"({low:g}, {high:g}), where nothing is known"
            )


def check_finite(what: str, values: np.ndarray, grid: Sequence[np.ndarray]) -> None:
    """Refuse values that are not finite, naming the first node."""
    bad = ~np.isfinite(values)
    if bad.any():
        first = np.unravel_index(int(np.argmax(bad)), bad.shape)
        at = ", ".join(f"{float(g[first]):.6g}" for g in grid)
        raise DataError(f"{what} is not finite at {int(bad.sum())} of {values.size} nodes, the first at ({at})")


def domain_of(domain: object) -> tuple[tuple[float, float], ...]:
    """The intervals, as a tuple of pairs."""
    try:
        array = np.asarray(domain, np.float64)
    except (TypeError, ValueError):
        array = np.zeros(0)
    array = array[None] if array.shape == (2,) else array  # one coordinate
    if array.ndim != 2 or array.shape[1] != 2 or not 1 <= len(array) <= 3:
        raise DataError(
            f"domain must be one interval for each of 1 to 3 coordinates, [(0.0, 1.0), ...]; got {domain!r}"
        )
    for low, high in array:
        if not (np.isfinite([low, high]).all() and low < high):
            raise DataError(f"an interval of the domain must have a lower and a higher end; got ({low:g}, {high:g})")
    return tuple((float(low), float(high)) for low, high in array)


def counts_of(num_nodes: object, dimensions: int) -> tuple[int, ...]:
    """The number of nodes along each coordinate."""
    counts = (num_nodes,) * dimensions if is_whole(num_nodes) else num_nodes
    if not isinstance(counts, tuple | list) or len(counts) != dimensions or not all(is_whole(n) for n in counts):
        raise DataError(f"num_nodes must be an integer, or one for each of {dimensions} coordinates; got {num_nodes!r}")
    if min(counts) < FEWEST:
        raise DataError(f"num_nodes must be at least {FEWEST} along every coordinate; got {num_nodes!r}")
    return tuple(int(n) for n in counts)


def coefficients_of(given: object) -> dict[str, Distribution | np.ndarray]:
    """Coefficients by name: distributions, and numbers as arrays."""
    if not isinstance(given, Mapping):
        raise DataError(f"coefficients must map names to distributions or numbers, got {type(given).__name__}")
    result: dict[str, Distribution | np.ndarray] = {}
    for name, value in given.items():
        if not (isinstance(name, str) and name.isidentifier()):
            raise DataError(f"a coefficient is named as an argument of the operator is; {name!r} is no such name")
        if isinstance(value, Distribution):
            result[name] = value
        elif is_number(value) or isinstance(value, np.ndarray | jax.Array):
            if np.iscomplexobj(value):
                raise DataError(f"coefficient {name!r} must be real, got {value!r}")
            result[name] = np.asarray(value, np.float64)
        else:
            raise DataError(f"coefficient {name!r} must be a NumPyro distribution or a number, got {value!r}")
    return result


def median_of(value: object) -> np.ndarray:
    """The median of a prior, by a thousand draws with a fixed key; a number is itself."""
    if not isinstance(value, Distribution):
        return np.asarray(value, np.float64)
    draws = np.asarray(value.sample(jax.random.key(0), (1001,)), np.float64)
    return np.asarray(np.median(draws, axis=0))
