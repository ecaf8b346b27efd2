"""NumPy archives."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from bayeskit.errors import DataError
from bayeskit.storage.formats.format import Format, Value, plain

__all__ = ["NPZ"]


def _read_npz(path: Path) -> dict[str, Value]:
    values: dict[str, Value] = {}
    name = ""
    with path.open("rb") as handle:
        try:
            archive = np.load(handle, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise DataError(f"{path} is not an NPZ file but one array without a name")
            for name in archive.files:
                values[name] = plain(path, name, archive[name])
        except DataError:
            raise
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            what = f": {name!r} cannot be read: {error}" if name else " is not an NPZ file, or it is truncated"
            raise DataError(f"{path}{what}") from error
    return values


NPZ = Format((".npz",), "named arrays, without pickled objects", _read_npz)
