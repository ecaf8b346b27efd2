"""`reweight`: the posterior under another prior, from the draws that are there."""

from __future__ import annotations

import numpy as np
import xarray as xr

from bayeskit._typing import Array
from bayeskit.diagnostics.elements import posterior_sites
from bayeskit.diagnostics.importance import MAX_K, pareto_k
from bayeskit.diagnostics.resampling import resample_pooled
from bayeskit.errors import DataError, MethodError, StorageError
from bayeskit.numerics.effective_size import effective_sizes

__all__ = ["reweight"]

GROUPS = ("log_prior", "log_likelihood")


def reweight(post: xr.DataTree, other: xr.DataTree, *, key: Array | int, num_draws: int | None = None) -> xr.DataTree:
    r"""The posterior of a model with another prior (or likelihood), without fitting it.

    A draw :math:`x_i` of the old posterior has the weight

    .. math:: w_i \propto \frac{p_\text{other}(x_i)}{p(x_i)} \cdot
              \frac{p_\text{other}(y \mid x_i)}{p(y \mid x_i)},

    the second factor where both trees have the group ``log_likelihood``, smoothed by a generalised Pareto distribution
    (PSIS). New draws are taken in proportion to the weights, from all chains together.

    Args:
        post: a fit with the group ``log_prior``: ``bk.log_prior(model, data, fit)``.
        other: the same draws under the other model: ``bk.log_prior(other_model, data, fit)``.
        key: an integer seed or a JAX key.
        num_draws: how many; by default as many as the weights are worth.

    Returns:
        A tree of one chain with the new draws; its ``sample_stats`` hold ``pareto_k`` and ``importance_ess``, by which
        :func:`bayeskit.check` judges it. Groups with dimensions ``(chain, draw)`` are taken from `other`.

    Raises:
        MethodError: :math:`\hat k > 0.7`, so that the other posterior is too far away and has to be fitted; or an
            impossible number of draws.
        StorageError: there is no group ``log_prior``.
        DataError: the trees do not hold the same draws, or a density is NaN, or infinite under the old model.

    Example:
        >>> import numpy as np
        >>> import bayeskit as bk
        >>> from bayeskit.storage import make_tree
        >>> mu = np.random.default_rng(0).normal(2.4 / 2.25, 2.25**-0.5, size=(4, 1000))  # of y = 1 and 1.4
        >>> def under(scale):  # what bk.log_prior(model, data, fit) adds
        ...     return make_tree({"posterior": {"mu": mu}, "log_prior": {"mu": -0.5 * (mu / scale) ** 2}})
        >>> new = bk.reweight(under(2.0), under(1.0), key=1)
        >>> bool(abs(new["posterior/mu"].mean() - 0.8) < 0.1)  # 2.4 / 3
        True

    Reference: Vehtari, Simpson, Gelman, Yao and Gabry (2024), Journal of Machine Learning Research 25(72), section 3.
    """
    sites = posterior_sites(post)
    _check_same_draws(post, other)
    log_weights = _log_density(other, GROUPS[0]) - _log_density(post, GROUPS[0])
    if all(GROUPS[1] in tree.children for tree in (post, other)):
        log_weights = log_weights + _log_density(other, GROUPS[1]) - _log_density(post, GROUPS[1])
    if np.isnan(log_weights).any() or np.isposinf(log_weights).any():
        raise DataError("a draw has no density under the old model, or NaN under one of the two")
    found = pareto_k(log_weights)
    if not found.k <= MAX_K:
        raise MethodError(
            f"the Pareto k of the weights is {found.k:.2f}, above {MAX_K}: the other posterior is too far from this "
            "one to be had from its draws; fit the other model"
        )
    worth = found.ess * _independence(np.concatenate([site.draws for site in sites], axis=2))
    wanted = max(1, int(worth)) if num_draws is None else num_draws
    if not isinstance(wanted, int) or isinstance(wanted, bool) or wanted < 1:
        raise MethodError(f"num_draws must be a positive integer, got {num_draws!r}")
    return resample_pooled(other, found.weights, wanted, key, {"pareto_k": found.k, "importance_ess": worth})


def _log_density(tree: xr.DataTree, group: str) -> np.ndarray:
    """The sum over sites and elements, shape ``(chain, draw)``."""
    if group not in tree.children or not tree[group].data_vars:
        raise StorageError(f"the result has no group {group!r}: add it with bk.{group}(model, data, post)")
    parts = [v.transpose("chain", "draw", ...).to_numpy() for v in tree[group].data_vars.values()]
    return np.asarray(sum(part.reshape(*part.shape[:2], -1).sum(axis=-1, dtype=float) for part in parts))


def _check_same_draws(post: xr.DataTree, other: xr.DataTree) -> None:
    if not isinstance(other, xr.DataTree) or "posterior" not in other.children:
        raise DataError("other must be the same fit: bk.log_prior(other_model, data, post)")
    mine, theirs = post["posterior"].to_dataset(), other["posterior"].to_dataset()
    for name in mine.data_vars:
        if name not in theirs or not np.array_equal(mine[name].to_numpy(), theirs[name].to_numpy()):
            raise DataError(f"the two trees do not hold the same draws of {name!r}: give bk.log_prior one fit")


def _independence(draws: np.ndarray) -> float:
    """What a draw is worth, at most one."""
    if draws.shape[1] < 4:
        return 1.0
    sizes = effective_sizes(draws)
    known = sizes[np.isfinite(sizes)]
    return float(min(1.0, known.min() / (draws.shape[0] * draws.shape[1]))) if known.size else 1.0
