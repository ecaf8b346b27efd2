"""Tables as text: CSV and TSV."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from bayeskit.errors import DataError
from bayeskit.storage.formats.format import Format, Value

__all__ = ["CSV", "TSV"]

_MISSING = frozenset({"", "na", "nan", "n/a"})


def _read_csv(path: Path, delimiter: str) -> dict[str, Value]:
    with path.open(newline="", encoding="utf-8-sig") as handle:
        rows = _csv_rows(path, csv.reader(handle, delimiter=delimiter, strict=True))
        try:
            header = next(row for _, row in rows if row)
        except StopIteration:
            raise DataError(f"{path} is empty") from None
        names = _csv_header(path, header)
        table: list[list[str]] = []
        blank = 0
        for line, row in rows:
            if not row:
                blank = blank or line
                continue
            if blank and len(names) == 1:
                raise DataError(
                    f"{path}, line {blank}: blank, which with one column is a missing value or none at all; write NA, "
                    "or leave the line out"
                )
            if len(row) != len(names):
                raise DataError(f"{path}, line {line}: {len(row)} cells, but the header has {len(names)}")
            table.append(row)
    if not table:
        raise DataError(f"{path} has a header but no rows")
    return {name: _csv_column([row[i].strip() for row in table]) for i, name in enumerate(names)}


def _csv_rows(path: Path, reader: Iterator[list[str]]) -> Iterator[tuple[int, list[str]]]:
    """Rows with their line number; a blank line is a row without cells."""
    line = 0
    try:
        for row in reader:
            line = getattr(reader, "line_num", line + 1)
            yield line, row
    except csv.Error as error:
        raise DataError(f"{path}, line {getattr(reader, 'line_num', line + 1)}: {error}") from error


def _csv_header(path: Path, header: list[str]) -> list[str]:
    names = [name.strip() for name in header]
    for i, name in enumerate(names):
        if not name:
            raise DataError(f"{path}, line 1: column {i + 1} has no name")
        if names.index(name) != i:
            raise DataError(f"{path}, line 1: the column {name!r} appears twice")
    if all(_number(name) is not None for name in names):
        raise DataError(f"{path}, line 1: the first line must be a header of column names, these are numbers")
    return names


def _csv_column(cells: list[str]) -> np.ndarray:
    present = [cell for cell in cells if cell.lower() not in _MISSING]
    numbers = [_number(cell) for cell in present]
    if any(number is None for number in numbers):
        return np.array(cells)
    if len(present) == len(cells) and all(isinstance(number, int) for number in numbers):
        return np.array([int(cell) for cell in cells], dtype=np.int64)
    return np.array([np.nan if cell.lower() in _MISSING else float(cell) for cell in cells], dtype=np.float64)


def _number(cell: str) -> int | float | None:
    """The number that a cell spells, or ``None``. A whole number beyond 64 bits is an identifier, not a number."""
    if "_" in cell or not cell.isascii():
        return None
    try:
        number = int(cell)
    except ValueError:
        try:
            return float(cell)
        except ValueError:
            return None
    return number if abs(number) < 2**63 else None


CSV = Format(
    (".csv",),
    "a header, then rows, separated by commas; a column of numbers becomes numeric, others stay strings",
    partial(_read_csv, delimiter=","),
)
TSV = Format((".tsv",), "the same, separated by tabs", partial(_read_csv, delimiter="\t"))
