"""Intervals of many quantities, one axis for each scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bayeskit.diagnostics.page.blocks import Plot
from bayeskit.diagnostics.page.drawn import BLUE, WIDTH, drawn_plot, short

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PROBS = (0.05, 0.25, 0.5, 0.75, 0.95)
WIDEST = 40.0
"""How many times its own interval an axis may be long before a quantity needs another one."""
MOST_NAMED = 40
CAPTION = "Point: median. Thick line: central 50%. Thin line: central 90%."

Quantiles = dict[str, np.ndarray]


def quantiles(elements: Mapping[str, np.ndarray]) -> Quantiles:
    """The quantiles that are drawn, by element."""
    return {label: np.quantile(draws, PROBS) for label, draws in elements.items()}


def by_scale(found: Quantiles) -> list[list[str]]:
    """The elements in groups that can share an axis: each interval is at least a fortieth of its axis.

    They keep their order within a group, and the groups that of their first elements.
    """
    groups: list[list[str]] = []
    for label in sorted(found, key=lambda label: -np.ptp(found[label])):
        for group in groups:
            ends = np.array([found[one][[0, -1]] for one in [*group, label]])
            if np.ptp(ends) <= WIDEST * np.ptp(ends, axis=1).min():
                group.append(label)
                break
        else:
            groups.append([label])
    order = {label: place for place, label in enumerate(found)}
    return sorted((sorted(group, key=order.__getitem__) for group in groups), key=lambda group: order[group[0]])


def forest_of_scalars(elements: Mapping[str, np.ndarray], title: str) -> Plot:
    """Scalar quantities, those of like scale on one axis."""
    found = quantiles(elements)
    groups = by_scale(found)
    more = "" if len(groups) == 1 else " Quantities of different scales have axes of their own."
    return drawn_plot(
        lambda: _draw_panels(found, groups),
        title=title,
        caption=CAPTION + more,
        alt=f"Intervals of {', '.join(elements)}; the numbers are in the table",
    )


def forest_of_vector(name: str, elements: Mapping[str, np.ndarray]) -> Plot:
    """The elements of one quantity: with their names where there is room, else in their order along one axis."""
    found = {_index(label, name): values for label, values in quantiles(elements).items()}
    if len(found) <= MOST_NAMED:
        groups = by_scale(found) if len(found) <= 10 else [list(found)]
        return drawn_plot(
            lambda: _draw_panels(found, groups),
            title=name,
            caption=CAPTION,
            alt=f"Intervals of the {len(found)} elements of {name}; the numbers are in the table",
        )
    return drawn_plot(
        lambda: _draw_ordered(list(found.values()), name),
        title=name,
        caption=f"All {len(found)} elements in the order of their medians. {CAPTION}",
        alt=f"Intervals of the {len(found)} elements of {name}, in order",
    )


def _index(label: str, name: str) -> str:
    return label[len(name) + 1 : -1] if label.startswith(f"{name}[") and label.endswith("]") else label


def _draw_panels(found: Quantiles, groups: Sequence[Sequence[str]]) -> Figure:
    from matplotlib.figure import Figure

    heights = [len(group) + 0.9 for group in groups]
    figure = Figure(figsize=(WIDTH, 0.27 * sum(heights) + 0.35 * len(groups)), layout="constrained")
    panels = figure.subplots(len(groups), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, group in zip(panels, groups, strict=True):
        rows = np.arange(len(group))[::-1]
        _intervals(axes.hlines, axes.plot, np.array([found[label] for label in group]), rows, is_upright=False)
        axes.set_yticks(rows, [short(label) for label in group])
        axes.set_ylim(-0.7, len(group) - 0.3)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.margins(x=0.04)
        axes.locator_params(axis="x", nbins=6)
        axes.grid(axis="x", color="0.92")
        axes.set_axisbelow(True)
    figure.align_ylabels()
    return figure


def _draw_ordered(values: list[np.ndarray], name: str) -> Figure:
    from matplotlib.figure import Figure

    ordered = np.array(sorted(values, key=lambda one: float(one[2])))
    figure = Figure(figsize=(WIDTH, 3.0), layout="constrained")
    axes = figure.subplots()
    _intervals(axes.vlines, axes.plot, ordered, np.arange(len(ordered)), is_upright=True)
    axes.set(xlabel=f"elements of {name}, ordered", ylabel=name, xlim=(-1, len(ordered)))
    axes.grid(axis="y", color="0.92")
    axes.set_axisbelow(True)
    return figure


def _intervals(lines: object, points: object, values: np.ndarray, places: np.ndarray, *, is_upright: bool) -> None:
    size = min(6.0, max(1.5, 240.0 / len(values)))
    lines(places, values[:, 0], values[:, 4], color=BLUE, lw=size / 4)  # type: ignore[operator]
    lines(places, values[:, 1], values[:, 3], color=BLUE, lw=size / 1.7)  # type: ignore[operator]
    across, up = (places, values[:, 2]) if is_upright else (values[:, 2], places)
    points(across, up, "o", ms=size, mfc="white", mec=BLUE, mew=size / 5, ls="")  # type: ignore[operator]
