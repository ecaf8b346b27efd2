"""Named arrays in one file that is complete or absent, and whose damage is noticed."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from bayeskit.errors import StorageError
from bayeskit.storage.atomic import replace_file

_NAMES = "names"  # the array in each file that lists the others


def check_kept(name: str, array: np.ndarray) -> None:
    """Numbers and booleans can be kept.

    Raises:
        StorageError: another dtype.
    """
    if array.dtype.kind not in "biufc":
        raise StorageError(f"cannot keep {name!r}: its dtype is {array.dtype}")


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays by name.

    Raises:
        StorageError: a dtype that cannot be kept, or a refused write.
    """
    for name, array in arrays.items():
        check_kept(name.partition(":")[2] or name, array)

    def write(temporary: Path) -> None:
        with temporary.open("wb") as handle, zipfile.ZipFile(handle, "w", allowZip64=True) as archive:
            for name, array in [*arrays.items(), (_NAMES, np.array(list(arrays), dtype=str))]:
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)

    replace_file(path, write)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read what `write_arrays` has written.

    Raises:
        StorageError: the file is missing or damaged.
    """
    try:
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as archive:
            names = [str(name) for name in archive[_NAMES]]  # damage to the directory of a zip file can lose members
            return {name: archive[name] for name in names}
    except FileNotFoundError as error:
        raise StorageError(f"{path} is missing") from error
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, NotImplementedError) as error:
        raise StorageError(f"{path} is damaged: {error or type(error).__name__}") from error


def check_fit(arrays: Mapping[tuple[str, str], np.ndarray], before: Mapping[tuple[str, str], np.ndarray]) -> None:
    """Draws, by group and name, go on from those before.

    Raises:
        StorageError: other names, shapes or dtypes.
    """
    if arrays.keys() != before.keys():
        raise StorageError(f"draws of other names than those before: {sorted(arrays.keys() ^ before.keys())}")
    for (group, name), array in arrays.items():
        first = before[group, name]
        if (array.shape[0], *array.shape[2:]) != (first.shape[0], *first.shape[2:]) or array.dtype != first.dtype:
            raise StorageError(
                f"{group}/{name} has shape {array.shape} and dtype {array.dtype}, unlike the draws before"
            )
