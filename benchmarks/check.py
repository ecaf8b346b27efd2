"""Seconds of a verdict on 100 parameters, four chains of 1,000 draws, at most 1 s.

python benchmarks/check.py
"""

from __future__ import annotations

import statistics
import time

import numpy as np

import bayeskit as bk
from bayeskit.storage import make_tree


def main() -> None:
    """Print the median of five verdicts, after one that imports what is needed."""
    post = make_tree({"posterior": {"x": np.random.default_rng(0).normal(size=(4, 1000, 100))}})
    times = []
    for _ in range(6):
        start = time.perf_counter()
        bk.check(post, quiet=True)
        times.append(time.perf_counter() - start)
    print(f"bk.check of 100 parameters     {statistics.median(times[1:]):.2f} s (bar: 1.00)")


if __name__ == "__main__":
    main()
