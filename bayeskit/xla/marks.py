"""Values that are found again in a traced program, by a label."""

from __future__ import annotations

from typing import Any

from jax.ad_checkpoint import checkpoint_name

from bayeskit._typing import Array

__all__ = ["label_of", "mark"]

_PREFIX = "bayeskit: "


def mark(value: Array, label: str) -> Array:
    """The same value, which leaves an equation with this label in a program that is traced."""
    return checkpoint_name(value, _PREFIX + label)


def label_of(equation: Any) -> str | None:
    """The label of an equation that `mark` has left."""
    if equation.primitive.name != "name" or not str(equation.params["name"]).startswith(_PREFIX):
        return None
    return str(equation.params["name"]).removeprefix(_PREFIX)
