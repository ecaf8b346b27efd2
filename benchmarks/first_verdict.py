"""Seconds from starting Python to a printed verdict.

    python benchmarks/first_verdict.py [problem] [--repeats 3]

Everything counts that a user waits for: imports, tracing, compiling, sampling and diagnostics (`verdict_of.py`). *Cold*
is without compiled programs of an earlier process; *warm* is after one such process that kept them:

bayeskit, NumPyro, BlackJAX    JAX's compilation cache, which keeps all programs
PyMC with nutpie               the caches of PyTensor and Numba; cold, they are empty, so that PyTensor also compiles
                               what it compiles once a machine
CmdStan                        the executable of the model

Medians of the repeats, and all of them in brackets.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.problem_data import DATA
from benchmarks.versions import XLA_FLAG, versions

LIBRARIES = {
    "bayeskit": ("bayeskit",),
    "numpyro": ("numpyro",),
    "blackjax": ("blackjax", "numpyro"),
    "pymc": ("pymc", "nutpie", "numba", "arviz"),
    "cmdstan": ("cmdstanpy",),
}
STAN = ROOT / "benchmarks" / "stan"


def missing(library: str, problem: str) -> str | None:
    """Why a library cannot be run here."""
    absent = [name for name in LIBRARIES[library] if importlib.util.find_spec(name) is None]
    if absent:
        return f"not installed ({', '.join(absent)})"
    if library != "cmdstan":
        return None
    import cmdstanpy

    try:
        cmdstanpy.cmdstan_path()
    except ValueError:
        return "not installed (CmdStan)"
    return None if (STAN / f"{problem}.stan").exists() else "no Stan program of this problem"


def environment(caches: str | None, empty: str) -> dict[str, str]:
    """Of a process that keeps compiled programs in `caches`, or starts with `empty` caches."""
    inherited = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    own = {
        "XLA_FLAGS": f"{XLA_FLAG} {os.environ.get('XLA_FLAGS', '')}",
        "PYTENSOR_FLAGS": f"base_compiledir={caches or empty}",
        "NUMBA_CACHE_DIR": caches or empty,
    }
    kept = {
        "JAX_COMPILATION_CACHE_DIR": str(caches),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    return {**inherited, **own, **(kept if caches else {})}


def seconds(library: str, problem: str, caches: str | None) -> tuple[float, str]:
    """From starting a process to the line of its verdict, and that line.

    Raises:
        RuntimeError: it ended without one.
    """
    if library == "cmdstan" and caches is None:
        for executable in (STAN / problem, STAN / f"{problem}.hpp"):
            executable.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as empty, tempfile.TemporaryFile("w+") as errors:
        command = [sys.executable, str(ROOT / "benchmarks" / "verdict_of.py"), library, problem]
        start = time.perf_counter()
        child = subprocess.Popen(
            command, env=environment(caches, empty), stdout=subprocess.PIPE, stderr=errors, text=True
        )
        found = ("", 0.0)
        for line in child.stdout:
            if line.startswith("verdict:"):
                found = (line.removeprefix("verdict:").strip(), time.perf_counter() - start)
        child.wait()
        if not found[0]:
            errors.seek(0)
            raise RuntimeError((errors.read().strip().splitlines() or [f"exit status {child.returncode}"])[-1])
    return found[1], found[0]


def row(library: str, problem: str, repeats: int) -> str:
    """A row of the table."""
    if reason := missing(library, problem):
        return reason
    try:
        cold = [seconds(library, problem, None) for _ in range(repeats)]
        with tempfile.TemporaryDirectory() as caches:
            seconds(library, problem, caches)
            warm = [seconds(library, problem, caches) for _ in range(repeats)]
    except RuntimeError as error:
        return f"failed: {error}"
    columns = ([second for second, _ in runs] for runs in (cold, warm))
    cells = [f"{median(found):8.1f} {'(' + ', '.join(f'{s:.1f}' for s in found) + ')':20}" for found in columns]
    return "".join(cells) + f" {warm[-1][1]}"


def main() -> None:
    """Print one row a library."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog=__doc__.partition("[--repeats 3]\n\n")[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("problem", nargs="?", default="radon", choices=DATA, help="%(choices)s (%(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="processes, cold and again warm (%(default)s)")
    arguments = parser.parse_args()
    print(", ".join(f"{name} {found}" for name, found in versions().items()))
    print(f"{platform.platform()}, {os.cpu_count()} cores\n\n{arguments.problem}")
    print(f"{'':12}{'cold, s':>8}{'':21}{'warm, s':>8}")
    for library in LIBRARIES:
        print(f"{library:12}{row(library, arguments.problem, arguments.repeats)}", flush=True)


if __name__ == "__main__":
    main()
