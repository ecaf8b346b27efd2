"""The draws so far of a run that has not ended: under way, interrupted or killed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bayeskit.errors import StorageError
from bayeskit.storage.chunks import STATE
from bayeskit.storage.run_folder import RECORD, SUFFIX
from bayeskit.storage.run_store import RunStore

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["is_unfinished", "read_unfinished"]


def is_unfinished(path: Path) -> bool:
    """Whether that is the folder of a run that has not ended."""
    return path.name.endswith(SUFFIX) and (path / STATE / RECORD).is_file()


def read_unfinished(folder: Path) -> xr.DataTree:
    """The draws up to the last checkpoint, as the result would have them, without data and predictions.

    They are read from the files when they are used, and no file of them changes while the run goes on. When it ends,
    the folder goes, and what has not been read by then cannot be.

    Args:
        folder: the `RunStore` of the run, ``<path>.partial``.

    Returns:
        A tree with the attributes ``unfinished`` (1), ``num_draws`` (a chain, so far) and ``num_draws_wanted``.

    Raises:
        StorageError: there are no draws yet; the run has ended meanwhile; or its files are damaged.
    """
    path = folder.with_name(folder.name.removesuffix(SUFFIX))
    try:
        store = RunStore.open(path)
        if not store.num_draws:
            raise StorageError(f"{folder} has no draws yet: {_progress(store)}")
        return _tree(store, {name: store.group(name) for name in store.groups})
    except StorageError:
        if folder.exists():
            raise
        raise StorageError(f"the run in {folder} has ended while it was read; look at {path}") from None


def _progress(store: RunStore) -> str:
    point = store.read_checkpoint()
    if point is None:
        return "the run has not come to the end of its first chunk"
    if not point.is_warm:
        return "the run is in its warmup"
    return f"the run is in its warmup, and has {point.steps_done} steps behind it"


def _tree(store: RunStore, groups: Mapping[str, Mapping[str, np.ndarray]]) -> xr.DataTree:
    from bayeskit.storage.tree import add_group, make_tree

    record: dict[str, Any] = store.record
    if "attrs" not in record:
        raise StorageError(f"{store.folder} is not of bayeskit.infer: its record does not describe a run")
    sites: dict[str, dict[str, Any]] = record.get("sites", {})  # not in the oldest records
    attrs, posterior = record["attrs"], groups["posterior"]
    wanted = int(attrs["num_draws"]) // int(record["thin"])
    so_far = {"unfinished": 1, "num_draws": store.num_draws, "num_draws_wanted": wanted}
    dims = {name: sites[name]["dims"] for name in posterior if name in sites}
    coords: dict[str, Any] = dict(record["coords"] or {})
    for name, names in dims.items():
        for dim, size in zip(names, posterior[name].shape[2:], strict=True):
            if dim is not None:
                coords.setdefault(dim, np.arange(size))
    tree = make_tree(
        {"posterior": posterior},
        dims=dims,
        coords=coords,
        attrs={**attrs, **so_far},
        site_kinds={name: sites[name]["kind"] for name in dims},
        site_attrs={name: sites[name].get("attrs", {}) for name in dims},
    )
    tree = add_group(tree, "sample_stats", groups["sample_stats"])
    if "log_likelihood" not in groups:
        return tree
    terms = groups["log_likelihood"]
    of_terms = {name: _batch_dims(sites[name], array.shape[2:]) for name, array in terms.items() if name in sites}
    return add_group(tree, "log_likelihood", terms, dims=of_terms, coords=coords)


def _batch_dims(site: Mapping[str, Any], shape: tuple[int, ...]) -> list[str | None]:
    """Names of the dimensions of a log likelihood; none where a mask has dropped elements."""
    return site["dims"][: len(shape)] if list(shape) == site["batch_shape"] else []
