"""One row of the table of `nuts.py`: one sampler on one problem, in a process of its own; prints JSON.

python benchmarks/nuts_row.py ROW PROBLEM --repeats 5 --limit 200
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
warnings.filterwarnings("ignore")

import numpy as np
from arviz_stats.base import array_stats

from benchmarks import peers


@dataclasses.dataclass(frozen=True)
class Measured:
    """What a row says.

    `compile_seconds` is what the first call takes beyond another call with the same seed, and what is done before it
    (`nutpie` compiles there). A sampler whose first call takes longer than the limit is not called again (`is_lone`):
    then `seconds` are those of that call, with what it compiled, and `compile_seconds` are those before it.

    Lists have one element a run; `mean` and `error`, of the first run, one a parameter, with the Monte Carlo error.
    """

    compile_seconds: float
    is_lone: bool
    seconds: list[float]
    ess: list[float]
    gradients: list[float]
    divergences: list[int]
    mean: list[float]
    error: list[float]


def columns(draws: np.ndarray) -> list[np.ndarray]:
    """One array (chain, draw) a parameter."""
    return [draws[:, :, i] for i in range(draws.shape[2])]


def ess(column: np.ndarray, method: str) -> float:
    """Effective sample size of one parameter."""
    return float(array_stats.ess(column, chain_axis=0, draw_axis=1, method=method))


def measure(make: Callable[[], peers.Sampler], repeats: int, limit: float) -> Measured:
    """Call a sampler once to compile it, and then with seeds 0, 1, ... under the clock."""
    start = time.perf_counter()
    sampler = make()
    before = time.perf_counter() - start
    first = sampler(0)
    is_lone = first.seconds > limit
    runs = [first] if is_lone else [sampler(seed) for seed in range(repeats)]
    lone = columns(runs[0].draws)
    return Measured(
        compile_seconds=before + first.seconds - runs[0].seconds,
        is_lone=is_lone,
        seconds=[run.seconds for run in runs],
        ess=[min(ess(column, "bulk") for column in columns(run.draws)) for run in runs],
        gradients=[run.gradients for run in runs],
        divergences=[run.divergences for run in runs],
        mean=[float(column.mean()) for column in lone],
        error=[float(column.std() / np.sqrt(ess(column, "mean"))) for column in lone],
    )


def maker(row: str, problem: str) -> Callable[[], peers.Sampler]:
    """The sampler of a row, its libraries imported: these seconds are not counted."""
    import jax

    jax.config.update("jax_enable_x64", True)
    from benchmarks.models import PROBLEMS

    model, data = PROBLEMS[problem]()
    sites = peers.latent_sites(model, data)
    library, _, way = row.partition(" ")
    if library == "nutpie":
        import nutpie  # noqa: F401
        import pymc  # noqa: F401

        return lambda: peers.nutpie(problem, data, sites)
    make = {"numpyro": peers.numpyro, "blackjax": peers.blackjax, "bayeskit": peers.bayeskit}[library]
    __import__(library)
    return lambda: make(model, data, sites, way)


def main() -> None:
    """Measure one row."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("row")
    parser.add_argument("problem")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--limit", type=float, default=200.0)
    arguments = parser.parse_args()
    found = measure(maker(arguments.row, arguments.problem), arguments.repeats, arguments.limit)
    print(json.dumps(dataclasses.asdict(found)))


if __name__ == "__main__":
    main()
