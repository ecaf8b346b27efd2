"""Compiled programs, kept from process to process: JAX's persistent compilation cache, in a folder of our own.

The command line sets the folder for its whole process. `bayeskit.infer` sets it while it runs, where the user has set
none, and leaves JAX as it found it. ``JAX_COMPILATION_CACHE_DIR`` moves both, ``JAX_ENABLE_COMPILATION_CACHE=false``
turns both off. This module does not import JAX before it must.
"""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["FOLDER", "SETTINGS", "folder_of_programs", "programs_kept"]

FOLDER = "JAX_COMPILATION_CACHE_DIR"
"""The environment variable that JAX reads."""

SETTINGS = {"jax_persistent_cache_min_compile_time_secs": 0, "jax_persistent_cache_min_entry_size_bytes": 0}
"""Programs of any size are kept."""


def folder_of_programs() -> Path | None:
    """The folder, made if need be; `None` where none can be: slower, but nothing else changes.

    Each kind of processor has one of its own: homes are shared between machines, and a program compiled for one may
    hold instructions that another does not have.
    """
    import platformdirs

    folder = platformdirs.user_cache_path("bayeskit", appauthor=False) / "xla" / _processor()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) else None


@functools.cache
def _processor() -> str:
    """A name for what this machine's processor is and can do."""
    known = [platform.machine(), platform.processor()]
    try:
        with Path("/proc/cpuinfo").open() as lines:
            for line in lines:
                if not line.strip():  # the first processor is like the others
                    break
                if line.lower().startswith(("model name", "flags", "features", "cpu part")):
                    known.append(line.strip())
    except OSError:  # no Linux
        pass
    if sys.version_info >= (3, 14):  # JAX packs otherwise there, under the same names
        known.append("compression.zstd")
    return f"{platform.machine() or 'cpu'}-{hashlib.sha256(repr(known).encode()).hexdigest()[:8]}"


class _Use:
    """How many runs in this process use the folder, and how JAX was set before the first of them."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.runs = 0
        self.before: dict[str, Any] = {}


_USE = _Use()


@contextmanager
def programs_kept() -> Iterator[None]:
    """While this lasts, JAX keeps what it compiles in `folder_of_programs`; also a decorator.

    Nothing happens where the user has said something about JAX's cache, or where there is no folder. Only the main
    thread begins it: elsewhere another thread may be compiling, and XLA can crash where one writes the cache meanwhile.
    """
    begun = threading.current_thread() is threading.main_thread() and _begin()
    try:
        yield
    finally:
        if begun:
            _end()


def _begin() -> bool:
    import jax

    with _USE.lock:
        if _USE.runs == 0:
            config: Any = jax.config
            if FOLDER in os.environ or config.jax_compilation_cache_dir or not config.jax_enable_compilation_cache:
                return False
            folder = folder_of_programs()
            if folder is None:
                return False
            now = {"jax_compilation_cache_dir": str(folder), **SETTINGS}
            _USE.before = {name: getattr(config, name) for name in now}
            _set(now)
        _USE.runs += 1
        return True


def _end() -> None:
    with _USE.lock:
        _USE.runs -= 1
        if _USE.runs == 0:
            _set(_USE.before)


def _set(settings: dict[str, Any]) -> None:
    import jax
    from jax.experimental.compilation_cache import compilation_cache

    for name, value in settings.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()  # which remembers the folder that it has seen first
