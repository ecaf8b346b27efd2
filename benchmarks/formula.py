"""Formulas against bambi: posterior means of four regressions, in standard errors of their difference.

    python benchmarks/formula.py [--peer PYTHON] [--draws 2000]

Both sample with four chains of as many draws, each with its own NUTS. `--peer` is a Python that has bambi, where this
one has not (`pip install "bayeskit[bench]"`); it runs in a process of its own. Both must have the same
release of formulae: later ones centre the columns of splines.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

DATA = Path(__file__).resolve().parents[1] / "data"
CHAINS = 4
FORMULAS = {
    "radon": ("log_radon ~ floor + log_uranium + (1 | county)", "normal", "gaussian"),
    "tumours": ("benign ~ texture + smoothness + symmetry", "bernoulli", "bernoulli"),
    "counts": ("count ~ year + habitat + (1 + year | site)", "negative_binomial", "negativebinomial"),
    "crash": ("acceleration ~ bs(milliseconds, df=8)", "student", "t"),
}


def table(name: str) -> pd.DataFrame:
    """Three of the tables in `data/`, and simulated counts of 30 sites in eight years."""
    if name != "counts":
        file = {"radon": "radon", "tumours": "breast_cancer", "crash": "motorcycle"}[name]
        return pd.read_csv(DATA / f"{file}.csv")
    rng = np.random.default_rng(7)
    site, year = np.repeat(np.arange(30), 8), np.tile(np.arange(8.0), 30)
    habitat = rng.choice(["bog", "fen", "wood"], 30)
    level, slope = rng.normal(0.0, 0.6, 30), rng.normal(0.1, 0.12, 30)
    level = level + pd.Series(habitat).map({"bog": 0.8, "fen": 1.3, "wood": 1.8}).to_numpy()
    mean = np.exp(level[site] + slope[site] * year)
    count = rng.negative_binomial(3.0, 3.0 / (3.0 + mean))
    names = np.array([f"s{i:02d}" for i in range(30)])
    return pd.DataFrame({"site": names[site], "year": year, "habitat": habitat[site], "count": count})


def by_bambi(name: str, draws: int, path: Path) -> None:
    """The draws of bambi, as an archive."""
    import bambi

    formula, _, family = FORMULAS[name]
    model = bambi.Model(formula, table(name), family=family)
    start = time.perf_counter()
    found = model.fit(
        draws=draws, tune=1000, chains=CHAINS, cores=1, random_seed=1, progressbar=False, target_accept=0.9
    )
    posterior = {str(n): np.asarray(v) for n, v in found.posterior.data_vars.items()}
    np.savez(path, seconds=time.perf_counter() - start, **{n.replace("/", "%"): v for n, v in posterior.items()})


def by_bayeskit(name: str, draws: int) -> tuple[dict[str, np.ndarray], float]:
    """The draws of bayeskit, and seconds."""
    import jax

    jax.config.update("jax_enable_x64", True)
    import bayeskit as bk

    formula, family, _ = FORMULAS[name]
    start = time.perf_counter()
    method = bk.NUTS(num_chains=CHAINS, num_draws=draws, target_accept=0.9)
    post = bk.infer(bk.formula(formula, family=family), table(name), method, key=1, progress=False)
    print(f"{name}: {'; '.join(f.name for f in bk.check(post, quiet=True).findings) or 'the verdict has no findings'}")
    return {str(n): np.asarray(v) for n, v in post["posterior"].data_vars.items()}, time.perf_counter() - start


def differences(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> pd.Series:
    """Of each element that both have, the difference of means in standard errors."""
    from arviz_stats.base import array_stats

    found = {}
    for name in sorted(ours.keys() & theirs.keys()):
        a, b = (draws[name].reshape(*draws[name].shape[:2], -1) for draws in (ours, theirs))
        if a.shape[2] != b.shape[2]:
            raise SystemExit(f"{name}: shapes {ours[name].shape} and {theirs[name].shape} differ")
        errors = [array_stats.mcse(each, chain_axis=0, draw_axis=1, method="mean") for each in (a, b)]
        for i, z in enumerate(np.atleast_1d((a.mean((0, 1)) - b.mean((0, 1))) / np.hypot(*errors))):
            found[f"{name}[{i}]" if a.shape[2] > 1 else name] = float(z)
    return pd.Series(found)


def main() -> None:
    """Print a row for each data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", default=sys.executable)
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--only", choices=FORMULAS)
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.write:
        by_bambi(given.only, given.draws, given.write)
        return
    rows = []
    for name in [given.only] if given.only else FORMULAS:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "draws.npz")
            command = [given.peer, __file__, "--only", name, "--draws", str(given.draws), "--write", str(path)]
            environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH" or given.peer == sys.executable}
            subprocess.run(command, check=True, env=environment)
            kept = dict(np.load(path))
        theirs, seconds = {n.replace("%", "/"): v for n, v in kept.items() if n != "seconds"}, float(kept["seconds"])
        ours, own = by_bayeskit(name, given.draws)
        z = differences(ours, theirs)
        formula, family, _ = FORMULAS[name]
        largest = f"{z.abs().max():.2f} ({z.abs().idxmax()})"
        rows.append(f"| {name} | `{formula}` | {family} | {len(z)} | {largest} | {own:.0f} | {seconds:.0f} |")
        print(rows[-1], flush=True)
    print("\n| data | formula | family | elements | largest difference, standard errors | bayeskit, s | bambi, s |")
    print("\n".join(["|---|---|---|---|---|---|---|", *rows]))


if __name__ == "__main__":
    main()
