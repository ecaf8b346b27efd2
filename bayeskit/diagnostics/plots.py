"""The plots of the report: drawn by arviz-plots on matplotlib's file backend, returned as data URIs."""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import xarray as xr

Draw: TypeAlias = Callable[[], object]

_TRACE_DRAWS = 1000  # a chain; longer chains are thinned for the eye
_RANK_DRAWS = 250  # the bands assume independent draws
_FOREST_DRAWS = 5000
_FEW_DATA = 50
_STYLE = {
    "font.size": 11,
    "axes.titlesize": 11,
    "axes.labelsize": 10,
    "figure.facecolor": "white",
    "figure.max_open_warning": 0,
    "svg.hashsalt": "bayeskit",
    "svg.fonttype": "path",
}


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

    tree = _tree(elements, _diverging(post), _TRACE_DRAWS)
    return _plot(
        lambda: arviz_plots.plot_trace(tree, **_grid(len(elements))),
        title="Traces of the least certain parameters",
        caption="One line a chain, in the order of the draws. Good chains look like the same noise all along. "
        "Black ticks at the bottom are divergences.",
        alt=f"Trace plots of {', '.join(elements)}",
        raster=True,
    )


def rank_plot(elements: Mapping[str, np.ndarray]) -> Plot:
    """Distribution of the ranks of each chain's draws among all draws, as difference to uniform."""
    import arviz_plots

    tree = _tree(elements, None, _RANK_DRAWS)
    return _plot(
        lambda: arviz_plots.plot_rank(tree, **_grid(len(elements))),
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

    tree = _tree(elements, None, _FOREST_DRAWS)
    size = {"figsize": (6.4, 1.0 + 0.26 * len(elements))}

    def draw() -> object:
        drawn = arviz_plots.plot_forest(
            tree, combined=True, ci_probs=(0.5, 0.9), ci_kind="eti", backend="matplotlib", figure_kwargs=size
        )
        _label_rows(_figure(drawn))
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
        for axes in _figure(drawn).axes:  # type: ignore[attr-defined]
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
    import arviz_plots

    thin = max(1, predicted.sizes["draw"] // 250)
    tree = xr.DataTree.from_dict(
        {
            "/posterior_predictive": predicted.isel(draw=slice(None, None, thin)).to_dataset(name=name),
            "/observed_data": observed.to_dataset(name=name),
        }
    )
    counts = observed.dtype.kind in "iu" and bool((observed >= 0).all())
    shared = {"var_names": [name], "backend": "matplotlib", "figure_kwargs": {"figsize": (6.4, 3.0)}}
    if counts:
        caption = "Black points: how often each count was observed. Blue: predicted"
    elif observed.size < _FEW_DATA:  # too few for a smooth density
        caption = "Cumulative shares. Black: the observed data. Blue: 50 data sets drawn from the posterior"
    else:
        caption = "Densities. Black: the observed data. Blue: 50 data sets drawn from the posterior"

    def draw() -> object:
        if counts:
            return arviz_plots.plot_ppc_rootogram(tree, **shared)
        return arviz_plots.plot_ppc_dist(tree, kind="ecdf" if observed.size < _FEW_DATA else "kde", **shared)

    return _plot(
        draw,
        title=f"Posterior predictive check of {name}",
        caption=f"{caption}. A model that fits makes data that look like the observed.",
        alt=f"Distribution of the observed {name} against draws from the posterior predictive distribution",
    )


# ---------------------------------------------------------------- drawing


@contextmanager
def _file_backend() -> Iterator[None]:
    """Matplotlib's Agg backend, style and silence for a while; the caller's figures and backend stay as they were."""
    import matplotlib
    import matplotlib.pyplot as plt

    before, figures = dict.__getitem__(matplotlib.rcParams, "backend"), plt.get_fignums()
    with warnings.catch_warnings(), np.errstate(all="ignore"), matplotlib.rc_context(_STYLE):
        warnings.simplefilter("ignore")
        plt.switch_backend("agg")
        try:
            yield
        finally:
            for figure in set(plt.get_fignums()) - set(figures):
                plt.close(figure)
            if str(before).lower() != "agg":
                plt.switch_backend(before)


def _plot(draw: Draw, title: str, caption: str, alt: str, *, raster: bool = False) -> Plot:
    """Draw one picture. A report must be written of a bad posterior too: a failure becomes a note in its place."""
    try:
        with _file_backend():
            content = io.BytesIO()
            figure = _figure(draw())
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


def _figure(drawn: object) -> object:
    return drawn.viz["figure"].item()  # type: ignore[attr-defined]


def _label_rows(figure: object) -> None:
    """Names as tick labels, which have the room that they need, instead of in a column of fixed width."""
    names, rows = figure.axes  # type: ignore[attr-defined]
    places = [(text.get_position()[1], text.get_text()) for text in names.texts]
    rows.set_yticks([y for y, _ in places], [_short(label) for _, label in places])
    rows.tick_params(axis="y", length=0, labelleft=True)
    heights = [y for y, _ in places]
    rows.set_ylim(min(heights) - 0.7, max(heights) + 0.7)
    names.remove()


def _short(label: str, most: int = 30) -> str:
    return label if len(label) <= most else f"{label[: most // 2 - 1]}…{label[-most // 2 :]}"


def _grid(count: int) -> dict[str, object]:
    rows = -(-count // 2)
    size = (6.4 if count > 1 else 4.2, 0.3 + 1.9 * rows)
    return {
        "backend": "matplotlib",
        "col_wrap": 2,
        "visuals": {"xlabel": False},
        "figure_kwargs": {"figsize": size, "layout": "constrained"},
    }


def _tree(elements: Mapping[str, np.ndarray], diverging: np.ndarray | None, most: int) -> xr.DataTree:
    """Each element as a scalar variable of its own, thinned to at most `most` draws a chain."""
    draws = next(iter(elements.values())).shape[1]
    step = -(-draws // most)
    kept = np.arange(0, draws, step)
    coords = {"chain": np.arange(next(iter(elements.values())).shape[0]), "draw": kept}
    dims: Sequence[str] = ("chain", "draw")
    groups = {
        "/posterior": xr.Dataset({name: (dims, values[:, kept]) for name, values in elements.items()}, coords=coords)
    }
    if diverging is not None:
        marked = np.zeros((len(diverging), len(kept)), dtype=bool)
        chain, draw = np.nonzero(diverging)
        marked[chain, draw // step] = True  # thinning must not hide a divergence
        groups["/sample_stats"] = xr.Dataset({"diverging": (dims, marked)}, coords=coords)
    return xr.DataTree.from_dict(groups)


def _diverging(post: xr.DataTree) -> np.ndarray | None:
    if "sample_stats" not in post.children or "diverging" not in post["sample_stats"].data_vars:
        return None
    found = post["sample_stats"].to_dataset()["diverging"]
    return np.asarray(found.transpose("chain", "draw", ...).values).astype(bool)
