"""Settings of the test process. They must be made before JAX is imported.

* float64, so that a comparison with a closed form is limited by the mathematics and not by rounding. A test of float32
  asks for it with ``jax.enable_x64(False)``.
* compiled programs are kept in ``~/.cache/bayeskit/xla`` (``XDG_CACHE_HOME`` moves it), in a folder for each version of
  JAX, each set of flags and each way to compress: the second run of the tests hardly compiles, even in a fresh clone.
  ``JAX_COMPILATION_CACHE_DIR`` names another folder.
* ``BAYESKIT_RUNTIME_TYPES=1`` (``make test-all``) checks the array shapes in bayeskit's signatures at every call.
* XLA's use of YNNPACK is off: it makes some sums of products wrong (`bayeskit.xla.miscompilation`).
* XLA's multi-threaded Eigen loops are off: several programs at once can exhaust its thread pool and wait forever.
* OpenBLAS has one thread: those of several processes wait for one another, milliseconds at every call.
* XLA compiles quickly and not well, which halves the time of the tests: they run thousands of programs, once each. With
  ``XLA_FLAGS=--xla_backend_optimization_level=3`` it compiles as it does for users.

At its end a run says how many processor seconds each folder took, over all workers: compiling is most of it, and unlike
the time on the clock it does not depend on what else the machine does.
"""

from __future__ import annotations

import gc
import hashlib
import os
from collections import Counter
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

flags = os.environ.get("XLA_FLAGS", "")
if "xla_cpu_multi_thread_eigen" not in flags:
    flags = f"{flags} --xla_cpu_multi_thread_eigen=false".strip()
if "ynn_fusion" not in flags:
    flags += " --xla_cpu_experimental_ynn_fusion_type="
if "xla_backend_optimization_level" not in flags:
    flags += " --xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1"
    if version("jax").startswith("0.10."):  # later versions do not know it, and stop
        flags += " --xla_cpu_use_fusion_emitters=false"
os.environ["XLA_FLAGS"] = flags
cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bayeskit" / "xla"
cache /= f"jax-{version('jax')}-{hashlib.sha256(' '.join(sorted(flags.split())).encode()).hexdigest()[:8]}"
if find_spec("zstandard"):  # with which JAX then compresses, and cannot read what it wrote without
    cache = cache.with_name(f"{cache.name}-zstd")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "0")
os.environ.setdefault("PJRT_NPROC", "16")  # factorisations wait on XLA's workers: more workers than waiting programs
os.environ.setdefault("MPLBACKEND", "Agg")

import jax
import pytest

jax.config.update("jax_enable_x64", True)

if os.environ.get("BAYESKIT_RUNTIME_TYPES", "0") == "1":
    from jaxtyping import install_import_hook

    install_import_hook("bayeskit", "beartype.beartype")


collect_ignore = ["inference/over_devices.py"]  # a program, started by a test


def processor_seconds() -> float:
    """Of this process, all of its threads, and the processes that it has started and that are done."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


class SecondsByFolder:
    """Measures every test where it runs, and sums up where the reports of all workers arrive."""

    def __init__(self) -> None:
        self.since = 0.0
        self.seconds: Counter[str] = Counter()
        self.tests: Counter[str] = Counter()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self):
        self.since = processor_seconds()
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self):
        report = yield
        now = processor_seconds()
        report.processor_seconds, self.since = now - self.since, now
        return report

    def pytest_runtest_logreport(self, report):
        folder = str(Path(report.nodeid.partition("::")[0]).parent)
        folder = "bayeskit (examples of the docstrings)" if folder.startswith("bayeskit") else folder
        self.seconds[folder] += getattr(report, "processor_seconds", 0.0)  # a test that crashed its worker has none
        self.tests[folder] += report.when == "call"

    def pytest_terminal_summary(self, terminalreporter):
        terminalreporter.section("processor seconds by folder")
        for folder, seconds in self.seconds.most_common():
            terminalreporter.line(f"{seconds:8.1f}  {self.tests[folder]:5d} tests  {folder}")
        terminalreporter.line(f"{self.seconds.total():8.1f}  {self.tests.total():5d} tests")


def pytest_collection_finish():
    """What is imported by now stays: the garbage collector need not look through it at every few thousand tracers."""
    gc.freeze()
    gc.set_threshold(100_000, 10, 10)


MAPS = Path("/proc/self/maps")
MOST_MAPS = 25_000
"""Linux gives a process 65,530 mappings of memory; compiled programs take them, and XLA crashes where none is left."""


def pytest_runtest_teardown(item, nextitem):
    """Between two files: programs that nothing uses go, and where that is not enough all of them."""
    if nextitem is not None and nextitem.path == item.path:
        return
    for make_room in (gc.collect, jax.clear_caches, gc.collect):
        if not MAPS.exists() or len(MAPS.read_bytes().splitlines()) < MOST_MAPS:
            return
        make_room()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Of a product of parameters marked `covering`, rows that have every value of each; the others are `full`."""
    products: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("covering") and not any(map(item.get_closest_marker, ("slow", "full"))):
            products.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for rows in products.values():
        values = {row: {(name, id(value)) for name, value in row.callspec.params.items()} for row in rows}
        missing = set().union(*values.values())
        while missing:
            best = max(rows, key=lambda row: len(values[row] & missing))  # the first of the best
            missing -= values[best]
            rows.remove(best)
        for row in rows:
            row.add_marker(pytest.mark.full)


def pytest_configure(config):
    config.pluginmanager.register(SecondsByFolder(), "seconds by folder")
