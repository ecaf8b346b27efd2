"""The picture of a calibration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from bayeskit._spelling import did_you_mean
from bayeskit.diagnostics.calibration import uniform_numbers
from bayeskit.diagnostics.uniformity import bands, grid_of
from bayeskit.errors import StorageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_calibration"]

MOST = 12


def plot_calibration(
    ranks: xr.DataTree, var_names: str | Sequence[str] | None = None, *, coverage: bool = False
) -> Figure:
    r"""The cumulative distribution of ranks less that of uniform ones, and a band that holds all of it in 95% of cases.

    A curve above the band on the left and below on the right is one of draws that are too narrow; the reverse, of
    draws that are too wide; a curve above throughout, of draws that are too high.

    Args:
        ranks: the result of :func:`bayeskit.sbc`.
        var_names: test quantities, or elements of them; the twelve that are least uniform by default.
        coverage: show by how much central intervals cover more than they should, in place of the ranks.

    Returns:
        A matplotlib figure; ``figure.savefig("ranks.png")`` keeps it.

    Raises:
        StorageError: there are no ranks, or none of that name.

    Example:
        >>> import numpy as np, xarray as xr
        >>> import bayeskit as bk
        >>> u = np.random.default_rng(0).uniform(size=300)
        >>> figure = bk.plot_calibration(xr.DataTree.from_dict({"/pit": xr.Dataset({"mu": ("replicate", u)})}))
        >>> figure.axes[0].get_title()
        'mu'

    Reference: Säilynoja, Bürkner and Vehtari (2022), Statistics and Computing 32, section 3.
    """
    from matplotlib.figure import Figure

    names, numbers, most_draws = uniform_numbers(ranks)
    chosen = _chosen(names, numbers, var_names)
    points = grid_of(most_draws)
    lower, upper = bands(len(numbers), points)
    rows = -(-len(chosen) // 3)
    figure = Figure(figsize=(3.2 * min(3, len(chosen)), 2.4 * rows), layout="constrained")
    for place, index in enumerate(chosen):
        axes = figure.add_subplot(rows, min(3, len(chosen)), place + 1)
        column = 2.0 * np.abs(numbers[:, index] - 0.5) if coverage else numbers[:, index]
        counts = np.searchsorted(np.sort(column), points, side="right")
        axes.fill_between(points, lower - points, upper - points, color="0.85", step="mid")
        axes.plot(points, counts / len(numbers) - points, color="C0")
        axes.axhline(0.0, color="0.5", linewidth=0.7)
        axes.set_title(names[index])
        axes.set_xlabel("probability of the interval" if coverage else "rank")
    return figure


def _chosen(names: list[str], numbers: np.ndarray, var_names: str | Sequence[str] | None) -> list[int]:
    if var_names is None:
        points = np.arange(1, 20) / 20
        ordered = np.sort(numbers, axis=0)
        off = [np.abs(np.searchsorted(c, points) / len(c) - points).max() for c in ordered.T]
        return [int(i) for i in np.argsort(off)[::-1][:MOST]]
    wanted = [var_names] if isinstance(var_names, str) else list(var_names)
    found: list[int] = []
    for name in wanted:
        of_name = [i for i, known in enumerate(names) if known == name or known.startswith(f"{name}[")]
        if not of_name:
            raise StorageError(f"there are no ranks of {name!r}{did_you_mean(name, names, 'there are')}")
        found += of_name
    return found
