"""What is known of a solution beside its equation: conditions at the boundary, and readings."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from bayeskit._settings import is_number
from bayeskit._typing import ArrayLike
from bayeskit.errors import DataError, ModelError

__all__ = ["Condition", "Dirichlet", "Function", "Neumann", "Periodic", "Readings"]

Function = Callable[..., Any] | float
"""A number, or a function of one array a coordinate."""


@dataclasses.dataclass(frozen=True)
class Condition:
    """A condition at one or both ends of a coordinate."""


@dataclasses.dataclass(frozen=True)
class Dirichlet(Condition):
    """The solution has these values there.

    Args:
        value: a number, or a function of one array a coordinate (and of unknown coefficients by name).

    Raises:
        ModelError: neither.
    """

    value: Function = 0.0

    def __post_init__(self) -> None:
        check_function("Dirichlet", self.value)


@dataclasses.dataclass(frozen=True)
class Neumann(Condition):
    r"""The outward normal derivative has these values there: $-\partial u / \partial x$ at the lower end.

    Args:
        value: as for `Dirichlet`.

    Raises:
        ModelError: neither a number nor a function.
    """

    value: Function = 0.0

    def __post_init__(self) -> None:
        check_function("Neumann", self.value)


@dataclasses.dataclass(frozen=True)
class Periodic(Condition):
    """The solution, and its derivatives below the order of the equation, are the same at both ends of a coordinate."""


@dataclasses.dataclass(frozen=True)
class Readings:
    """Noisy values of the solution at scattered points.

    Args:
        at: the points, shape `(readings, coordinates)`, or `(readings,)` where there is one coordinate.
        values: shape `(readings,)`.
        sd: the standard deviation of the noise, one for all; `None` to learn it with the spectrum.

    Raises:
        DataError: empty, not finite, shapes that do not belong together, or an `sd` that is not positive.
    """

    at: ArrayLike
    values: ArrayLike
    sd: float | None = None

    def __post_init__(self) -> None:
        for name, array in (("at", self.at), ("values", self.values)):
            if np.iscomplexobj(array):
                raise DataError(f"{name} of the readings must be real, got {np.asarray(array).dtype}")
        at, values = np.asarray(self.at, np.float64), np.asarray(self.values, np.float64)
        at = at[:, None] if at.ndim == 1 else at
        if at.ndim != 2 or values.shape != at.shape[:1] or at.size == 0:
            raise DataError(
                "readings need `at` of shape (readings, coordinates) and as many `values`; got shapes "
                f"{np.shape(self.at)} and {np.shape(self.values)}"
            )
        for name, array in (("at", at), ("values", values)):
            if not np.isfinite(array).all():
                raise DataError(f"{name} of the readings has {int((~np.isfinite(array)).sum())} entries not finite")
        if self.sd is not None and not (is_number(self.sd) and np.isfinite(self.sd) and self.sd > 0):
            raise DataError(f"sd of the readings must be a positive number, or None to learn it; got {self.sd!r}")
        object.__setattr__(self, "at", at)
        object.__setattr__(self, "values", values)


def check_function(what: str, value: object) -> None:
    """Refuse what is neither a function nor a finite number."""
    if not callable(value) and not (is_number(value) and np.isfinite(value)):
        raise ModelError(f"{what} takes a number or a function of the coordinates, got {value!r}")
