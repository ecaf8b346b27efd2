"""How a run ends: with a result, interrupted, or by an error; whatever happens, its draws are handed over."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from bayeskit.errors import Interrupted
from bayeskit.inference.assemble import Coords, Dims, assemble, meanings
from bayeskit.inference.driver import Run
from bayeskit.storage import RunStore

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["finish", "hand_over", "interrupted"]


def hand_over(
    error: Exception, run: Run, attrs: Mapping[str, object], dims: Dims | None, coords: Coords | None
) -> None:
    """Give the draws made so far to the error that ends a run."""
    drawn = run.collected.filled
    if drawn:
        error.post = _assembled(run, {**attrs, "interrupted": 1, "num_draws": drawn}, dims, coords)  # type: ignore[attr-defined]
        error.add_note(f"{drawn} draws a chain were made before; they are in .post of this error")


def interrupted(
    run: Run,
    attrs: Mapping[str, object],
    dims: Dims | None,
    coords: Coords | None,
    store: str | os.PathLike[str] | None,
) -> Interrupted:
    """What is raised where a run is stopped by hand, with the draws so far and how to go on."""
    drawn = run.collected.filled
    post = None
    if drawn:
        post = _assembled(run, {**attrs, "interrupted": 1, "num_draws": drawn}, dims, coords)
    where = ""
    if store is not None:
        again = "" if run.method.is_recordable else ", method=method"
        where = f"; go on with bayeskit.resume(model, data, {os.fspath(store)!r}{again})"
    message = f"interrupted after {run.done} of {run.total} steps, with {drawn} draws a chain in .post{where}"
    return Interrupted(message, post, None if store is None else os.fspath(store))


def _groups(run: Run) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, np.ndarray] | None]:
    pointwise = run.collected.group("log_likelihood") if run.also.pointwise is not None else None
    return run.collected.group("posterior"), run.collected.group("sample_stats"), pointwise


def _assembled(
    run: Run, attrs: Mapping[str, object], dims: Dims | None, coords: Coords | None, *, finished: bool = False
) -> xr.DataTree:
    """The result; without labels and data where these cannot be put to it, so that no draw is ever lost."""
    groups = _groups(run)
    try:
        traces = run.method.traces(run.state) if finished else None
        learned = run.method.learned(run.state, run.target) if finished else None
        return assemble(run.target, *groups, attrs, dims, coords, traces, learned, run.also.discrete)
    except Exception as error:
        warnings.warn(
            f"the draws could not be labelled ({type(error).__name__}: {error}); they are returned without the names "
            "of their dimensions and without the data",
            stacklevel=3,
        )
        from bayeskit.storage import add_group, make_tree

        posterior, stats, pointwise = groups
        bare = make_tree({"posterior": posterior}, attrs=attrs, site_attrs=meanings(run.target.structure))
        tree = add_group(bare, "sample_stats", stats)
        return tree if pointwise is None else add_group(tree, "log_likelihood", pointwise)


def finish(
    run: Run,
    attrs: Mapping[str, object],
    dims: Dims | None,
    coords: Coords | None,
    disk: RunStore | None,
    begin: float,
    compiling: float,
) -> xr.DataTree:
    """The result of a run that is done, on disk too if the run was kept there."""
    times = {"wall_time": time.perf_counter() - begin, "warmup_time": run.warmup_time, "compile_time": compiling}
    tree = _assembled(run, {**attrs, **times, **run.method.found(run.state)}, dims, coords, finished=True)
    if disk is not None:
        disk.finish(tree)
    return tree
