"""Memory of a long run: 4 chains of 100,000 draws of 100 parameters, at most 1 GiB above the size of the draws kept.

python benchmarks/memory.py
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax

jax.config.update("jax_enable_x64", True)

import numpyro
import numpyro.distributions as dist

import bayeskit as bk


def model(y):
    """A hundred independent normal means."""
    with numpyro.plate("parameter", 100):
        mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))
        numpyro.sample("y", dist.Normal(mean, 1.0), obs=y)


def peak() -> float:
    """Largest resident size of this process so far, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    """Print the peak before and after, and the size of the draws."""
    data = {"y": [0.1] * 100}
    bk.infer(model, data, bk.NUTS(num_draws=100, num_warmup=100), key=0, progress=False)
    before = peak()
    post = bk.infer(model, data, bk.NUTS(num_draws=100_000, num_warmup=1000), key=0, progress=False)
    after = peak()
    kept = sum(array.nbytes for node in post.subtree for array in node.data_vars.values()) / 2**30
    print(f"peak before {before:.2f} GiB, after {after:.2f} GiB; draws and statistics kept {kept:.2f} GiB")
    print(f"above the draws kept: {after - before - kept:.2f} GiB (bar: 1.00)")


if __name__ == "__main__":
    main()
