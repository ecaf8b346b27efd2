"""Data files, each to one mapping of names to values."""

from __future__ import annotations

import os
from pathlib import Path

from bayeskit.errors import DataError
from bayeskit.storage.formats import FORMATS, Format, Value


def read_data(path: str | os.PathLike[str]) -> dict[str, Value]:
    """The data of a model from a file; the suffix says how it is written.

    JSON, CSV and TSV, NPZ, NetCDF, Parquet, Feather and Excel: the list, with what each holds, is
    ``bayeskit.storage.formats.FORMATS``.

    Whole numbers become int64 and others float64. A CSV column in which every cell is a number, or every cell ``TRUE``
    or ``FALSE``, becomes an array of them, with NaN for empty cells and ``NA`` (a model given NaN will refuse it and
    say so); other columns stay strings. Arrays without dimensions become Python scalars. A scalar of JSON that is a
    whole number, such as ``3.0``, is an int, so that it can be a size.

    It warns of what it has to guess: a cell that is not a number in a column of numbers, which stays strings then;
    row names without a header, which are left out; text that is not UTF-8.

    Args:
        path: the file.

    Returns:
        Values by name, in the order of the file.

    Raises:
        DataError: the file is missing, empty, of an unknown kind, damaged, or not what its suffix says; with the
            path and the line, column or name. Parquet or Feather without pyarrow (the extra ``arrow``), Excel without
            openpyxl (the extra ``excel``).

    Example:
        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = pathlib.Path(folder, "schools.json")
        ...     _ = file.write_text('{"J": 2, "y": [28.0, 8]}')
        ...     read_data(file)
        {'J': 2, 'y': array([28.,  8.])}
    """
    path = Path(path)
    found = format_of(path)
    if found is None:
        *others, last = (each.suffixes[0] for each in FORMATS)
        known = f"{', '.join(others)} or {last}"
        raise DataError(f"{path}: data files end in {known}, not {path.suffix or 'nothing'!r}")
    check_readable(path)
    try:
        values = found.read(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not text in UTF-8, save it as that: {error}") from error
    if not values:
        raise DataError(f"{path} holds no variables")
    return values


def format_of(path: Path) -> Format | None:
    """The format that a file has by its name."""
    name = path.name.lower()
    return next((each for each in FORMATS if name.endswith(each.suffixes)), None)


def check_readable(path: Path) -> None:
    """Refuse a file that is not there or holds nothing."""
    try:
        if path.stat().st_size == 0:
            raise DataError(f"{path} is empty")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
