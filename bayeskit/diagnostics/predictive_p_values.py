"""Posterior predictive p-values."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
import xarray as xr

from bayeskit.errors import DataError, StorageError

__all__ = ["p_values"]

Statistic = Callable[[np.ndarray], float]


def p_values(post: xr.DataTree, statistics: Mapping[str, Statistic], var_name: str | None = None) -> pd.DataFrame:
    r"""Posterior predictive p-values, :math:`P(T(\tilde y) \ge T(y) \mid y)`, of statistics of the data.

    Near 0 or 1, the data have something that the model does not make. They are not uniform where the model is right,
    but crowd around one half, for the data are used twice: a value of 0.03 is rarer than it looks. Ties count half.

    Args:
        post: a fit with ``posterior_predictive``, from ``bk.predict(model, data, post, key=...)``.
        statistics: functions of one data set, by name, that return a number.
        var_name: the observed site; needed when there are several.

    Returns:
        One row for each statistic: ``observed``, the ``mean`` and the standard deviation ``sd`` of the replicated,
        ``p``, and its Monte Carlo error ``mcse`` (of independent draws).

    Raises:
        StorageError: there are no predictions, or several and no `var_name`.
        DataError: a statistic is no number.

    Example:
        >>> import numpy as np
        >>> import bayeskit as bk
        >>> from bayeskit.storage import make_tree
        >>> rng = np.random.default_rng(0)
        >>> y = rng.standard_t(2, size=100)
        >>> replicated = y.std() * rng.normal(size=(4, 250, 100))
        >>> post = make_tree({"posterior_predictive": {"y": replicated}, "observed_data": {"y": y}})
        >>> bool(bk.p_values(post, {"kurtosis": lambda y: (y**4).mean() / y.var() ** 2}).loc["kurtosis", "p"] < 0.05)
        True

    Reference: Gelman, Meng and Stern (1996), Statistica Sinica 6, equation 5.
    """
    name = _name(post, var_name)
    observed = post["observed_data"].to_dataset()[name].to_numpy()
    predicted = post["posterior_predictive"].to_dataset()[name].transpose("chain", "draw", ...).to_numpy()
    if predicted.shape[2:] != observed.shape:
        raise DataError(
            f"the predictions of {name!r} have shape {predicted.shape[2:]}, the observations {observed.shape}"
        )
    rows = {label: _row(label, statistic, observed, predicted) for label, statistic in statistics.items()}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["observed", "mean", "sd", "p", "mcse"])


def _row(label: str, statistic: Statistic, observed: np.ndarray, predicted: np.ndarray) -> list[float]:
    replicated = predicted.reshape(-1, *observed.shape)
    values = np.array([_number(label, statistic(one)) for one in replicated])
    seen = _number(label, statistic(observed))
    p = float((values > seen).mean() + 0.5 * (values == seen).mean())
    return [seen, float(values.mean()), float(values.std()), p, float(np.sqrt(p * (1.0 - p) / len(values)))]


def _number(label: str, value: object) -> float:
    array = np.asarray(value)
    if array.shape != () or array.dtype.kind not in "biuf" or np.isnan(array):
        raise DataError(f"the statistic {label!r} must be a number, got {value!r}")
    return float(array)


def _name(post: xr.DataTree, var_name: str | None) -> str:
    if "posterior_predictive" not in post.children or "observed_data" not in post.children:
        raise StorageError(
            "the result has no predictions of its data: add them with bk.predict(model, data, post, key=...)"
        )
    observed = post["observed_data"].to_dataset()
    names = [str(n) for n in post["posterior_predictive"].data_vars if n in observed]
    if var_name is None and len(names) == 1:
        return names[0]
    if var_name not in names:
        raise StorageError(
            f"name an observed site that is predicted: var_name={' or '.join(names) or '(there is none)'}"
        )
    return str(var_name)
