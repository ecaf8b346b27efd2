"""A first look at a table: which column is the outcome, and what the others could be in a regression of it.

It decides by rules that are stated where they are applied, and `bayeskit init` writes down what it decided and why.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from bayeskit._spelling import did_you_mean
from bayeskit.cli.errors import UsageError
from bayeskit.errors import DataError
from bayeskit.storage.formats.cells import first_odd
from bayeskit.storage.tables import argument_of

Role = Literal["outcome", "group", "contrast", "slope", "aside"]
Family = Literal["negative_binomial", "bernoulli", "beta", "log_normal", "normal"]

USUAL_OUTCOMES = ("count", "counts", "abundance", "n", "y", "outcome", "response", "cases", "deaths", "events")
ROWS_A_LEVEL = 2
"""Rows that a level must have on average to be a group; text that hardly repeats is a note, not a group."""
MODULES = ("dist", "expit", "jnp", "numpyro")
"""What a model file imports, and no argument may hide."""
SKEWED = 10.0
"""Positive numbers whose largest is so many times their smallest are modelled on the logarithmic scale."""


@dataclass(frozen=True)
class Column:
    """One column, and what is made of it.

    Attributes:
        name: as in the table.
        values: numbers as floats, text as strings; rows with missing cells included.
        role: what becomes of it.
        seen: what is in it, in words.
        why: why it has this role, in words.
    """

    name: str
    values: np.ndarray
    role: Role
    seen: str
    why: str

    @property
    def argument(self) -> str:
        """Its name as an argument of a function."""
        return argument_of(self.name)

    @property
    def is_text(self) -> bool:
        """Whether it holds strings."""
        return self.values.dtype.kind == "U"

    @property
    def present(self) -> np.ndarray:
        """The cells that are not missing."""
        return self.values[~missing(self.values)]

    @property
    def levels(self) -> list[str]:
        """The different values, sorted."""
        return [exactly(value) for value in np.unique(self.present).tolist()]


@dataclass(frozen=True)
class Look:
    """What was found in a table.

    Attributes:
        columns: all of them, in the order of the table.
        family: the distribution of the outcome.
        num_rows: rows of the table.
        num_complete: rows without a missing cell in a column that is used.
    """

    columns: tuple[Column, ...]
    family: Family
    num_rows: int
    num_complete: int

    def of(self, *roles: Role) -> list[Column]:
        """The columns with one of these roles."""
        return [column for column in self.columns if column.role in roles]

    @property
    def outcome(self) -> Column:
        """The column that is modelled."""
        return self.of("outcome")[0]


def look(table: Mapping[str, object], source: str, outcome: str | None, groups: Sequence[str]) -> Look:
    """Decide what the columns of a table are.

    Args:
        table: columns by name, as `bayeskit.read_data` gives them.
        source: the file, for messages.
        outcome: the column to model; guessed by default.
        groups: columns that name groups, besides those of text.

    Raises:
        UsageError: no such column, or one that cannot be what it is said to be.
        DataError: no table, or nothing in it that could be an outcome.
    """
    values = _columns(table, source)
    for name in [*([outcome] if outcome is not None else []), *groups]:
        if name not in values:
            raise UsageError(f"{source} has no column {name!r}{did_you_mean(name, values, 'it has')}")
    chosen = outcome if outcome is not None else _guess_outcome(values, source, groups)
    if chosen in groups:
        raise UsageError(f"{chosen!r} is the outcome, so it cannot be a group")
    family, why = _family(chosen, values[chosen], given=outcome is not None)
    found = [
        Column(name, column, "outcome", _seen(column), why)
        if name == chosen
        else Column(name, column, *_role(name, column, name in groups))
        for name, column in values.items()
    ]
    complete = _complete(found)
    if complete.sum() < 2:
        used = ", ".join(column.name for column in found if column.role != "aside")
        raise DataError(f"{source}: fewer than two rows have all cells of {used}")
    found = [_among(column, complete) for column in found]
    _check_cells(found, source)
    _check_arguments(found)
    return Look(tuple(found), family, len(values[chosen]), int(_complete(found).sum()))


def missing(values: np.ndarray) -> np.ndarray:
    """Which cells are missing."""
    if values.dtype.kind == "f":
        return np.isnan(values)
    return np.isin(np.char.strip(values), ["", "NA", "NaN", "nan"])


# ---------------------------------------------------------------- the outcome


def _guess_outcome(values: Mapping[str, np.ndarray], source: str, groups: Sequence[str]) -> str:
    """A column of numbers with a usual name; otherwise the last one of numbers, since what was measured comes last."""
    numeric = [name for name, column in values.items() if column.dtype.kind == "f" and name not in groups]
    numeric = [name for name in numeric if np.unique(values[name][~missing(values[name])]).size > 1]
    if not numeric:
        raise DataError(f"{source} has no column of numbers that vary, so there is nothing to model; see --outcome")
    usual = [name for known in USUAL_OUTCOMES for name in numeric if name.lower() == known]
    return usual[0] if usual else numeric[-1]


def _family(name: str, column: np.ndarray, *, given: bool) -> tuple[Family, str]:
    """The distribution of an outcome, with the reason."""
    present = column[~missing(column)]
    chosen = "the outcome" if given else "the outcome, by its name" if name.lower() in USUAL_OUTCOMES else "the outcome"
    if column.dtype.kind == "U":
        if np.unique(present).size != 2:
            raise UsageError(f"--outcome: {name!r} holds text of more than two kinds; an outcome is numbers or yes/no")
        return "bernoulli", f"{chosen}: two kinds, Bernoulli"
    if set(np.unique(present)) <= {0.0, 1.0}:
        return "bernoulli", f"{chosen}: zeros and ones, Bernoulli"
    if _whole(present) and present.min() >= 0:
        return "negative_binomial", f"{chosen}: counts, negative binomial, which may vary more than Poisson"
    if present.min() > 0 and present.max() < 1:
        return "beta", f"{chosen}: between zero and one, as proportions are, beta"
    if present.min() > 0 and present.max() > SKEWED * present.min():
        return "log_normal", f"{chosen}: positive, over more than a factor of {SKEWED:.0f}, log-normal"
    return "normal", f"{chosen}: numbers, normal"


# ---------------------------------------------------------------- the others


def _role(name: str, column: np.ndarray, is_group: bool) -> tuple[Role, str, str]:
    """Role, content and reason of a column that is not the outcome."""
    present = column[~missing(column)]
    seen, different = _seen(column), np.unique(present).size
    if different < 2:
        return "aside", seen, "left aside: it does not vary"
    if is_group:
        return ("group", seen, "varying intercepts") if different > 2 else ("contrast", seen, "a difference")
    if 2 * present.size < column.size:
        return "aside", seen, "left aside: more than half of its cells are missing"
    if column.dtype.kind == "U":
        if _dates(present):
            return "aside", seen, "left aside: dates (the table [columns] of run.toml makes numbers of them)"
        if different == 2:
            return "contrast", seen, "the difference of the second from the first"
        if present.size < ROWS_A_LEVEL * different:
            return "aside", seen, f"left aside: fewer than {ROWS_A_LEVEL} rows a level"
        return "group", seen, "varying intercepts"
    if _numbers_rows(name, present):
        return "aside", seen, "left aside: it numbers the rows"
    if _is_id(name) and _whole(present) and different > 2 and present.size >= ROWS_A_LEVEL * different:
        return "group", seen, "varying intercepts, by its name"
    if different == 2:
        return "contrast", seen, "the difference of the larger from the smaller"
    return "slope", seen, "a slope"


def _numbers_rows(name: str, present: np.ndarray) -> bool:
    usual = name.lower() in ("", "row", "index", "rownames", "obs") or name.lower().startswith("unnamed")
    usual = usual or _is_id(name) or bool(np.all(np.diff(present) == 1))
    return usual and _whole(present) and np.unique(present).size == present.size


def _is_id(name: str) -> bool:
    """Names such as `id`, `site_id`, `plot ID` and `siteId`."""
    return re.search(r"(?:^|[\W_])(?i:id)$|[a-z]I[dD]$", name) is not None


def _whole(values: np.ndarray) -> bool:
    return bool(np.all(values == np.round(values)))


def _dates(values: np.ndarray) -> bool:
    return all(re.fullmatch(r"\d{4}-\d{2}-\d{2}([T ].*)?", str(value)) for value in values)


def _seen(column: np.ndarray) -> str:
    present = column[~missing(column)]
    different = np.unique(present).size
    gone = f", {column.size - present.size} missing" if present.size < column.size else ""
    if column.dtype.kind == "U":
        rows = f", {present.size / different:.3g} rows each" if different else ""
        return f"{different} level{'' if different == 1 else 's'}{rows}{gone}"
    if not present.size:
        return f"nothing{gone}"
    kind = "whole numbers" if _whole(present) else "numbers"
    return f"{kind}, {_short(float(present.min()))} to {_short(float(present.max()))}{gone}"


def _short(value: float) -> str:
    return f"{value:.9g}" if value.is_integer() else f"{value:g}"


def exactly(value: object) -> str:
    """A value as Python writes it, whole numbers without a point."""
    return f"{value:.0f}" if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 else str(value)


# ---------------------------------------------------------------- the table


def _columns(table: Mapping[str, object], source: str) -> dict[str, np.ndarray]:
    """Every column as floats or strings.

    Raises:
        DataError: these are no columns of equal length.
    """
    arrays = {name: np.asarray(value) for name, value in table.items()}
    sizes = {array.shape for array in arrays.values()}
    if len(sizes) != 1 or len(next(iter(sizes))) != 1:
        raise DataError(f"{source} is no table: its columns have the shapes {', '.join(map(str, sorted(sizes)))}")
    return {name: array if array.dtype.kind == "U" else array.astype(float) for name, array in arrays.items()}


def _complete(columns: Sequence[Column]) -> np.ndarray:
    """The rows without a missing cell in a column that is used."""
    return ~np.logical_or.reduce([missing(column.values) for column in columns if column.role != "aside"])


def _among(column: Column, rows: np.ndarray) -> Column:
    """The column, left aside where it is the same in all rows that are used."""
    if column.role in ("aside", "outcome") or np.unique(column.values[rows]).size > 1:
        return column
    return replace(column, role="aside", why="left aside: it does not vary in the rows without missing cells")


def _check_cells(columns: Sequence[Column], source: str) -> None:
    """Refuse what no run would take.

    Raises:
        DataError: an infinite number; text in a column of numbers.
    """
    for column in columns:
        if column.role == "aside":
            continue
        if column.is_text and (odd := first_odd(column.values.tolist())) is not None:
            raise DataError(f"{source}: column {column.name!r} holds numbers, but for {str(column.values[odd])!r}")
        if not column.is_text and np.isinf(column.values).any():
            raise DataError(f"{source}: the column {column.name!r} holds an infinite number")


def _check_arguments(columns: Sequence[Column]) -> None:
    names: dict[str, str] = dict.fromkeys(MODULES, "a module of the model file")
    used = [column for column in columns if column.role != "aside"]
    groups = [column for column in used if column.role == "group"]
    names |= {f"num_{column.argument}": f"the number of levels of {column.name!r}" for column in groups}
    names["num_rows"] = "the number of rows"
    for column in used:
        if column.argument in names:
            raise UsageError(
                f"the column {column.name!r} would be the argument {column.argument!r} of a function, which is "
                f"{names[column.argument]}; rename it"
            )
        names[column.argument] = f"the column {column.name!r}"
