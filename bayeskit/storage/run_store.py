"""The store of a run under way: its draws where they stay, and the state that resuming needs."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bayeskit.errors import StorageError
from bayeskit.storage.arrays import check_fit, check_kept, read_arrays, write_arrays
from bayeskit.storage.atomic import remove_folder, sync_file
from bayeskit.storage.chunks import STATE, StoredDraws, chunk_file, draws_per_chunk, link, write_chunk
from bayeskit.storage.identity import Identity, read_run
from bayeskit.storage.run_folder import (
    CHECKPOINT,
    RECORD,
    START,
    array_folder,
    check_free,
    check_state,
    make_folder,
    partial_folder,
    read_draws,
    read_record,
)

if TYPE_CHECKING:
    import xarray as xr

SHARE = 0.05
"""Of the time of a run, what its checkpoints may take: where they take longer, there are fewer of them."""

Groups = Mapping[str, Mapping[str, np.ndarray]]


class Checkpoint(NamedTuple):
    """The state of a run after a whole number of steps.

    Attributes:
        leaves: the arrays of the state, in the order in which they were given.
        steps_done: how many steps that state has behind it.
        is_warm: whether the stages of its warmup are done.
    """

    leaves: list[np.ndarray]
    steps_done: int
    is_warm: bool


class RunStore:
    """Draws and state of one run in the folder ``<path>.partial``, so that a killed run can go on.

    Draws gather in memory until they fill a chunk, which is written once, to a file that the result takes over. A
    checkpoint holds the state, and the draws after the last whole chunk. Every file is complete or absent, and what a
    checkpoint does not know of is ignored and written again. Make one with `create`, `open` or `reopen`.

    Example:
        >>> import tempfile, numpy as np
        >>> from bayeskit.storage import RunStore, load, make_tree
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     store = RunStore.create(f"{folder}/run.zarr", {"method": "NUTS"})
        ...     store.append({"posterior": {"mu": np.zeros((2, 5))}, "sample_stats": {"lp": np.zeros((2, 5))}})
        ...     store.checkpoint([np.array([1, 2])], steps_done=5)
        ...     again = RunStore.open(f"{folder}/run.zarr")
        ...     again.finish(make_tree({name: again.group(name) for name in ("posterior", "sample_stats")}))
        ...     load(f"{folder}/run.zarr")["posterior/mu"].shape
        PosixPath('...run.zarr')
        (2, 5)
    """

    def __init__(self, path: str | os.PathLike[str], record: Mapping[str, object]):
        self.path = Path(path)
        self._record = dict(record)
        self._length = 0  # draws in a chunk; known with the first draws
        self._whole = 0  # chunks of each array that are in files
        self._tail: dict[tuple[str, str], np.ndarray] = {}  # draws after these, by group and name
        self._written: list[Path] = []  # files that may not be on the disk itself
        self._next = 0.0  # when a checkpoint is due
        self._identity = Identity(self.state_folder / RECORD)

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        record: Mapping[str, object],
        start: Mapping[str, np.ndarray] | None = None,
    ) -> RunStore:
        """Begin a run whose result will go to `path`.

        Args:
            path: where `finish` will save the result; checked now, so that a long run cannot fail over it.
            record: what the run is (method, settings, key): anything JSON can hold.
            start: where its chains start.

        Raises:
            StorageError: as `check_free`; or the record is not JSON.
        """
        check_free(path)
        make_folder(path, record, lambda state: write_arrays(state / START, start or {}))
        return cls.open(path)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> RunStore:
        """Open the unfinished run whose result was to go to `path`.

        Raises:
            StorageError: there is none, or its files are damaged or missing; the message names the file.
        """
        folder = partial_folder(path)
        if not folder.is_dir():
            raise StorageError(f"there is no unfinished run for {path}: {folder} does not exist")
        store = cls(path, read_record(folder))
        if (folder / STATE / CHECKPOINT).exists():
            store._restore(read_arrays(folder / STATE / CHECKPOINT))
        return store

    @classmethod
    def reopen(cls, path: str | os.PathLike[str], record: Mapping[str, object]) -> RunStore:
        """Make the finished run at `path` one under way, with another record; its result stays as it is meanwhile.

        Raises:
            StorageError: the result has no state of its run, or is damaged; or as `check_free`.
        """
        from bayeskit.storage.files import stored_arrays

        check_free(path)
        check_state(path)
        old, arrays = Path(path) / STATE, stored_arrays(Path(path))
        whole, length, tail = read_draws(old / CHECKPOINT, read_arrays(old / CHECKPOINT))

        def fill(state: Path) -> None:
            for name in (START, CHECKPOINT):
                link(old / name, state / name)
            for group, name in tail if whole else ():
                source, folder = arrays[group, name], array_folder(state.parent, group, name)
                if source.length != length:
                    raise StorageError(f"{path} is damaged: {group}/{name} has chunks of {source.length} draws")
                folder.mkdir(parents=True)
                for number in range(whole if all(tail[group, name].shape[2:]) else 0):
                    link(source.file(number), folder / source.file(number).name)

        try:
            make_folder(path, record, fill, read_run(old / RECORD))
        except KeyError as error:
            raise StorageError(f"{path} is incomplete: {error} is missing") from None
        return cls.open(path)

    @property
    def record(self) -> dict[str, object]:
        """What `create` was told about the run."""
        return dict(self._record)

    @property
    def folder(self) -> Path:
        """The folder of the unfinished run."""
        return partial_folder(self.path)

    @property
    def state_folder(self) -> Path:
        """What is in it besides draws."""
        return self.folder / STATE

    @property
    def num_draws(self) -> int:
        """Draws a chain appended so far."""
        return self._whole * self._length + next((a.shape[1] for a in self._tail.values()), 0)

    def start(self) -> dict[str, np.ndarray]:
        """Where the chains of the run started, as `create` was told."""
        return read_arrays(self.state_folder / START)

    def append(self, groups: Groups) -> None:
        """Keep draws. They count from the next `checkpoint` on.

        Args:
            groups: arrays by group and name, shape ``(chain, draw, ...)``.

        Raises:
            StorageError: the leading axes differ between arrays, a type that cannot be kept, other arrays than those
                before, or a refused write: the draws are then in `group` all the same.
        """
        arrays = {(g, n): np.asarray(array) for g, of_group in groups.items() for n, array in of_group.items()}
        lead = {array.shape[:2] for array in arrays.values()}
        if len(lead) != 1 or len(next(iter(lead))) != 2:
            raise StorageError(f"arrays of a chunk must share the leading axes (chain, draw), but have {sorted(lead)}")
        for (_, name), array in arrays.items():
            check_kept(name, array)
        if self._tail:
            check_fit(arrays, self._tail)
            arrays = {key: np.concatenate([self._tail[key], array], axis=1) for key, array in arrays.items()}
        else:
            self._length = draws_per_chunk(sum(a[:, :1].nbytes for a in arrays.values()))
        self._tail = arrays
        while next(iter(self._tail.values())).shape[1] >= self._length:
            self._write_chunk()

    def _write_chunk(self) -> None:
        self._identity.check()
        for (group, name), array in self._tail.items():
            if array.size == 0:
                continue
            folder = array_folder(self.folder, group, name)
            folder.mkdir(parents=True, exist_ok=True)
            file = chunk_file(folder, self._whole, array.ndim - 2)
            write_chunk(file, array[:, : self._length], self._length)
            self._written.append(file)
        self._tail = {key: array[:, self._length :].copy() for key, array in self._tail.items()}
        self._whole += 1

    def is_due(self) -> bool:
        """Whether a checkpoint now would leave to the run the time that is its due."""
        return time.monotonic() >= self._next

    def checkpoint(self, leaves: Sequence[np.ndarray], steps_done: int, *, is_warm: bool = True) -> None:
        """Replace the checkpoint: the state after everything appended so far.

        Args:
            leaves: the state as a list of arrays.
            steps_done: how many steps the state has behind it.
            is_warm: whether its warmup has no more stages.

        Raises:
            StorageError: an array of a type that cannot be kept, or a refused write.
        """
        self._identity.check()
        begin = time.monotonic()
        while self._written:
            sync_file(self._written.pop())
        arrays = {f"leaf:{i}": np.asarray(leaf) for i, leaf in enumerate(leaves)}
        arrays |= {f"draw:{group}/{name}": array for (group, name), array in self._tail.items()}
        numbers = {"steps_done": steps_done, "whole": self._whole, "length": self._length, "is_warm": is_warm}
        write_arrays(self.state_folder / CHECKPOINT, arrays | {n: np.asarray(v, np.int64) for n, v in numbers.items()})
        end = time.monotonic()
        self._next = end + (end - begin) / SHARE

    def read_checkpoint(self) -> Checkpoint | None:
        """The last checkpoint, or ``None`` when the run was stopped before the first.

        Raises:
            StorageError: the file is damaged.
        """
        file = self.state_folder / CHECKPOINT
        if not file.exists():
            return None
        arrays = read_arrays(file)
        try:
            leaves = [arrays[f"leaf:{i}"] for i in range(sum(name.startswith("leaf:") for name in arrays))]
            return Checkpoint(leaves, int(arrays["steps_done"]), bool(arrays["is_warm"]))
        except (KeyError, TypeError, ValueError) as error:
            raise StorageError(f"{file} is damaged: {error}") from error

    def group(self, name: str) -> dict[str, np.ndarray]:
        """Arrays of a group with all draws appended so far, read from the files when they are indexed.

        After `open` these are the draws that belong to the checkpoint.
        """
        return {key[1]: self._stored(key).lazily() for key in self._tail if key[0] == name}

    @property
    def groups(self) -> list[str]:
        """Names of the groups that have draws."""
        return list(dict.fromkeys(group for group, _ in self._tail)) if self.num_draws else []

    def finish(self, tree: xr.DataTree) -> Path:
        """Save the result under its final name, with the state of its run, and remove the folder of the unfinished one.

        Raises:
            StorageError: the result could not be written; the unfinished run is then still there.
        """
        from bayeskit.storage.files import write_tree

        path = write_tree(tree, self.path, state=self.state_folder)
        self.discard()
        return path

    def discard(self) -> None:
        """Remove the unfinished run."""
        self._identity.check()
        remove_folder(self.folder)

    def _stored(self, key: tuple[str, str]) -> StoredDraws:
        tail = self._tail[key]
        shape = (tail.shape[0], self.num_draws, *tail.shape[2:])
        return StoredDraws(array_folder(self.folder, *key), shape, tail.dtype, self._length, tail, self._identity)

    def _restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        self._whole, self._length, self._tail = read_draws(self.state_folder / CHECKPOINT, arrays)
        for key in self._tail:
            for file in self._stored(key).missing():
                raise StorageError(f"{file} is missing")
