"""The store of a run under way: draws chunk by chunk, and the state that resuming needs."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from bayeskit.errors import StorageError
from bayeskit.storage.atomic import replace_file

if TYPE_CHECKING:
    import xarray as xr

_FORMAT = 1
RECORD, _CHECKPOINT = "record.json", "checkpoint.npz"
LOG_LIKELIHOOD = "log_likelihood:"
"""Before the name of a site, among the values: the log likelihood of its observations."""
_NAMES = "names"  # the array in each file that lists the others


class Checkpoint(NamedTuple):
    """The state of a run after a whole number of chunks.

    Attributes:
        leaves: the arrays of the state, in the order in which they were given.
        steps_done: how many steps that state has behind it.
        num_chunks: how many chunks of draws belong to it.
    """

    leaves: list[np.ndarray]
    steps_done: int
    num_chunks: int


class RunStore:
    """Draws and state of one run in the folder ``<path>.partial``, so that a killed run can go on.

    Every file is complete or absent. A crash between `append` and `checkpoint` leaves a chunk that the last checkpoint
    does not know; it is ignored and written again. Make one with `create` or `open`.

    Example:
        >>> import tempfile, numpy as np
        >>> from bayeskit.storage import RunStore, load, make_tree
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     store = RunStore.create(f"{folder}/run.zarr", {"method": "NUTS"})
        ...     store.append({"mu": np.zeros((2, 5))}, {"lp": np.zeros((2, 5))})
        ...     store.checkpoint([np.array([1, 2])], steps_done=5)
        ...     again = RunStore.open(f"{folder}/run.zarr")
        ...     values, stats = again.read_draws()
        ...     again.finish(make_tree({"posterior": values, "sample_stats": stats}))
        ...     load(f"{folder}/run.zarr")["posterior/mu"].shape
        PosixPath('...run.zarr')
        (2, 5)
    """

    def __init__(self, path: str | os.PathLike[str], record: Mapping[str, object], lengths: Sequence[int]):
        self.path = Path(path)
        self._record = dict(record)
        self._lengths = list(lengths)  # draws a chain in each chunk

    @classmethod
    def create(cls, path: str | os.PathLike[str], record: Mapping[str, object]) -> RunStore:
        """Begin a run whose result will go to `path`.

        Args:
            path: where `finish` will save the result; checked now, so that a long run cannot fail over it.
            record: what the run is (method, settings, key): anything JSON can hold.

        Raises:
            StorageError: `path` cannot be written, an unfinished run is there, or the record is not JSON.
        """
        from bayeskit.storage.files import check_replaceable

        check_replaceable(path)
        folder = partial_folder(path)
        if folder.exists():
            raise StorageError(
                f"{folder} holds an unfinished run: go on with bayeskit.resume(..., {str(path)!r}), or delete it"
            )
        try:
            text = json.dumps({"format": _FORMAT, "record": dict(record)})
        except (TypeError, ValueError) as error:
            raise StorageError(f"the record of a run must be JSON: {error}") from error
        folder.mkdir()
        replace_file(folder / RECORD, lambda file: _write_text(file, text))
        return cls(path, json.loads(text)["record"], ())

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> RunStore:
        """Open the unfinished run whose result was to go to `path`.

        Raises:
            StorageError: there is none, or its files are damaged; the message names the file.
        """
        folder = partial_folder(path)
        file = folder / RECORD
        if not file.is_file():
            raise StorageError(f"there is no unfinished run for {path}: {file} does not exist")
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            version, record = content["format"], dict(content["record"])
        except (ValueError, KeyError, TypeError) as error:
            raise StorageError(f"{file} is damaged: {error}") from error
        if version != _FORMAT:
            raise StorageError(f"{file} has format {version!r}; this version of bayeskit reads format {_FORMAT}")
        store = cls(path, record, ())
        if (folder / _CHECKPOINT).exists():
            store._lengths = _read_lengths(folder / _CHECKPOINT)
        return store

    @property
    def record(self) -> dict[str, object]:
        """What `create` was told about the run."""
        return dict(self._record)

    @property
    def folder(self) -> Path:
        """The folder of the unfinished run."""
        return partial_folder(self.path)

    @property
    def num_draws(self) -> int:
        """Draws a chain appended so far."""
        return sum(self._lengths)

    def append(self, values: Mapping[str, np.ndarray], stats: Mapping[str, np.ndarray]) -> None:
        """Keep one chunk of draws. It counts from the next `checkpoint` on.

        Args:
            values: draws by site, shape ``(chain, draw, *event)``.
            stats: sample statistics by name, shape ``(chain, draw, ...)``.

        Raises:
            StorageError: the leading axes differ between arrays, a type that cannot be kept, or a refused write.
        """
        arrays = {f"v:{name}": np.asarray(value) for name, value in values.items()}
        arrays |= {f"s:{name}": np.asarray(value) for name, value in stats.items()}
        lead = {array.shape[:2] for array in arrays.values()}
        if len(lead) != 1 or len(next(iter(lead))) != 2:
            raise StorageError(f"arrays of a chunk must share the leading axes (chain, draw), but have {sorted(lead)}")
        file = self._chunk_file(len(self._lengths))
        _write_arrays(file, arrays)
        self._lengths.append(next(iter(lead))[1])

    def checkpoint(self, leaves: Sequence[np.ndarray], steps_done: int) -> None:
        """Replace the checkpoint: the state after everything appended so far.

        Args:
            leaves: the state as a list of arrays.
            steps_done: how many steps the state has behind it.

        Raises:
            StorageError: an array of a type that cannot be kept, or a refused write.
        """
        arrays = {f"leaf:{i}": np.asarray(leaf) for i, leaf in enumerate(leaves)}
        arrays["steps_done"] = np.asarray(steps_done, dtype=np.int64)
        arrays["lengths"] = np.asarray(self._lengths, dtype=np.int64)
        _write_arrays(self.folder / _CHECKPOINT, arrays)

    def read_checkpoint(self) -> Checkpoint | None:
        """The last checkpoint, or ``None`` when the run was stopped before the first.

        Raises:
            StorageError: the file is damaged.
        """
        file = self.folder / _CHECKPOINT
        if not file.exists():
            return None
        arrays = _read_arrays(file)
        try:
            count = sum(name.startswith("leaf:") for name in arrays)
            leaves = [arrays[f"leaf:{i}"] for i in range(count)]
            return Checkpoint(leaves, int(arrays["steps_done"]), len(arrays["lengths"]))
        except (KeyError, TypeError, ValueError) as error:
            raise StorageError(f"{file} is damaged: {error}") from error

    def read_draws(self) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """All draws and statistics appended so far, joined along the draws.

        After `open` these are the draws that belong to the checkpoint.

        Returns:
            Values and statistics, shape ``(chain, draw, ...)``; two empty dictionaries when there are none.

        Raises:
            StorageError: a chunk is missing or damaged, or does not fit the others.
        """
        total, start = self.num_draws, 0
        joined: dict[str, np.ndarray] = {}
        for index, length in enumerate(self._lengths):
            file = self._chunk_file(index)
            arrays = _read_arrays(file)
            if index == 0:
                joined = {
                    name: np.empty((array.shape[0], total, *array.shape[2:]), array.dtype)
                    for name, array in arrays.items()
                }
            _check_fit(file, arrays, joined, length)
            for name, array in arrays.items():
                joined[name][:, start : start + length] = array
            start += length
        return _part(joined, "v:"), _part(joined, "s:")

    def read_groups(self) -> dict[str, dict[str, np.ndarray]]:
        """What `read_draws` reads, by the groups of a result; nothing where there are no draws yet."""
        values, stats = self.read_draws()
        groups: dict[str, dict[str, np.ndarray]] = {"posterior": {}, "sample_stats": stats} if values else {}
        for name, array in values.items():
            group = "log_likelihood" if name.startswith(LOG_LIKELIHOOD) else "posterior"
            groups.setdefault(group, {})[name.removeprefix(LOG_LIKELIHOOD)] = array
        return groups

    def finish(self, tree: xr.DataTree) -> Path:
        """Save the result under its final name and remove the folder of the unfinished run.

        Raises:
            StorageError: the result could not be written; the unfinished run is then still there.
        """
        from bayeskit.storage.files import write_tree

        path = write_tree(tree, self.path)
        shutil.rmtree(self.folder)
        return path

    def _chunk_file(self, index: int) -> Path:
        return self.folder / f"chunk-{index:06d}.npz"


def partial_folder(path: str | os.PathLike[str]) -> Path:
    """The folder of an unfinished run: the name of its result with ``.partial`` added."""
    path = Path(path)
    return path.with_name(f"{path.name}.partial")


def _write_text(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")


def _write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    for name, array in arrays.items():
        if array.dtype.kind not in "biufc":
            raise StorageError(f"cannot keep {name.partition(':')[2] or name!r}: its dtype is {array.dtype}")

    def write(temporary: Path) -> None:
        with temporary.open("wb") as handle, zipfile.ZipFile(handle, "w", allowZip64=True) as archive:
            for name, array in [*arrays.items(), (_NAMES, np.array(list(arrays), dtype=str))]:
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)

    replace_file(path, write)


def _read_arrays(path: Path, only: str | None = None) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as archive:
            names = [str(name) for name in archive[_NAMES]]  # damage to the directory of a zip file can lose members
            return {name: archive[name] for name in names if only in (None, name)}
    except FileNotFoundError as error:
        raise StorageError(f"{path} is missing") from error
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, NotImplementedError) as error:
        raise StorageError(f"{path} is damaged: {error or type(error).__name__}") from error


def _read_lengths(file: Path) -> list[int]:
    arrays = _read_arrays(file, only="lengths")
    if "lengths" not in arrays:
        raise StorageError(f"{file} is damaged: it does not say how many draws belong to it")
    return [int(length) for length in arrays["lengths"]]


def _check_fit(file: Path, arrays: Mapping[str, np.ndarray], joined: Mapping[str, np.ndarray], length: int) -> None:
    if arrays.keys() != joined.keys():
        raise StorageError(f"{file} holds other names than the first chunk: {sorted(arrays.keys() ^ joined.keys())}")
    for name, array in arrays.items():
        whole = joined[name]
        if array.shape != (whole.shape[0], length, *whole.shape[2:]) or array.dtype != whole.dtype:
            raise StorageError(
                f"{file}: {name[2:]!r} has shape {array.shape} and dtype {array.dtype}, unlike the first"
            )


def _part(arrays: Mapping[str, np.ndarray], prefix: Literal["v:", "s:"]) -> dict[str, np.ndarray]:
    return {name[2:]: array for name, array in arrays.items() if name.startswith(prefix)}
