"""How often the verdict of a first run is good on seven demanding posteriors, by the default and by NumPyro's sampler.

    python benchmarks/demanding.py [posterior ...] [--keys 10] [--methods default numpyro window]

Four chains of 1,000 + 1,000 steps with default settings, 64 bit. For each posterior and method: in how many runs
`bk.check` found no error, the smallest bulk effective sample size and the gradients a draw (medians over the keys),
divergences in all runs, and the largest |z| of a mean or standard deviation against a long run of NumPyro's sampler
(`data/demanding`, made by `--reference`). Each run is logged to the standard error as it ends.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from statistics import median

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
os.environ.setdefault("PJRT_NPROC", "16")

import jax

jax.config.update("jax_enable_x64", True)

from reference.comparison import Row, compare, mcse_mean, mcse_sd
from reference.models.demanding import DEMANDING, FOLDER

import bayeskit as bk

METHODS = {
    "default": bk.NUTS(),
    "numpyro": bk.NUTS(backend="numpyro"),
    "window": bk.NUTS(adaptation="window"),
}
LONG = bk.NUTS(backend="numpyro", num_warmup=2000, num_draws=5000, target_accept=0.98)

HEAD = """\
| posterior | method | good | min bulk ESS | gradients a draw | divergences | max abs z |
|---|---|---:|---:|---:|---:|---:|"""


def elements(post: object) -> dict[str, np.ndarray]:
    """Draws of every element of every latent site that varies, by a name counted from one."""
    found = {}
    for name, site in post["posterior"].data_vars.items():
        for index in np.ndindex(site.shape[2:]):
            draws = site.to_numpy()[(..., *index)]
            label = f"{name}[{','.join(str(i + 1) for i in index)}]" if index else str(name)
            if np.ptp(draws) > 0:
                found[label] = draws
    return found


def reference(name: str) -> dict[str, dict[str, float]]:
    return json.loads((FOLDER / f"{name}.json").read_text())


def write_reference(name: str) -> None:
    """Means and standard deviations of a long run, with their Monte Carlo errors."""
    model, arguments = DEMANDING[name]
    post = bk.infer(model, arguments(), LONG, key=1)
    print(bk.check(post, quiet=True), file=sys.stderr)
    rows = {}
    for label, draws in elements(post).items():
        errors = {"mcse_mean": mcse_mean(draws), "mcse_sd": mcse_sd(draws)}
        numbers = {"mean": draws.mean(), "sd": draws.std(ddof=1), **errors}
        rows[label] = {key: float(f"{number:.6g}") for key, number in numbers.items()}
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{name}.json").write_text(json.dumps(rows, indent=1) + "\n")


def run(name: str, method: str, key: int) -> dict[str, float]:
    """One run, logged."""
    model, arguments = DEMANDING[name]
    post = bk.infer(model, arguments(), METHODS[method], key=key, progress=False)
    verdict = bk.check(post, quiet=True)
    values = {site: draws.to_numpy() for site, draws in post["posterior"].data_vars.items()}
    rows: list[Row] = compare(values, reference(name)) if (FOLDER / f"{name}.json").exists() else []
    found = {
        "good": float(verdict.ok),
        "ess": min(row.ess for row in rows) if rows else float("nan"),
        "gradients": float(post["sample_stats/n_steps"].mean()),
        "divergences": float(post["sample_stats/diverging"].sum()),
        "z": max((max(abs(row.z_mean), abs(row.z_sd)) for row in rows), default=float("nan")),
    }
    print(name, method, key, found, file=sys.stderr, flush=True)
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=list(DEMANDING), help=", ".join(DEMANDING))
    parser.add_argument("--keys", type=int, default=10, help="runs of each, with keys from 0 on (default 10)")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=["default", "numpyro"])
    parser.add_argument("--reference", action="store_true", help="make the references anew, nothing else")
    settings = parser.parse_args()
    if settings.reference:
        for name in settings.names:
            write_reference(name)
        return
    print(HEAD, flush=True)
    for name in settings.names:
        for method in settings.methods:
            runs = [run(name, method, key) for key in range(settings.keys)]
            column = {key: [one[key] for one in runs] for key in runs[0]}
            cells = [
                f"{sum(column['good']):.0f} of {len(runs)}",
                f"{median(column['ess']):.0f}",
                f"{median(column['gradients']):.1f}",
                f"{sum(column['divergences']):.0f}",
                f"{max(column['z']):.1f}",
            ]
            print(f"| `{name}` | {method} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
