"""Predictions for new inputs, which no observation can check."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from bayeskit.diagnostics.elements import Site, group_sites
from bayeskit.diagnostics.page.blocks import Block, Plot, Section, Text
from bayeskit.diagnostics.page.drawn import BLUE, WIDTH, drawn_plot
from bayeskit.diagnostics.page.forest import forest_of_vector
from bayeskit.diagnostics.page.subject import Subject

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST = 4
_APART = (
    "These are predictions for new inputs, apart from the checks above: nothing has been observed that could speak for "
    "or against them."
)


def predictions(subject: Subject) -> Section | None:
    """Intervals of what is predicted, over the input where there is one."""
    if not subject.has("predictions"):
        return None
    every = subject.tree["predictions"].to_dataset()
    draws = [name for name, variable in every.data_vars.items() if {"chain", "draw"} <= set(variable.dims)]
    group = xr.DataTree.from_dict({"/predictions": every[draws]})
    blocks: list[Block] = [Text(_APART)]
    for site in group_sites(group, "predictions")[:MOST]:
        inputs = _single_input(subject, site.shape[2])
        if inputs is not None and site.finite.all():
            blocks.append(_over_input(site, *inputs))
        elif elements := subject.drawable(site):
            blocks.append(forest_of_vector(site.name, elements))
    return Section("Predictions", blocks)


def _single_input(subject: Subject, size: int) -> tuple[str, np.ndarray] | None:
    """The one real input of as many rows, where there is just one."""
    if size < 3 or not subject.has("predictions_constant_data"):
        return None
    found = {str(n): np.asarray(v.values) for n, v in subject.tree["predictions_constant_data"].data_vars.items()}
    real = [(n, v.ravel()) for n, v in found.items() if v.dtype.kind == "f" and v.size == size and len(v) == size]
    return real[0] if len(real) == 1 and len(np.unique(real[0][1])) > 2 else None


def _over_input(site: Site, name: str, inputs: np.ndarray) -> Plot:
    quantiles = np.quantile(site.draws, (0.05, 0.25, 0.5, 0.75, 0.95), axis=(0, 1))
    return drawn_plot(
        lambda: _draw(site.name, name, inputs, quantiles),
        title=f"{site.name} against {name}",
        caption="Line: median. Dark band: central 50%. Light band: central 90%, of new observations one by one.",
        alt=f"Predicted {site.name} against {name}, with bands",
    )


def _draw(site: str, name: str, inputs: np.ndarray, quantiles: np.ndarray) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, 3.2), layout="constrained")
    axes = figure.subplots()
    order = np.argsort(inputs)
    at, (low, lower, middle, upper, high) = inputs[order], quantiles[:, order]
    axes.fill_between(at, low, high, color=BLUE, alpha=0.2, lw=0)
    axes.fill_between(at, lower, upper, color=BLUE, alpha=0.35, lw=0)
    axes.plot(at, middle, color=BLUE)
    axes.set(xlabel=name, ylabel=site)
    return figure
