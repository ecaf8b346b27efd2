"""Trees on disk: a zarr folder or a NetCDF file, complete or absent, and read back exactly as written."""

from __future__ import annotations

import json
import os
import shutil
import uuid
import warnings
import zlib
from collections.abc import Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import xarray as xr

from bayeskit._notebook import show_verdicts
from bayeskit.errors import StorageError
from bayeskit.storage.atomic import replace_file, replace_folder
from bayeskit.storage.chunks import STATE, StoredDraws
from bayeskit.storage.identity import read_run
from bayeskit.storage.streamed import lazy_variables, streamed, write_metadata

NETCDF_SUFFIXES = (".nc", ".nc4", ".netcdf")
MANIFEST = ".bayeskit-manifest.json"
_ZARR_MARKS = (".zgroup", "zarr.json")
_ORDER = "bayeskit_group_order"


def write_tree(tree: xr.DataTree, path: str | os.PathLike[str], state: Path | None = None) -> Path:
    """Write a tree under its final name, complete or not at all; what `bayeskit.storage.save` is for results.

    Draws that are in chunks on the disk are not written again: zarr takes over their files.

    Args:
        tree: the tree.
        path: the suffix chooses the format.
        state: the folder with the state of a run, to be kept beside its result in zarr.

    Raises:
        StorageError: as `check_replaceable`, or a value that the format cannot hold.
    """
    path = Path(path)
    check_replaceable(path)
    content = _with_order(tree)
    if _is_netcdf(path):
        replace_file(path, lambda temporary: _write_netcdf(content, temporary, path))
    else:
        state = _state_of(content, path) if state is None else state
        replace_folder(path, lambda temporary: _write_zarr(content, temporary, path, state))
    return path


def _state_of(tree: xr.DataTree, path: Path) -> Path | None:
    """The state of a run at `path`, if these are still its draws, and so its state."""
    found = streamed(tree).values()
    here = Path(os.path.realpath(path))
    if not found or not (here / STATE).is_dir():
        return None
    return here / STATE if all(Path(os.path.realpath(one.folder)).is_relative_to(here) for one in found) else None


def read_tree(path: Path) -> xr.DataTree:
    """Read a tree, identical to the one that was written, into memory; draws in chunks are read when they are used.

    Raises:
        StorageError: nothing that holds a tree, or truncated or damaged.
    """
    if path.is_dir():
        if not any((path / mark).is_file() for mark in _ZARR_MARKS):
            raise StorageError(f"{path} is a folder but not a zarr store")
        _verify_manifest(path)
        engine = "zarr"
    else:
        with path.open("rb") as handle:
            if handle.read(8) != b"\x89HDF\r\n\x1a\n":
                raise StorageError(f"{path} is neither a zarr folder nor a NetCDF 4 file, or its beginning is lost")
        engine = "h5netcdf"
    show_verdicts()
    return _without_order(_read(path, engine), path)


def check_replaceable(path: str | os.PathLike[str]) -> None:
    """Raise unless `write_tree` may write to `path`: a known suffix, an existing folder, nothing foreign in the way.

    Args:
        path: where a result is to go.

    Raises:
        StorageError: the reason, naming the path.
    """
    path = Path(path)
    if path.suffix.lower() not in (*NETCDF_SUFFIXES, ".zarr", ""):
        raise StorageError(
            f"cannot tell the format of {path}: the suffix is .zarr for a folder or .nc for a NetCDF file"
        )
    if not path.resolve().parent.is_dir():
        raise StorageError(f"cannot write {path}: there is no folder {path.resolve().parent}")
    if _is_netcdf(path):
        if path.is_dir():
            raise StorageError(f"cannot write {path}: a folder has that name")
    elif path.is_dir() and not any((path / mark).is_file() for mark in _ZARR_MARKS):
        raise StorageError(f"refusing to replace {path}: it is a folder but not a zarr store")
    elif path.exists() and not path.is_dir():
        raise StorageError(f"refusing to replace {path}: it is a file, and a zarr store is a folder")


def _is_netcdf(path: Path) -> bool:
    return path.suffix.lower() in NETCDF_SUFFIXES


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _write_zarr(post: xr.DataTree, temporary: Path, path: Path, state: Path | None) -> None:
    import zarr

    lazy = streamed(post)
    rest = _without(post, lazy)
    try:
        with _quiet():
            # format 2: its consolidated metadata are part of the specification, so no reader warns about them
            rest.to_zarr(temporary, mode="w", consolidated=False, zarr_format=2)
            for (group, name), draws in lazy.items():
                write_metadata(temporary / group / name, post[group][name].variable, draws)
            zarr.consolidate_metadata(temporary, zarr_format=2)
    except Exception as error:
        raise StorageError(f"cannot write {path} as zarr: {error}") from error
    files = sorted(file for file in temporary.rglob("*") if file.is_file())
    record = {file.relative_to(temporary).as_posix(): _checksum(file) for file in files}
    for (group, name), draws in lazy.items():
        draws.put_files(temporary / group / name)  # each chunk has a checksum of its own
    run = uuid.uuid4().hex if state is None else read_run(state / "record.json")
    (temporary / MANIFEST).write_text(json.dumps({"format": 1, "run": run, "files": record}))
    if state is not None:
        shutil.copytree(state, temporary / STATE, ignore=shutil.ignore_patterns(".*"))


def stored_arrays(path: Path) -> dict[tuple[str, str], StoredDraws]:
    """The arrays in chunks of a result, by group and the name of the site.

    Raises:
        StorageError: files are missing.
    """
    tree = read_tree(path)
    return {
        (group, str(tree[group][name].attrs.get("site_name", name))): draws
        for (group, name), draws in streamed(tree).items()
    }


def _write_netcdf(post: xr.DataTree, temporary: Path, path: Path) -> None:
    encoding = {
        node.path: {
            str(name): {"fletcher32": True, "chunksizes": _chunks(variable)}  # a checksum in each chunk
            for name, variable in node.to_dataset(inherit=False).data_vars.items()
            if variable.dtype.kind in "biuf" and variable.size
            if variable.ndim
        }
        for node in post.subtree
    }
    try:
        with _quiet():
            post.to_netcdf(temporary, engine="h5netcdf", encoding=encoding)
    except Exception as error:
        raise StorageError(f"cannot write {path} as NetCDF: {error}") from error


def _chunks(variable: xr.DataArray, limit: int = 2**24) -> tuple[int, ...]:
    """The shape of a variable, its longest axes halved until a chunk is small enough for HDF5."""
    shape = list(variable.shape)
    while np.prod(shape) * variable.dtype.itemsize > limit:
        axis = int(np.argmax(shape))
        shape[axis] = -(-shape[axis] // 2)
    return tuple(shape)


def _read(path: Path, engine: str) -> xr.DataTree:
    try:
        lazy = lazy_variables(path, MANIFEST) if engine == "zarr" else {}
        with _quiet(), xr.open_datatree(path, engine=engine, decode_times=False) as opened:
            content = {node.path: node.to_dataset(inherit=False) for node in opened.subtree}
            return xr.DataTree.from_dict({p: _loaded(one, lazy.get(p.strip("/"), {})) for p, one in content.items()})
    except StorageError:
        raise
    except Exception as error:
        raise StorageError(f"{path} cannot be read: {error or type(error).__name__}") from error


def _loaded(dataset: xr.Dataset, lazy: Mapping[str, StoredDraws]) -> xr.Dataset:
    whole = _clean(dataset.drop_vars(lazy).load())
    content = {
        name: whole[name].variable
        if name not in lazy
        else xr.Variable(dataset[name].dims, lazy[str(name)].lazily(), _plain_attrs(dataset[name].attrs))
        for name in dataset.data_vars
    }
    return whole.assign(content)[list(content)] if lazy else whole


def _without(tree: xr.DataTree, streamed: Iterable[tuple[str, str]]) -> xr.DataTree:
    names = set(streamed)
    return xr.DataTree.from_dict(
        {
            node.path: node.to_dataset(inherit=False).drop_vars([name for group, name in names if group == node.name])
            for node in tree.subtree
        }
    )


def _clean(dataset: xr.Dataset) -> xr.Dataset:
    """Undo what the file formats do to names of types: NumPy scalars in attributes, objects for strings."""
    dataset.attrs = _plain_attrs(dataset.attrs)
    for variable in dataset.variables.values():
        variable.attrs = _plain_attrs(variable.attrs)
    for name, variable in dataset.variables.items():
        if variable.dtype.kind in "OT":
            text = variable.copy(data=np.asarray(variable.values, dtype=str))
            dataset = dataset.assign_coords({name: text}) if name in dataset.coords else dataset.assign({name: text})
    return dataset.drop_encoding()


def _plain_attrs(attrs: Mapping[Hashable, object]) -> dict[Hashable, object]:
    return {name: _plain(value) for name, value in attrs.items()}


def _plain(value: object) -> object:
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.size == 1):
        return value.item()
    return value


def _with_order(post: xr.DataTree) -> xr.DataTree:
    """A copy that records the order of groups and variables, which the formats would sort by name."""
    if _ORDER in post.attrs:
        raise StorageError(f"the attribute name {_ORDER!r} is taken by the file format")
    copy = post.copy()
    order = {name: [str(variable) for variable in group.data_vars] for name, group in post.children.items()}
    copy.attrs = {**post.attrs, _ORDER: json.dumps(order)}
    return copy


def _without_order(post: xr.DataTree, path: Path) -> xr.DataTree:
    if not post.children:
        raise StorageError(f"{path} is not a result: it has no groups")
    if _ORDER not in post.attrs:
        return post  # written by ArviZ or xarray
    order: dict[str, list[str]] = json.loads(str(post.attrs.pop(_ORDER)))
    missing = [
        f"{group}/{name}"
        for group, names in order.items()
        for name in names
        if group not in post.children or name not in post[group].data_vars
    ]
    if missing or set(order) - set(post.children):
        raise StorageError(f"{path} is incomplete: {', '.join(missing) or 'a group'} is missing")
    datasets = {node.path: node.to_dataset(inherit=False) for node in post.subtree}
    ordered = {"/": datasets["/"]}
    for group, names in order.items():
        content = datasets[f"/{group}"]
        ordered[f"/{group}"] = content[[*names, *(name for name in content.data_vars if name not in names)]]
    return xr.DataTree.from_dict(ordered | {name: value for name, value in datasets.items() if name not in ordered})


def _checksum(file: Path) -> list[int]:
    content = file.read_bytes()
    return [len(content), zlib.crc32(content)]


def _verify_manifest(path: Path) -> None:
    """Compare the files with the checksums that `write_tree` noted: a missing chunk would read as zeros."""
    manifest = path / MANIFEST
    if not manifest.is_file():
        return  # written by ArviZ or xarray
    try:
        files: dict[str, list[int]] = json.loads(manifest.read_text())["files"]
    except (ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{path} is damaged: {MANIFEST} cannot be read") from error
    for name, expected in files.items():
        file = path / name
        if not file.is_file():
            raise StorageError(f"{path} is incomplete: {name} is missing")
        if _checksum(file) != expected:
            raise StorageError(f"{path} is damaged: {name} is not what was saved")
