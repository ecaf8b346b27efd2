"""Parquet and Feather, by pyarrow."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bayeskit.errors import DataError, StorageError
from bayeskit.storage.formats.format import Format, Value

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FEATHER", "PARQUET", "write_parquet"]

INDEX = re.compile(r"__index_level_\d+__")
"""What pandas calls an index that has no name; one that counts from zero it does not write at all."""


def _load(path: Path, kind: str, load: Callable[[Path], Any]) -> Any:
    """The table in a file.

    Raises:
        DataError: no pyarrow, not such a file, or no rows.
    """
    try:
        import pyarrow
    except ImportError:
        raise DataError(f'{path}: {kind} files need pyarrow: pip install "bayeskit[arrow]"') from None
    try:
        table = load(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path} is not a {kind} file, or it is damaged: {error}") from error
    if not table.num_rows:
        raise DataError(f"{path} has columns but no rows")
    return table


def _frame(path: Path, kind: str, load: Callable[[Path], Any]) -> pd.DataFrame:
    """The table as pandas has it, with an index that has a name among the columns."""
    frame = _load(path, kind, load).to_pandas()
    return frame.reset_index() if any(frame.index.names) else frame


def _read_arrow(path: Path, kind: str, load: Callable[[Path], Any]) -> dict[str, Value]:
    table = _load(path, kind, load)
    values: dict[str, Value] = {}
    for i, name in enumerate(table.column_names):
        if INDEX.fullmatch(name):
            first = table.column(i)[0].as_py()
            warnings.warn(
                f"{path}: the index has no name, so it is taken for the names of the rows ({first!r}, ...) and left "
                "out; give it a name to have it read",
                stacklevel=3,
            )
            continue
        if not name:
            raise DataError(f"{path}: column {i + 1} has no name")
        if name in values:
            raise DataError(f"{path}: the column {name!r} appears twice")
        values[name] = _array(path, name, table.column(i))
    return values


def _array(path: Path, name: str, column: Any) -> np.ndarray:
    """A column as an array; what is null becomes NaN, or an empty string, as an empty cell of a CSV does."""
    import pyarrow as pa
    from pyarrow import types

    if types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return np.array(["" if cell is None else cell for cell in column.to_pylist()])
    if column.null_count and types.is_boolean(kind):
        column = column.cast(pa.uint8())
    if types.is_decimal(kind) or types.is_null(kind) or (column.null_count and types.is_integer(column.type)):
        try:
            column = column.cast(pa.float64())
        except pa.ArrowInvalid as error:
            raise DataError(
                f"{path}: {name!r} has nulls, so its whole numbers become floats, and some are too large for that"
            ) from error
    elif not (types.is_boolean(kind) or types.is_integer(kind) or types.is_floating(kind)):
        hint = "; bk.columns(path, dates=...) makes numbers of times" if types.is_temporal(kind) else ""
        raise DataError(f"{path}: {name!r} holds {kind}; data are numbers, booleans or strings{hint}")
    return np.array(column.to_numpy())


def _load_parquet(path: Path) -> Any:
    from pyarrow import parquet

    # parquet.read_table would make columns of what folders are called
    with parquet.ParquetFile(path) as file:
        return file.read()


def _load_feather(path: Path) -> Any:
    from pyarrow import feather

    return feather.read_table(path, memory_map=False)


def write_parquet(frames: Iterator[pd.DataFrame], file: Path) -> None:
    """Write the rows of tables that have the same columns, one table after another.

    Raises:
        StorageError: there is no pyarrow.
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise StorageError('a Parquet file needs pyarrow: pip install "bayeskit[arrow]"') from None
    first = pa.Table.from_pandas(next(frames), preserve_index=False)
    with parquet.ParquetWriter(file, first.schema) as writer:
        writer.write_table(first)
        for frame in frames:
            writer.write_table(pa.Table.from_pandas(frame, first.schema, preserve_index=False))


PARQUET = Format(
    (".parquet",),
    'the columns; a null is NaN among numbers. Needs pyarrow: `pip install "bayeskit[arrow]"`',
    partial(_read_arrow, kind="Parquet", load=_load_parquet),
    partial(_frame, kind="Parquet", load=_load_parquet),
)
FEATHER = Format(
    (".feather",),
    "the same",
    partial(_read_arrow, kind="Feather", load=_load_feather),
    partial(_frame, kind="Feather", load=_load_feather),
)
