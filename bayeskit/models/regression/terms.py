"""Terms of a formula with their values in a table, and checks of these."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from bayeskit.errors import DataError
from bayeskit.storage.tables import Columns

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Common", "Varying", "check_rank", "check_term"]


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

    def at(self, frame: pd.DataFrame, source: str) -> np.ndarray:
        """The values in another table.

        Raises:
            DataError: they are not finite, or have a level that the fit does not know.
        """
        try:
            with np.errstate(all="ignore"):
                found = np.asarray(self.term.eval_new_data(frame), float)
        except ValueError as error:
            raise DataError(f"{source}: {self.name!r}: {error}") from error
        return _finite(self.name, found.reshape(len(frame), *self.values.shape[1:]), frame, source)


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

    def labels_in(self, table: Columns) -> list[str]:
        """The group of each row; 1.0 is the group 1 where the fit had whole numbers."""
        columns = [[table.levels[name][code] for code in table[name].tolist()] for name in self.by]
        return [":".join(map(str, row)) for row in zip(*columns, strict=True)]


def _finite(name: str, values: np.ndarray, frame: pd.DataFrame, source: str) -> np.ndarray:
    odd = ~np.isfinite(values.reshape(len(values), -1)).all(1)
    if odd.any():
        row = frame.index[np.flatnonzero(odd)[0]]
        raise DataError(f"{source}: the term {name!r} is not finite in {odd.sum()} rows, the first of them {row!r}")
    return values


def check_term(term: Common, table: Columns) -> None:
    """Refuse a category of one level and values that are not finite; warn of those that single precision blurs."""
    if term.values.ndim > 1 and not term.values.shape[1]:
        raise DataError(f"{table.source}: {term.name!r} has one level, so that nothing can be learned about it")
    _finite(term.name, term.values, table.frame, table.source)
    mean, spread = np.abs(term.values.mean(0)), term.values.std(0)
    single = jax.dtypes.canonicalize_dtype(float) == np.float32
    if single and np.any(mean > 1e5 * spread) and np.all(spread > 0.0):
        warnings.warn(
            f"{table.source}: the values of {term.name!r} differ in digits that single precision does not have; write "
            f"center({term.name}), or use double precision",
            stacklevel=2,
        )


def check_rank(formula: str, intercept: bool, common: Sequence[Common]) -> None:
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
