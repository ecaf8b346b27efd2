"""One picture of a result in a file, drawn by arviz-plots."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import xarray as xr

from bayeskit._spelling import did_you_mean
from bayeskit.diagnostics.angles import unrolled
from bayeskit.diagnostics.drawing import diverging, elements_tree, figure_of, file_backend, grid, label_rows
from bayeskit.diagnostics.elements import posterior_sites
from bayeskit.errors import MethodError, StorageError
from bayeskit.storage.atomic import replace_file

SUFFIXES = (".png", ".svg", ".pdf")
MOST = {"trace": 12, "rank": 12, "forest": 60, "pair": 6}
"""Elements in one picture of each kind."""
_DRAWS = {"trace": 1000, "rank": 250, "forest": 5000, "pair": 250}

Elements: TypeAlias = dict[str, np.ndarray]


def picture(
    post: xr.DataTree, kind: str, path: str | os.PathLike[str], sites: Sequence[str] | None = None
) -> tuple[int, int]:
    """Draw a result into a file, replacing an older one when it is complete.

    ============  ================================================================================================
    kind          what it shows
    ============  ================================================================================================
    ``trace``     draws against their number, a line a chain, with divergences
    ``rank``      how the draws of each chain are spread over the ranks of all
    ``forest``    central 50% and 90% intervals of many elements on one axis
    ``pair``      draws of each element against each other, with divergences
    ``ppc``       data drawn from the posterior predictive against the observed: rootograms of counts, else densities
    ============  ================================================================================================

    Args:
        post: the result of a run.
        kind: one of these.
        path: ends in ``.png``, ``.svg`` or ``.pdf``.
        sites: only these variables; by default all, scalars first, as many as one picture can hold.

    Returns:
        How many elements (of ``ppc``: sites) are shown, and how many there are.

    Raises:
        MethodError: an unknown kind or suffix.
        StorageError: there is nothing to draw, or no such site.
    """
    path = Path(path)
    draw = _KINDS.get(kind)
    if draw is None:
        raise MethodError(f"no kind of plot is called {kind!r}{did_you_mean(kind, _KINDS, 'known:')}")
    if path.suffix.lower() not in SUFFIXES:
        raise MethodError(f"a picture ends in {', '.join(SUFFIXES)}, not {path.suffix or 'nothing'!r}")
    with file_backend():
        drawn, shown, all_of_them = draw(post, sites)
        settings = {"format": path.suffix[1:].lower(), "bbox_inches": "tight", "dpi": 150}
        replace_file(path, lambda temporary: figure_of(drawn).savefig(temporary, **settings))  # type: ignore[attr-defined]
    return shown, all_of_them


def _elements(post: xr.DataTree, kind: str, sites: Sequence[str] | None) -> tuple[Elements, int]:
    """Draws by element, at most as many as one picture holds, and how many there are."""
    known = {site.name: site for site in posterior_sites(post)}
    if unknown := [name for name in sites or [] if name not in known]:
        raise StorageError(f"the posterior has no variable {', '.join(unknown)}; it has {', '.join(known)}")
    found = [unrolled(known[name]) for name in sites or sorted(known, key=lambda name: known[name].labels != [name])]
    drawable = [(site, k) for site in found for k in range(site.shape[2]) if site.finite[k] and not site.constant[k]]
    if not drawable or drawable[0][0].shape[1] < 4:
        raise StorageError(
            "there is nothing to draw: no element is finite and moves, or there are fewer than four draws"
        )
    return {site.labels[k]: site.element(k) for site, k in drawable[: MOST[kind]]}, len(drawable)


def _panels(kind: str) -> Callable[[xr.DataTree, Sequence[str] | None], tuple[object, int, int]]:
    def draw(post: xr.DataTree, sites: Sequence[str] | None) -> tuple[object, int, int]:
        import arviz_plots

        elements, total = _elements(post, kind, sites)
        tree = elements_tree(elements, diverging(post) if kind == "trace" else None, _DRAWS[kind])
        plot = arviz_plots.plot_trace if kind == "trace" else arviz_plots.plot_rank
        return plot(tree, **grid(len(elements))), len(elements), total

    return draw


def _forest(post: xr.DataTree, sites: Sequence[str] | None) -> tuple[object, int, int]:
    import arviz_plots

    elements, total = _elements(post, "forest", sites)
    drawn = arviz_plots.plot_forest(
        elements_tree(elements, None, _DRAWS["forest"]),
        combined=True,
        ci_probs=(0.5, 0.9),
        ci_kind="eti",
        backend="matplotlib",
        figure_kwargs={"figsize": (6.4, 1.0 + 0.26 * len(elements))},
    )
    label_rows(figure_of(drawn))
    return drawn, len(elements), total


def _pair(post: xr.DataTree, sites: Sequence[str] | None) -> tuple[object, int, int]:
    import arviz_plots

    elements, total = _elements(post, "pair", sites)
    if len(elements) < 2:
        raise StorageError("a pair plot needs two elements or more")
    divergent = diverging(post)
    side = 2.0 * len(elements)
    drawn = arviz_plots.plot_pair(
        elements_tree(elements, divergent, _DRAWS["pair"]),
        marginal=True,
        visuals={"divergence": divergent is not None and bool(divergent.any())},
        backend="matplotlib",
        figure_kwargs={"figsize": (side, side), "layout": "constrained"},
    )
    return drawn, len(elements), total


def _predictive(post: xr.DataTree, sites: Sequence[str] | None) -> tuple[object, int, int]:
    from bayeskit.diagnostics.plots import draw_predictive

    if "posterior_predictive" not in post.children or "observed_data" not in post.children:
        raise StorageError("there are no predictive draws of the observed data; bayeskit predict adds them")
    observed = post["observed_data"].to_dataset()
    predicted = post["posterior_predictive"].to_dataset()
    known = [str(name) for name in predicted.data_vars if name in observed]
    name = (sites or known)[0]
    if name not in known:
        raise StorageError(f"nothing was drawn of {name!r}{did_you_mean(name, known, 'but of')}")
    return draw_predictive(name, predicted[name], observed[name]), 1, len(sites or known)


_KINDS: dict[str, Callable[[xr.DataTree, Sequence[str] | None], tuple[object, int, int]]] = {
    "trace": _panels("trace"),
    "rank": _panels("rank"),
    "forest": _forest,
    "pair": _pair,
    "ppc": _predictive,
}
