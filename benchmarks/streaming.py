"""A long run whose draws go to the disk: memory and speed beside a run that keeps them, and memory of its diagnostics.

4 chains of 1,000,000 draws of 50 parameters by HMC of few steps, in single precision as JAX has it by default, and each
step in a process of its own, so that its largest resident size is its own.

python benchmarks/streaming.py [--draws 1000000] [--folder /tmp]
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
PARAMETERS = 50
BARS = {"stored": 600, "check": 1024, "summary": 1024}


def model(y):
    """Fifty independent normal means."""
    import numpyro
    import numpyro.distributions as dist

    with numpyro.plate("parameter", PARAMETERS):
        mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))
        numpyro.sample("y", dist.Normal(mean, 1.0), obs=y)


def peak() -> float:
    """Largest resident size of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def step(what: str, draws: int, path: str) -> None:
    """One step, in this process: what it took above the interpreter with JAX imported."""
    import jax

    jax.numpy.zeros(3).block_until_ready()
    import bayeskit as bk

    before, begin = peak(), time.perf_counter()
    if what in ("stored", "kept"):
        method = bk.HMC(num_chains=4, num_warmup=1000, num_draws=draws, trajectory_length=1.5)
        store = path if what == "stored" else None
        post = bk.infer(model, {"y": [0.1] * PARAMETERS}, method, key=0, store=store, progress=False)
        seconds = post.attrs["wall_time"] - post.attrs["compile_time"]
        took = f"{4 * draws / seconds:9,.0f} draws a second ({seconds:.1f} s)"
    else:
        post = bk.load(path)
        said = bk.check(post, quiet=True).ok if what == "check" else len(bk.summary(post))
        took = f"{time.perf_counter() - begin:9.1f} s, {said}"
    bar = f" (bar: {BARS[what]})" if what in BARS else ""
    print(f"{what:8} {took}; {peak() - before:7.0f} MiB above the interpreter with JAX{bar}", flush=True)


def main() -> None:
    """All steps one after another."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--draws", type=int, default=1_000_000)
    parser.add_argument("--folder", default=None)
    parser.add_argument("--step", default=None)
    given = parser.parse_args()
    if given.step is not None:
        step(given.step, given.draws, given.folder)
        return
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        for what in ("kept", "stored", "check", "summary"):
            words = ["--step", what, "--draws", str(given.draws), "--folder", f"{folder}/run.zarr"]
            subprocess.run([sys.executable, __file__, *words], check=True)
        size = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file()) / 2**30
        print(f"on the disk {size:.2f} GiB")


if __name__ == "__main__":
    main()
