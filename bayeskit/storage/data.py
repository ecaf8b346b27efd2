"""Data files: JSON, CSV, NPZ and NetCDF, each to one mapping of names to values."""

from __future__ import annotations

import csv
import json
import os
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import numpy as np

from bayeskit.errors import DataError

Value: TypeAlias = np.ndarray | int | float | bool | str | None

_MISSING = frozenset({"", "na", "nan", "n/a"})


def read_data(path: str | os.PathLike[str]) -> dict[str, Value]:
    """The data of a model from a file; the suffix says how it is written.

    ======== =========================================================================================================
    `.json`  one flat object of numbers, strings, booleans, ``null`` and nested arrays, as Stan reads it
    `.csv`   a header and columns, separated by commas (`.tsv`: by tabs)
    `.npz`   named arrays, without pickled objects
    `.nc`    the variables of the root group
    ======== =========================================================================================================

    Whole numbers become int64 and others float64. A CSV column in which every cell is a number becomes numeric, with
    NaN for empty cells and ``NA`` (a model given NaN will refuse it and say so); other columns stay strings. Arrays
    without dimensions become Python scalars.

    Args:
        path: the file.

    Returns:
        Values by name, in the order of the file.

    Raises:
        DataError: the file is missing, empty, of an unknown kind, damaged, or not what its suffix says; with the
            path and the line, column or name.

    Example:
        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = pathlib.Path(folder, "schools.json")
        ...     _ = file.write_text('{"J": 2, "y": [28.0, 8]}')
        ...     read_data(file)
        {'J': 2, 'y': array([28.,  8.])}
    """
    path = Path(path)
    readers: dict[str, Callable[[Path], dict[str, Value]]] = {
        ".json": _read_json,
        ".csv": lambda file: _read_csv(file, ","),
        ".tsv": lambda file: _read_csv(file, "\t"),
        ".npz": _read_npz,
        ".nc": _read_netcdf,
        ".nc4": _read_netcdf,
        ".netcdf": _read_netcdf,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path}: data files end in .json, .csv, .tsv, .npz or .nc, not {path.suffix or 'nothing'!r}")
    try:
        if path.stat().st_size == 0:
            raise DataError(f"{path} is empty")
        values = reader(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not text in UTF-8: {error}") from error
    if not values:
        raise DataError(f"{path} holds no variables")
    return values


# ---------------------------------------------------------------- JSON


def _read_json(path: Path) -> dict[str, Value]:
    def no_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
        content = dict(pairs)
        if len(content) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise DataError(f"{path}: the name {twice!r} appears twice")
        return content

    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=no_duplicates)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}, line {error.lineno}, column {error.colno}: {error.msg}") from error
    except (RecursionError, ValueError) as error:
        if isinstance(error, DataError | UnicodeDecodeError):
            raise
        raise DataError(f"{path}: {error}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: a JSON data file is one object {{name: value}}, this is a {type(content).__name__}")
    return {name: _json_value(path, name, value) for name, value in content.items()}


def _json_value(path: Path, name: str, value: object) -> Value:
    if isinstance(value, int) and abs(value) >= 2**63:
        raise DataError(f"{path}: {name!r} is a whole number beyond 64 bits")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, dict):
        raise DataError(f"{path}: {name!r} is an object; data are flat, so move what is in it to the top of the file")
    _json_shape(path, name, value)
    try:
        array = np.array(value)
    except (ValueError, OverflowError) as error:
        raise DataError(f"{path}: {name!r}: {error}") from error
    if array.dtype.kind not in "bifU":
        raise DataError(f"{path}: {name!r} holds whole numbers beyond 64 bits")
    return array


def _json_shape(path: Path, name: str, value: object) -> tuple[int, ...]:
    """Shape of nested lists, after a check that they are rectangular and hold one kind of thing."""
    kinds: set[str] = set()

    def shape(item: object, where: str) -> tuple[int, ...]:
        if not isinstance(item, list):
            if item is None or isinstance(item, dict):
                raise DataError(
                    f"{path}: {name}{where} is {'null' if item is None else 'an object'}; arrays hold numbers"
                )
            kinds.add("strings" if isinstance(item, str) else "booleans" if isinstance(item, bool) else "numbers")
            return ()
        shapes = [shape(child, f"{where}[{i}]") for i, child in enumerate(item)]
        for i, other in enumerate(shapes):
            if other != shapes[0]:
                raise DataError(f"{path}: {name!r} is ragged: {name}{where}[{i}] has shape {other}, not {shapes[0]}")
        return (len(shapes), *(shapes[0] if shapes else ()))

    found = shape(value, "")
    if len(kinds) > 1:
        raise DataError(f"{path}: {name!r} mixes {' and '.join(sorted(kinds))}")
    return found


# ---------------------------------------------------------------- CSV


def _read_csv(path: Path, delimiter: str) -> dict[str, Value]:
    with path.open(newline="", encoding="utf-8-sig") as handle:
        rows = _csv_rows(path, csv.reader(handle, delimiter=delimiter, strict=True))
        try:
            _, header = next(rows)
        except StopIteration:
            raise DataError(f"{path} is empty") from None
        names = _csv_header(path, header)
        table: list[list[str]] = []
        for line, row in rows:
            if len(row) != len(names):
                raise DataError(f"{path}, line {line}: {len(row)} cells, but the header has {len(names)}")
            table.append(row)
    if not table:
        raise DataError(f"{path} has a header but no rows")
    return {name: _csv_column([row[i].strip() for row in table]) for i, name in enumerate(names)}


def _csv_rows(path: Path, reader: Iterator[list[str]]) -> Iterator[tuple[int, list[str]]]:
    """Rows with their line number, without blank lines."""
    line = 0
    try:
        for row in reader:
            line = getattr(reader, "line_num", line + 1)
            if row:
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


# ---------------------------------------------------------------- NPZ and NetCDF


def _read_npz(path: Path) -> dict[str, Value]:
    values: dict[str, Value] = {}
    name = ""
    with path.open("rb") as handle:
        try:
            archive = np.load(handle, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise DataError(f"{path} is not an NPZ file but one array without a name")
            for name in archive.files:
                values[name] = _plain(path, name, archive[name])
        except DataError:
            raise
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            what = f": {name!r} cannot be read: {error}" if name else " is not an NPZ file, or it is truncated"
            raise DataError(f"{path}{what}") from error
    return values


def _read_netcdf(path: Path) -> dict[str, Value]:
    import xarray as xr

    with path.open("rb") as handle:
        engine = "scipy" if handle.read(3) == b"CDF" else "h5netcdf"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with xr.open_dataset(path, engine=engine, decode_times=False) as dataset:
                arrays = {str(name): np.asarray(variable.values) for name, variable in dataset.data_vars.items()}
    except Exception as error:
        raise DataError(f"{path} is not a NetCDF file, or it is damaged: {error or type(error).__name__}") from error
    if not arrays:
        raise DataError(f"{path} has no variables in its root group")
    return {name: _plain(path, name, array) for name, array in arrays.items()}


def _plain(path: Path, name: str, array: np.ndarray) -> Value:
    if array.dtype.kind in "OTS" and all(isinstance(item, str | bytes) for item in array.flat):
        array = array.astype(str)
    if array.dtype.kind not in "biufU":
        raise DataError(f"{path}: {name!r} has dtype {array.dtype}; data are numbers, booleans or strings")
    return array.item() if array.ndim == 0 else array
