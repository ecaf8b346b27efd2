"""What a table teaches about itself: its levels, its first day, its values by level, which of its rows are whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from bayeskit._spelling import did_you_mean
from bayeskit.errors import DataError
from bayeskit.storage.tables.encoding import UNITS, Clock, Encoding, Level, kind_of, levels_of, times

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["check_known", "complete", "learned", "one_a_level", "retimed", "timed"]


def check_known(frame: pd.DataFrame, names: Iterable[str], what: str, source: str) -> None:
    """Refuse names that are no columns."""
    for name in [names] if isinstance(names, str) else names:
        if name not in frame:
            raise DataError(f"{what}: {source} has no column {name!r}{did_you_mean(name, frame.columns, 'it has')}")


def timed(frame: pd.DataFrame, clocks: Mapping[str, Clock], source: str) -> tuple[pd.DataFrame, dict[str, Clock]]:
    """Times as numbers, with the clocks that tell them."""
    told: dict[str, Clock] = {}
    for name, clock in clocks.items():
        numbers, told[name] = times(frame[name], name, clock.unit, clock, source)
        frame = frame.assign(**{name: numbers})
    return frame, told


def retimed(column: pd.Series, own: Clock, clock: Clock) -> pd.Series:
    """Times of one clock as another tells them."""
    import pandas as pd

    ahead = 0.0
    if own.origin is not None and clock.origin is not None:
        ahead = (pd.Timestamp(own.origin) - pd.Timestamp(clock.origin)).total_seconds()
    return (column * UNITS[own.unit] + ahead) / UNITS[clock.unit]


def complete(
    frame: pd.DataFrame, drop_missing: bool | Sequence[str], source: str
) -> tuple[pd.DataFrame, dict[str, int]]:
    """The rows without missing cells in the columns asked for, and in how many rows one is missing in each."""
    if drop_missing is False:
        return frame, {}
    asked = list(frame.columns) if drop_missing is True else drop_missing
    check_known(frame, asked, "drop_missing", source)
    missing = frame[[asked] if isinstance(asked, str) else list(asked)].isna()
    kept = frame[~missing.any(axis=1)]
    if not len(kept):
        raise DataError(f"drop_missing: every row of {source} has a missing cell; name the columns that are needed")
    return kept, {str(name): int(count) for name, count in missing.sum().items() if count}


def learned(
    frame: pd.DataFrame, clocks: Mapping[str, Clock], groups: Sequence[str], per: Mapping[str, str], source: str
) -> Encoding:
    """The levels of all columns of text and of those that name groups, and the values by level."""
    named = [groups] if isinstance(groups, str) else [*groups, *per.values()]
    text = [name for name in frame.columns if kind_of(frame[name]) == "text"]
    for name in named:
        if (kind := kind_of(frame[name])) not in ("text", "number", "boolean"):
            raise DataError(f"groups: column {name!r} of {source} holds {kind}; groups have names, numbers or booleans")
    levels = {name: levels_of(frame[name]) for name in dict.fromkeys([*text, *named])}
    found = {name: (group, one_a_level(frame, name, group, levels[group], source)) for name, group in per.items()}
    return Encoding(levels, clocks, found)


def one_a_level(frame: pd.DataFrame, name: str, group: str, levels: Sequence[Level], source: str) -> tuple[Level, ...]:
    """The value that a column has in all rows of each level."""
    if not levels:
        return ()
    found = frame.groupby(group, observed=False, sort=False)[name].agg(["first", "nunique"])
    if (several := found.index[found["nunique"] > 1]).size:
        values = frame.loc[frame[group] == several[0], name].unique()[:2].tolist()
        raise DataError(f"per: column {name!r} of {source} is {values[0]} and {values[1]} in {group} {several[0]!r}")
    if none := [level for level in levels if found["nunique"].get(level, 0) == 0]:
        raise DataError(f"per: column {name!r} of {source} has no value for {group} {none[0]!r}")
    return tuple(found["first"].loc[list(levels)].tolist())
