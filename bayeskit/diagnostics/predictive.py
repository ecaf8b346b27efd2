"""Leave-one-out predictive accuracy through Pareto-smoothed importance sampling."""

from __future__ import annotations

import inspect
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import xarray as xr

from bayeskit.diagnostics.leave_group_out import by_group, with_refits
from bayeskit.errors import DataError, StorageError
from bayeskit.storage.provenance import MASKS

if TYPE_CHECKING:
    from arviz_stats.utils import ELPDData

_SHOWN = 5
_COLUMNS = ["elpd", "se", "elpd_diff", "dse", "p", "weight"]


def loo(
    post: xr.DataTree,
    var_name: str | None = None,
    *,
    group: str | Sequence[object] | np.ndarray | None = None,
    refit: Callable[[object], xr.DataTree] | None = None,
) -> ELPDData:
    r"""Estimate how well a model predicts a new observation, $\sum_i \log p(y_i \mid y_{-i})$.

    Each term is estimated from the draws of the full posterior with importance weights
    $1 / p(y_i \mid x)$, smoothed by a generalised Pareto distribution (PSIS). Its shape $\hat k_i$ says whether that
    can work: above $\min(1 - 1/\log_{10} S, 0.7)$ for $S$ draws, the term of that observation cannot be trusted.

    With `group`, whole groups of observations are left out, $\sum_g \log p(y_g \mid y_{-g})$: how well new groups are
    predicted, where single observations would be predicted from others of their group. Groups pull the posterior more
    than single observations, so that $\hat k$ is large more often; a term of which it is too large is had by `refit`
    from a fit without the group, as $\log \frac1S \sum_s p(y_g \mid x_s)$.

    Args:
        post: the result of a run with the group ``log_likelihood``, arrays of shape ``(chain, draw, *observation)``.
        var_name: the observed site; needed when there are several.
        group: the group of each observation: the name of an argument of the model (in ``constant_data``) or of a
            dimension of the observations, or labels of the shape of the observations.
        refit: called with the label of a group (or, without `group`, the index of an observation, a tuple) whose
            $\hat k$ is too large; returns a fit without its observations, that has the log likelihoods of *all*
            observations, from ``bk.log_likelihood(model, data, fit)``.

    Returns:
        ArviZ's ``ELPDData``: ``elpd``, its standard error ``se``, the effective number of parameters ``p``, and by
        observation (or group) ``elpd_i`` and ``pareto_k``, which is 0 for what was refitted.

    Raises:
        StorageError: there are no log likelihoods, or several and no `var_name`.
        DataError: a log likelihood is NaN or infinite; `group` is unknown, not of the shape of the observations, or has
            labels missing; or `refit` returns log likelihoods of others.

    Warns:
        UserWarning: some observations have too large a $\hat k$; they are named.

    Example:
        >>> import numpy as np
        >>> from bayeskit.storage import make_tree
        >>> rng = np.random.default_rng(0)
        >>> y, mu = rng.normal(size=20), rng.normal(0, 20**-0.5, size=(4, 500))
        >>> log_lik = -0.5 * (y - mu[..., None]) ** 2 - 0.5 * np.log(2 * np.pi)
        >>> fit = loo(make_tree({"posterior": {"mu": mu}, "log_likelihood": {"y": log_lik}}))
        >>> int(fit.n_data_points), float(fit.pareto_k.max()) < 0.7
        (20, True)

    References:
        Vehtari, Gelman and Gabry (2017), Statistics and Computing 27, equations 3 and 10; Vehtari, Simpson, Gelman,
        Yao and Gabry (2024), Journal of Machine Learning Research 25(72), section 3.
    """
    if group is None and refit is None:
        return _loo(post, var_name, "")
    if refit is not None and not callable(refit):
        raise DataError(f"refit must be a function of a label that returns a fit, got {refit!r}")
    name = _observed_name(post, var_name, "")
    grouped, labels = by_group(post, name, group)
    fit = _loo(grouped, name, "", warn=False, finite=refit is None)
    fit = with_refits(fit, grouped, name, labels, refit)
    _warn_large_k(fit, name, "", None if group is None else labels.labels)
    return fit


def compare(posts: Mapping[str, xr.DataTree], var_name: str | None = None) -> pd.DataFrame:
    """Compare models of the same data by their leave-one-out predictive accuracy.

    Args:
        posts: results by model name, each with the group ``log_likelihood``.
        var_name: the observed site; needed when there are several.

    Returns:
        One row a model, the best first, with the columns ``elpd`` and its standard error ``se``, the difference to the
        best ``elpd_diff`` (at most 0) and its standard error ``dse``, the effective number of parameters ``p``, and
        ``weight``, by stacking of predictive distributions.

    Raises:
        StorageError: fewer than two results, or one without log likelihoods.
        DataError: the results are not of the same observations, or a log likelihood is NaN or infinite.

    Warns:
        UserWarning: as `loo`, with the name of the model.

    Example:
        >>> import numpy as np
        >>> from bayeskit.storage import make_tree
        >>> rng = np.random.default_rng(0)
        >>> y, mu = rng.normal(size=20), rng.normal(0, 20**-0.5, size=(4, 500))
        >>> def post(sigma):
        ...     log_lik = -0.5 * ((y - mu[..., None]) / sigma) ** 2 - np.log(sigma)
        ...     return make_tree({"posterior": {"mu": mu}, "log_likelihood": {"y": log_lik}})
        >>> list(compare({"wide": post(2.0), "right": post(1.0)}).index)
        ['right', 'wide']

    References:
        Vehtari, Gelman and Gabry (2017), section 5; Yao, Vehtari, Simpson and Gelman (2018), Bayesian Analysis 13(3).
    """
    from arviz_stats import compare as arviz_compare

    if not isinstance(posts, Mapping) or len(posts) < 2:
        raise StorageError("compare needs two results or more, by name: compare({'a': post_a, 'b': post_b})")
    fits = {name: _loo(post, var_name, f" of {name!r}") for name, post in posts.items()}
    sizes = {name: int(fit.n_data_points) for name, fit in fits.items()}
    if len(set(sizes.values())) > 1:
        raise DataError(f"the models have different numbers of observations: {sizes}")
    _check_same_data(posts, var_name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # newer releases of ArviZ round for display unless told not to
        unrounded = {"round_to": "none"} if "round_to" in inspect.signature(arviz_compare).parameters else {}
        table = arviz_compare(fits, **unrounded)
    best_first = table.sort_values("elpd", ascending=False)
    columns = {name: best_first[name].astype(float) for name in ("elpd", "se", "p", "dse", "weight")}
    # the sign of the difference depends on the release of ArviZ: here a worse model has a negative one
    return pd.DataFrame({**columns, "elpd_diff": columns["elpd"] - columns["elpd"].iloc[0]})[_COLUMNS]


def _loo(post: xr.DataTree, var_name: str | None, whose: str, *, warn: bool = True, finite: bool = True) -> ELPDData:
    from arviz_stats import loo as arviz_loo

    name = _observed_name(post, var_name, whose)
    values = np.asarray(post["log_likelihood"].to_dataset()[name].values)
    if not np.isfinite(values).all():
        share = float((~np.isfinite(values)).mean())
        raise DataError(f"{share:.1%} of the log likelihoods of {name!r}{whose} are NaN or infinite")
    single = post["log_likelihood"].sizes["chain"] == 1
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        fit = arviz_loo(post, pointwise=True, var_name=name, reff=1.0 if single else None)
    if finite and not np.isfinite(fit.elpd):
        raise DataError(f"the leave-one-out estimate of {name!r}{whose} is {fit.elpd}")
    if warn:
        _warn_large_k(fit, name, whose)
    return fit


def _observed_name(post: xr.DataTree, var_name: str | None, whose: str) -> str:
    if not isinstance(post, xr.DataTree):
        raise StorageError(
            f"the result{whose} must be the DataTree that bayeskit.infer returned, got {type(post).__name__}"
        )
    names = [str(name) for name in post["log_likelihood"].data_vars] if "log_likelihood" in post.children else []
    if not names:
        raise StorageError(
            f"the result{whose} has no log likelihoods: add them with bk.log_likelihood(model, data, post)"
        )
    if var_name is None and len(names) > 1:
        raise StorageError(f"the result{whose} has several observed sites, name one: var_name={' or '.join(names)}")
    if var_name is not None and var_name not in names:
        raise StorageError(f"the result{whose} has no log likelihoods of {var_name!r}; it has {', '.join(names)}")
    return var_name or names[0]


def _warn_large_k(fit: ELPDData, name: str, whose: str, groups: Sequence[object] | None = None) -> None:
    shapes = np.asarray(fit.pareto_k)
    bad = ~(shapes <= fit.good_k)
    if not bad.any():
        return
    worst = np.argsort(np.where(bad, -np.nan_to_num(shapes, nan=np.inf), np.inf), axis=None)[: int(bad.sum())]
    places = [np.unravel_index(int(i), shapes.shape) for i in worst[:_SHOWN]]
    if groups is not None:
        shown = ", ".join(str(groups[int(place[0])]) for place in places)
    else:
        shown = ", ".join(f"{name}[{', '.join(str(int(i)) for i in place)}]" if place else name for place in places)
    what = "observations" if groups is None else "groups"
    more = f" and {len(worst) - _SHOWN} more" if len(worst) > _SHOWN else ""
    warnings.warn(
        f"leave-one-out{whose} cannot be trusted at {len(worst)} of {shapes.size} {what}, where Pareto k exceeds "
        f"{fit.good_k:.2f} (largest {np.nanmax(shapes):.2f}): {shown}{more}. They pull the posterior strongly; "
        "use K-fold cross-validation, or refit without them.",
        UserWarning,
        stacklevel=4,
    )


def _check_same_data(posts: Mapping[str, xr.DataTree], var_name: str | None) -> None:
    first_name, first = "", None
    masks = {name: _mask_of(post, var_name, name) for name, post in posts.items()}
    reference = next(iter(masks))
    for name, mask in masks.items():
        if mask != masks[reference]:
            raise DataError(
                f"{reference!r} and {name!r} have masked different observations ({masks[reference]} and {mask} count): "
                "they cannot be compared"
            )
    for name, post in posts.items():
        site = _observed_name(post, var_name, f" of {name!r}")
        if "observed_data" not in post.children or site not in post["observed_data"].data_vars:
            continue
        observed = np.asarray(post["observed_data"].to_dataset()[site].values)
        if first is None:
            first_name, first = name, observed
        elif not _are_same(observed, first):
            raise DataError(
                f"{first_name!r} and {name!r} were fitted to different observations: they cannot be compared"
            )


def _mask_of(post: xr.DataTree, var_name: str | None, name: str) -> str:
    """Which observations of a result count, in words; results of older versions do not say it."""
    site = _observed_name(post, var_name, f" of {name!r}")
    return str(json.loads(str(post.attrs.get(MASKS, "{}"))).get(site, "all"))


def _are_same(one: np.ndarray, other: np.ndarray) -> bool:
    """The same observations, in single or double precision; those that are missing in both are the same."""
    if one.shape != other.shape:
        return False
    if {one.dtype.kind, other.dtype.kind} <= set("f"):
        coarse = min(one.dtype, other.dtype, key=lambda kind: kind.itemsize)
        return np.array_equal(one.astype(coarse), other.astype(coarse), equal_nan=True)
    return np.array_equal(one, other)
