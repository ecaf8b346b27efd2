"""The table of reference posteriors in Markdown: ``python benchmarks/reference_posteriors.py --help``.

A line for each posterior and backend: over the keys, the worst R-hat and z-score, the median of the smallest bulk
effective sample size and of the seconds of warmup and sampling, and in how many runs every bound was met. Each run is
logged to the standard error as it ends.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from statistics import median

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
os.environ.setdefault("PJRT_NPROC", "16")  # with as few as chains, Cholesky factorisations can wait for each other

import conftest  # noqa: F401  the settings of JAX under which the tests run
from reference.drawing import BACKENDS, KEY, Outcome, draw
from reference.table import REFERENCES, Reference

HEAD = """\
| posterior | backend | max R-hat | min bulk ESS | max abs z | divergences | seconds | ESS per second | passed |
|---|---|---:|---:|---:|---:|---:|---:|---:|"""


def worst_rhat(outcome: Outcome) -> float:
    return float(np.max([row.rhat for row in outcome.rows]))


def smallest_ess(outcome: Outcome) -> float:
    return float(np.min([row.ess for row in outcome.rows]))


def worst_z(outcome: Outcome) -> float:
    return float(np.max(np.abs([(row.z_mean, row.z_sd) for row in outcome.rows])))


def line(name: str, backend: str, outcomes: list[Outcome]) -> str:
    """One row of the table."""
    passed = sum(not outcome.failures for outcome in outcomes)
    cells = [
        f"`{name}`",
        backend,
        f"{max(map(worst_rhat, outcomes)):.4f}",
        f"{median(map(smallest_ess, outcomes)):.0f}",
        f"{max(map(worst_z, outcomes)):.2f}",
        f"{sum(outcome.divergences for outcome in outcomes)}",
        f"{median(outcome.seconds for outcome in outcomes):.2f}",
        f"{median(smallest_ess(outcome) / outcome.seconds for outcome in outcomes):.0f}",
        f"{passed} of {len(outcomes)}",
    ]
    return f"| {' | '.join(cells)} |"


def run(reference: Reference, backend: str, key: int, default_start: bool) -> Outcome:
    """One run, logged with its failures."""
    outcome = draw(reference, backend, key, default_start=default_start)
    verdict = "; ".join(outcome.failures[:3]) or "passed"
    scores = f"R-hat {worst_rhat(outcome):.4f}, ESS {smallest_ess(outcome):.0f}, z {worst_z(outcome):.2f}"
    print(f"{reference.name} {backend} key {key}: {scores}, {outcome.seconds:.2f} s: {verdict}", file=sys.stderr)
    return outcome


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("names", nargs="*", help="posteriors whose name contains one of these; all by default")
    parser.add_argument("--backends", nargs="+", choices=BACKENDS, default=BACKENDS)
    parser.add_argument("--keys", type=int, default=1, help="runs of each, with successive keys (default 1)")
    parser.add_argument("--default-start", action="store_true", help="uniform starts instead of the table's")
    settings = parser.parse_args()
    print(HEAD, flush=True)
    for reference in REFERENCES:
        if settings.names and not any(name in reference.name for name in settings.names):
            continue
        for backend in settings.backends:
            keys = range(KEY, KEY + settings.keys)
            outcomes = [run(reference, backend, key, settings.default_start) for key in keys]
            print(line(reference.name, backend, outcomes), flush=True)


if __name__ == "__main__":
    main()
