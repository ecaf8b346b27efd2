"""Leaving out groups of observations, and refitting where importance weights cannot tell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from bayeskit._spelling import did_you_mean
from bayeskit.errors import DataError

if TYPE_CHECKING:
    from arviz_stats.utils import ELPDData

__all__ = ["Groups", "by_group", "with_refits"]


class Groups(NamedTuple):
    """Which observation is in which group.

    Attributes:
        labels: of the groups, in order.
        code: of each observation, the number of its group, in a row.
        shape: of the observations.
    """

    labels: list[object]
    code: np.ndarray
    shape: tuple[int, ...]

    def sums(self, log_likelihood: np.ndarray) -> np.ndarray:
        """Shape ``(chain, draw, *observation)`` to ``(chain, draw, group)``."""
        flat = log_likelihood.reshape(*log_likelihood.shape[:2], -1)
        sums = np.zeros((*flat.shape[:2], len(self.labels)))
        for number in range(len(self.labels)):
            sums[..., number] = flat[..., self.code == number].sum(axis=-1)
        return sums


def by_group(
    post: xr.DataTree, name: str, group: str | Sequence[object] | np.ndarray | None
) -> tuple[xr.DataTree, Groups]:
    """A tree with the log likelihoods of whole groups, and which they are; each observation by itself without `group`.

    Raises:
        DataError: `group` is unknown, has not the shape of the observations, or has labels missing.
    """
    variable = post["log_likelihood"].to_dataset()[name].transpose("chain", "draw", ...)
    shape = variable.shape[2:]
    if group is None:
        labels = [tuple(int(i) for i in index) for index in np.ndindex(*shape)]
        return post, Groups(list(labels), np.arange(len(labels)), shape)
    given = _labels(post, variable, group)
    if given.shape != shape:
        raise DataError(f"group has shape {given.shape}, but the observations {name!r} have {shape}")
    if pd.isna(given).any():
        raise DataError("group is missing (None or NaN) at some observations, so that they belong to none")
    try:
        unique, code = np.unique(given, return_inverse=True)
    except TypeError as error:
        raise DataError(f"the labels of group cannot be put in order: {error}") from error
    groups = Groups(unique.tolist(), code.ravel(), shape)
    along = "group" if name != "group" else "group_label"
    coords = {"chain": variable["chain"], "draw": variable["draw"], along: unique}
    summed = xr.DataArray(groups.sums(np.asarray(variable.values)), coords, ["chain", "draw", along])
    kept = {"/posterior": post["posterior"].to_dataset()} if "posterior" in post.children else {}
    return xr.DataTree.from_dict({**kept, "/log_likelihood": xr.Dataset({name: summed})}), groups


def _labels(post: xr.DataTree, variable: xr.DataArray, group: str | Sequence[object] | np.ndarray) -> np.ndarray:
    if not isinstance(group, str):
        return np.asarray(group)
    shape = variable.shape[2:]
    constants = post["constant_data"].to_dataset() if "constant_data" in post.children else xr.Dataset()
    if group in constants and constants[group].shape == shape:
        return np.asarray(constants[group].values)
    if group in variable.dims[2:]:
        along = variable.coords[group] if group in variable.coords else xr.DataArray(np.arange(variable.sizes[group]))
        axis = variable.dims[2:].index(group)
        sizes = [1] * len(shape)
        sizes[axis] = shape[axis]
        return np.broadcast_to(np.asarray(along.values).reshape(sizes), shape)
    known = [*map(str, variable.dims[2:]), *(str(n) for n in constants if constants[n].shape == shape)]
    hint = did_you_mean(group, known, "those that fit are")
    raise DataError(f"group={group!r} is neither a dimension of the observations nor an argument of their shape{hint}")


def with_refits(
    fit: ELPDData,
    grouped: xr.DataTree,
    name: str,
    groups: Groups,
    refit: Callable[[object], xr.DataTree] | None,
) -> ELPDData:
    """The estimate with the terms that cannot be trusted, or told, taken from fits without their observations."""
    shapes, terms = np.array(fit.pareto_k, dtype=float), np.array(fit.elpd_i, dtype=float)
    bad = np.flatnonzero(~((shapes <= fit.good_k) & np.isfinite(terms)))
    if refit is None or not bad.size:
        return fit
    from scipy.special import logsumexp

    dataset = grouped["log_likelihood"].to_dataset()
    density = dataset[name].transpose("chain", "draw", ...).to_numpy().astype(float)
    draws = density.shape[0] * density.shape[1]
    full = float((logsumexp(density, axis=(0, 1)) - np.log(draws)).sum())  # of the whole posterior
    for number in bad:
        place = np.unravel_index(number, terms.shape)
        terms[place] = _term(refit(groups.labels[number]), name, groups, int(number))
        shapes[place] = 0.0
    fit.elpd_i = fit.elpd_i.copy(data=terms) if hasattr(fit.elpd_i, "copy") else terms
    fit.pareto_k = fit.pareto_k.copy(data=shapes) if hasattr(fit.pareto_k, "copy") else shapes
    fit.elpd, fit.p = float(terms.sum()), float(full - terms.sum())
    fit.se = float(np.sqrt(terms.size * terms.var()))
    fit.warning = bool((~(shapes <= fit.good_k)).any())
    return fit


def _term(without: xr.DataTree, name: str, groups: Groups, number: int) -> float:
    """The log predictive density of a group, from a fit that has not seen it."""
    from scipy.special import logsumexp

    label = groups.labels[number]
    children = getattr(without, "children", {})
    if "log_likelihood" not in children or name not in without["log_likelihood"].data_vars:
        raise DataError(
            f"refit({label!r}) must return a fit with the log likelihoods of {name!r}: add them with "
            "bk.log_likelihood(model, data, fit), with all data"
        )
    values = without["log_likelihood"].to_dataset()[name].transpose("chain", "draw", ...).to_numpy()
    if values.shape[2:] != groups.shape:
        raise DataError(
            f"refit({label!r}) has log likelihoods of shape {values.shape[2:]}, but all observations have "
            f"{groups.shape}"
        )
    sums = groups.sums(values)[..., number]
    if not np.isfinite(sums).all():
        raise DataError(f"the log likelihoods that refit({label!r}) returned are NaN or infinite")
    return float(logsumexp(sums) - np.log(sums.size))
