"""Choices that a marginal keeps, and those that it hides."""

from __future__ import annotations

from bayeskit._typing import Values
from bayeskit.errors import ModelError
from bayeskit.program.runnable import Runnable, name_of_program

__all__ = ["check_kept", "split"]


def split(program: Runnable, keep: tuple[str, ...], choices: Values) -> tuple[Values, Values]:
    """Those that are kept, and the others.

    Raises:
        ModelError: one that is to be kept is not there.
    """
    for name in keep:
        if name not in choices:
            raise ModelError(f"keep names {name!r}, and {name_of_program(program)!r} has {sorted(choices)}")
    kept = {name: choices[name] for name in keep}
    return kept, {name: value for name, value in choices.items() if name not in kept}


def check_kept(marginal: str, keep: tuple[str, ...], choices: Values) -> None:
    """The values given are those of the kept choices.

    Raises:
        ModelError: they are not.
    """
    if set(choices) != set(keep):
        raise ModelError(f"{marginal!r} has the sites {sorted(keep)}, and the choices given are {sorted(choices)}")
