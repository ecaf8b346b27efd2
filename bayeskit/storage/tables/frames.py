"""A table as a pandas frame, wherever it comes from: pandas, polars, Arrow, a mapping of columns, or a file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bayeskit.errors import DataError
from bayeskit.storage.data import check_readable, format_of, read_data
from bayeskit.storage.formats.cells import is_missing

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["as_frame", "is_table"]


def is_table(data: object) -> bool:
    """Whether data are a table by themselves: the path of a file, or a frame with named columns."""
    if isinstance(data, str | os.PathLike):
        return True
    if hasattr(data, "collect_schema"):  # whose names cost a computation
        return True
    return hasattr(data, "columns") and hasattr(data, "__getitem__") and not isinstance(data, Mapping)


def as_frame(table: object) -> tuple[pd.DataFrame, dict[str, object], str]:
    """The frame of a table, what a file holds besides (single numbers and strings), and what to call it in a message.

    Raises:
        DataError: it is no table, has no rows, or its columns have no names, or have one twice.
    """
    import pandas as pd

    single: dict[str, object] = {}
    if isinstance(table, str | os.PathLike):
        source = Path(table).name
        frame, single = _read(Path(table))
    elif isinstance(table, pd.DataFrame):
        source, frame = "a table", table.copy(deep=False)
    elif isinstance(table, Mapping):
        source = "a table"
        frame, single = _of_mapping(table, source)
    elif is_table(table):
        source, frame = "a table", _of_other(table)
    else:
        raise DataError(f"a table is a pandas or polars frame, or the path of a file, got {type(table).__name__}")
    _check_names(frame, source)
    frame = frame.assign(**{name: _named(frame[name]) for name in frame.columns if _has_odd_levels(frame[name])})
    return frame, single, source


def _check_names(frame: pd.DataFrame, source: str) -> None:
    for name in frame.columns:
        if not isinstance(name, str) or not name:
            raise DataError(f"{source}: names of columns must be strings, got {name!r}")
    if not frame.columns.is_unique:
        twice = frame.columns[frame.columns.duplicated()][0]
        raise DataError(f"{source}: the column {twice!r} appears twice")
    if not len(frame):
        raise DataError(f"{source} has no rows")


def _has_odd_levels(column: pd.Series) -> bool:
    levels = getattr(column.dtype, "categories", ())
    return any(not isinstance(level, str | int | float | bool | np.generic) for level in levels)


def _named(column: pd.Series) -> pd.Series:
    """Categories that are neither strings nor numbers, such as intervals and dates, by what they print as."""
    return column.cat.rename_categories([str(level) for level in column.cat.categories])


def _read(path: Path) -> tuple[pd.DataFrame, dict[str, object]]:
    """A file: Arrow and Excel keep their types, text says what its cells spell."""
    found = format_of(path)
    if found is not None and found.frame is not None:
        check_readable(path)
        return found.frame(path), {}
    return _of_mapping(read_data(path), str(path))


def _of_mapping(values: Mapping[Any, Any], source: str) -> tuple[pd.DataFrame, dict[str, object]]:
    import pandas as pd

    single = {name: value for name, value in values.items() if np.ndim(value) == 0}
    arrays = {name: np.asarray(value) for name, value in values.items() if name not in single}
    sizes = {len(array) for array in arrays.values()}
    odd = next((name for name, array in arrays.items() if array.ndim > 1), None)
    if odd is not None or len(sizes) > 1:
        what = f"{odd!r} has shape {arrays[odd].shape}" if odd is not None else "its arrays have several lengths"
        raise DataError(f"{source} is no table: {what}; pass the mapping of bk.read_data(path) as it is")
    return pd.DataFrame({name: _cells(array) for name, array in arrays.items()}), single


def _cells(array: np.ndarray) -> np.ndarray:
    """Strings as objects, `None` where a cell is empty or says that it is missing."""
    if array.dtype.kind != "U":
        return array
    return np.array([None if is_missing(cell) else cell for cell in array.tolist()], dtype=object)


def _of_other(table: Any) -> pd.DataFrame:
    """A frame of polars, or of another library that can be turned into one of pandas."""
    import pandas as pd

    if hasattr(table, "collect") and hasattr(table, "collect_schema"):  # polars, not computed yet
        table = table.collect()
    if hasattr(table, "get_columns"):  # polars; its own conversion would need pyarrow
        return pd.DataFrame({name: _of_polars(table[name]) for name in table.columns})
    if hasattr(table, "to_pandas"):
        return table.to_pandas()
    return pd.DataFrame({name: np.asarray(table[name]) for name in table.columns})


def _of_polars(series: Any) -> Any:
    """A column of polars; an `Enum` keeps the order of its categories, a `Categorical` has none of its own."""
    import pandas as pd

    kind = type(series.dtype).__name__
    if kind in ("Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "Float32", "Float64", "Boolean"):
        return series.to_numpy() if not series.null_count() else pd.array(series.to_list(), dtype=kind_of(kind))
    if kind == "Enum":
        return pd.Categorical(series.to_list(), categories=series.dtype.categories.to_list(), ordered=True)
    if kind in ("Datetime", "Date"):
        return pd.to_datetime(pd.Series(series.to_list(), dtype=object))
    return pd.Series(series.to_list(), dtype=object)  # lists stay cells


def kind_of(name: str) -> str:
    """The name that pandas has for a type of polars whose values may be missing."""
    return name.lower() if name == "Boolean" else name
