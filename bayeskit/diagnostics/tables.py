"""The summary table."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr

from bayeskit.diagnostics.angles import circular_summary
from bayeskit.diagnostics.convergence import TAIL
from bayeskit.diagnostics.elements import Site, posterior_sites
from bayeskit.errors import StorageError

_COLUMNS = ["mean", "sd", "q5", "q95", "mcse_mean", "mcse_sd", "ess_bulk", "ess_tail", "r_hat"]


def summary(post: xr.DataTree, var_names: str | Sequence[str] | None = None) -> pd.DataFrame:
    r"""One row for each element of the posterior, computed by ``arviz_stats.summary`` (``mcse_sd`` apart).

    Of an angle (a site whose support is ``constraints.circular``, or what `CircularReparam` makes of one) there is the
    mean direction $m$, which does not depend on where the circle is cut, and the circular standard deviation
    $\sqrt{-2 \log R}$ with $R$ the length of the mean of the points on the circle. Its quantiles are counted from $m$
    to either side, so that they can lie beyond $\pm\pi$; its effective sample sizes and ``r_hat`` are the worse of
    those of sine and cosine.

    Args:
        post: the result of a run.
        var_names: the variables to show; all by default.

    Returns:
        A table with the columns ``mean``, ``sd``, ``q5`` and ``q95`` (the quantiles), the Monte Carlo standard errors
        ``mcse_mean`` and ``mcse_sd``, the effective sample sizes ``ess_bulk`` and ``ess_tail`` (5% and 95% quantiles),
        and ``r_hat``. Numbers are not rounded. ``r_hat`` of one chain or of a constant is NaN.

    Raises:
        StorageError: there is no posterior, or no variable of that name.

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

    sites = {site.name: site for site in posterior_sites(post)}
    wanted = [var_names] if isinstance(var_names, str) else list(var_names or sites)
    if unknown := [name for name in wanted if name not in sites]:
        raise StorageError(f"the posterior has no variable {', '.join(unknown)}; it has {', '.join(sites)}")
    wanted = [name for name in wanted if all(sites[name].shape)]
    if not wanted:
        return pd.DataFrame(columns=_COLUMNS)
    # ArviZ takes the probability of the tails from this setting: 0.95 are the quantiles 5% and 95%
    with rc_context({"stats.ci_prob": TAIL[1]}), warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return pd.concat([_rows(sites[name], *block) for name in wanted for block in sites[name].blocks()])


def note_on_angles(post: xr.DataTree, var_names: Sequence[str] | None = None) -> str:
    """A line for under the table, empty where no variable is an angle."""
    names = [site.name for site in posterior_sites(post) if site.circular and site.name in (var_names or [site.name])]
    if not names:
        return ""
    if len(names) == 1:
        return f"{names[0]} is an angle: its mean is the mean direction, and q5 and q95 are counted from it."
    return f"{', '.join(names)} are angles: their means are mean directions, and q5 and q95 are counted from these."


def _rows(site: Site, elements: slice, draws: np.ndarray) -> pd.DataFrame:
    """The rows of some elements of a site."""
    from arviz_stats import summary as arviz_summary

    labels = site.labels[elements]
    if site.circular:
        return pd.DataFrame(circular_summary(draws, TAIL), index=labels)[_COLUMNS]
    dataset = xr.Dataset({"x": (("chain", "draw", "element"), draws)})
    tree = xr.DataTree.from_dict({"/posterior": dataset})
    table = arviz_summary(tree, kind="all", ci_prob=0.9, ci_kind="eti", round_to="none")
    table["mcse_sd"] = _mcse_sd(draws)
    table.index = pd.Index(labels)
    return table.rename(columns={"eti90_lb": "q5", "eti90_ub": "q95"})[_COLUMNS].astype(float)


def _mcse_sd(draws: np.ndarray) -> np.ndarray:
    r"""The Monte Carlo standard error of the standard deviation of each element, by the delta method.

    With $s = (x - \bar x)^2$, it is $\operatorname{sd}(s) / (2 \sqrt{\bar s \, n_s})$ and $n_s$ the effective sample
    size of $s$. ArviZ 0.8 puts in that of $x$, several times larger where the draws of NUTS are antithetic.
    """
    from arviz_stats.base import array_stats

    squares = (draws - draws.mean(axis=(0, 1))) ** 2
    effective = array_stats.ess(squares, chain_axis=0, draw_axis=1, method="mean")
    return np.atleast_1d(squares.std(axis=(0, 1)) / (2.0 * np.sqrt(squares.mean(axis=(0, 1)) * effective)))
