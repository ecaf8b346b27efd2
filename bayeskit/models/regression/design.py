"""A formula and a table, read by formulae: the response, and what each term multiplies its coefficients by."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bayeskit._spelling import did_you_mean
from bayeskit.errors import DataError, ModelError
from bayeskit.storage.tables import Columns

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Common", "Design", "Varying", "design", "groups_in", "response_in", "with_categories"]

FUNCTIONS: Mapping[str, Any] = {
    "np": np,
    "log": np.log,
    "log1p": np.log1p,
    "exp": np.exp,
    "sqrt": np.sqrt,
    "abs": np.abs,
}


@dataclass(frozen=True, eq=False)
class Common:
    """A term whose coefficients all rows share.

    Attributes:
        name: as the formula and the result have it.
        values: one number a row, or one for each row and coefficient.
        labels: of the coefficients; none where there is one.
        kind: `numeric`, `categoric`, or `interaction`, of numbers or of categories.
        term: what evaluates it in another table.
    """

    name: str
    values: np.ndarray
    labels: tuple[object, ...]
    kind: str
    term: Any

    @property
    def key(self) -> tuple[str, tuple[int, ...]]:
        """Name and coefficients: a category may have one for each level in one place, and one less in another."""
        return self.name, self.values.shape[1:]

    def at(self, frame: pd.DataFrame) -> np.ndarray:
        """The values in another table."""
        return np.asarray(self.term.eval_new_data(frame), float).reshape(len(frame), *self.values.shape[1:])


@dataclass(frozen=True, eq=False)
class Varying:
    """A term whose coefficients vary among groups, `expr|factor`.

    Attributes:
        name: as the formula and the result have it.
        by: the columns whose values together name a group.
        groups: the groups.
        what: what the coefficients multiply; none for intercepts.
    """

    name: str
    by: tuple[str, ...]
    groups: tuple[str, ...]
    what: Common | None

    @property
    def factor(self) -> str:
        """The name of the groups."""
        return self.name.partition("|")[2]

    def labels_in(self, frame: pd.DataFrame) -> list[str]:
        """The group of each row."""
        return [":".join(map(str, row)) for row in zip(*(frame[name].tolist() for name in self.by), strict=True)]


@dataclass(frozen=True, eq=False)
class Design:
    """What a formula says of a table.

    Attributes:
        table: the table, with the levels that it has taught.
        response: its name.
        observed: its values: a number a row, successes and trials, or codes of levels.
        levels: of an ordinal response.
        trials: how the formula names the trials of a binomial response.
        intercept: whether there is one.
        common: terms that all rows share.
        varying: terms that vary among groups.
        offsets: numbers that are added.
        named: the columns that the formula names.
        predictors: of these, those that are predictors, not only names of groups, nor the response.
        left: what stands before the ~.
    """

    table: Columns
    response: str
    observed: np.ndarray
    levels: tuple[object, ...]
    trials: str
    intercept: bool
    common: tuple[Common, ...]
    varying: tuple[Varying, ...]
    offsets: tuple[Common, ...]
    named: frozenset[str]
    predictors: frozenset[str]
    left: str

    @property
    def needed(self) -> frozenset[str]:
        """The columns that a table must have for a prediction."""
        return self.predictors.union(*(term.by for term in self.varying))


def design(formula: str, table: Columns, family: str) -> Design:
    """Read a formula with a table.

    Raises:
        ModelError: the formula cannot be parsed, has no response, or uses something that is not supported.
        DataError: an unknown column, missing cells, or a term that is constant.
    """
    description = _checked(formula, table)
    matrices = _matrices(formula, with_categories(table))
    if matrices.response is None:
        raise ModelError(f"formula {formula!r} has no response; write it before the ~")
    terms = list(matrices.common.terms.values()) if matrices.common is not None else []
    common = tuple(_common(term) for term in terms if term.kind not in ("intercept", "offset"))
    varying = tuple(_varying(term) for term in (matrices.group.terms.values() if matrices.group is not None else ()))
    observed, levels, trials = _response(matrices.response, table, family)
    intercept = any(term.kind == "intercept" for term in terms) and family != "ordinal"
    _check_rank(formula, intercept, common)
    offsets = tuple(_common(term) for term in terms if term.kind == "offset")
    named = frozenset(description.var_names) & set(table.frame.columns)
    predictors = _names_of([*terms, *(each.what.term for each in varying if each.what is not None)])
    left = formula.partition("~")[0].strip()
    name = matrices.response.name
    return Design(
        table, name, observed, levels, trials, intercept, common, varying, offsets, named, predictors & named, left
    )


def response_in(design: Design, frame: pd.DataFrame, family: str) -> np.ndarray | None:
    """The response in another table; nothing where that lacks it, or the formula makes it from the table it was for.

    Raises:
        DataError: a level that the fit does not know.
    """
    names = described(f"{design.left} ~ 1").var_names - {""} - FUNCTIONS.keys()
    function = re.match(r"([\w.]+)\(", design.left)
    stateful = function is not None and function[1] not in {*FUNCTIONS, "p", "prop", "proportion"}
    if (stateful and not design.left.startswith("np.")) or any(n not in frame or frame[n].isna().any() for n in names):
        return None
    if design.levels and design.response in frame:
        codes = {level: i for i, level in enumerate(design.levels)}
        values = frame[design.response].tolist()
        if odd := [value for value in values if value not in codes]:
            raise DataError(f"the response {design.response!r} has the level {odd[0]!r}, which the fit does not know")
        return np.array([codes[value] for value in values])
    return _response(_matrices(f"{design.left} ~ 1", frame).response, design.table, family)[0]


def with_categories(table: Columns) -> pd.DataFrame:
    """The frame of a table whose columns of text have their levels, also those of the fit that are not in it."""
    import pandas as pd

    frame = table.frame
    for name in table.levels:
        if name in frame and frame[name].dtype.kind not in "iufb":
            ordered = bool(getattr(frame[name].dtype, "ordered", False))
            frame = frame.assign(**{name: pd.Categorical(frame[name], list(table.levels[name]), ordered=ordered)})
    return frame


def described(formula: str) -> Any:
    """A formula as formulae reads it.

    Raises:
        ModelError: it cannot be read; or formulae is not there.
    """
    try:
        from formulae import model_description
    except ImportError:
        raise ModelError('formulas need formulae: pip install "bayeskit[formula]"') from None
    try:
        description = model_description(formula)
    except Exception as error:  # formulae has errors of its own, and some of Python's
        raise ModelError(f"formula {formula!r} cannot be read: {error}") from error
    return description


def groups_in(formula: str) -> frozenset[str]:
    """The columns that name groups.

    Raises:
        ModelError: the formula cannot be read; or groups are more than columns joined by a colon.
    """
    found = []
    for term in described(formula).group_terms:
        for component in term.factor.components:
            if type(component).__name__ != "Variable":
                raise ModelError(f"{term.name!r}: the groups are {term.factor.name}; they must be columns, joined by :")
            found.append(component.name)
    return frozenset(found)


def _checked(formula: str, table: Columns) -> Any:
    """The description of the formula, after a check of the columns that it names."""
    description = described(formula)
    for name in sorted(description.var_names - {""} - FUNCTIONS.keys()):
        if name not in table.frame:
            hint = did_you_mean(name, table.frame.columns, "it has")
            raise DataError(f"formula {formula!r}: {table.source} has no column {name!r}{hint}")
        if missing := int(table.frame[name].isna().sum()):
            raise DataError(
                f"formula {formula!r}: column {name!r} of {table.source} has {missing} missing values; "
                f"bk.columns(table, drop_missing=[{name!r}]) leaves their rows out"
            )
        values = table.frame[name]
        if values.dtype.kind == "f" and not np.isfinite(values.to_numpy(float)).all():
            raise DataError(f"formula {formula!r}: column {name!r} of {table.source} has infinite values")
    return description


def _matrices(formula: str, frame: pd.DataFrame) -> Any:
    from formulae import design_matrices

    try:
        return design_matrices(formula, frame, na_action="error", extra_namespace=dict(FUNCTIONS))
    except Exception as error:  # formulae raises what its functions raise
        raise ModelError(f"formula {formula!r}: {error or type(error).__name__}") from error


def _common(term: Any) -> Common:
    values = np.asarray(term.data, float)
    components = getattr(term, "components", [])
    categories = [component.kind == "categoric" for component in components]
    if term.kind == "interaction":
        kind = "categoric" if all(categories) else "interaction"
        labels: Sequence[object] = list(term.labels) if any(categories) else []
    else:
        kind = term.kind
        labels = list(term.levels) if term.kind == "categoric" and term.levels is not None else []
    if values.ndim == 2 and values.shape[1] == 1 and not labels:
        values = values[:, 0]
    if values.ndim == 2 and not labels:
        labels = range(values.shape[1])
    if values.ndim == 1 and labels:
        values = values[:, None]
    return Common(term.name, values, tuple(labels), kind, term)


def _varying(term: Any) -> Varying:
    by = [component.name for component in term.factor.components]
    what = None if term.kind == "intercept" else _common(term.expr)
    return Varying(term.name, tuple(by), tuple(map(str, term.groups)), what)


def _names_of(terms: Sequence[Any]) -> frozenset[str]:
    return frozenset(name for term in terms for name in getattr(term, "var_names", ()))


def _response(response: Any, table: Columns, family: str) -> tuple[np.ndarray, tuple[object, ...], str]:
    values = np.asarray(response.design_matrix)
    if family == "binomial":
        found = re.fullmatch(r"(?:p|prop|proportion)\((.+),\s*(\w+)\)", response.name)
        if response.kind != "proportion" or found is None:
            raise ModelError(f"family 'binomial': the response is p(successes, trials), not {response.name!r}")
        return values.astype(float), (), found[2]
    if response.kind == "proportion":
        raise ModelError(f"family {family!r} takes one number a row; {response.name!r} is for the family 'binomial'")
    if family == "ordinal":
        if response.name not in table.frame:
            raise ModelError(f"family 'ordinal': the response must be a column, not {response.name!r}")
        column = table.frame[response.name]
        if response.kind == "categoric" and response.levels:
            return values.argmax(1), tuple(response.levels), ""
        levels = sorted(column.unique().tolist())
        return np.searchsorted(levels, column.to_numpy()), tuple(levels), ""
    if values.ndim > 1:
        first = response.levels[-1]
        raise ModelError(
            f"family {family!r} takes numbers, and {response.name!r} holds levels; {response.name}['{first}'] is one "
            f"where it is {first!r}, and zero elsewhere"
        )
    return values.astype(float), (), ""


def _check_rank(formula: str, intercept: bool, common: Sequence[Common]) -> None:
    """Refuse a constant column; warn where columns depend on each other, which the priors alone would tell apart."""
    blocks = [term.values.reshape(len(term.values), -1) for term in common]
    for term, block in zip(common, blocks, strict=True):
        if (intercept and (np.ptp(block, axis=0) == 0).any()) or not np.any(block, axis=0).all():
            raise DataError(f"formula {formula!r}: {term.name!r} is constant, so that nothing can be learned about it")
    if not blocks:
        return
    matrix = np.column_stack([*blocks, *([np.ones(len(blocks[0]))] if intercept else [])])
    norms = np.linalg.norm(matrix, axis=0)
    if (rank := np.linalg.matrix_rank(matrix / norms)) < matrix.shape[1]:
        warnings.warn(
            f"formula {formula!r}: its {matrix.shape[1]} columns have rank {rank}: some are sums of others, and only "
            "the priors tell their coefficients apart",
            stacklevel=2,
        )
