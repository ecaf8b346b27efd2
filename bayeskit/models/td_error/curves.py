r"""What came of agents, over seeds: interquartile means with bootstrap intervals, profiles, and pictures.

The score of a seed is the mean return over the episodes of an evaluation. The interquartile mean (IQM) is that of the
middle half of the scores: it is less noisy than the median, and one lucky seed does not move it as it does the mean.
Intervals are percentiles over resamples of seeds, within each environment.

References:
    Agarwal, Schwarzer, Castro, Courville and Bellemare (2021), "Deep reinforcement learning at the edge of the
    statistical precipice".
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.stats
import xarray as xr

from bayeskit._settings import is_number, is_whole, require
from bayeskit._typing import ArrayLike
from bayeskit.errors import DataError
from bayeskit.models.td_error.checks import finite

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["interquartile_difference", "interquartile_mean", "performance_profile", "plot_learning_curves"]

_TRIMMED = 0.25


def interquartile_mean(
    curves: xr.DataTree | Sequence[xr.DataTree],
    *,
    ranges: Sequence[tuple[float, float]] | None = None,
    level: float = 0.95,
    num_resamples: int = 2000,
    seed: int = 0,
) -> xr.Dataset:
    """Interquartile means of returns over seeds, at every evaluation.

    Args:
        curves: what :func:`bayeskit.models.td_error.train` returns; or several of these, of one environment each, with
            evaluations at the same steps.
        ranges: a return that counts as 0 and one that counts as 1, for each environment; needed for several.
        level: of the intervals.
        num_resamples: of the bootstrap.
        seed: of the resamples.

    Returns:
        A dataset with ``estimate``, ``lower`` and ``upper``, dimension ``step``. From one seed there is no interval;
        the ends are NaN then.

    Raises:
        DataError: not a result of agents, evaluations at other steps, or ranges that do not fit.
        MethodError: an impossible setting.

    Example:
        >>> import numpy as np, xarray as xr
        >>> from bayeskit.models import td_error
        >>> returns = np.arange(8.0)[:, None, None] * np.ones((8, 2, 3))
        >>> training = xr.Dataset({"episode_return": (("seed", "step", "episode"), returns)}, {"step": [0, 100]})
        >>> found = td_error.interquartile_mean(xr.DataTree.from_dict({"training": training}))
        >>> found["estimate"].values.tolist(), bool((found["lower"] < 3.5).all())
        ([3.5, 3.5], True)
    """
    steps, scores = _scores(curves, ranges)
    resampled = _resampled(scores, level, num_resamples, seed)
    estimate = _iqm(np.concatenate(scores))
    lower, upper = _ends(_iqm(resampled, axis=1), level, scores)
    return xr.Dataset(
        {"estimate": ("step", estimate), "lower": ("step", lower), "upper": ("step", upper)}, {"step": steps}
    )


def interquartile_difference(
    curves: xr.DataTree, baseline: xr.DataTree, *, level: float = 0.95, num_resamples: int = 2000, seed: int = 0
) -> xr.Dataset:
    """By how much the interquartile mean is above that of a baseline, at every evaluation.

    Args:
        curves: what :func:`bayeskit.models.td_error.train` returns.
        baseline: likewise, of the same environment at the same steps.
        level: of the intervals.
        num_resamples: of the bootstrap.
        seed: of the resamples.

    Raises:
        DataError: not results of agents, or other environments or steps.
        MethodError: an impossible setting.

    Example:
        >>> import numpy as np, xarray as xr
        >>> from bayeskit.models import td_error
        >>> returns = np.arange(8.0)[:, None, None] * np.ones((8, 2, 3))
        >>> training = xr.Dataset({"episode_return": (("seed", "step", "episode"), returns)}, {"step": [0, 100]})
        >>> tree, other = (xr.DataTree.from_dict({"training": training + more}) for more in (10.0, 0.0))
        >>> td_error.interquartile_difference(tree, other)["estimate"].values.tolist()
        [10.0, 10.0]
    """
    for one_result in (curves, baseline):
        _check_one(one_result)
    (steps, one), (other_steps, other) = _scores(curves, None, "curves"), _scores(baseline, None, "baseline")
    names = [json.loads(one.attrs.get("method_settings", "{}")).get("environment") for one in (curves, baseline)]
    if names[0] != names[1]:
        raise DataError(f"curves are of {names[0]}, and baseline of {names[1]}")
    if not np.array_equal(steps, other_steps):
        raise DataError("curves and baseline have evaluations at other steps")
    estimate = _iqm(one[0]) - _iqm(other[0])
    apart = _iqm(_resampled(one, level, num_resamples, seed), axis=1)
    apart = apart - _iqm(_resampled(other, level, num_resamples, seed + 1), axis=1)
    lower, upper = _ends(apart, level, [*one, *other])
    return xr.Dataset(
        {"estimate": ("step", estimate), "lower": ("step", lower), "upper": ("step", upper)}, {"step": steps}
    )


def performance_profile(
    curves: xr.DataTree,
    thresholds: ArrayLike | None = None,
    *,
    level: float = 0.95,
    num_resamples: int = 2000,
    seed: int = 0,
) -> xr.Dataset:
    """The share of seeds whose score at the end is above a threshold.

    Args:
        curves: what :func:`bayeskit.models.td_error.train` returns.
        thresholds: increasing; by default 101 over the range of the scores.
        level: of the intervals.
        num_resamples: of the bootstrap.
        seed: of the resamples.

    Returns:
        A dataset with ``estimate``, ``lower`` and ``upper``, dimension ``threshold``.

    Raises:
        DataError: not a result of agents, or thresholds that do not increase.
        MethodError: an impossible setting.
    """
    _, scores = _scores(curves, None)
    last = [scores[0][:, -1:]]
    at = np.linspace(last[0].min(), last[0].max(), 101) if thresholds is None else _increasing(thresholds)
    above = [last[0] > at]
    lower, upper = _ends(_resampled(above, level, num_resamples, seed).mean(axis=1), level, scores)
    values = {"estimate": above[0].mean(axis=0), "lower": lower, "upper": upper}
    return xr.Dataset({name: ("threshold", value) for name, value in values.items()}, {"threshold": at})


def plot_learning_curves(curves: Mapping[str, xr.DataTree], ax: Axes | None = None, *, level: float = 0.95) -> Axes:
    """Interquartile means over steps, with their intervals.

    Args:
        curves: results by what the legend calls them.
        ax: where to draw; a new figure by default.
        level: of the intervals.

    Raises:
        DataError: not results of agents, or none.
    """
    import matplotlib.pyplot as plt

    if not isinstance(curves, Mapping) or isinstance(curves, xr.DataTree):
        raise DataError(f"curves must be {{name: result}}, got {type(curves).__name__}")
    if not curves:
        raise DataError("curves is empty; give {name: result}")
    axes: Any = plt.subplots(layout="constrained")[1] if ax is None else ax
    for name, one in curves.items():
        found = interquartile_mean(one, level=level)
        (line,) = axes.plot(found["step"], found["estimate"], label=name)
        axes.fill_between(found["step"], found["lower"], found["upper"], color=line.get_color(), alpha=0.2, lw=0)
    axes.set_xlabel("steps in the environment")
    axes.set_ylabel("return, interquartile mean over seeds")
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))  # curves are everywhere else
    return axes


def _check_one(result: object) -> None:
    if isinstance(result, list | tuple):
        raise DataError("curves and baseline must be one result each; call it for each environment")


def _increasing(thresholds: ArrayLike) -> np.ndarray:
    known = np.asarray(finite(thresholds, "thresholds"))
    if known.ndim != 1 or not known.size or not (np.diff(known) > 0).all():
        raise DataError(f"thresholds must be numbers that increase, got {thresholds}")
    return known


def _scores(
    curves: xr.DataTree | Sequence[xr.DataTree],
    ranges: Sequence[tuple[float, float]] | None,
    who: str = "curves",
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Steps, and the scores of each environment, shape `(seeds, steps)`."""
    trees: list[Any] = list(curves) if isinstance(curves, list | tuple) else [curves]
    if not trees:
        raise DataError(f"{who} is empty")
    for one in trees:
        if not isinstance(one, xr.DataTree) or "episode_return" not in one.children.get("training", {}):
            raise DataError(f"{who} must be what td_error.train returns, got {type(one).__name__} without episodes")
        if not np.isfinite(one.children["training"]["episode_return"]).all():
            raise DataError(f"{who} has returns that are not finite")
    if ranges is None and len(trees) > 1:
        raise DataError("several environments need ranges, (a return that counts as 0, one that counts as 1) for each")
    ends = np.array([(0.0, 1.0)] * len(trees)) if ranges is None else _as_ranges(ranges)
    if ends.shape != (len(trees), 2) or not (np.isfinite(ends).all() and (ends[:, 1] > ends[:, 0]).all()):
        raise DataError(f"ranges must be a lower and a higher return for each of {len(trees)} curves, got {ranges}")
    found = [one["training/episode_return"].mean("episode").transpose("seed", "step") for one in trees]
    steps = np.asarray(found[0]["step"])
    if any(not np.array_equal(steps, one["step"]) for one in found):
        raise DataError("curves have evaluations at other steps")
    return steps, [(np.asarray(one) - low) / (high - low) for one, (low, high) in zip(found, ends, strict=True)]


def _as_ranges(ranges: object) -> np.ndarray:
    try:
        return np.asarray(ranges, float)
    except (TypeError, ValueError):
        return np.empty(0)


def _iqm(scores: np.ndarray, axis: int = 0) -> np.ndarray:
    return np.asarray(scipy.stats.trim_mean(scores, _TRIMMED, axis=axis))


def _resampled(scores: list[np.ndarray], level: float, num_resamples: int, seed: int) -> np.ndarray:
    """Shape `(resamples, seeds of all environments, ...)`."""
    require(is_number(level) and 0 < level < 1, "level", level, "a number between 0 and 1")
    require(is_whole(num_resamples) and num_resamples >= 100, "num_resamples", num_resamples, "an integer from 100 on")
    require(is_whole(seed) and seed >= 0, "seed", seed, "an integer from 0 on")
    rng = np.random.default_rng(seed)
    return np.concatenate([one[rng.integers(len(one), size=(num_resamples, len(one)))] for one in scores], axis=1)


def _ends(resampled: np.ndarray, level: float, scores: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    if any(len(one) < 2 for one in scores):
        nothing = np.full(resampled.shape[1:], np.nan)
        return nothing, nothing
    lower, upper = np.quantile(resampled, ((1 - level) / 2, (1 + level) / 2), axis=0)
    return lower, upper
