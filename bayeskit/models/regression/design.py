"""A formula and a table, read by formulae: the response, and what each term multiplies its coefficients by."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bayeskit._spelling import did_you_mean
from bayeskit.errors import DataError, ModelError
from bayeskit.models.regression.terms import Common, Varying, check_rank, check_term
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
    level = re.fullmatch(r"(\w+)\[(['\"])(.*)\2\]", formula.partition("~")[0].strip())
    if level and level[1] in table.levels and level[3] not in map(str, table.levels[level[1]]):
        hint = did_you_mean(level[3], map(str, table.levels[level[1]]), "they are")
        raise DataError(f"formula {formula!r}: column {level[1]!r} has no level {level[3]!r}{hint}")
    observed, levels, trials = _response(matrices.response, table, family)
    intercept = any(term.kind == "intercept" for term in terms) and family != "ordinal"
    offsets = tuple(_common(term) for term in terms if term.kind == "offset")
    for each in (*common, *offsets, *(term.what for term in varying if term.what is not None)):
        check_term(each, table)
    for term in varying:
        if len(set(term.groups)) < len(term.groups):
            raise DataError(f"formula {formula!r}: two groups of {term.factor!r} read alike, since levels hold a colon")
    check_rank(formula, intercept, common)
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

    frame = table.frame.assign(**{n: _wide(table.frame[n]) for n in table.frame if _is_narrow(table.frame[n])})
    for name in table.levels:
        if name in frame and frame[name].dtype.kind not in "iufb":
            ordered = bool(getattr(frame[name].dtype, "ordered", False))
            frame = frame.assign(**{name: pd.Categorical(frame[name], list(table.levels[name]), ordered=ordered)})
    return frame


def _is_narrow(column: pd.Series) -> bool:
    """Whether arithmetic on its numbers may leave their type: small integers, and those without a sign."""
    kind, size = column.dtype.kind, getattr(column.dtype, "itemsize", 8)
    return (kind == "u" or (kind in "if" and size < 8)) and not column.isna().any()


def _wide(column: pd.Series) -> pd.Series:
    whole = column.dtype.kind != "f" and column.max() <= np.iinfo(np.int64).max
    return column.astype(np.int64 if whole else np.float64)


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
    if re.search(r"\|", _outside_brackets(formula)):
        raise ModelError(f"formula {formula!r}: write what varies among groups in brackets, as in (1 + x | site)")
    if "Intercept" in description.var_names:
        raise ModelError(f"formula {formula!r}: 'Intercept' is the name of a parameter; rename the column")
    for name in sorted({str(name) for name in description.var_names if not isinstance(name, int | float)} - {""}):
        if name in FUNCTIONS and name not in table.frame:
            continue
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


def _outside_brackets(formula: str) -> str:
    formula = re.sub(r"`[^`]*`|'[^']*'|\"[^\"]*\"", "", formula)
    while formula != (formula := re.sub(r"\([^()]*\)|\{[^{}]*\}", "", formula)):
        pass
    return formula


def _matrices(formula: str, frame: pd.DataFrame) -> Any:
    from formulae import design_matrices

    try:
        with np.errstate(all="ignore"):  # what is not finite is an error of its own
            return design_matrices(formula, frame, na_action="error", extra_namespace=dict(FUNCTIONS))
    except KeyError as error:
        raise ModelError(
            f"formula {formula!r}: {error} is neither a column nor a function that formulas know"
        ) from error
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
