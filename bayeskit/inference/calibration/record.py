"""The ranks of all replicates as one DataTree."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bayeskit.inference.calibration.replicate import Replicate, Replication
from bayeskit.inference.method import Method
from bayeskit.storage.provenance import provenance

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["as_tree", "attributes"]


def as_tree(attrs: Mapping[str, object], done: Mapping[int, Replicate], *, interrupted: bool = False) -> xr.DataTree:
    """The result of :func:`bayeskit.sbc`; of those that are done, where it was interrupted."""
    import xarray as xr

    numbers = sorted(done)
    replicates = [done[number] for number in numbers]
    fitted = next((one for one in replicates if one.ranks), None)
    names = [] if fitted is None else list(fitted.ranks)
    groups: dict[str, dict[str, np.ndarray]] = {
        "ranks": {n: _stacked(replicates, n, "rank") for n in names},
        "pit": {n: _stacked(replicates, n, "pit") for n in names},
        "truth": {n: np.stack([_truth(one, n, fitted) for one in replicates]) for n in names},
    }
    tied = {n: np.asarray(_stacked(replicates, n, "tied").all(axis=0)) for n in names}
    coords = {"replicate": np.asarray(numbers)}
    datasets = {f"/{group}": _dataset(values, tied, coords) for group, values in groups.items()}
    columns = {
        "num_draws": np.array([one.num_draws for one in replicates]),
        "ess": np.array([one.ess for one in replicates]),
        "num_divergences": np.array([one.num_divergences for one in replicates]),
        "failure": np.array([one.failure for one in replicates], dtype=str),
    }
    record = {n: ("replicate", v) for n, v in columns.items()}
    datasets["/replicates"] = xr.Dataset(record, coords=coords)
    stopped = {"interrupted": 1} if interrupted else {}
    return xr.DataTree.from_dict({"/": xr.Dataset(attrs={**attrs, **stopped}), **datasets})


def attributes(replication: Replication, num_replicates: int) -> dict[str, object]:
    """What is said of a calibration before it is run."""
    method = replication.method
    libraries = {method.library: method.library_version()} if isinstance(method, Method) else {}
    return {
        **provenance(libraries),
        "method": type(method).__name__,
        "method_settings": json.dumps(method.settings()),
        "key": json.dumps(np.asarray(replication.raw).tolist()),
        "model": replication.simulator.program.origin,
        "num_replicates": int(num_replicates),
        "num_draws": int(replication.num_draws),
        "simulated_from": "prior" if replication.around is None else "posterior",
    }


def _stacked(replicates: Sequence[Replicate], name: str, what: str) -> np.ndarray:
    """Of all replicates; of those that failed -1, NaN, or true."""
    found = [getattr(one.ranks[name], what) if one.ranks else None for one in replicates]
    like = next(np.asarray(value) for value in found if value is not None)
    blank = np.full(like.shape, {"rank": -1, "pit": np.nan, "tied": True}[what], like.dtype)
    return np.stack([blank if value is None else np.asarray(value) for value in found])


def _truth(one: Replicate, name: str, fitted: Replicate | None) -> np.ndarray:
    assert fitted is not None
    value = one.truth.get(name)
    return np.full(np.shape(fitted.truth[name]), np.nan) if value is None else np.asarray(value)


def _dataset(
    values: Mapping[str, np.ndarray], tied: Mapping[str, np.ndarray], coords: Mapping[str, np.ndarray]
) -> xr.Dataset:
    """Variables with the dimension ``replicate`` first.

    Of a site some of whose elements never move (the zeros of a Cholesky factor), those that do stand in a row, with
    their indices as labels.
    """
    import xarray as xr

    content: dict[str, Any] = {}
    labels: dict[str, Any] = dict(coords)
    for name, array in values.items():
        stored = name.replace("/", ".").lstrip(".") or "_"
        fixed = tied[name]
        if fixed.all():
            continue
        if fixed.any():
            moving = np.argwhere(~fixed)
            content[stored] = (("replicate", f"{stored}_element"), array[:, ~fixed])
            labels[f"{stored}_element"] = [", ".join(map(str, index)) for index in moving]
        else:
            axes = [f"{stored}_dim_{i}" for i in range(array.ndim - 1)]
            content[stored] = (("replicate", *axes), array)
    return xr.Dataset(content, coords=labels)
