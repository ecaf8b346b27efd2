"""How columns of a table become numbers: levels as codes, dates as times since one of them, one value a level.

What was learned from one table is kept, so that another is encoded alike.
"""

from __future__ import annotations

import json
import keyword
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bayeskit._spelling import did_you_mean
from bayeskit.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["UNITS", "Clock", "Encoding", "Level", "argument_of", "codes", "kind_of", "levels_of", "times", "unseen"]

Level = str | int | float | bool
UNITS = {"seconds": 1.0, "minutes": 60.0, "hours": 3600.0, "days": 86400.0, "weeks": 604800.0, "years": 31557600.0}
"""Seconds of each; a year is that of astronomers, 365.25 days."""


class Clock(NamedTuple):
    """Unit of a column of times, and the date that is zero in ISO 8601; none for lengths of time."""

    unit: str
    origin: str | None


@dataclass(frozen=True)
class Encoding:
    """What a table has taught about its columns.

    Attributes:
        levels: of each column that names groups, in the order of their codes.
        dates: unit and origin of each column of times.
        per: of each column with one value a level, the column of the groups, and the values by level.
    """

    levels: Mapping[str, tuple[Level, ...]] = field(default_factory=dict)
    dates: Mapping[str, Clock] = field(default_factory=dict)
    per: Mapping[str, tuple[str, tuple[Level, ...]]] = field(default_factory=dict)

    def only(self, names: Sequence[str]) -> Encoding:
        """What concerns these columns."""
        per = {n: v for n, v in self.per.items() if n in names}
        groups = {*names, *(group for group, _ in per.values())}
        return Encoding(
            {n: v for n, v in self.levels.items() if n in groups},
            {n: v for n, v in self.dates.items() if n in names},
            per,
        )

    def to_json(self) -> str:
        """As text, for the record of a run."""
        return json.dumps({"levels": self.levels, "dates": self.dates, "per": self.per})

    @classmethod
    def from_json(cls, text: str) -> Encoding:
        """From the record of a run."""
        kept = json.loads(text)
        return cls(
            {n: tuple(v) for n, v in kept["levels"].items()},
            {n: Clock(*v) for n, v in kept["dates"].items()},
            {n: (group, tuple(v)) for n, (group, v) in kept["per"].items()},
        )


def kind_of(column: pd.Series) -> str:
    """What a column holds: `text` (strings, categories), `boolean`, `number`, `date`, `duration`; or what else."""
    import pandas as pd
    from pandas.api import types

    if isinstance(column.dtype, pd.CategoricalDtype):
        return "text"
    if types.is_bool_dtype(column.dtype):
        return "boolean"
    if types.is_numeric_dtype(column.dtype) and not types.is_complex_dtype(column.dtype):
        return "number"
    found = types.infer_dtype(column, skipna=True)
    known = {
        "text": ("string",),
        "boolean": ("boolean",),
        "number": ("integer", "floating", "mixed-integer-float", "decimal", "empty"),
        "date": ("datetime64", "datetime", "date"),
        "duration": ("timedelta64", "timedelta"),
    }
    return next((kind for kind, names in known.items() if found in names), found.replace("mixed", "mixed values"))


def levels_of(column: pd.Series) -> tuple[Level, ...]:
    """The levels of a column: its categories in their order, or what it holds, sorted."""
    import pandas as pd

    if isinstance(column.dtype, pd.CategoricalDtype):
        return tuple(column.cat.categories.tolist())
    present = column.dropna()
    return tuple(sorted(item.item() if isinstance(item, np.generic) else item for item in present.unique().tolist()))


def codes(column: pd.Series, levels: Sequence[Level]) -> np.ndarray:
    """The code of each cell; -1 where it is missing or none of the levels."""
    import pandas as pd

    values = pd.Index(column.astype(object).where(column.notna(), None), dtype=object)
    return pd.Index(list(levels), dtype=object).get_indexer(values).astype(np.int64)


def unseen(column: pd.Series, levels: Sequence[Level], name: str, source: str, *, drawable: bool = True) -> DataError:
    """The error that names the first level of a column that is not among those known, and may be drawn or not."""
    found = codes(column, levels)
    row = int(np.flatnonzero((found < 0) & column.notna().to_numpy())[0])
    level = column.iloc[row]
    level = level.item() if isinstance(level, np.generic) else level
    hint = did_you_mean(level, map(str, levels), "they are" if len(levels) <= 20 else "")
    way = "new_levels='prior' draws what is not known of it from its prior"
    return DataError(
        f"{source}: column {name!r} has the level {level!r} in row {column.index[row]!r}, which is none of the "
        f"{len(levels)} levels of the fit{hint}; {way if drawable else 'a predictor has no prior for another'}"
    )


def times(column: pd.Series, name: str, unit: str, clock: Clock | None, source: str) -> tuple[Any, Clock]:
    """A column of dates or lengths of time as numbers, and the clock that tells them.

    Raises:
        DataError: an unknown unit, or cells that are no dates.
    """
    import pandas as pd

    if unit not in UNITS:
        raise DataError(f"dates: the unit of {name!r} is {unit!r}; units are {', '.join(UNITS)}")
    kind = kind_of(column)
    if kind == "duration":
        return pd.to_timedelta(column).dt.total_seconds() / UNITS[unit], Clock(unit, None)
    if kind not in ("date", "text"):
        raise DataError(f"dates: column {name!r} of {source} holds {kind}s, not dates")
    try:
        found = pd.to_datetime(column.astype(object), format="ISO8601", utc=True)
    except (ValueError, TypeError) as error:
        why = str(error).partition(". ")[0]
        raise DataError(
            f"dates: column {name!r} of {source} is not written as 2025-12-31 (ISO 8601): {why}; "
            "turn it into dates by pandas.to_datetime(..., format=...)"
        ) from None
    if found.notna().sum() == 0:
        raise DataError(f"dates: column {name!r} of {source} holds no date")
    origin = found.min().isoformat() if clock is None or clock.origin is None else clock.origin
    return (found - pd.Timestamp(origin)).dt.total_seconds() / UNITS[unit], Clock(unit, origin)


def argument_of(name: str) -> str:
    """The name of a column as an argument: an underscore in place of what a name cannot hold, and beside a name that
    Python keeps for itself (``class_``) or that begins with a digit (``_2015``).
    """
    plain = re.sub(r"\W+", "_", name).strip("_") or "_"
    if keyword.iskeyword(plain):
        return f"{plain}_"
    return plain if plain.isidentifier() else f"_{plain}"
