"""Names of the rows of a table, with their marks."""

from __future__ import annotations

from importlib.util import find_spec

import pytest


def rows(table, needs=(), full=(), slow=()):
    """The names of a table for `parametrize`.

    Skipped where the package that a row `needs` is not installed; those in `full` and `slow` are left to
    `make test-all` and `make slow`.
    """
    found = []
    for name in table:
        tiers = [(pytest.mark.full, full), (pytest.mark.slow, slow)]
        marks = [mark for mark, names in tiers if name in names]
        if name in needs and find_spec(needs[name]) is None:
            marks.append(pytest.mark.skip(reason=f"needs {needs[name]}"))
        found.append(pytest.param(name, marks=marks, id=name))
    return found
