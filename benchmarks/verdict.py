"""How often is the verdict wrong? Runs of good and broken settings on posteriors whose moments are known.

    python benchmarks/verdict.py --keys 8 --json verdict.json

Each setting (`verdict_settings.py`) is run with so many keys, and again with as many that were looked at by nobody
while the verdict was made (held out). With the mean m and the standard deviation s of all draws of a quantity, their
Monte Carlo errors e_m and e_s by `bayeskit.summary`, or those of 400 independent draws where that is less, and the true
moments mu and sigma, a run is

wrong      where for some quantity |m - mu| > sigma / 4 + 4 e_m, or s is off by a factor of more than
           1.15 + 4 e_s / sigma (the limits that the verdict sets to the draws of a guide), or a number is not finite;
right      where for all quantities |m - mu| <= sigma / 10 + 4 e_m and |s - sigma| <= sigma / 10 + 4 e_s, and the draws
           are worth 400 independent ones by bulk and tail effective sample size: what a user has asked for;
between    else: too few draws, or errors between the limits. Either verdict is fair.

Printed are counts by setting, and the shares of right runs called bad and of wrong ones called good, each with the 95%
interval of Clopper and Pearson. Draws whose weights are stored beside them are judged as they are.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

import jax

jax.config.update("jax_enable_x64", True)

import numpy as np
from scipy.stats import beta

import bayeskit as bk
from benchmarks.verdict_settings import SETTINGS, Setting

FAR, NEAR, RATIO = 0.25, 0.1, 1.15
ENOUGH = 400
HELD_OUT = 7000
KINDS = ("right", "between", "wrong")


def kind_of(post, problem) -> str:
    """Whether a result is right, wrong, or between."""
    truth = problem.truth
    table = bk.summary(post, list(truth))
    mu, sigma = (np.concatenate([np.atleast_1d(truth[name][i]).ravel() for name in truth]) for i in (0, 1))
    mean, sd, ess = table["mean"].to_numpy(), table["sd"].to_numpy(), table[["ess_bulk", "ess_tail"]].to_numpy()
    limits = (sigma / np.sqrt(ENOUGH), sigma * np.sqrt((problem.kurtosis - 1) / (4 * ENOUGH)))
    e_mean, e_sd = (
        np.fmin(table[name].to_numpy(), limit) for name, limit in zip(("mcse_mean", "mcse_sd"), limits, strict=True)
    )
    if not (np.isfinite(mean).all() and np.isfinite(sd).all()):
        return "wrong"
    off, ratio = np.abs(mean - mu), np.maximum(sd / sigma, sigma / np.maximum(sd, 1e-300))
    if (off > FAR * sigma + 4 * e_mean).any() or (ratio > RATIO + 4 * e_sd / sigma).any():
        return "wrong"
    close = (off <= NEAR * sigma + 4 * e_mean).all() and (np.abs(sd - sigma) <= NEAR * sigma + 4 * e_sd).all()
    return "right" if close and (ess >= ENOUGH).all() else "between"


def run(setting: Setting, key: int) -> dict[str, object]:
    """One run: its kind, whether the verdict is good, and what it found."""
    problem = setting.problem
    post = bk.infer(problem.model, problem.data, setting.method, key=key, init=setting.init, progress=False)
    verdict = bk.check(post, quiet=True)
    return {
        "setting": setting.name,
        "key": key,
        "kind": kind_of(post, problem),
        "good": verdict.ok,
        "findings": [finding.name for finding in verdict.findings if finding.severity == "error"],
    }


def rate(wrong: int, total: int) -> str:
    """A share with its interval."""
    if not total:
        return "none"
    low = beta.ppf(0.025, wrong, total - wrong + 1) if wrong else 0.0
    high = beta.ppf(0.975, wrong + 1, total - wrong) if wrong < total else 1.0
    return f"{wrong} of {total}: {wrong / total:.1%} ({low:.1%} to {high:.1%})"


def report(rows: list[dict[str, object]], title: str) -> None:
    """The table of a set of keys, in Markdown."""
    print(f"\n{title}\n\n| setting | right: good, bad | between: good, bad | wrong: good, bad | errors found |")
    print("|---|---:|---:|---:|---|")
    for name in dict.fromkeys(row["setting"] for row in rows):
        own = [row for row in rows if row["setting"] == name]
        counts = Counter((row["kind"], row["good"]) for row in own)
        cells = [f"{counts[kind, True]}, {counts[kind, False]}" for kind in KINDS]
        found = Counter(finding for row in own for finding in row["findings"])
        print(f"| {name} | {' | '.join(cells)} | {', '.join(f'{n} {c}' for n, c in found.most_common(4))} |")
    right, wrong = ([r for r in rows if r["kind"] == kind] for kind in ("right", "wrong"))
    print(f"\n{len(rows)} runs. Right called bad: {rate(sum(not r['good'] for r in right), len(right))}.")
    print(f"Wrong called good: {rate(sum(r['good'] for r in wrong), len(wrong))}.", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, default=8, help="runs of each setting in each set (%(default)s)")
    parser.add_argument("--only", default="", help="settings whose name contains this")
    parser.add_argument("--json", type=Path, help="a file for all runs")
    parser.add_argument("--held-out", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args()
    begin, sets = time.perf_counter(), {"keys in use": 0, **({"held out": HELD_OUT} if options.held_out else {})}
    rows: dict[str, list[dict[str, object]]] = {name: [] for name in sets}
    for setting in SETTINGS:
        if options.only not in setting.name:
            continue
        start = time.perf_counter()
        for name, first in sets.items():
            rows[name] += [run(setting, first + key) for key in range(options.keys)]
        print(f"{setting.name}: {time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)
        if options.json:
            options.json.write_text(json.dumps(rows, indent=1))
    for name, found in rows.items():
        report(found, name)
    print(f"\n{time.perf_counter() - begin:.0f} s on {jax.devices()[0].device_kind}")


if __name__ == "__main__":
    main()
