"""NUTS side by side with its peers: minimum bulk ESS per second of sampling.

    python benchmarks/nuts.py [problem ...] [--rows ROW ...] [--repeats 5] [--limit 200] [--json FILE]

4 chains of 1,000 + 1,000 steps, float64. Each row is a fresh process, so that no library runs with what another has
compiled, cached or started, and each has the devices that it is documented to want. The columns:

compile s      what the first call takes beyond another with the same seed, with what compiles before it
sampling s     warmup and sampling, compiled; of `bayeskit` all of `bk.infer`, starting points and DataTree included
min ESS        the smallest bulk effective sample size of any parameter
ESS/s          the one over the other; (its least and its most)
gradients      leapfrog steps a draw, after warmup
divergences    of the 4,000 draws

All are medians of the repeats. Below each problem: by how many standard errors the posterior mean of any parameter in
one row differs from that in the others. Samplers of the same posterior stay below 5.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np

from benchmarks.problem_data import DATA
from benchmarks.versions import XLA_FLAG, versions

ROWS = (
    "numpyro parallel",
    "numpyro vectorized",
    "blackjax parallel",
    "blackjax vectorized",
    "nutpie",
    "bayeskit numpyro",
    "bayeskit blackjax",
)
OURS = "bayeskit blackjax"  # bk.NUTS() as it comes
PEERS = {"NumPyro": "numpyro", "BlackJAX": "blackjax", "nutpie": "nutpie"}
NEEDED = {"nutpie": ("nutpie", "pymc", "numba")}
# Programs of several devices that share the threads of Eigen's loops can wait for each other forever.
XLA_FLAGS = f"{XLA_FLAG} --xla_cpu_multi_thread_eigen=false"


def environment(row: str, caches: str) -> dict[str, str]:
    """Of the process of a row: four host devices for parallel chains, and no compiled program of an earlier process."""
    flags = f"{XLA_FLAGS} {os.environ.get('XLA_FLAGS', '')}"
    if row.endswith("parallel"):
        flags += " --xla_force_host_platform_device_count=4"
    own = {"XLA_FLAGS": flags, "PYTENSOR_FLAGS": f"base_compiledir={caches}", "NUMBA_CACHE_DIR": caches}
    if row == "nutpie":  # its chains are threads: those of OpenBLAS in each can make it thirty times as slow
        own["OPENBLAS_NUM_THREADS"] = "1"
    inherited = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    return {**inherited, **own}


def measure(row: str, problem: str, repeats: int, limit: float) -> dict | str:
    """What `nuts_row.py` found, or why it found nothing."""
    if any(importlib.util.find_spec(name) is None for name in NEEDED.get(row, ())):
        return "not installed"
    command = [sys.executable, str(ROOT / "benchmarks" / "nuts_row.py"), row, problem]
    options = ["--repeats", str(repeats), "--limit", str(limit)]
    with tempfile.TemporaryDirectory() as caches:
        done = subprocess.run(
            [*command, *options], env=environment(row, caches), capture_output=True, text=True, check=False
        )
    if done.returncode:
        reason = done.stderr.strip().splitlines()
        return f"failed: {reason[-1] if reason else f'exit status {done.returncode}'}"
    found = json.loads(done.stdout.splitlines()[-1])
    return {**found, "rates": [ess / s for ess, s in zip(found["ess"], found["seconds"], strict=True)]}


def line(row: str, found: dict | str) -> str:
    """A row of the table."""
    if isinstance(found, str):
        return f"{row:20} {found}"
    compiling = f"{found['compile_seconds']:.1f}{'*' if found['is_lone'] else ' '}"
    spread = f"({min(found['rates']):.0f}–{max(found['rates']):.0f})"
    return (
        f"{row:20}{compiling:>10}{median(found['seconds']):12.2f}{median(found['ess']):9.0f}{median(found['rates']):9.0f}"
        f"{spread:>17}{median(found['gradients']):11.1f}{median(found['divergences']):13.0f}"
    )


HEAD = (
    f"{'':20}{'compile s':>10}{'sampling s':>12}{'min ESS':>9}{'ESS/s':>9}{'(min–max)':>17}{'gradients':>11}"
    f"{'divergences':>13}"
)


def disagreement(rows: dict[str, dict]) -> tuple[float, str]:
    """Largest difference between a posterior mean of one row and that of the others, in standard errors; and which row.

    The others are averaged with the inverses of their squared errors as weights.
    """
    mean, weight = (np.array([found[key] for found in rows.values()]) for key in ("mean", "error"))
    weight = weight**-2
    rest = weight.sum(0) - weight
    others = ((weight * mean).sum(0) - weight * mean) / rest
    z = np.abs(mean - others) / np.sqrt(1 / weight + 1 / rest)
    worst = z.max(1)
    return float(worst.max()), list(rows)[int(worst.argmax())]


def ratios(rows: dict[str, dict]) -> dict[str, float]:
    """ESS/s of `bk.NUTS()` over that of the best row of each peer."""
    rate = {row: median(found["rates"]) for row, found in rows.items()}
    if OURS not in rate:
        return {}
    best = {peer: [r for row, r in rate.items() if row.startswith(prefix)] for peer, prefix in PEERS.items()}
    return {peer: rate[OURS] / max(found) for peer, found in best.items() if found}


def measure_problem(problem: str, rows: Sequence[str], repeats: int, limit: float) -> dict:
    """Measure rows of one problem and print them as they come."""
    print(f"\n{problem}\n{HEAD}", flush=True)
    all_rows = {}
    for row in rows:
        all_rows[row] = measure(row, problem, repeats, limit)
        print(line(row, all_rows[row]), flush=True)
    measured = {row: found for row, found in all_rows.items() if isinstance(found, dict)}
    if any(found["is_lone"] for found in measured.values()):
        print(f"* called once, since that took longer than {limit:g} s: the seconds include what it compiled")
    found = {"rows": all_rows, "ratios": ratios(measured)}
    if len(measured) > 1:
        z, row = disagreement(measured)
        print(f"posterior means {'agree' if z < 5 else 'DIFFER'}: the largest |z| is {z:.1f}, of {row}")
        found |= {"largest_z": z, "largest_z_of": row}
    return found


def main() -> None:
    """Print one table a problem, and the ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog=__doc__.partition("\n\n")[2].partition("\n\n")[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("problems", nargs="*", help=f"all of them by default: {', '.join(DATA)}")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW", help="all by default")
    parser.add_argument("--repeats", type=int, default=5, help="timed calls of each sampler (%(default)s)")
    parser.add_argument(
        "--limit", type=float, default=200.0, metavar="SECONDS",
        help="a sampler whose first call takes longer is not called again (%(default)g)",
    )  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all that was measured, after each problem")
    arguments = parser.parse_args()
    problems = arguments.problems or list(DATA)
    if unknown := set(problems) - DATA.keys():
        parser.error(f"no problem {', '.join(sorted(unknown))}; there are {', '.join(DATA)}")
    if arguments.repeats < 1:
        parser.error("--repeats must be at least 1")

    flags = environment("", "")["XLA_FLAGS"].strip()
    record = {
        "versions": versions(),
        "machine": {"platform": platform.platform(), "cores": os.cpu_count()},
        "settings": {
            "repeats": arguments.repeats,
            "limit": arguments.limit,
            "xla_flags": flags,
        },
        "problems": {},
    }
    print(", ".join(f"{name} {found}" for name, found in record["versions"].items()))
    print(f"{record['machine']['platform']}, {os.cpu_count()} cores; XLA_FLAGS={flags}")
    for problem in problems:
        record["problems"][problem] = measure_problem(problem, arguments.rows, arguments.repeats, arguments.limit)
        if arguments.json:
            arguments.json.write_text(json.dumps(record, indent=1))

    print(f"\n{'ESS/s of bk.NUTS() over':26}" + "".join(f"{peer:>10}" for peer in PEERS))
    for problem, found in record["problems"].items():
        cells = (f"{found['ratios'][peer]:10.2f}" if peer in found["ratios"] else f"{'–':>10}" for peer in PEERS)
        lone = any(isinstance(row, dict) and row["is_lone"] for row in found["rows"].values())
        print(f"{problem:26}{''.join(cells)}{'  some called once, compilation included' if lone else ''}")


if __name__ == "__main__":
    main()
