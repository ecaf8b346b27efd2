"""Which run a folder holds, so that what was opened is not taken from another run that has its place now."""

from __future__ import annotations

import json
import os
from pathlib import Path

from bayeskit.errors import StorageError

__all__ = ["Identity", "read_run"]


def read_run(file: Path) -> str:
    """The run that a manifest or a record names; nothing where it is of an older version.

    Raises:
        StorageError: the file is missing or damaged.
    """
    try:
        return str(json.loads(file.read_text(encoding="utf-8")).get("run", ""))
    except (OSError, ValueError, AttributeError) as error:
        raise StorageError(f"{file} cannot be read: {error}") from error


class Identity:
    """The run of a folder when it was opened.

    Args:
        file: what names the run: the manifest of a result, or the record of a run under way.
    """

    def __init__(self, file: Path):
        self.file, self.run = file.absolute(), read_run(file)
        self._seen = self._stamp()

    def check(self) -> None:
        """Raise unless the folder still holds that run. A longer run of `bayeskit.extend` is the same one.

        Raises:
            StorageError: it is gone, or another run has its place.
        """
        stamp = self._stamp()
        if stamp is not None and stamp == self._seen:
            return
        if stamp is None or read_run(self.file) != self.run:
            raise StorageError(
                f"the run in {self._folder()} has been replaced or removed since it was opened; load what is there now"
            )
        self._seen = stamp

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            found = os.stat(self.file)
        except OSError:
            return None
        return found.st_dev, found.st_ino, found.st_mtime_ns

    def _folder(self) -> Path:
        parent = self.file.parent
        return parent.parent if parent.name == ".bayeskit" else parent
