"""A table as the arguments of a model."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bayeskit._settings import check_choice
from bayeskit._spelling import did_you_mean
from bayeskit._typing import Model, Table
from bayeskit.errors import DataError
from bayeskit.storage.tables.described import described
from bayeskit.storage.tables.encoding import Clock, Encoding, Level, argument_of, codes, kind_of, levels_of, unseen
from bayeskit.storage.tables.frames import as_frame
from bayeskit.storage.tables.learning import check_known, complete, learned, one_a_level, retimed, timed

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Columns", "columns"]


def columns(
    table: Table | Mapping[str, object] | str | os.PathLike[str],
    *,
    drop_missing: bool | Sequence[str] = False,
    dates: Mapping[str, str] | None = None,
    groups: Sequence[str] = (),
    per: Mapping[str, str] | None = None,
) -> Columns:
    r"""The columns of a table as arguments of a model.

    ============================  ===================================================================================
    a column of                   becomes
    ============================  ===================================================================================
    numbers, booleans             an array of them
    strings                       codes :math:`0, \ldots, K - 1` of its levels, sorted; ``num_<column>`` is :math:`K`
    categories                    the same in the order of the categories, those without a row included
    dates, lengths of time        numbers, where ``dates`` names their unit; otherwise they are left aside
    ============================  ===================================================================================

    A model gets the arguments that it names, ``num_<column>`` and ``num_rows`` among them, and the rest is left aside.
    A column is named as an argument with an underscore in place of what a name cannot hold: ``log radon`` is
    ``log_radon``, ``class`` is ``class_``. Levels become the coordinates of a plate that is named as the
    column and has their number.

    Args:
        table: a pandas or polars frame, a mapping of arrays, or the path of a file (CSV, Parquet, Excel, ...).
        drop_missing: ``True`` drops the rows in which a cell is missing, a list of columns those in which one of these
            is. Otherwise a missing cell is an error as soon as a model takes its column (or NaN that the model masks).
        dates: the unit of columns of dates (``"seconds"``, ``"minutes"``, ``"hours"``, ``"days"``, ``"weeks"``,
            ``"years"`` of 365.25 days): they become the time since the first of them. Strings in ISO 8601 are dates.
        groups: columns of numbers that name groups and become codes, such as numbers of sites.
        per: columns that say something of a group, and the column of the group, as in ``{"log_uranium": "county"}``:
            one value a level instead of one a row.

    Returns:
        A mapping, to be given to :func:`bayeskit.infer` as it is. ``data | {"y": None}`` is another with a value set.
        ``data.encode(new_table)`` encodes another table alike; :func:`bayeskit.predict` does the same for a frame or a
        path, by the record of the fit.

    Raises:
        DataError: the file cannot be read; an unknown column; no rows; a value that differs within its group; dates
            that cannot be read.

    Example:
        >>> import bayeskit as bk
        >>> data = bk.columns({"site": ["fen", "bog", "fen"], "count": [3, 0, 5], "note": ["", "wet", ""]})
        >>> data["site"], data["num_site"], data.levels["site"]
        (array([1, 0, 1]), 2, ('bog', 'fen'))
        >>> data.encode({"site": ["fen"]})["site"]
        array([1])
    """
    frame, single, source = as_frame(table)
    for what, value in {"dates": dates, "per": per}.items():
        if value is not None and not isinstance(value, Mapping):
            raise DataError(
                f"{what}: a mapping such as {{'column': '{'days' if what == 'dates' else 'group'}'}}, got {value!r}"
            )
    asked = {"dates": dates or {}, "groups": groups, "per": {**(per or {}), **dict.fromkeys((per or {}).values(), "")}}
    for what, names in asked.items():
        check_known(frame, names, what, source)
    frame, clocks = timed(frame, {name: Clock(unit, None) for name, unit in (dates or {}).items()}, source)
    kept, dropped = complete(frame, drop_missing, source)
    encoding = learned(kept, clocks, groups, per or {}, source)
    return Columns(kept, encoding, source, dropped, len(frame) - len(kept), single)


class Source(NamedTuple):
    """Where a value comes from: a column, the number of its levels (`size`), or the number of `rows`."""

    column: str
    what: str = "column"


@dataclass(frozen=True, eq=False, repr=False)
class Columns(Mapping[str, Any]):
    """A table as the arguments of a model; made by :func:`columns`.

    Attributes:
        frame: the rows that are used, as pandas has them, with times as numbers.
        encoding: the levels, dates and values by level that it is encoded by.
        source: the file, for messages.
        dropped: for each column in which cells were missing, in how many rows.
        num_dropped: rows that were dropped.
        added: single values of a file, and those set by ``|``.
        new_levels: levels beyond those of the encoding, by column.
        chosen: the arguments that a model takes; all, where none has been asked.
    """

    frame: pd.DataFrame
    encoding: Encoding
    source: str = "a table"
    dropped: Mapping[str, int] = field(default_factory=dict)
    num_dropped: int = 0
    added: Mapping[str, object] = field(default_factory=dict)
    new_levels: Mapping[str, tuple[Level, ...]] = field(default_factory=dict)
    chosen: tuple[str, ...] | None = None

    @property
    def num_rows(self) -> int:
        """Rows that are used."""
        return len(self.frame)

    @cached_property
    def levels(self) -> dict[str, tuple[Level, ...]]:
        """The levels of each column that names groups, in the order of their codes."""
        return {name: (*known, *self.new_levels.get(name, ())) for name, known in self.encoding.levels.items()}

    @cached_property
    def reasons(self) -> dict[str, str]:
        """Why columns cannot be arguments, of those that cannot."""
        why = {name: self._why_not(name) for name in self.frame.columns}
        return {name: reason for name, reason in why.items() if reason}

    @cached_property
    def _sources(self) -> dict[str, Source]:
        """Where the values come from, by name."""
        names = dict.fromkeys([*self.frame.columns, *self.encoding.per])  # the latter are known without a column
        usable = [name for name in names if name not in self.reasons]
        sizes = {f"num_{argument_of(n)}": Source(n, "size") for n in self.encoding.levels if n not in self.reasons}
        by_argument = {argument_of(name): Source(name) for name in usable}
        found = {"num_rows": Source("", "rows"), **sizes, **by_argument, **{name: Source(name) for name in usable}}
        return found if self.chosen is None else {name: found[name] for name in self.chosen}

    @cached_property
    def _ambiguous(self) -> dict[str, list[str]]:
        """What a name may mean, where it is more than one thing."""
        meant: dict[str, list[str]] = {}
        for name in self.frame.columns:
            meant.setdefault(argument_of(name), []).append(f"the column {name!r}")
        meant |= {name: [f"the column {name!r}"] for name in self.frame.columns}
        for name in self.encoding.levels:
            meant.setdefault(f"num_{argument_of(name)}", []).append(f"the number of levels of {name!r}")
        meant.setdefault("num_rows", []).append("the number of rows")
        return {name: several for name, several in meant.items() if len(several) > 1}

    @property
    def used(self) -> tuple[str, ...]:
        """Columns that the model names, their sizes included; without a model, all that can be arguments."""
        return tuple(dict.fromkeys(source.column for source in self._sources.values() if source.column))

    @property
    def left_aside(self) -> tuple[str, ...]:
        """Columns that the model does not name; without a model, those that cannot be arguments as they are."""
        return tuple(name for name in self.frame.columns if name not in self.used)

    def _why_not(self, name: str) -> str:
        column, kind = self.frame[name], kind_of(self.frame[name])
        missing = int(column.isna().sum())
        if name in self.encoding.levels and missing:
            where = self.frame.index[column.isna().to_numpy()][0]
            return (
                f"{missing} of its {len(column)} cells are missing, the first in row {where!r}; "
                f"drop_missing=[{name!r}] leaves such rows out"
            )
        if name in self.encoding.levels or name in self.encoding.per or kind in ("number", "boolean"):
            return ""
        if kind in ("date", "duration"):
            return f"it holds {kind}s; dates={{{name!r}: 'days'}} makes numbers of them"
        if kind == "text":  # of a table that is encoded as that of a fit
            row = int(np.flatnonzero(column.notna())[0])
            return f"it holds {column.iloc[row]!r} in row {self.frame.index[row]!r}, and it was no text in the fit"
        return f"it holds {kind}, and data are numbers, booleans, strings or dates"

    def __getitem__(self, name: str) -> Any:
        if name in self.added:
            return self.added[name]
        if name in self.reasons:
            raise DataError(f"{self.source}: column {name!r} cannot be an argument: {self.reasons[name]}")
        if several := self._ambiguous.get(name):
            raise DataError(f"{self.source}: {name!r} may be {' or '.join(several)}; rename a column")
        source = self._sources[name]
        if source.what == "rows":
            return self.num_rows
        return len(self.levels[source.column]) if source.what == "size" else self._values(source.column)

    def __contains__(self, name: object) -> bool:
        return name in self.added or name in self._sources

    def __iter__(self) -> Iterator[str]:
        names = [
            n for n, source in self._sources.items() if self.chosen or source.what != "column" or source.column == n
        ]
        return iter(dict.fromkeys([*names, *self.added]))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __or__(self, values: Mapping[str, object]) -> Columns:
        return replace(self, added={**self.added, **values})

    def _values(self, name: str) -> np.ndarray:
        if name in self.encoding.per:
            return self._by_level(name)
        column = self.frame[name]
        if name in self.levels:
            return codes(column, self.levels[name])
        if kind_of(column) == "boolean" and not column.isna().any():
            return column.to_numpy(dtype=bool)
        if column.dtype == object:
            column = column.astype(float)  # decimals, and numbers among which some are None
        whole = column.dtype.kind in "iu" and not column.isna().any()
        if whole and column.max() > np.iinfo(np.int64).max:
            raise DataError(f"{self.source}: column {name!r} holds {column.max()}, which is beyond 64 bits with a sign")
        return column.to_numpy(dtype=np.int64) if whole else column.to_numpy(dtype=np.float64, na_value=np.nan)

    def _by_level(self, name: str) -> np.ndarray:
        group, known = self.encoding.per[name]
        new = self.new_levels.get(group, ())
        if new and name not in self.frame:
            raise DataError(f"{self.source} has no column {name!r}, which says something of the new {group} {new[0]!r}")
        return np.array([*known, *one_a_level(self.frame, name, group, new, self.source)])

    def for_model(self, model: Model) -> Columns:
        """The columns that a model names as arguments, and the rest in `left_aside`.

        Raises:
            DataError: an argument without default that is no column, or is one that cannot be an argument.
        """
        parameters = inspect.signature(model).parameters.values()
        if any(each.kind is each.VAR_KEYWORD for each in parameters):
            return self
        chosen: list[str] = []
        for each in parameters:
            reason = next((r for n, r in self.reasons.items() if each.name in (n, argument_of(n))), None)
            if each.name in self.added:
                continue
            if several := self._ambiguous.get(each.name):
                raise DataError(
                    f"{self.source}: the argument {each.name!r} may be {' or '.join(several)}; rename a column"
                )
            if each.name in self._sources and not reason:
                chosen.append(each.name)
            elif reason:
                raise DataError(f"{self.source}: column {each.name!r} is an argument of the model; {reason}")
            elif each.default is each.empty:
                hint = did_you_mean(each.name, self, "it has")
                raise DataError(f"{self.source} has no column {each.name!r}, which the model needs{hint}")
        return replace(self, chosen=tuple(chosen))

    def encode(
        self, table: Table | Mapping[str, object] | str | os.PathLike[str], *, new_levels: str = "error"
    ) -> Columns:
        """Another table, encoded as this one: the same codes, the same day zero.

        Args:
            table: as for :func:`columns`; it may lack columns.
            new_levels: ``"error"`` refuses levels that this table lacks; ``"prior"`` gives them codes after the others,
                so that :func:`bayeskit.predict` draws from its prior what the fit does not know of them.

        Raises:
            DataError: a level that is not known, with column, level and row; as for :func:`columns`.
        """
        return encoded(table, self.encoding, new_levels=new_levels)

    def record(self) -> dict[str, str]:
        """What the record of a run says of the table: its source, rows, what was left aside, how it is encoded."""
        return {
            "table": json.dumps(
                {
                    "source": self.source,
                    "num_rows": self.num_rows,
                    "num_dropped": self.num_dropped,
                    "dropped": dict(self.dropped),
                    "left_aside": list(self.left_aside),
                }
            ),
            "encoding": self.encoding.only(self.used).to_json(),
        }

    def __repr__(self) -> str:
        return described(self)


def encoded(
    table: object, encoding: Encoding, *, new_levels: str = "error", added: Mapping[str, object] | None = None
) -> Columns:
    """A table by the encoding of another.

    Raises:
        DataError: a level that is not known, with column, level and row.
    """
    check_choice("new_levels", new_levels, ("error", "prior"))
    frame, single, source = (table.frame, table.added, table.source) if isinstance(table, Columns) else as_frame(table)
    own = table.encoding.dates if isinstance(table, Columns) else {}
    frame = frame.assign(**{n: retimed(frame[n], own[n], c) for n, c in encoding.dates.items() if n in own})
    frame, _ = timed(frame, {n: c for n, c in encoding.dates.items() if n in frame and n not in own}, source)
    new: dict[str, tuple[Level, ...]] = {}
    for name, known in encoding.levels.items():
        if name in frame and (codes(frame[name], known)[frame[name].notna().to_numpy()] < 0).any():
            if new_levels == "error":
                raise unseen(frame[name], known, name, source)
            new[name] = tuple(level for level in levels_of(frame[name]) if level not in known)
    return Columns(frame, encoding, source, added={**single, **(added or {})}, new_levels=new)
