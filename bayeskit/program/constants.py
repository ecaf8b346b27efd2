"""Arguments that a model reads as Python values: a size, a condition, a list of labels."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TypeVar

from bayeskit.program.bind import Program

__all__ = ["settle"]

Found = TypeVar("Found")


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
        if not program.arrays:
            raise
        try:
            found = trace(program.with_constants(program.arrays))
        except Exception:
            # some other fault, or a Python value made of latent values: what was said first is about the model as given
            raise error from error.__cause__
    constant = list(program.arrays)
    for name in program.arrays:
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
