"""`resume` and `extend`: a run goes on from what its store holds."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from bayeskit._keys import host_split
from bayeskit._progress import ProgressBar
from bayeskit._settings import is_whole
from bayeskit._typing import Data, Model
from bayeskit.errors import DataError, MethodError, StorageError
from bayeskit.inference.driver import Run
from bayeskit.inference.ending import Labelled, carry_out
from bayeskit.inference.method import Method
from bayeskit.inference.run import make_also, make_target
from bayeskit.inference.sameness import check_same
from bayeskit.program import Program
from bayeskit.storage import RunStore
from bayeskit.storage.run_folder import check_free, check_state, partial_folder, read_record
from bayeskit.target import Target
from bayeskit.xla.kept_programs import programs_kept

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["extend", "resume"]


@programs_kept()
def resume(
    model: Model | Program | Target,
    data: Data | None,
    path: str | os.PathLike[str],
    *,
    method: Method | None = None,
    progress: bool = True,
) -> xr.DataTree:
    """Go on with a run that was stopped, from its last checkpoint; the result is the one that the run would have had.

    A run that was stopped before its first checkpoint starts again where its chains started. One that has ended gives
    its result, so that the script of a cluster job may call `resume` as often as it is started.

    Args:
        model: the same model.
        data: the same data.
        path: the ``store`` of the run.
        method: the same method; needed only where it holds what was written in Python (a guide that is a function, a
            method of your own), which the store cannot hold.
        progress: show a progress bar.

    Returns:
        The result, whose draws are read from the store when they are used.

    Raises:
        StorageError: there is no run at ``path``, or its files are damaged.
        DataError: model or data are not those of the run; with what differs.
        MethodError: the method is not that of the run, or the store cannot hold it and it was not passed.

    Example:
        >>> import tempfile, numpyro, numpyro.distributions as dist
        >>> import bayeskit as bk
        >>> def model(y):
        ...     mu = numpyro.sample("mu", dist.Normal(0.0, 10.0))
        ...     numpyro.sample("y", dist.Normal(mu, 1.0), obs=y)
        >>> data, method = {"y": [1.2, 0.7, 1.9]}, bk.HMC(num_chains=2, num_warmup=100, num_draws=50)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = f"{folder}/run.zarr"
        ...     post = bk.infer(model, data, method, key=0, store=path, progress=False)
        ...     bk.resume(model, data, path, progress=False).identical(post)
        True
    """
    _check_arguments("resume", model, data, path)
    if partial_folder(path).exists():
        disk = RunStore.open(path)
        method = _same_method(disk.record["method"], method, path)
        return _go_on(model, data, disk, method, progress)
    kept = _record_of_result(path)
    method = _same_method(kept["method"], method, path)
    check_same(kept, make_target(model, data, method), path)
    from bayeskit.storage.files import read_tree

    return read_tree(Path(path))


@programs_kept()
def extend(
    model: Model | Program | Target,
    data: Data | None,
    path: str | os.PathLike[str],
    *,
    num_draws: int,
    method: Method | None = None,
    progress: bool = True,
) -> xr.DataTree:
    """Draw more in a run that has ended; the result is bit for bit that of a run with as many draws from the start.

    The result at ``path`` stays until the longer one takes its place; meanwhile the run is one under way, which
    `resume` goes on with if it is stopped.

    Args:
        model: the same model.
        data: the same data.
        path: the ``store`` of the run, a zarr folder.
        num_draws: how many more draws a chain; before thinning, as those of the method.
        method: the same method; needed only where it holds what was written in Python, as for `resume`.
        progress: show a progress bar.

    Returns:
        The longer result, whose draws are read from the store when they are used.

    Raises:
        StorageError: no result at ``path``, or one without the state of its run (saved with `bayeskit.save`, a NetCDF
            file, or of an older version); or a run there that has not ended: `resume` it first.
        DataError: model or data are not those of the run; with what differs.
        MethodError: the method is not that of the run, or one whose draws are made together, so that there can be no
            more of them; or ``num_draws`` is not a positive integer.

    Example:
        >>> import tempfile, numpyro, numpyro.distributions as dist
        >>> import bayeskit as bk
        >>> def model(y):
        ...     mu = numpyro.sample("mu", dist.Normal(0.0, 10.0))
        ...     numpyro.sample("y", dist.Normal(mu, 1.0), obs=y)
        >>> data, method = {"y": [1.2, 0.7, 1.9]}, bk.HMC(num_chains=2, num_warmup=100, num_draws=50)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     post = bk.infer(model, data, method, key=0, store=f"{folder}/run.zarr", progress=False)
        ...     more = bk.extend(model, data, f"{folder}/run.zarr", num_draws=25, progress=False)
        ...     more["posterior/mu"].shape
        (2, 75)
    """
    _check_arguments("extend", model, data, path)
    if not is_whole(num_draws) or num_draws < 1:
        raise MethodError(f"num_draws must be a positive integer, the draws to be added, got {num_draws!r}")
    if jax.process_count() > 1:
        raise MethodError(
            "a stored run is extended by one process; its draws are those of several if it has as many devices"
        )
    check_free(path)
    kept = _record_of_result(path)
    method = _same_method(kept["method"], method, path, but="num_draws")
    before = int(kept["attrs"]["num_draws"])
    if not method.extends:
        raise MethodError(
            f"the draws of {type(method).__name__} are made together, and more of them would be another run: a run "
            f"with num_draws={before + num_draws} has as many"
        )
    longer: Method = dataclasses.replace(method, num_draws=before + int(num_draws))  # type: ignore[type-var]
    target = make_target(model, data, longer)
    check_same(kept, target, path)
    attrs = {
        **kept["attrs"],
        "num_draws": longer.num_draws,
        "method_settings": json.dumps(longer.settings()),
        **longer.attributes(target),
    }
    begun = {"begun_with": kept.get("begun_with", before)}
    disk = RunStore.reopen(path, {**kept, **begun, "method": longer.as_record(), "attrs": attrs})
    return _go_on(target, None, disk, longer, progress)


def _check_arguments(who: str, model: object, data: object, path: object) -> None:
    """The path of a store is the third argument, not one of the others.

    Raises:
        DataError: it is not.
    """
    for name, value in (("model", model), ("data", data)):
        if isinstance(value, str | os.PathLike):
            raise DataError(
                f"{name} is {os.fspath(value)!r}, a path; the arguments of bayeskit.{who} are (model, data, path)"
            )
    if not isinstance(path, str | os.PathLike):
        raise DataError(
            f"path is a {type(path).__name__}, and not where the run was stored; the arguments of bayeskit.{who} are "
            "(model, data, path)"
        )


def _record_of_result(path: str | os.PathLike[str]) -> dict[str, Any]:
    check_state(path)
    return read_record(Path(path))


def _go_on(
    model: Model | Program | Target, data: Data | None, disk: RunStore, method: Method, progress: bool
) -> xr.DataTree:
    """Go on with the run of a store, to its end."""
    kept: dict[str, Any] = disk.record
    target = make_target(model, data, method)
    check_same(kept, target, disk.path)
    keep = None if kept["keep"] is None else frozenset(kept["keep"])
    raw = np.asarray(json.loads(kept["attrs"]["key"]), np.uint32)
    also = make_also(target, raw, kept["log_likelihood"], kept["discrete"])
    run = Run(method, target, keep, int(kept["thin"]), also)
    run.disk = disk

    def act(bar: ProgressBar) -> None:
        _restore(run, disk, raw, bar)
        run.go(bar)

    return carry_out(run, Labelled(dict(kept["attrs"]), kept["dims"], kept["coords"]), act, progress, is_new=False)


def _restore(run: Run, disk: RunStore, raw: np.ndarray, bar: ProgressBar) -> None:
    """Bring a run to its last checkpoint, and to the end of its warmup stages if it was before that.

    Raises:
        StorageError: the state was written by another version.
    """
    _, run_key = jax.device_put(list(host_split(raw)))
    positions = {name: jax.numpy.asarray(value) for name, value in disk.start().items()}
    state = run.method.init(run_key, run.target, positions)
    point = disk.read_checkpoint()
    if jax.process_count() > 1:
        _share(run)
    if point is None:
        run.warm_up(bar, state)
        return
    leaves, structure = jax.tree.flatten(state)
    # their shapes may differ: what a stage of the warmup collects grows
    if [np.asarray(leaf).dtype for leaf in leaves] != [leaf.dtype for leaf in point.leaves]:
        raise StorageError("the stored state does not fit the method; it was written by another version")
    state = jax.tree.unflatten(structure, point.leaves)
    if point.is_warm:
        run.go_on(state, point.steps_done)
    else:
        run.warm_up(bar, state)


def _share(run: Run) -> None:
    """Several processes begin from one store, and the first of them alone goes on writing it."""
    if jax.process_index() > 0 and run.disk is not None:
        disk, run.disk = run.disk, None
        read = {group: {n: np.asarray(v) for n, v in disk.group(group).items()} for group in disk.groups}
        if disk.num_draws:
            run.collected.add(read)
    multihost_utils.sync_global_devices("the store has been read")


def _same_method(
    kept: object, method: Method | None, path: str | os.PathLike[str], *, but: str | None = None
) -> Method:
    """The method of a run, made from its record or compared with it (one setting apart)."""
    assert isinstance(kept, Mapping)
    if method is None:
        try:
            return Method.from_record(kept)
        except MethodError as error:
            raise MethodError(
                f"the run in {os.fspath(path)} needs its method again, as it was given to bayeskit.infer: {error}; "
                f"call bayeskit.resume(model, data, {os.fspath(path)!r}, method=...)"
            ) from None
    if not isinstance(method, Method):
        raise MethodError(f"method must be a bayeskit method such as bk.NUTS(), got {method!r}")
    now = json.loads(json.dumps(method.as_record()))
    differ = [name for name in sorted({*kept, *now} - {but}) if kept.get(name) != now.get(name)]
    if differ:
        raise MethodError(
            f"the method is not that of the run in {os.fspath(path)}: "
            + ", ".join(f"{name} was {kept.get(name)!r} and is {now.get(name)!r}" for name in differ)
        )
    return method
