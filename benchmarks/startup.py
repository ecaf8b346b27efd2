"""From starting Python to the first draws of the radon model, with a warm compilation cache: at most 3 s.

    python benchmarks/startup.py

Also: a second call with new data of the same shapes, in the same process, against the time of sampling alone.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

FIRST_DRAW = """
import time
begin = time.perf_counter()
import sys
sys.path.insert(0, {root!r})
import jax
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_compilation_cache_dir", {cache!r})
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
import bayeskit as bk
from bayeskit.inference import driver
from benchmarks.models import PROBLEMS
model, data = PROBLEMS["radon"]()
add, seen = driver.Collector.add, []

def first(self, groups):
    if groups and not seen:
        seen.append(time.perf_counter() - begin)
    add(self, groups)

driver.Collector.add = first
bk.infer(model, data, bk.NUTS(), key=0, progress=False)
print(seen[0])
"""

SECOND_CALL = """
import sys, time
sys.path.insert(0, {root!r})
import jax
jax.config.update("jax_enable_x64", True)
import numpy as np
import bayeskit as bk
from benchmarks.models import PROBLEMS
model, data = PROBLEMS["radon"]()
target = "log_radon"
method = bk.NUTS()
bk.infer(model, data, method, key=0, progress=False)

def timed(new):
    start = time.perf_counter()
    post = bk.infer(model, new, method, key=1, progress=False)
    return time.perf_counter() - start, post.attrs["wall_time"], post.attrs["compile_time"]

rng = np.random.default_rng(0)
rows = [timed({{**data, target: data[target] + 0.1 * rng.normal(size=len(data[target]))}}) for _ in range(3)]
print(*np.median(rows, axis=0))
"""


def child(program: str, **names: object) -> list[float]:
    """Numbers on the last line that a fresh interpreter prints."""
    text = program.format(root=str(Path(__file__).resolve().parents[1]), **names)
    done = subprocess.run([sys.executable, "-c", text], check=True, capture_output=True, text=True)
    return [float(word) for word in done.stdout.split()[-3:]]


def main() -> None:
    """Print the three figures."""
    with tempfile.TemporaryDirectory() as cache:
        cold = child(FIRST_DRAW, cache=cache)[-1]
        warm = statistics.median(child(FIRST_DRAW, cache=cache)[-1] for _ in range(3))
    print(f"first draw of radon, cold cache    {cold:.2f} s\nfirst draw of radon, warm cache    {warm:.2f} s (bar: 3)")
    total, sampling, compiling = child(SECOND_CALL)
    parts = f"of it sampling {sampling:.2f} s, compiling {compiling:.2f} s"
    print(f"second call, new data              {total:.2f} s, {parts}")
    print(f"ratio of the call to its sampling  {total / sampling:.2f} (bar: 1.15)")


if __name__ == "__main__":
    main()
