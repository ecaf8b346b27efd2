"""Draws in chunks as variables of a result: found when it is written, and made again when it is read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import xarray as xr

from bayeskit.errors import StorageError
from bayeskit.storage.chunks import StoredDraws, is_stored, stored
from bayeskit.storage.identity import Identity


def streamed(tree: xr.DataTree) -> dict[tuple[str, str], StoredDraws]:
    """The variables that are arrays in chunks, by group and name."""
    found = {}
    for group, node in tree.children.items():
        for name, variable in node.data_vars.items():
            draws = stored(variable.variable)
            if draws is not None:
                found[group, str(name)] = draws
    return found


def write_metadata(folder: Path, variable: xr.Variable, draws: StoredDraws) -> None:
    """What zarr says of an array, beside its chunks."""
    folder.mkdir(parents=True)
    (folder / ".zarray").write_text(json.dumps(draws.metadata()))
    (folder / ".zattrs").write_text(json.dumps({**variable.attrs, "_ARRAY_DIMENSIONS": list(variable.dims)}))


def lazy_variables(path: Path, manifest: str) -> dict[str, dict[str, StoredDraws]]:
    """By group and name, what `streamed` has found when the result was written.

    Raises:
        StorageError: a chunk file is missing.
    """
    file, found = path / ".zmetadata", dict[str, dict[str, StoredDraws]]()
    if not (path / manifest).is_file() or not file.is_file():
        return found  # written by ArviZ or xarray
    identity = Identity(path / manifest)
    for key, content in json.loads(file.read_text())["metadata"].items():
        if key.count("/") == 2 and key.endswith("/.zarray") and is_stored(content):
            group, name, _ = key.split("/")
            shape, dtype = tuple(content["shape"]), np.dtype(content["dtype"])
            draws = StoredDraws(path.absolute() / group / name, shape, dtype, content["chunks"][1], None, identity)
            for missing in draws.missing():
                raise StorageError(f"{path} is incomplete: {group}/{name}/{missing.name} is missing")
            found.setdefault(group, {})[name] = draws
    return found
