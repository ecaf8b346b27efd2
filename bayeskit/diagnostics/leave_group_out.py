"""Leaving out groups of observations, and refitting where importance weights cannot tell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
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
        DataError: `group` is unknown, or has not the shape of the observations.
    """
    variable = post["log_likelihood"].to_dataset()[name].transpose("chain", "draw", ...)
    shape = variable.shape[2:]
    if group is None:
        labels = [tuple(int(i) for i in index) for index in np.ndindex(*shape)]
        return post, Groups(list(labels), np.arange(len(labels)), shape)
    given = _labels(post, variable, group)
    if given.shape != shape:
        raise DataError(f"group has shape {given.shape}, but the observations {name!r} have {shape}")
    unique, code = np.unique(given, return_inverse=True)
    groups = Groups(unique.tolist(), code.ravel(), shape)
    coords = {"chain": variable["chain"], "draw": variable["draw"], "group": unique}
    summed = xr.DataArray(groups.sums(np.asarray(variable.values)), coords, ["chain", "draw", "group"])
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


def with_refits(fit: ELPDData, name: str, groups: Groups, refit: Callable[[object], xr.DataTree] | None) -> ELPDData:
    """The estimate with the terms that cannot be trusted taken from fits without their observations."""
    shapes = np.array(fit.pareto_k, dtype=float)
    bad = np.flatnonzero(~(shapes.ravel() <= fit.good_k))
    if refit is None or not bad.size:
        return fit
    terms = np.array(fit.elpd_i, dtype=float)
    full = terms.sum() + float(fit.p)  # of the whole posterior, which p is the difference to
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
    return float(logsumexp(sums) - np.log(sums.size))
