"""Draws in files that are written once: chunks along ``draw`` of a zarr array, each with its checksum.

A chunk holds all chains. Its file is what zarr (format 2) says: the numbers in C order, shuffled and compressed by
Blosc with LZ4, with a CRC-32 in front. It has its final content from the moment that it exists, so that a result takes
over the files of its run by hard links, and a longer run those of a shorter one.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

import numcodecs  # type: ignore[import-untyped]
import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from bayeskit.errors import StorageError
from bayeskit.storage.atomic import replace_file
from bayeskit.storage.identity import Identity

STATE = ".bayeskit"
"""The folder of a run under way, and of its result, that holds its record, its starts and its last checkpoint."""
CHUNK_BYTES = 2**23
"""What a chunk of all arrays together may take in memory: the draws that a run waits with are at most as many."""
MOST_DRAWS = 4096
_LARGEST_BLOSC = 2**31 - 1  # bytes
_CHECKSUM = numcodecs.CRC32()


def draws_per_chunk(bytes_per_draw: int) -> int:
    """How many draws of each chain one chunk holds; the same for all runs of a model, however long they are."""
    return max(1, min(MOST_DRAWS, CHUNK_BYTES // max(1, bytes_per_draw)))


def _compressor(chunk_bytes: int) -> list[numcodecs.Blosc]:
    if chunk_bytes > _LARGEST_BLOSC // 2:
        return []
    return [numcodecs.Blosc("lz4", 1, numcodecs.Blosc.SHUFFLE)]


def write_chunk(file: Path, draws: np.ndarray, length: int) -> None:
    """Write one chunk, complete or not at all; the last of an array is filled with zeros up to `length` draws.

    Raises:
        StorageError: the system refused the write.
    """
    if draws.shape[1] < length:
        padding = np.zeros((draws.shape[0], length - draws.shape[1], *draws.shape[2:]), draws.dtype)
        draws = np.concatenate([draws, padding], axis=1)
    encoded: object = np.ascontiguousarray(draws)
    for codec in (*_compressor(draws.nbytes), _CHECKSUM):
        encoded = codec.encode(encoded)
    replace_file(file, lambda temporary: _write_bytes(temporary, encoded), sync=False)


def _write_bytes(file: Path, content: object) -> None:
    with file.open("wb") as handle:
        handle.write(memoryview(content))  # type: ignore[arg-type]


class StoredDraws(BackendArray):
    """An array of shape ``(chain, draw, *event)`` that is read chunk by chunk when it is indexed.

    Args:
        folder: of its chunk files, named ``0.{number of the chunk}.0...``.
        shape: of the whole.
        dtype: of its numbers.
        length: draws in a chunk.
        tail: draws after the last whole chunk that are not in a file.
        identity: of the run whose files these are.
    """

    def __init__(
        self,
        folder: Path,
        shape: tuple[int, ...],
        dtype: np.dtype,
        length: int,
        tail: np.ndarray | None = None,
        identity: Identity | None = None,
    ):
        self.identity = identity
        self.folder, self.shape, self.dtype, self.length, self.tail = folder, shape, np.dtype(dtype), length, tail
        self._first_of_tail = shape[1] if tail is None else shape[1] - tail.shape[1]

    @property
    def num_files(self) -> int:
        """How many chunk files there must be."""
        return -(-self._first_of_tail // self.length) if all(self.shape) else 0

    def file(self, number: int) -> Path:
        """Of one chunk."""
        return chunk_file(self.folder, number, len(self.shape) - 2)

    def missing(self) -> list[Path]:
        """Chunk files that should be there and are not."""
        there = set(os.listdir(self.folder)) if self.folder.is_dir() else set()
        return [file for file in map(self.file, range(self.num_files)) if file.name not in there]

    def lazily(self) -> np.ndarray:
        """As xarray and `make_tree` take it: it has shape and dtype, and is read when it is indexed."""
        return cast(np.ndarray, indexing.LazilyIndexedArray(self))

    def metadata(self) -> dict[str, object]:
        """The content of ``.zarray``."""
        chunks = [max(1, size) for size in (self.shape[0], self.length, *self.shape[2:])]
        nbytes = int(np.prod(chunks)) * self.dtype.itemsize
        return {
            "zarr_format": 2,
            "shape": list(self.shape),
            "chunks": chunks,
            "dtype": self.dtype.str,
            "filters": [codec.get_config() for codec in _compressor(nbytes)] or None,
            "compressor": _CHECKSUM.get_config(),
            "fill_value": None,
            "order": "C",
            "dimension_separator": ".",
        }

    def put_files(self, folder: Path) -> None:
        """Give the chunk files, and what is not in a file yet, their names in another folder."""
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(self.num_files):
            link(self.file(number), folder / self.file(number).name)
        self._check()
        if self.tail is None or not self.tail.size:
            return
        for first in range(0, self.tail.shape[1], self.length):  # more than one where a write has been refused
            file = chunk_file(folder, (self._first_of_tail + first) // self.length, len(self.shape) - 2)
            write_chunk(file, self.tail[:, first : first + self.length], self.length)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> np.ndarray:
        support = indexing.IndexingSupport.BASIC
        return np.asarray(indexing.explicit_indexing_adapter(key, self.shape, support, self._read))

    def _read(self, key: tuple[int | slice, ...]) -> np.ndarray:
        chains, draws, *event = key
        if isinstance(draws, int | np.integer):
            at = int(draws) % self.shape[1]
            return self._read((chains, slice(at, at + 1), *event))[(slice(None),) * (not _is_number(chains)) + (0,)]
        wanted = range(*draws.indices(self.shape[1]))
        shape = _shape_of((chains, slice(None), *event), (self.shape[0], len(wanted), *self.shape[2:]))
        out = np.empty(shape, self.dtype)
        axis = 0 if _is_number(chains) else 1
        for start, part, into in self._parts(wanted):
            found = self._chunk(start)[(chains, part, *event)]
            out[(slice(None),) * axis + (into,)] = found
        return out

    def _parts(self, wanted: range) -> Iterator[tuple[int, slice, slice]]:
        """For each chunk with wanted draws: its first draw, what of it is wanted, and where in the answer that goes."""
        done = 0
        while done < len(wanted):
            first = wanted[done]
            start = self._first_of_tail if first >= self._first_of_tail else first // self.length * self.length
            end = self.shape[1] if first >= self._first_of_tail else min(start + self.length, self._first_of_tail)
            count = len(range(first, min(end, wanted.stop), wanted.step))
            part = slice(first - start, first - start + (count - 1) * wanted.step + 1, wanted.step)
            yield start, part, slice(done, done + count)
            done += count

    def _chunk(self, start: int) -> np.ndarray:
        if start == self._first_of_tail and self.tail is not None:
            return self.tail
        shape = (self.shape[0], self.length, *self.shape[2:])
        if not all(shape):
            return np.empty(shape, self.dtype)
        found = read_chunk(self.file(start // self.length), shape, self.dtype)
        self._check()  # after the file: it may have been replaced while it was read
        return found

    def _check(self) -> None:
        if self.identity is not None:
            self.identity.check()


def stored(variable: xr.Variable) -> StoredDraws | None:
    """What a variable of xarray reads from, if that is the whole of an array in chunks."""
    data = getattr(variable, "_data", None)
    if not isinstance(data, indexing.LazilyIndexedArray) or not isinstance(data.array, StoredDraws):
        return None
    whole = all(
        isinstance(k, slice) and k.indices(n) == (0, n, 1)
        for k, n in zip(data.key.tuple, data.array.shape, strict=True)
    )
    return data.array if whole else None


def is_stored(metadata: dict[str, object]) -> bool:
    """Whether the ``.zarray`` is that of an array in such chunks."""
    shape, chunks = metadata.get("shape"), metadata.get("chunks")
    if metadata.get("compressor") != _CHECKSUM.get_config() or not isinstance(shape, list):
        return False
    if not isinstance(chunks, list) or len(shape) < 2:
        return False
    return [c for i, c in enumerate(chunks) if i != 1] == [max(1, n) for i, n in enumerate(shape) if i != 1]


def chunk_file(folder: Path, number: int, event_dim: int) -> Path:
    """The file of a chunk."""
    return folder / ".".join(["0", str(number), *["0"] * event_dim])


def read_chunk(file: Path, shape: Sequence[int], dtype: np.dtype) -> np.ndarray:
    """Read one chunk.

    Raises:
        StorageError: it is missing or damaged.
    """
    size = int(np.prod(shape)) * dtype.itemsize
    try:
        content: object = _CHECKSUM.decode(file.read_bytes())
        for codec in _compressor(size):
            content = codec.decode(content)
        return np.frombuffer(content, dtype).reshape(shape)  # type: ignore[call-overload]
    except FileNotFoundError as error:
        raise StorageError(
            f"{file} is missing; if its folder was replaced or moved since it was opened, load it again"
        ) from error
    except (OSError, ValueError, RuntimeError, TypeError) as error:
        raise StorageError(f"{file} is damaged: {error or type(error).__name__}") from error


def link(file: Path, name: Path) -> None:
    """One more name of a file that is never written to again; a copy where the file system has no such links."""
    try:
        os.link(file, name)
    except FileNotFoundError as error:
        raise StorageError(f"{file} is missing") from error
    except OSError:
        shutil.copyfile(file, name)


def _is_number(key: object) -> bool:
    return isinstance(key, int | np.integer)


def _shape_of(key: Sequence[int | slice], shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(len(range(*k.indices(n))) for k, n in zip(key, shape, strict=True) if isinstance(k, slice))
