"""What goes into a run: the model file of a plan, and its data as the arguments of the model."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bayeskit._spelling import did_you_mean
from bayeskit.cli.errors import UsageError
from bayeskit.cli.modelfile import ModelFile, load_model
from bayeskit.cli.output import console, record
from bayeskit.cli.plan import Plan
from bayeskit.errors import DataError

if TYPE_CHECKING:
    from bayeskit.storage import Columns


class Inputs(NamedTuple):
    """A model file with its data.

    Attributes:
        file: the model file.
        columns: what was read, by name.
        source: what to call it in a message.
        arguments: of the model: what ``data(columns)`` of the file makes, or the table with the columns that the model
            names.
    """

    file: ModelFile
    columns: dict[str, object]
    source: str
    arguments: dict[str, object] | Columns

    def labels(self, name: str) -> dict[str, Any] | None:
        """``dims`` or ``coords`` of the model file."""
        return self.file.labels(name, self.columns, self.source)


def read_inputs(plan: Plan) -> Inputs:
    """The model file of a plan, with its data as arguments.

    Raises:
        UsageError: a name to predict that is no argument; settings of columns where no table is read.
        DataError: a name that stands in two data files, or what reading them and the model file raise.
    """
    file = load_model(plan.model)
    columns, source = _values(plan.data)
    own = file.has_data or not isinstance(plan.data, tuple) or not _is_table(columns)
    if own and plan.columns:
        why = "the model file has a function data(columns)" if file.has_data else f"{source} is no table"
        raise UsageError(f"[columns] and --drop-missing say how a table is read, but {why}")
    arguments = file.arguments(columns, source) if own else _table(plan, file, columns)
    for name in plan.predictive:
        if name not in arguments:
            raise UsageError(
                f"predictive: the model is given no argument {name!r}{did_you_mean(name, list(arguments), 'known:')}"
            )
    return Inputs(file, columns, source, arguments)


def read_cells(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What `bayeskit.read_data` reads; dates of Parquet, Feather and Excel as strings, as a CSV has them."""
    from bayeskit.storage import read_data
    from bayeskit.storage.data import format_of
    from bayeskit.storage.tables.encoding import kind_of
    from bayeskit.storage.tables.frames import as_frame

    found = format_of(Path(path))
    try:
        return read_data(path)
    except DataError:
        if found is None or found.frame is None:
            raise
        frame = as_frame(path)[0]
        kinds = {name: kind_of(frame[name]) for name in frame}
        if "date" not in kinds.values() or not set(kinds.values()) <= {"date", "number", "boolean", "text"}:
            raise
    numbers = ("number", "boolean")
    return {
        name: frame[name].to_numpy(float, na_value=np.nan)
        if kind in numbers
        else np.array(["" if cell is None or cell != cell else str(cell) for cell in frame[name]])
        for name, kind in kinds.items()
    }


def show_table(inputs: Inputs) -> None:
    """Say which columns and rows of a table are not used."""
    from bayeskit.storage import Columns

    table = inputs.arguments
    if not isinstance(table, Columns):
        return
    record("left_aside", lambda: list(table.left_aside))
    record("dropped_rows", lambda: table.num_dropped)
    if table.left_aside:
        console.print(f"left aside: {', '.join(table.left_aside)}", soft_wrap=True, markup=False)
    if table.num_dropped:
        why = ", ".join(f"{name} {count}" for name, count in table.dropped.items())
        total = table.num_rows + table.num_dropped
        console.print(f"dropped: {table.num_dropped} of {total} rows, which lack a cell ({why})", soft_wrap=True)


def _table(plan: Plan, file: ModelFile, columns: dict[str, object]) -> Columns:
    """The columns that the model names, encoded.

    Raises:
        UsageError: an unknown setting of columns.
    """
    from bayeskit.storage import columns as as_columns

    settings = dict(plan.columns)
    known = ("drop_missing", "dates", "groups", "per")
    for name in settings:
        if name not in known:
            raise UsageError(f"[columns]: unknown key {name!r}{did_you_mean(name, known, 'known:')}")
    if settings.get("drop_missing") is True:  # of the columns that are used
        settings["drop_missing"] = [name for name in columns if name in as_columns(columns).for_model(file.model)]
    paths = plan.data if isinstance(plan.data, tuple) else ()
    alone = len(paths) == 1 and Path(paths[0]).suffix.lower() != ".json"  # a file keeps the types of its columns
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the first reading has told them
        table = as_columns(paths[0] if alone else columns, **settings)  # type: ignore[arg-type]
    chosen = table.for_model(file.model)
    _check_text(columns, chosen)
    return chosen


def _check_text(columns: Mapping[str, object], table: Columns) -> None:
    """Refuse levels made of a column of numbers in which a cell is mistyped.

    Raises:
        DataError: naming the cell.
    """
    from bayeskit.storage.formats.cells import first_odd

    for name, values in columns.items():
        if name in table.left_aside or not isinstance(values, np.ndarray) or values.dtype.kind != "U":
            continue
        cells = values.tolist()
        if (odd := first_odd(cells)) is not None:
            raise DataError(
                f"{table.source}: {cells[odd]!r} in column {name!r} is no number, though most of its cells are; "
                "mend it, or make the arguments in a function data(columns) of the model file"
            )


def _is_table(columns: Mapping[str, object]) -> bool:
    shapes = {value.shape for value in columns.values() if isinstance(value, np.ndarray)}
    return len(shapes) == 1 and len(next(iter(shapes))) == 1


def _values(data: tuple[str, ...] | dict[str, object] | None) -> tuple[dict[str, object], str]:
    """The raw data by name, and what to call them in a message."""
    if data is None:
        return {}, "no data were given, so the table"
    if isinstance(data, dict):
        return {name: _inline(name, value) for name, value in data.items()}, "the [data] table"
    columns: dict[str, object] = {}
    home: dict[str, str] = {}
    for path in data:
        for name, value in read_cells(path).items():
            if name in home:
                raise DataError(f"{name!r} stands in {home[name]} and in {path}: rename it in one of them")
            columns[name], home[name] = value, path
    return columns, " and ".join(data)


def _inline(name: str, value: object) -> object:
    if not isinstance(value, list):
        return value
    try:
        return np.array(value)
    except ValueError as error:
        raise DataError(f"data.{name} is not a rectangular array: {error}") from error
