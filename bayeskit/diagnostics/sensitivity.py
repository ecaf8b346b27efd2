"""`power_scale`: how much the posterior depends on the prior, and how much on the data."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr

from bayeskit._spelling import did_you_mean
from bayeskit.diagnostics.elements import Site, posterior_sites
from bayeskit.diagnostics.importance import MAX_K, pareto_k
from bayeskit.errors import DataError, StorageError

__all__ = ["power_scale"]

SENSITIVE = 0.05
"""From which on a sensitivity counts, as the paper has it."""
ALPHAS = (0.99, 1.01)


def power_scale(
    post: xr.DataTree,
    var_names: str | Sequence[str] | None = None,
    *,
    prior_names: Sequence[str] | None = None,
    likelihood_names: Sequence[str] | None = None,
) -> pd.DataFrame:
    r"""Sensitivity of a posterior to its prior and to its likelihood, without another fit.

    The posteriors :math:`p_\alpha(x \mid y) \propto p(x)^\alpha \, p(y \mid x)` and
    :math:`p(x) \, p(y \mid x)^\alpha` are had from the draws by importance weights :math:`p^{\alpha - 1}`, smoothed
    (PSIS). The sensitivity of an element is the slope of the distance of its distribution (the cumulative
    Jensen-Shannon distance, a metric) in :math:`\log_2 \alpha`, at :math:`\alpha = 1`. It is zero where power-scaling
    changes nothing. Both above 0.05: prior and data disagree, or both say much. Only that of the prior: the data say
    little about the element.

    Of a hierarchy only the priors at its top are scaled, those that depend on no other site: the rest is part of the
    model. `prior_names` says otherwise, for instance where a site of the model is non-centred.

    Args:
        post: a fit with the groups ``log_prior`` and ``log_likelihood``.
        var_names: the variables to look at; all by default.
        prior_names: the sites whose priors are scaled.
        likelihood_names: the observed sites whose likelihoods are scaled; all by default.

    Returns:
        One row for each element, the most sensitive to the prior first: ``prior``, ``likelihood``, the Pareto
        :math:`\hat k` of the weights of either, ``prior_k`` and ``likelihood_k`` (of the worse :math:`\alpha`), and
        ``diagnosis``: ``"prior-data conflict"``, ``"weak likelihood"`` or ``""``; ``"unreliable"`` where
        :math:`\hat k > 0.7`.

    Raises:
        StorageError: a group is missing (the message says how to add it), or a name is unknown.
        DataError: a log prior or likelihood is NaN or infinite.

    Example:
        >>> import numpy as np
        >>> import bayeskit as bk
        >>> from bayeskit.storage import make_tree
        >>> mu = np.random.default_rng(0).normal(4.0, 0.5**0.5, size=(4, 500))  # one observation, 8, and a prior at 0
        >>> densities = {"log_prior": {"mu": -0.5 * mu**2}, "log_likelihood": {"y": -0.5 * (8.0 - mu) ** 2}}
        >>> post = make_tree({"posterior": {"mu": mu}, **densities})  # or of bk.log_prior and bk.log_likelihood
        >>> bk.power_scale(post)["diagnosis"].to_dict()
        {'mu': 'prior-data conflict'}

    Reference: Kallioinen, Paananen, Bürkner and Vehtari (2024), Statistics and Computing 34(57), equations 4 to 11.
    """
    sites = {site.name: site for site in posterior_sites(post)}
    wanted = [var_names] if isinstance(var_names, str) else list(var_names or sites)
    if unknown := [name for name in wanted if name not in sites]:
        raise StorageError(f"the posterior has no variable {unknown[0]!r}{did_you_mean(unknown[0], sites, 'it has')}")
    moving = [sites[name] for name in wanted if not sites[name].constant.all()]
    columns: dict[str, np.ndarray | float] = {}
    for what, names in (("prior", prior_names), ("likelihood", likelihood_names)):
        columns[what], columns[f"{what}_k"] = _sensitivity(post, what, names, moving)
    labels = [label for site in moving for label in site.labels]
    table = pd.DataFrame(columns, index=labels)[["prior", "likelihood", "prior_k", "likelihood_k"]]
    table["diagnosis"] = [_diagnosis(*row) for row in table.itertuples(index=False)]
    return table.sort_values("prior", ascending=False, kind="stable")


def _scaled(post: xr.DataTree, what: str, names: Sequence[str] | None) -> list[str]:
    """The names of what is scaled, of which every number is finite."""
    group = f"log_{what}"
    if group not in post.children or not post[group].data_vars:
        raise StorageError(f"the result has no group {group!r}: add it with bk.{group}(model, data, post)")
    dataset = post[group].to_dataset()
    known = [str(name) for name in dataset.data_vars]
    chosen = [names] if isinstance(names, str) else names
    for name in chosen or ():
        if name not in known:
            raise StorageError(f"{what}_names: there is no {group} of {name!r}{did_you_mean(name, known, 'there is')}")
    if chosen is None:
        chosen = [name for name in known if not dataset[name].attrs.get("depends_on")]
    for name in chosen:
        if not np.isfinite(dataset[name].to_numpy()).all():
            raise DataError(f"the {group} of {name!r} is NaN or infinite at some draws")
    return list(chosen)


def _sensitivity(
    post: xr.DataTree, what: str, names: Sequence[str] | None, sites: Sequence[Site]
) -> tuple[np.ndarray, float]:
    from arviz_stats import psense

    scaled = _scaled(post, what, names)
    group = post[f"log_{what}"].to_dataset()
    total = sum(
        group[name].transpose("chain", "draw", ...).to_numpy().reshape(*group[name].shape[:2], -1).sum(axis=-1)
        for name in scaled
    )
    k = max(pareto_k((alpha - 1.0) * np.asarray(total, float)).k for alpha in ALPHAS)
    tree = xr.DataTree.from_dict({"/posterior": post["posterior"].to_dataset(), f"/log_{what}": group})
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        found = psense(tree, [site.name for site in sites], group=what, group_var_names=scaled, alphas=ALPHAS)
    return np.concatenate([np.ravel(found[site.name].to_numpy()) for site in sites]), k


def _diagnosis(prior: float, likelihood: float, prior_k: float, likelihood_k: float) -> str:
    if not (prior_k <= MAX_K and likelihood_k <= MAX_K):
        return "unreliable"
    if prior < SENSITIVE:
        return ""
    return "prior-data conflict" if likelihood >= SENSITIVE else "weak likelihood"
