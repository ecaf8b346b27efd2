"""What the pictures share: a quiet file backend, the draws of elements as ArviZ wants them, grids and labels."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import xarray as xr

_STYLE = {
    "font.size": 11,
    "axes.titlesize": 11,
    "axes.labelsize": 10,
    "figure.facecolor": "white",
    "figure.max_open_warning": 0,
    "svg.hashsalt": "bayeskit",
    "svg.fonttype": "path",
}


@contextmanager
def file_backend() -> Iterator[None]:
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


def figure_of(drawn: object) -> object:
    """The figure of matplotlib in what arviz-plots returns."""
    return drawn.viz["figure"].item()  # type: ignore[attr-defined]


def label_rows(figure: object) -> None:
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


def grid(count: int) -> dict[str, object]:
    """Settings for as many panels, two beside each other."""
    rows = -(-count // 2)
    size = (6.4 if count > 1 else 4.2, 0.3 + 1.9 * rows)
    return {
        "backend": "matplotlib",
        "col_wrap": 2,
        "visuals": {"xlabel": False},
        "figure_kwargs": {"figsize": size, "layout": "constrained"},
    }


def elements_tree(elements: Mapping[str, np.ndarray], divergent: np.ndarray | None, most: int) -> xr.DataTree:
    """Each element as a scalar variable of its own, thinned to at most `most` draws a chain."""
    draws = next(iter(elements.values())).shape[1]
    step = -(-draws // most)
    kept = np.arange(0, draws, step)
    coords = {"chain": np.arange(next(iter(elements.values())).shape[0]), "draw": kept}
    dims: Sequence[str] = ("chain", "draw")
    groups = {
        "/posterior": xr.Dataset({name: (dims, values[:, kept]) for name, values in elements.items()}, coords=coords)
    }
    if divergent is not None:
        marked = np.zeros((len(divergent), len(kept)), dtype=bool)
        chain, draw = np.nonzero(divergent)
        marked[chain, draw // step] = True  # thinning must not hide a divergence
        groups["/sample_stats"] = xr.Dataset({"diverging": (dims, marked)}, coords=coords)
    return xr.DataTree.from_dict(groups)


def diverging(post: xr.DataTree) -> np.ndarray | None:
    """Which transitions diverged, where the method says so."""
    if "sample_stats" not in post.children or "diverging" not in post["sample_stats"].data_vars:
        return None
    found = post["sample_stats"].to_dataset()["diverging"]
    return np.asarray(found.transpose("chain", "draw", ...).values).astype(bool)
