"""The folder of a run under way, and what its result keeps of it: names, record, and what may begin where."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import quote

import numpy as np

from bayeskit.errors import StorageError
from bayeskit.storage.atomic import replace_file
from bayeskit.storage.chunks import STATE

_FORMAT = 2
SUFFIX = ".partial"
RECORD, START, CHECKPOINT = "record.json", "start.npz", "checkpoint.npz"


def partial_folder(path: str | os.PathLike[str]) -> Path:
    """The folder of an unfinished run: the name of its result with ``.partial`` added."""
    path = Path(path)
    if not path.name:
        raise StorageError(f"{str(path)!r} cannot be the name of a result")
    return path.with_name(f"{path.name}{SUFFIX}")


def check_free(path: str | os.PathLike[str]) -> None:
    """Raise unless a run may begin whose result will go to `path`.

    Raises:
        StorageError: `path` cannot be written, or an unfinished run is there.
    """
    from bayeskit.storage.files import check_replaceable

    check_replaceable(path)
    if partial_folder(path).exists():
        raise StorageError(
            f"{partial_folder(path)} holds an unfinished run: go on with bayeskit.resume(..., {str(path)!r}), or "
            "delete it"
        )


def check_state(path: str | os.PathLike[str]) -> None:
    """Raise unless the result at `path` has the state of its run beside it.

    Raises:
        StorageError: no result, or one without.
    """
    if not Path(path).exists():
        raise StorageError(f"there is no result at {path}, and no unfinished run in {partial_folder(path)}")
    if Path(path).is_file():
        raise StorageError(
            f"{path} is the result of a run that has ended, in one file: there is nothing to go on with, and "
            f"bayeskit.load({str(path)!r}) reads it. A run whose store is a zarr folder can be extended"
        )
    if not all((Path(path) / STATE / name).is_file() for name in (RECORD, START, CHECKPOINT)):
        raise StorageError(
            f"{path} does not hold the state of its run, so that nothing can go on from it: only bayeskit.infer(..., "
            "store=) to a zarr folder keeps it; bayeskit.save, a NetCDF file and older versions do not. "
            "bayeskit.load reads its draws"
        )


def read_record(folder: Path) -> dict[str, object]:
    """What a run is, from the folder of its result or of the run under way.

    Raises:
        StorageError: missing or damaged, or of another version.
    """
    file = folder / STATE / RECORD
    if not file.is_file():
        old = " (that of an older version, which this one cannot go on with)" if (folder / RECORD).is_file() else ""
        raise StorageError(f"{folder} is not the store of a run{old}: {file} does not exist")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        version, record = content["format"], dict(content["record"])
    except (ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{file} is damaged: {error}") from error
    if version != _FORMAT:
        raise StorageError(f"{file} has format {version!r}; this version of bayeskit reads format {_FORMAT}")
    return record


def make_folder(
    path: str | os.PathLike[str], record: Mapping[str, object], fill: Callable[[Path], None], run: str | None = None
) -> None:
    """Make the folder of a run, which has its name only when it is complete; ``fill(state)`` adds to its state.

    Args:
        path: of its result.
        record: what it is.
        fill: is given the folder of its state.
        run: the name of the run that it goes on with; a new one by default.

    Raises:
        StorageError: the record is not JSON, or a refused write.
    """
    try:
        text = json.dumps({"format": _FORMAT, "run": uuid.uuid4().hex if run is None else run, "record": dict(record)})
    except (TypeError, ValueError) as error:
        raise StorageError(f"the record of a run must be JSON: {error}") from error
    folder = partial_folder(path)
    temporary = folder.with_name(f".{folder.name}.tmp-{os.getpid()}-{uuid.uuid4().hex[:8]}")
    try:
        (temporary / STATE).mkdir(parents=True)
        fill(temporary / STATE)
        replace_file(temporary / STATE / RECORD, lambda file: _write_text(file, text))
        os.rename(temporary, folder)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise error if isinstance(error, StorageError) else StorageError(f"cannot write {folder}: {error}") from error


def _write_text(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")


def array_folder(folder: Path, group: str, name: str) -> Path:
    """Where the chunks of an array are while its run is under way."""
    safe = quote(name, safe=" ")
    return folder / group / (f"%2E{safe[1:]}" if safe.startswith(".") else safe or "%")


def read_draws(file: Path, arrays: Mapping[str, np.ndarray]) -> tuple[int, int, dict[tuple[str, str], np.ndarray]]:
    """What a checkpoint says of draws: whole chunks, draws in each, and the draws after them by group and name."""
    tail = {}
    for name, array in arrays.items():
        if name.startswith("draw:"):
            group, _, variable = name.removeprefix("draw:").partition("/")
            tail[group, variable] = array
    try:
        return int(arrays["whole"]), int(arrays["length"]), tail
    except (KeyError, TypeError, ValueError) as error:
        raise StorageError(f"{file} is damaged: it does not say how many draws belong to it") from error
