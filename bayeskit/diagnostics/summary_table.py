"""The summary as it is printed: as many digits as the draws can tell."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

import pandas as pd

from bayeskit.diagnostics.layout import table_text, table_width

_DIAGNOSTICS = {"ess_bulk": "ESS bulk", "ess_tail": "ESS tail", "r_hat": "R-hat"}


class Summary(pd.DataFrame):
    r"""What :func:`bayeskit.summary` returns: a data frame of whole numbers that prints itself as a rounded table.

    The last decimal printed is the $d$-th, with $d$ the largest for which $10^{-d} \geq 2 s / 10$ and $s$ the Monte
    Carlo standard error: two standard errors change the last digit, and none before it. The error of a quantile is
    taken to be that of a normal distribution, $\sigma \sqrt{p (1 - p)} / (\varphi(z_p) \sqrt{n})$ with $n$ the
    effective sample size of the tails.
    """

    @property
    def _constructor(self) -> type[Summary]:
        return Summary

    def __repr__(self) -> str:
        return self.text(table_width(), pd.get_option("display.max_rows")) if self._is_whole else super().__repr__()

    def _repr_html_(self) -> str | None:
        if not self._is_whole:
            return super()._repr_html_()
        titles, rows = self.cells()
        return pd.DataFrame([row[1:] for row in rows], columns=titles[1:], index=[row[0] for row in rows])._repr_html_()

    def text(self, width: int | None = None, most: int | None = None) -> str:
        """The table in at most `width` columns and `most` rows."""
        titles, rows = self.cells()
        if most and len(rows) > most:
            gap = ["...", *("" for _ in titles[1:])]
            rows = [*rows[: most // 2], gap, *rows[-(most // 2) :]]
        return table_text(titles, rows, width)

    def cells(self) -> tuple[list[str], list[list[str]]]:
        """The titles, and for each row its name and its numbers as text."""
        low, high = self._quantiles
        columns = ["mean", "sd", low, high, *_DIAGNOSTICS]
        titles = ["site", "mean", "sd", f"{low[1:]}%", f"{high[1:]}%", *_DIAGNOSTICS.values()]
        rounded = self.attrs.get("round_to", "auto")
        rows = []
        for name, row in zip(self.index, self.to_dict("records"), strict=True):
            errors = _errors(row, low, high)
            rows.append([str(name), *(_cell(column, row[column], errors.get(column), rounded) for column in columns)])
        return titles, rows

    @property
    def _quantiles(self) -> list[str]:
        return [str(name) for name in self.columns if str(name)[:1] == "q" and str(name)[1:2].isdigit()]

    @property
    def _is_whole(self) -> bool:
        """Whether these are still the columns of a summary, all of them."""
        needed = {"mean", "sd", "mcse_mean", "mcse_sd", *_DIAGNOSTICS}
        names = [str(name) for name in self.columns]
        return (
            needed <= set(names)
            and len(self._quantiles) == 2
            and len(set(names)) == len(names)
            and all(kind.kind in "fi" for kind in self.dtypes)
            and self.attrs.get("round_to") != "none"
        )


def _errors(row: dict[Any, float], low: str, high: str) -> dict[str, float]:
    """The Monte Carlo standard errors of mean, standard deviation and quantiles."""
    errors = {"mean": row["mcse_mean"], "sd": row["mcse_sd"]}
    for name in (low, high):
        p = float(name[1:]) / 100.0
        normal = NormalDist()
        spread = math.sqrt(p * (1.0 - p)) / normal.pdf(normal.inv_cdf(p)) if 0.0 < p < 1.0 else math.nan
        size = row["ess_tail"]
        errors[name] = row["sd"] * spread / math.sqrt(size) if size > 0 else math.nan
    return errors


def _cell(column: str, value: float, error: float | None, rounded: str | int) -> str:
    if math.isnan(value):
        return "–"
    if column.startswith("ess"):
        return f"{value:.0f}"
    if column == "r_hat":
        return f"{value:.3f}"
    if isinstance(rounded, int):
        return f"{value:.{max(rounded, 0)}f}"
    return rounded_by(value, error)


def rounded_by(value: float, error: float | None) -> str:
    """A number with the digits that its standard error lets stand; six where there is none.

    Example:
        >>> [rounded_by(1.23456, error) for error in (0.003, 0.006, 0.06, None)], rounded_by(12345.6, 40.0)
        (['1.235', '1.23', '1.2', '1.23456'], '12350')
    """
    if not math.isfinite(value):
        return str(value)
    if error is None or not math.isfinite(error) or error <= 0:
        return f"{value:.6g}"
    decimals = -math.floor(math.log10(2.0 * error))
    before = math.floor(math.log10(abs(value))) + 1 if value else 0
    if decimals > 6 or before > 8:
        return f"{value:.{max(before + decimals - 1, 0)}e}"
    nearest = round(value, decimals) + 0.0  # no minus before a zero
    return f"{nearest:.{max(decimals, 0)}f}"
