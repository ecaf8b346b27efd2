"""Arguments that a model reads as Python values: a size, a condition, a list of labels."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TypeVar

import jax

from bayeskit.program.bind import Program
from bayeskit.program.failure import NOT_PYTHON

__all__ = ["settle"]

Found = TypeVar("Found")


def _is_traced(value: object) -> bool:
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(value))


def settle(program: Program, trace: Callable[[Program], Found]) -> tuple[Program, Found]:
    """Trace a program; where that fails, with the fewest of its arguments static that it takes.

    NumPyro runs a model on its arguments as they are, so that `int(g.max()) + 1`, `y[y > 0]` or `if sigma > 1` are
    Python. Here arguments are traced, so that other data of the same shapes need no other program. An argument that
    such a line reads is made a constant of the program, compared by content, and the others stay traced.

    Args:
        program: the program.
        trace: traces it with its arrays as arguments, and raises where it cannot be traced.

    Returns:
        The program, with these arguments constant, and what `trace` returned for it.

    Raises:
        Exception: that of `trace`, where constants do not help.
    """
    try:
        return program, trace(program)
    except Exception as error:
        known = [name for name, value in program.arrays.items() if not _is_traced(value)]
        if not known:
            raise
        try:
            found = trace(program.with_constants(known))
        except Exception as other:
            if isinstance(error.__cause__, NOT_PYTHON) and not isinstance(other.__cause__, NOT_PYTHON):
                raise  # the Python value was had: what is wrong is something else
            raise error from error.__cause__
    constant = known
    for name in known:
        fewer = [other for other in constant if other != name]
        try:
            found = trace(program.with_constants(fewer))
        except Exception:  # this one is needed
            continue
        constant = fewer
    warnings.warn(
        f"model {program.name!r} reads {', '.join(map(repr, constant))} as a Python value (a size, a condition, a "
        "NumPy array), so it is a constant of the compiled program, which is made anew for other values",
        stacklevel=2,
    )
    return program.with_constants(constant), found
