"""Tables as text: CSV and TSV, as spreadsheets, R and pandas write them."""

from __future__ import annotations

import csv
import gzip
import io
import re
import warnings
import zlib
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from bayeskit.errors import DataError
from bayeskit.storage.formats.cells import as_column, first_odd, is_missing, mostly_numbers, number
from bayeskit.storage.formats.format import Format, Value

__all__ = ["CSV", "TSV"]

UTF_16 = (b"\xff\xfe", b"\xfe\xff")
GROUPED = re.compile(r"[+-]?[1-9]\d{0,2}[,.]\d{3}")
"""A number whose mark may stand before its decimals as well as between its thousands."""


class _Table(NamedTuple):
    """A file cut into columns: their names, their cells, and the line of each row; `line` is that of the header."""

    line: int
    names: list[str]
    columns: list[list[str]]
    lines: list[int]

    def where(self, column: int, row: int) -> str:
        """`line 3, column 'x': 'cell'`, for messages."""
        return f"line {self.lines[row]}, column {self.names[column]!r}: {self.columns[column][row]!r}"


def _read_table(path: Path, separators: str) -> dict[str, Value]:
    stream = io.StringIO(_text(path), newline="")
    separator = _separator(stream, separators)
    table = _cut(path, csv.reader(stream, delimiter=separator, strict=True))
    if table.names[0] == "" and len(table.names) > 1:
        table = _without_index(path, table)
    _check_names(path, table)
    decimal = _decimal(path, table) if separator == ";" else "."
    values: dict[str, Value] = {}
    for i, name in enumerate(table.names):
        values[name] = column = as_column(table.columns[i], decimal)
        if column.dtype.kind == "U" and (odd := first_odd(table.columns[i], decimal)) is not None:
            warnings.warn(f"{path}, {table.where(i, odd)} is not a number, so the column stays strings", stacklevel=3)
    return values


def _text(path: Path) -> str:
    """The text of a file: UTF-8, UTF-16 with its mark, or, with a warning, what Windows calls ANSI."""
    content = _unpacked(path) if path.suffix.lower() == ".gz" else path.read_bytes()
    if content.startswith(UTF_16):
        return content.decode("utf-16")
    if (zero := content.find(b"\0")) >= 0:
        line = content.count(b"\n", 0, zero) + 1
        raise DataError(f"{path}, line {line}: a zero byte, so this is not text")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        warnings.warn(
            f"{path}, line {line}: not UTF-8, so the file is read as Windows-1252 (Western European); if letters come "
            "out wrong, save it as UTF-8",
            stacklevel=4,
        )
        return content.decode("cp1252", errors="replace")


def _unpacked(path: Path) -> bytes:
    try:
        return gzip.decompress(path.read_bytes())
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(f"{path} is not a gzip file, or it is truncated: {error}") from error


def _separator(stream: io.StringIO, separators: str) -> str:
    """The first of the separators that cuts the first line."""
    line = next((line for line in stream if line.strip()), "")
    stream.seek(0)
    for separator in separators:
        try:
            if len(next(csv.reader([line], delimiter=separator))) > 1:
                return separator
        except csv.Error:
            continue  # a long header is one cell to the wrong separator, and too long for a cell
    return separators[0]


def _cut(path: Path, reader: Iterator[list[str]]) -> _Table:
    numbered = _rows(path, reader)
    line, header = next(((line, row) for line, row in numbered if row), (0, []))
    if not header:
        raise DataError(f"{path} is empty")
    rows: list[list[str]] = []
    lines: list[int] = []
    blank = hole = 0
    for number_of_line, row in numbered:
        if row:
            hole = hole or blank
            rows.append(row)
            lines.append(number_of_line)
        else:
            blank = blank or number_of_line
    if not rows:
        raise DataError(f"{path} has a header but no rows")
    if _has_row_names(header, rows):
        warnings.warn(
            f"{path}: the rows have one cell more than the header, so the first is taken for the name of the row "
            f"({rows[0][0]!r}, ...) and left out",
            stacklevel=4,
        )
        rows = [row[1:] for row in rows]
    odd = next((i for i, row in enumerate(rows) if len(row) != len(header)), None)
    if odd is not None:
        raise DataError(f"{path}, line {lines[odd]}: {len(rows[odd])} cells, but the header has {len(header)}")
    if hole and len(header) == 1:
        raise DataError(
            f"{path}, line {hole}: blank, which with one column is a missing value or none at all; write NA, "
            "or leave the line out"
        )
    columns = [[cell.strip() for cell in column] for column in zip(*rows, strict=True)]
    return _Table(line, [name.strip() for name in header], columns, lines)


def _rows(path: Path, reader: Iterator[list[str]]) -> Iterator[tuple[int, list[str]]]:
    """Rows with their line number; a blank line is a row without cells."""
    line = 0
    try:
        for row in reader:
            line = getattr(reader, "line_num", line + 1)
            yield line, row
    except csv.Error as error:
        raise DataError(f"{path}, line {getattr(reader, 'line_num', line + 1)}: {error}") from error


def _has_row_names(header: list[str], rows: list[list[str]]) -> bool:
    """Whether this is R's `write.table`, whose header has no cell for the names of the rows.

    They must look like names, and the last column must hold something: rows may as well end in a superfluous
    separator, or the name of another column be forgotten. Two cells below one name may be one number with a decimal
    comma.
    """
    if len(rows) < 2 or len(header) < 2 or any(len(row) != len(header) + 1 for row in rows):
        return False
    if not any(row[-1].strip() for row in rows):
        return False
    first = [row[0].strip() for row in rows]
    return _counts(first) or (_wrong_index(first) is None and all(number(cell) is None for cell in first))


def _counts(cells: Sequence[str]) -> bool:
    """Whether the cells are 0, 1, 2, ... or 1, 2, 3, ..."""
    return any(all(cell == str(start + i) for i, cell in enumerate(cells)) for start in (0, 1))


def _wrong_index(cells: Sequence[str]) -> tuple[int, str] | None:
    """The first cell that keeps a column from being an index (names or whole numbers, all different), and why."""
    seen: set[str] = set()
    for i, cell in enumerate(cells):
        if is_missing(cell):
            return i, "missing"
        if isinstance(number(cell), float):
            return i, "not a whole number"
        if cell in seen:
            return i, "there twice"
        seen.add(cell)
    return None


def _without_index(path: Path, table: _Table) -> _Table:
    """The table without its first column, where that is the index of a data frame, and has no name therefore."""
    index = table.columns[0]
    if (wrong := _wrong_index(index)) is not None:
        row, why = wrong
        raise DataError(
            f"{path}, line {table.line}: column 1 has no name, and it is not an index either, since {index[row]!r} in "
            f"line {table.lines[row]} is {why}"
        )
    if not _counts(index):
        warnings.warn(
            f"{path}: the first column has no name, so it is taken for the names of the rows ({index[0]!r}, ...) and "
            "left out; give it a name to have it read",
            stacklevel=4,
        )
    return table._replace(names=table.names[1:], columns=table.columns[1:])


def _check_names(path: Path, table: _Table) -> None:
    seen: set[str] = set()
    for i, name in enumerate(table.names):
        if not name:
            raise DataError(f"{path}, line {table.line}: column {i + 1} has no name")
        if name in seen:
            raise DataError(f"{path}, line {table.line}: the column {name!r} appears twice")
        seen.add(name)
    if all(number(name) is not None for name in table.names):
        raise DataError(
            f"{path}, line {table.line}: the first line must be a header of column names, these are numbers"
        )


def _decimal(path: Path, table: _Table) -> str:
    """The decimal mark of a file that is separated by semicolons: one for all of it, and not in doubt."""
    first: dict[str, str] = {}
    certain = False
    for i, cells in enumerate(table.columns):
        if not any("," in cell or "." in cell for cell in cells) or not mostly_numbers(cells):
            continue
        for mark in ",.":
            marked = [row for row, cell in enumerate(cells) if mark in cell and number(cell, mark) is not None]
            if marked:
                first.setdefault(mark, table.where(i, marked[0]))
            certain = certain or any(not GROUPED.fullmatch(cells[row]) for row in marked)
    if len(first) == 2:
        raise DataError(f"{path} has decimal commas ({first[',']}) and decimal points ({first['.']})")
    for mark, where in first.items():
        if not certain:
            raise DataError(
                f"{path}, {where}: the {'comma' if mark == ',' else 'point'} may stand before decimals or between "
                "thousands, and nothing in the file says which; write decimal points, and commas between the cells"
            )
    return next(iter(first), ".")


CSV = Format(
    (".csv", ".csv.gz"),
    "a header, then rows, separated by commas, semicolons or tabs; a column of numbers or booleans becomes one, "
    "others stay strings",
    partial(_read_table, separators=",;\t"),
)
TSV = Format((".tsv", ".tsv.gz"), "the same, separated by tabs", partial(_read_table, separators="\t"))
