"""Names of the rows of a table, with their marks."""

from __future__ import annotations

from importlib.util import find_spec

import pytest


def rows(table, needs=(), full=()):
    """The names of a table for `parametrize`.

    Skipped where the package that a row `needs` is not installed, and left to `make test-all` where it is in `full`.
    """
    found = []
    for name in table:
        marks = [pytest.mark.full] if name in full else []
        if name in needs and find_spec(needs[name]) is None:
            marks.append(pytest.mark.skip(reason=f"needs {needs[name]}"))
        found.append(pytest.param(name, marks=marks, id=name))
    return found
