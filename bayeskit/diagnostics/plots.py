"""The plots of the report: drawn by arviz-plots on matplotlib's file backend, returned as data URIs."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import xarray as xr

from bayeskit.diagnostics.drawing import diverging, elements_tree, figure_of, file_backend, grid, label_rows

Draw: TypeAlias = Callable[[], object]

_TRACE_DRAWS = 1000  # a chain; longer chains are thinned for the eye
_RANK_DRAWS = 250  # the bands assume independent draws
_FOREST_DRAWS = 5000
_FEW_DATA = 50


@dataclass(frozen=True)
class Plot:
    """One picture of the report.

    Attributes:
        title: heading above it.
        caption: what it shows and how to read it.
        alt: what a reader who cannot see it needs to know.
        uri: the picture as a ``data:`` URI, or empty when it could not be drawn.
        note: why there is no picture.
    """

    title: str
    caption: str
    alt: str
    uri: str = ""
    note: str = ""


def trace_plot(post: xr.DataTree, elements: Mapping[str, np.ndarray]) -> Plot:
    """Draws of each element against their number, one line a chain, divergences marked below."""
    import arviz_plots

    tree = elements_tree(elements, diverging(post), _TRACE_DRAWS)
    return _plot(
        lambda: arviz_plots.plot_trace(tree, **grid(len(elements))),
        title="Traces of the least certain parameters",
        caption="One line a chain, in the order of the draws. Good chains look like the same noise all along. "
        "Black ticks at the bottom are divergences.",
        alt=f"Trace plots of {', '.join(elements)}",
        raster=True,
    )


def rank_plot(elements: Mapping[str, np.ndarray]) -> Plot:
    """Distribution of the ranks of each chain's draws among all draws, as difference to uniform."""
    import arviz_plots

    tree = elements_tree(elements, None, _RANK_DRAWS)
    return _plot(
        lambda: arviz_plots.plot_rank(tree, **grid(len(elements))),
        title="Ranks of the least certain parameters",
        caption="One line a chain: how its draws are spread over the ranks of all draws, against evenly. "
        "Chains that agree stay inside the grey band.",
        alt=f"Rank plots of {', '.join(elements)}",
    )


def forest_plot(
    elements: Mapping[str, np.ndarray], left_out: int, title: str = "Estimates", what: str = "parameters"
) -> Plot:
    """Intervals of many elements on one axis."""
    import arviz_plots

    tree = elements_tree(elements, None, _FOREST_DRAWS)
    size = {"figsize": (6.4, 1.0 + 0.26 * len(elements))}

    def draw() -> object:
        drawn = arviz_plots.plot_forest(
            tree, combined=True, ci_probs=(0.5, 0.9), ci_kind="eti", backend="matplotlib", figure_kwargs=size
        )
        label_rows(figure_of(drawn))
        return drawn

    more = f" {left_out} more are not shown." if left_out else ""
    return _plot(
        draw,
        title=title,
        caption=f"Point: mean or median. Thick line: central 50%. Thin line: central 90%.{more}",
        alt=f"Forest plot of {len(elements)} {what}"
        + ("; the numbers are in the summary table" if title == "Estimates" else ""),
    )


def energy_plot(energy: np.ndarray) -> Plot:
    """Energies against their changes, and the E-BFMI of each chain."""
    import arviz_plots
    from matplotlib.ticker import MaxNLocator

    tree = xr.DataTree.from_dict(
        {
            "/posterior": xr.Dataset({"energy": (("chain", "draw"), energy)}),
            "/sample_stats": xr.Dataset({"energy": (("chain", "draw"), energy)}),
        }
    )

    def draw() -> object:
        drawn = arviz_plots.plot_energy(tree, backend="matplotlib", figure_kwargs={"figsize": (6.4, 3.0)})
        for axes in figure_of(drawn).axes:  # type: ignore[attr-defined]
            if axes.get_ylabel():
                axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        return drawn

    return _plot(
        draw,
        title="Energy",
        caption="The change of energy in a transition (orange) should be spread as widely as the energy (blue); "
        "points left of the dashed line are chains where it is not.",
        alt="Marginal and transition distributions of the energy, with E-BFMI by chain",
    )


def predictive_plot(name: str, predicted: xr.DataArray, observed: xr.DataArray) -> Plot:
    """Observed data against data drawn from the posterior predictive distribution."""
    if _are_counts(observed):
        caption = "Black points: how often each count was observed. Blue: predicted"
    elif observed.size < _FEW_DATA:  # too few for a smooth density
        caption = "Cumulative shares. Black: the observed data. Blue: 50 data sets drawn from the posterior"
    else:
        caption = "Densities. Black: the observed data. Blue: 50 data sets drawn from the posterior"
    return _plot(
        lambda: draw_predictive(name, predicted, observed),
        title=f"Posterior predictive check of {name}",
        caption=f"{caption}. A model that fits makes data that look like the observed.",
        alt=f"Distribution of the observed {name} against draws from the posterior predictive distribution",
    )


def draw_predictive(name: str, predicted: xr.DataArray, observed: xr.DataArray) -> object:
    """A rootogram of counts; otherwise densities, or cumulative shares where the data are few."""
    import arviz_plots

    thin = max(1, predicted.sizes["draw"] // 250)
    tree = xr.DataTree.from_dict(
        {
            "/posterior_predictive": predicted.isel(draw=slice(None, None, thin)).to_dataset(name=name),
            "/observed_data": observed.to_dataset(name=name),
        }
    )
    shared = {"var_names": [name], "backend": "matplotlib", "figure_kwargs": {"figsize": (6.4, 3.0)}}
    if _are_counts(observed):
        return arviz_plots.plot_ppc_rootogram(tree, **shared)
    return arviz_plots.plot_ppc_dist(tree, kind="ecdf" if observed.size < _FEW_DATA else "kde", **shared)


def _are_counts(observed: xr.DataArray) -> bool:
    return observed.dtype.kind in "iu" and bool((observed >= 0).all())


def _plot(draw: Draw, title: str, caption: str, alt: str, *, raster: bool = False) -> Plot:
    """Draw one picture. A report must be written of a bad posterior too: a failure becomes a note in its place."""
    try:
        with file_backend():
            content = io.BytesIO()
            figure = figure_of(draw())
            if raster:
                figure.savefig(content, format="png", dpi=130, bbox_inches="tight")  # type: ignore[attr-defined]
            else:
                figure.savefig(content, format="svg", bbox_inches="tight", metadata={"Date": None})  # type: ignore[attr-defined]
    except Exception as error:
        reason = f"This plot could not be drawn: {error or type(error).__name__}"
        return Plot(title, caption, alt, note=reason)
    kind = "png" if raster else "svg+xml"
    uri = f"data:image/{kind};base64,{base64.b64encode(content.getvalue()).decode('ascii')}"
    return Plot(title, caption, alt, uri=uri)
