"""What the command sets for its own process. As a library, bayeskit leaves nothing global changed."""

from __future__ import annotations

import os
import sys
import warnings
from typing import TextIO

from bayeskit.xla.kept_programs import FOLDER, SETTINGS, folder_of_programs

XLA_FLAGS = {
    # several compiled programs at once can exhaust the thread pool of XLA's CPU backend and wait for each other forever
    "--xla_cpu_multi_thread_eigen": "false",
    # the library behind it makes some sums of products wrong, see `bayeskit.xla.miscompilation`
    "--xla_cpu_experimental_ynn_fusion_type": "",
}


def prepare_process() -> None:
    """Set what must be known before JAX is imported. What the user's environment says already wins.

    * flags of XLA, see `XLA_FLAGS`, and more workers in its pool than chains can hold at once (``PJRT_NPROC``);
    * the persistent compilation cache, in the user's cache folder, for programs of any size: the second run of a model
      starts within seconds. ``JAX_COMPILATION_CACHE_DIR`` moves it, ``JAX_ENABLE_COMPILATION_CACHE=false`` ends it.
    """
    given = os.environ.get("XLA_FLAGS", "")
    added = [f"{flag}={value}" for flag, value in XLA_FLAGS.items() if flag not in given]
    os.environ["XLA_FLAGS"] = " ".join([*given.split(), *added])
    os.environ.setdefault("PJRT_NPROC", str(max(16, 2 * (os.cpu_count() or 1))))
    os.environ.setdefault("MPLBACKEND", "Agg")
    if FOLDER not in os.environ and (folder := folder_of_programs()) is not None:
        os.environ[FOLDER] = str(folder)
    for name, value in SETTINGS.items():
        os.environ.setdefault(name.upper(), str(value))
    warnings.showwarning = _show_warning


def set_precision(float32: bool | None) -> str:
    """Choose the precision of the process, once JAX may be imported.

    Args:
        float32: ``None`` means float64 on a CPU and float32 on an accelerator, where float64 is slow.

    Returns:
        The name of the type, ``"float64"`` or ``"float32"``.
    """
    import jax

    if float32 is None:
        float32 = jax.default_backend() != "cpu"
    jax.config.update("jax_enable_x64", not float32)
    return "float32" if float32 else "float64"


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """One line a warning, without the source line of the library that gave it."""
    del filename, lineno, file, line
    if not issubclass(category, DeprecationWarning | FutureWarning):
        print(f"warning: {message}", file=sys.stderr)
