"""Rows that need an optional package: without it they are skipped, and the rest of their table stands."""

from __future__ import annotations

from importlib.util import find_spec

import pytest


def rows(table, needs):
    """The names of a table for `parametrize`, skipped where the package that a row `needs` is not installed."""
    missing = {name: package for name, package in needs.items() if find_spec(package) is None}
    return [
        pytest.param(name, marks=pytest.mark.skip(reason=f"needs {missing[name]}")) if name in missing else name
        for name in table
    ]
