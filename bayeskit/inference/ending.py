"""How a run ends: with a result, interrupted, or by an error; whatever happens, its draws are handed over."""

from __future__ import annotations

import contextlib
import os
import signal
import time
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

import jax
import numpy as np

from bayeskit._progress import ProgressBar
from bayeskit.errors import Interrupted, StorageError
from bayeskit.inference.assemble import Coords, Dims, assemble, meanings
from bayeskit.inference.driver import Run, compile_time
from bayeskit.inference.stopping import Terminated

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Labelled", "carry_out"]


class Labelled(NamedTuple):
    """What a result says besides its numbers: the record of the run, and names and labels of dimensions."""

    attrs: Mapping[str, object]
    dims: Dims | None
    coords: Coords | None


def carry_out(
    run: Run, labelled: Labelled, act: Callable[[ProgressBar], None], progress: bool, *, is_new: bool = True
) -> xr.DataTree:
    """Do what a run does, and end it.

    Args:
        run: the run.
        labelled: what its result says of it.
        act: the run itself.
        progress: whether to show a progress bar.
        is_new: whether its store began with it, and so goes with it if nothing comes of it.

    Raises:
        Interrupted: stopped by hand, with the draws so far.
        Exception: what `act` raises, with the draws so far in ``post``.
    """
    begin = time.perf_counter()
    try:
        with ProgressBar(run.total, progress and jax.process_index() == 0) as bar, compile_time() as compiling:
            act(bar)
        return _finished(run, labelled, begin, compiling[0])
    except KeyboardInterrupt as stop:
        try:
            run.save()
        except StorageError as error:
            warnings.warn(f"no last checkpoint could be written: {error}", stacklevel=2)
        raise _interrupted(run, labelled, stop) from None
    except Exception as error:
        if not isinstance(error, StorageError):
            with contextlib.suppress(StorageError):
                run.save()
        _hand_over(error, run, labelled, is_new=is_new)
        raise


def _hand_over(error: Exception, run: Run, labelled: Labelled, *, is_new: bool) -> None:
    """Give the draws made so far to the error that ends a run."""
    drawn = run.filled
    if drawn:
        error.post = _so_far(run, labelled)  # type: ignore[attr-defined]
        error.add_note(f"{drawn} draws a chain were made before; they are in .post of this error")
    elif is_new and run.disk is not None and run.disk.read_checkpoint() is None:
        with contextlib.suppress(StorageError):  # the error that ended the run says more
            run.disk.discard()
        run.disk = None


def _interrupted(run: Run, labelled: Labelled, stop: KeyboardInterrupt) -> Interrupted:
    """What is raised where a run is stopped by hand, with the draws so far and how to go on."""
    drawn = run.filled
    post = _so_far(run, labelled) if drawn else None
    where, store = "", None if run.disk is None else os.fspath(run.disk.path)
    if store is not None:
        again = "" if run.method.is_recordable else ", method=method"
        where = f"; go on with bayeskit.resume(model, data, {store!r}{again})"
    message = f"interrupted after {run.done} of {run.total} steps, with {drawn} draws a chain in .post{where}"
    number = signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT
    return Interrupted(message, post, store, int(number))


def _so_far(run: Run, labelled: Labelled) -> xr.DataTree:
    attrs = {**labelled.attrs, "interrupted": 1, "num_draws": run.filled}
    return _assembled(run, labelled._replace(attrs=attrs))


def _groups(run: Run) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, np.ndarray] | None]:
    pointwise = run.group("log_likelihood") if run.also.pointwise is not None else None
    return run.group("posterior"), run.group("sample_stats"), pointwise


def _assembled(run: Run, labelled: Labelled, *, finished: bool = False) -> xr.DataTree:
    """The result; without labels and data where these cannot be put to it, so that no draw is ever lost."""
    groups = _groups(run)
    try:
        traces = run.method.traces(run.state) if finished else None
        learned = run.method.learned(run.state, run.target) if finished else None
        return assemble(run.target, *groups, *labelled, traces, learned, run.also.discrete)
    except Exception as error:
        warnings.warn(
            f"the draws could not be labelled ({type(error).__name__}: {error}); they are returned without the names "
            "of their dimensions and without the data",
            stacklevel=3,
        )
        from bayeskit.storage import add_group, make_tree

        posterior, stats, pointwise = groups
        bare = make_tree({"posterior": posterior}, attrs=labelled.attrs, site_attrs=meanings(run.target.structure))
        tree = add_group(bare, "sample_stats", stats)
        return tree if pointwise is None else add_group(tree, "log_likelihood", pointwise)


def _finished(run: Run, labelled: Labelled, begin: float, compiling: float) -> xr.DataTree:
    """The result of a run that is done; from the disk, and on it, if the run was kept there."""
    parts = {"warmup_time": run.warmup_time, "sampling_time": run.sampling_time, "compile_time": compiling}
    attrs = {**labelled.attrs, "wall_time": time.perf_counter() - begin, **parts, **run.method.found(run.state)}
    tree = _assembled(run, labelled._replace(attrs=attrs), finished=True)
    if run.disk is None:
        return tree
    from bayeskit.storage.files import read_tree

    return read_tree(run.disk.finish(tree))
