"""The summary table."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
import xarray as xr

from bayeskit.diagnostics.angles import circular_summary
from bayeskit.diagnostics.convergence import TAIL
from bayeskit.diagnostics.elements import Site, posterior_sites
from bayeskit.diagnostics.summary_table import Summary
from bayeskit.errors import MethodError, StorageError


def summary(
    post: xr.DataTree,
    var_names: str | Sequence[str] | None = None,
    *,
    filter_vars: Literal["like", "regex"] | None = None,
    prob: float = 0.9,
    round_to: int | Literal["auto", "none"] = "auto",
) -> Summary:
    r"""One row for each element of the posterior, computed by ``arviz_stats.summary`` (``mcse_sd`` apart).

    Of an angle (a site whose support is ``constraints.circular``, or what `CircularReparam` makes of one) there is the
    mean direction $m$, which does not depend on where the circle is cut, and the circular standard deviation
    $\sqrt{-2 \log R}$ with $R$ the length of the mean of the points on the circle. Its quantiles are counted from $m$
    to either side, so that they can lie beyond $\pm\pi$; its effective sample sizes and ``r_hat`` are the worse of
    those of sine and cosine.

    Args:
        post: the result of a run.
        var_names: the variables to show; all by default.
        filter_vars: ``None`` takes ``var_names`` as names, ``"like"`` as parts of names, ``"regex"`` as regular
            expressions that are searched for in names. With either, one that begins with ``~`` leaves out.
        prob: the probability between the two quantiles.
        round_to: ``"auto"`` leaves the numbers whole, and prints those digits that the Monte Carlo error lets stand;
            an integer rounds to so many decimals; ``"none"`` prints all digits.

    Returns:
        A data frame with the columns ``mean``, ``sd``, ``q5`` and ``q95`` (the quantiles, named by ``prob``), the Monte
        Carlo standard errors ``mcse_mean`` and ``mcse_sd``, the effective sample sizes ``ess_bulk`` and ``ess_tail``
        (5% and 95% quantiles), and ``r_hat``, which of one chain or of a constant is NaN. Its print is the table of
        ``bayeskit summary``.

    Raises:
        StorageError: there is no posterior, or no variable of that name.
        MethodError: an impossible ``filter_vars``, ``prob`` or ``round_to``.

    Example:
        >>> import numpy as np
        >>> from bayeskit.storage import make_tree
        >>> draws = np.random.default_rng(0).normal(size=(4, 1000, 2))
        >>> table = summary(make_tree({"posterior": {"theta": draws}}))
        >>> list(table.index), abs(float(table.loc["theta[0]", "mean"])) < 0.1
        (['theta[0]', 'theta[1]'], True)

    References:
        Vehtari, Gelman, Simpson, Carpenter and Bürkner (2021), Bayesian Analysis 16(2), section 4.
    """
    from arviz_base import rc_context

    tail = _tail(prob)
    _check_rounding(round_to)
    columns = [
        "mean",
        "sd",
        *(f"q{100 * p:.6g}" for p in tail),
        "mcse_mean",
        "mcse_sd",
        "ess_bulk",
        "ess_tail",
        "r_hat",
    ]
    sites = {site.name: site for site in posterior_sites(post)}
    wanted = [name for name in chosen(list(sites), var_names, filter_vars) if all(sites[name].shape)]
    table = Summary(columns=columns, dtype=float)
    # ArviZ takes the probability of the tails from this setting: 0.95 are the quantiles 5% and 95%
    with rc_context({"stats.ci_prob": TAIL[1]}), warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        parts = [_rows(sites[name], columns, tail, *block) for name in wanted for block in sites[name].blocks()]
        if parts:
            table = Summary(pd.concat(parts))
    if not isinstance(round_to, str):
        table = Summary(table.round(round_to))
    table.attrs["round_to"] = round_to
    return table


def chosen(known: Sequence[str], names: str | Sequence[str] | None, filter_vars: str | None = None) -> list[str]:
    """The variables that names, parts of names or regular expressions mean; all where none is given.

    Raises:
        StorageError: no variable has the name, or matches.
        MethodError: an unknown ``filter_vars``, or an impossible regular expression.
    """
    if filter_vars not in (None, "like", "regex"):
        raise MethodError(f"filter_vars must be None, 'like' or 'regex', got {filter_vars!r}")
    if names is None:
        return list(known)
    wanted = [names] if isinstance(names, str) else list(names)
    if filter_vars is None:
        if unknown := [name for name in wanted if name not in known]:
            raise StorageError(f"the posterior has no variable {', '.join(unknown)}; it has {', '.join(known)}")
        return wanted or list(known)
    found: list[str] = [] if any(not name.startswith("~") for name in wanted) else list(known)
    for name in wanted:
        out, text = name.startswith("~"), name.removeprefix("~")
        try:
            match = {each for each in known if (text in each if filter_vars == "like" else re.search(text, each))}
        except re.error as error:
            raise MethodError(f"{text!r} is not a regular expression: {error}") from error
        if not match and not out:
            raise StorageError(f"no variable of the posterior matches {text!r}; it has {', '.join(known)}")
        found = [each for each in known if (each in found or each in match) and not (out and each in match)]
    return found


def _tail(prob: float) -> tuple[float, float]:
    """The probabilities of the quantiles; those of the defaults are exact."""
    if isinstance(prob, bool) or not isinstance(prob, int | float) or not 0.0 < prob < 1.0:
        raise MethodError(f"prob must be between 0 and 1, got {prob!r}")
    low = round((1.0 - prob) / 2.0, 12)
    return low, 1.0 - low


def _check_rounding(round_to: object) -> None:
    if round_to in ("auto", "none") or (isinstance(round_to, int) and not isinstance(round_to, bool)):
        return
    raise MethodError(f"round_to must be 'auto', 'none' or a number of decimals, got {round_to!r}")


def note_on_angles(post: xr.DataTree, var_names: Sequence[str] | None = None) -> str:
    """A line for under the table, empty where no variable is an angle."""
    names = [site.name for site in posterior_sites(post) if site.circular and site.name in (var_names or [site.name])]
    if not names:
        return ""
    if len(names) == 1:
        return f"{names[0]} is an angle: its mean is the mean direction, and q5 and q95 are counted from it."
    return f"{', '.join(names)} are angles: their means are mean directions, and q5 and q95 are counted from these."


def _rows(
    site: Site, columns: list[str], tail: tuple[float, float], elements: slice, draws: np.ndarray
) -> pd.DataFrame:
    """The rows of some elements of a site."""
    from arviz_stats import summary as arviz_summary

    labels = site.labels[elements]
    low, high = columns[2:4]
    if site.circular:
        table = pd.DataFrame(circular_summary(draws, TAIL, tail), index=labels)
        return table.rename(columns={"q5": low, "q95": high})[columns]
    dataset = xr.Dataset({"x": (("chain", "draw", "element"), draws)})
    tree = xr.DataTree.from_dict({"/posterior": dataset})
    table = arviz_summary(tree, kind="all", ci_prob=round(tail[1] - tail[0], 12), ci_kind="eti", round_to="none")
    table["mcse_sd"] = _mcse_sd(draws)
    table.index = pd.Index(labels)
    below, above = [name for name in table.columns if str(name).startswith("eti")]
    return table.rename(columns={below: low, above: high})[columns].astype(float)


def _mcse_sd(draws: np.ndarray) -> np.ndarray:
    r"""The Monte Carlo standard error of the standard deviation of each element, by the delta method.

    With $s = (x - \bar x)^2$, it is $\operatorname{sd}(s) / (2 \sqrt{\bar s \, n_s})$ and $n_s$ the effective sample
    size of $s$. ArviZ 0.8 puts in that of $x$, several times larger where the draws of NUTS are antithetic.
    """
    from arviz_stats.base import array_stats

    squares = (draws - draws.mean(axis=(0, 1))) ** 2
    effective = array_stats.ess(squares, chain_axis=0, draw_axis=1, method="mean")
    return np.atleast_1d(squares.std(axis=(0, 1)) / (2.0 * np.sqrt(squares.mean(axis=(0, 1)) * effective)))
