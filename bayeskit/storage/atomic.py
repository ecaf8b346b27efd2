"""Writes that are complete or absent: into a temporary sibling first, then one rename."""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

from bayeskit.errors import StorageError


def _sibling(path: Path, tag: str) -> Path:
    return path.with_name(f".{path.name}.{tag}-{os.getpid()}-{uuid.uuid4().hex[:8]}")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def sync_file(path: Path) -> None:
    """Wait until a file is on the disk."""
    with path.open("rb") as handle:
        os.fsync(handle.fileno())


def replace_file(path: Path, write: Callable[[Path], None], *, sync: bool = True) -> None:
    """Write a file through ``write(temporary)`` and move it to ``path`` in one step.

    Args:
        path: the final name; an existing file keeps its old content until the new one is complete.
        write: writes the whole content under the name that it is given.
        sync: wait until it is on the disk itself; without that, a loss of power can lose it, but no killed process.

    Raises:
        StorageError: the folder does not exist, ``path`` is a folder, a device or a pipe, or the system refused the
            write.
    """
    path = Path(os.path.realpath(path))
    if path.is_dir():
        raise StorageError(f"cannot write the file {path}: a folder has that name")
    if path.exists() and not path.is_file():
        raise StorageError(f"cannot write {path}: it is a device or a pipe, and a file would take its place")
    if not path.parent.is_dir():
        raise StorageError(f"cannot write {path}: there is no folder {path.parent}")
    temporary = _sibling(path, "tmp")
    try:
        write(temporary)
        if sync:
            sync_file(temporary)
        os.replace(temporary, path)
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error}") from error
    finally:
        _remove(temporary)


def remove_folder(path: Path) -> None:
    """Remove a folder so that it is whole or gone under its name, and never half of it."""
    aside = _sibling(path, "old")
    try:
        os.rename(path, aside)
    except OSError as error:
        raise StorageError(f"cannot remove {path}: {error}") from error
    _remove(aside)


def replace_folder(path: Path, write: Callable[[Path], None]) -> None:
    """Write a folder through ``write(temporary)`` and move it to ``path``.

    A folder cannot be replaced in one step: the old one is renamed, the new one takes its name, and the old one is
    removed. If the second step fails, the old one gets its name back.

    Args:
        path: the final name. The caller has checked that what is there may go.
        write: writes the whole content under the name that it is given.

    Raises:
        StorageError: the parent folder does not exist, or the system refused the write.
    """
    path = Path(os.path.realpath(path))
    if not path.parent.is_dir():
        raise StorageError(f"cannot write {path}: there is no folder {path.parent}")
    temporary, old = _sibling(path, "tmp"), _sibling(path, "old")
    try:
        write(temporary)
        if path.exists():
            os.rename(path, old)
        try:
            os.rename(temporary, path)
        except OSError:
            if old.exists():
                os.rename(old, path)
            raise
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error}") from error
    finally:
        _remove(temporary)
    _remove(old)
