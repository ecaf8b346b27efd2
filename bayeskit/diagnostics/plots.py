"""The plots of the report: drawn by arviz-plots on matplotlib's file backend, returned as data URIs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

from bayeskit.diagnostics.drawing import diverging, elements_tree, figure_of, grid
from bayeskit.diagnostics.page.blocks import Plot
from bayeskit.diagnostics.page.drawn import drawn_plot

_TRACE_DRAWS = 1000  # a chain; longer chains are thinned for the eye
_RANK_DRAWS = 250  # the bands assume independent draws
_FEW_DATA = 50


def trace_plot(post: xr.DataTree, elements: Mapping[str, np.ndarray]) -> Plot:
    """Draws of each element against their number, one line a chain, divergences marked below."""
    import arviz_plots

    tree = elements_tree(elements, diverging(post), _TRACE_DRAWS)
    return drawn_plot(
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
    return drawn_plot(
        lambda: arviz_plots.plot_rank(tree, **grid(len(elements))),
        title="Ranks of the least certain parameters",
        caption="One line a chain: how its draws are spread over the ranks of all draws, against evenly. "
        "Chains that agree stay inside the grey band.",
        alt=f"Rank plots of {', '.join(elements)}",
        raster=True,
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

    return drawn_plot(
        draw,
        title="Energy",
        caption="The change of energy in a transition (orange) should be spread as widely as the energy (blue); "
        "points left of the dashed line are chains where it is not.",
        alt="Marginal and transition distributions of the energy, with E-BFMI by chain",
    )


def predictive_plot(name: str, predicted: xr.DataArray, observed: xr.DataArray) -> Plot:
    """Observed data against data drawn from the posterior predictive distribution."""
    kind = kind_of_data(observed, predicted)
    return drawn_plot(
        lambda: draw_predictive(name, predicted, observed),
        title=f"Posterior predictive check of {name}",
        caption=_CAPTIONS[kind],
        alt=f"{_ALTS[kind]} of the observed {name} against draws from the posterior predictive distribution",
    )


_CAPTIONS = {
    "binary": "Proportions: of the observations that the model expects with a probability (across), the share that "
    "came true (up). Band: where that line lies in 90% of the data sets that the model makes; outside of it, "
    "probabilities are too low (above) or too high (below).",
    "count": "Rootogram: how often each count was observed (black points) and is predicted (blue, with 90% intervals), "
    "on a square root scale. A model that fits predicts small and large counts as often as they occur.",
    "few": "Cumulative shares. Black: the observed data. Blue: 50 data sets drawn from the posterior. A model that "
    "fits makes data that look like the observed.",
    "many": "Densities. Black: the observed data. Blue: 50 data sets drawn from the posterior. A model that fits "
    "makes data that look like the observed.",
}
_ALTS = {"binary": "Proportions", "count": "Frequencies", "few": "Cumulative shares", "many": "Density"}


def draw_predictive(name: str, predicted: xr.DataArray, observed: xr.DataArray) -> object:
    """Proportions of what is yes or no, a rootogram of counts; else densities, or cumulative shares of few data."""
    import arviz_plots

    kind = kind_of_data(observed, predicted)
    thin = max(1, predicted.sizes["draw"] // 250)
    kept = predicted.isel(draw=slice(None, None, thin)).transpose("chain", "draw", ...)
    if kind == "binary":  # as one row of zeros and ones
        kept = xr.DataArray(
            kept.values.reshape(*kept.shape[:2], -1).astype(int),
            dims=("chain", "draw", "observation"),
        )
        observed = xr.DataArray(observed.values.ravel().astype(int), dims="observation")
    tree = xr.DataTree.from_dict(
        {"/posterior_predictive": kept.to_dataset(name=name), "/observed_data": observed.to_dataset(name=name)}
    )
    shared = {"var_names": [name], "backend": "matplotlib", "figure_kwargs": {"figsize": (6.4, 3.2)}}
    if kind == "binary":
        texts = {"xlabel": {"text": "expected probability"}, "ylabel": {"text": "share that came true"}}
        return arviz_plots.plot_ppc_pava(tree, ci_prob=0.9, visuals=texts, **shared)
    if kind == "count":
        return arviz_plots.plot_ppc_rootogram(tree, ci_prob=0.9, **shared)
    return arviz_plots.plot_ppc_dist(tree, kind="ecdf" if kind == "few" else "kde", **shared)


def kind_of_data(observed: xr.DataArray, predicted: xr.DataArray) -> str:
    """What kind of check suits observations: ``"binary"``, ``"count"``, ``"few"`` or ``"many"`` numbers."""
    values = np.asarray(observed.values)
    whole = values.dtype.kind in "biu" and values.size > 0
    if whole and all(bool(((one == 0) | (one == 1)).all()) for one in (observed, predicted)):
        return "binary"
    if whole and (values >= 0).all():
        return "count"
    return "few" if values.size < _FEW_DATA else "many"
