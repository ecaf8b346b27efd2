"""What the functions of a model say, as a short text that is compared between processes."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from types import CodeType

from bayeskit.program.bind import Program

__all__ = ["fingerprint", "may_be_same"]


def fingerprint(program: Program) -> str:
    """A hash of what a model does: of the code of its functions, and of the constants beside them.

    Two models may have the same sites and other priors, and a file is edited between two runs. Comments, docstrings and
    the places of lines do not count. Bytecode is that of a version of Python, which stands before the hash.

    Args:
        program: the model with its data bound; the data do not count.
    """
    parts = [(name, _said(value)) for name, value in program.around]
    whole = hashlib.sha256(repr(parts).encode()).hexdigest()
    return f"python{sys.version_info.major}.{sys.version_info.minor}:{whole[:16]}"


def may_be_same(before: object, now: str) -> bool:
    """Whether two fingerprints are the same, or cannot be compared: one is lacking, or of another version of Python."""
    if not isinstance(before, str) or before.partition(":")[0] != now.partition(":")[0]:
        return True
    return before == now


def _said(value: object) -> str:
    code = getattr(value, "__code__", None)
    if isinstance(code, CodeType):
        return repr(list(_parts(code, getattr(value, "__doc__", None))))
    return f"{type(value).__name__}" if callable(value) else repr(value)


def _parts(code: CodeType, doc: str | None = None) -> Iterator[object]:
    yield code.co_code, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield list(_parts(constant))
        elif isinstance(constant, frozenset):
            yield sorted(map(repr, constant))  # the order of a set is another in each process
        else:
            yield None if doc is not None and constant == doc else repr(constant)
