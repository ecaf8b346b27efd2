"""NUTS side by side with its peers, in one process: minimum bulk ESS per second of sampling.

    python benchmarks/nuts.py [problem ...] [--repeats 3]

4 chains of 1,000 + 1,000 steps, float64, median of the repeats. Seconds are those of warmup and sampling together,
after a first run that compiles; compile time is shown apart.
The seconds of `bayeskit` are those of all of `bk.infer`, starting points and DataTree included.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"
os.environ["XLA_FLAGS"] += " --xla_cpu_multi_thread_eigen=false"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import numpy as np

jax.config.update("jax_enable_x64", True)
warnings.filterwarnings("ignore")

from arviz_stats.base import array_stats

from benchmarks import peers
from benchmarks.models import PROBLEMS

ROWS: dict[str, Callable] = {
    "numpyro parallel": lambda model, data: peers.numpyro(model, data, "parallel"),
    "numpyro vectorized": lambda model, data: peers.numpyro(model, data, "vectorized"),
    "blackjax parallel": lambda model, data: peers.window_adaptation(model, data, "parallel"),
    "blackjax vectorized": lambda model, data: peers.window_adaptation(model, data, "vectorized"),
    "nutpie": peers.nutpie,
    "bayeskit numpyro": lambda model, data: peers.ours(model, data, "numpyro"),
    "bayeskit blackjax": lambda model, data: peers.ours(model, data, "blackjax"),
}


PEERS = ("numpyro", "blackjax", "nutpie")


def min_ess(draws: np.ndarray) -> float:
    """Smallest bulk ESS over the coordinates."""
    columns = (draws[:, :, i] for i in range(draws.shape[2]))
    return min(float(array_stats.ess(column, chain_axis=0, draw_axis=1, method="bulk")) for column in columns)


def measure(make: Callable, model: Callable, data: dict, repeats: int) -> tuple[float, float, float, float] | None:
    """Seconds of the first call beyond the others, and medians of ESS, seconds and ESS per second."""
    sampler = make(model, data)
    if sampler is None:
        return None
    start = time.perf_counter()
    sampler(0)
    first = time.perf_counter() - start
    runs = [sampler(seed) for seed in range(1, repeats + 1)]
    ess = [min_ess(draws) for draws, _ in runs]
    seconds = [duration for _, duration in runs]
    rates = [e / s for e, s in zip(ess, seconds, strict=True)]
    return first - float(np.median(seconds)), float(np.median(ess)), float(np.median(seconds)), float(np.median(rates))


def main() -> None:
    """Print one table a problem."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("problems", nargs="*", default=list(PROBLEMS), help=", ".join(PROBLEMS))
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    ratios = []
    for problem in arguments.problems:
        model, data = PROBLEMS[problem]()
        found = {name: measure(make, model, data, arguments.repeats) for name, make in ROWS.items()}
        print(f"\n{problem}\n{'':22}{'compile s':>11}{'sampling s':>12}{'min ESS':>10}{'ESS/s':>10}")
        for name, row in found.items():
            if row is None:
                print(f"{name:22}{'not installed':>11}")
            else:
                print(f"{name:22}{row[0]:11.1f}{row[2]:12.2f}{row[1]:10.0f}{row[3]:10.0f}", flush=True)
        rate = {name: row[3] for name, row in found.items() if row is not None}
        best = [max((r for n, r in rate.items() if n.startswith(peer)), default=np.nan) for peer in PEERS]
        ratios.append((problem, *(rate["bayeskit blackjax"] / peer for peer in best)))
    print(f"\nbk.NUTS() as a ratio to{'NumPyro':>14}{'BlackJAX':>12}{'nutpie':>10}")
    for problem, *row in ratios:
        print(f"{problem:24}" + "".join(f"{value:>13.2f}" for value in row))


if __name__ == "__main__":
    main()
