"""Densities before and after the data, one panel a quantity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from bayeskit.diagnostics.page.blocks import Plot
from bayeskit.diagnostics.page.drawn import BLUE, GREY, WIDTH, drawn_plot, short

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FARTHEST = 8.0
"""Widths of the posterior to either side, beyond which a wide prior is not shown."""


def density_panels(pairs: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Plot:
    """Prior (grey) and posterior (blue) of each quantity, draws of shape ``(draw,)``."""
    return drawn_plot(
        lambda: _draw(pairs),
        title="Prior against posterior",
        caption="Grey: the prior. Blue: the posterior. A grey curve that is flat beside the blue one leaves the answer "
        "to the data; where both are alike, the data have said little. A wide prior is cut at the edges.",
        alt=f"Densities of prior and posterior of {', '.join(pairs)}; the intervals are in the table below",
    )


def _draw(pairs: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Figure:
    from matplotlib.figure import Figure

    columns = min(len(pairs), 2)
    rows = -(-len(pairs) // 2)
    figure = Figure(figsize=(WIDTH, 0.4 + 1.6 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (name, (before, after)) in zip(panels, pairs.items(), strict=False):
        low, high = _limits(before, after)
        for draws, colour, alpha in ((before, GREY, 0.35), (after, BLUE, 0.45)):
            at, height = _density(draws, low, high)
            axes.fill_between(at, height, color=colour, alpha=alpha, lw=0)
            axes.plot(at, height, color=colour, lw=1.2)
        axes.set(title=short(name), xlim=(low, high), yticks=[])
        axes.set_ylim(bottom=0)
        axes.spines["left"].set_visible(False)
        axes.locator_params(axis="x", nbins=5)
    for axes in panels[len(pairs) :]:
        axes.remove()
    return figure


def _limits(before: np.ndarray, after: np.ndarray) -> tuple[float, float]:
    first, last = np.quantile(after, (0.001, 0.999))
    low, high = np.quantile(before, (0.005, 0.995))
    reach = FARTHEST * (last - first)
    return min(float(first), max(float(low), float(first - reach))), max(
        float(last), min(float(high), float(last + reach))
    )


def _density(draws: np.ndarray, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    """A kernel estimate by ArviZ, which knows of bounds; outside of the draws it is zero."""
    from arviz_stats.base import array_stats

    kept = draws[(draws >= low - (high - low)) & (draws <= high + (high - low))]
    at, height, _ = array_stats.kde(kept if len(kept) > 10 else draws)
    grid = np.linspace(low, high, 160)
    return grid, np.interp(grid, at, height, left=0.0, right=0.0) * (len(kept) / len(draws))
