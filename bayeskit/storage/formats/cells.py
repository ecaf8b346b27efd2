"""Cells of a table as text: which are missing, which spell a number, and what a column of them is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["as_column", "first_odd", "is_missing", "mostly_numbers", "number"]

MISSING = frozenset({"", "na", "nan", "n/a"})
BOOLEANS = {"True": True, "TRUE": True, "true": True, "False": False, "FALSE": False, "false": False}


def is_missing(cell: str) -> bool:
    """Whether a cell is empty or says that its value is missing."""
    return cell.lower() in MISSING


def number(cell: str, decimal: str = ".") -> int | float | None:
    """The number that a cell spells, or ``None``. A whole number beyond 64 bits is an identifier, not a number."""
    if decimal != ".":
        if "." in cell:
            return None
        cell = cell.replace(decimal, ".")
    if "_" in cell or not cell.isascii():
        return None
    if "." not in cell:
        try:
            whole = int(cell)
        except ValueError:
            pass
        else:
            return whole if abs(whole) < 2**63 else None
    try:
        return float(cell)
    except ValueError:
        return None


def as_column(cells: Sequence[str], decimal: str = ".") -> np.ndarray:
    """A column as an array: int64, float64 with NaN for missing cells, bool, or the strings as they are.

    Booleans of which some are missing are ones, zeros and NaN, as whole numbers of which some are missing are floats.
    """
    if cells[0] in BOOLEANS or is_missing(cells[0]):
        flags = [BOOLEANS.get(cell) for cell in cells]
        if None not in flags:
            return np.array(flags)
        if any(flag is not None for flag in flags) and all(cell in BOOLEANS or is_missing(cell) for cell in cells):
            return np.array([np.nan if flag is None else flag for flag in flags], dtype=np.float64)
    numbers = [np.nan if is_missing(cell) else number(cell, decimal) for cell in cells]
    if None in numbers:
        return np.array(cells)
    whole = all(isinstance(each, int) for each in numbers)
    return np.array(numbers, dtype=np.int64 if whole else np.float64)


def mostly_numbers(cells: Sequence[str]) -> bool:
    """Whether more than half of the cells that are not missing are numbers, with commas wherever they like."""
    present = [cell for cell in cells if not is_missing(cell)]
    return 2 * sum(number(cell.replace(",", "")) is not None for cell in present) > len(present)


def first_odd(cells: Sequence[str], decimal: str = ".") -> int | None:
    """Where the first cell is that is not a number, in a column of which most are; ``None`` in any other column.

    Such a cell may be a typing error, and the column numbers; or the column may hold house numbers, and all be right.
    """
    odd = next((i for i, cell in enumerate(cells) if not is_missing(cell) and number(cell, decimal) is None), None)
    return odd if odd is not None and mostly_numbers(cells) else None
