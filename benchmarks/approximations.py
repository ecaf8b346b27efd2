"""Approximations on the reference posteriors, in Markdown: ``python benchmarks/approximations.py --help``.

First a table with a line for each posterior and method: the worst distance of a mean from its reference, in posterior
standard deviations; the smallest and largest ratio of a standard deviation to its reference; the Pareto k; what
`bayeskit.check` says; and whether the moments are right: every mean within 0.3 standard deviations, every ratio from
0.8 to 1.25. After it, how often the verdict is bad, and the results that are wrong and pass as good.

Then a table of what NUTS needs when it starts from Pathfinder: gradients of the warmup of four chains from the default
start, and from Pathfinder's draws with Pathfinder's own gradients added (its evaluations of the density alone stand
beside them), with the same warmup, and with a third of it; and the verdict of a thousand draws a chain after the
latter.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
os.environ.setdefault("PJRT_NPROC", "16")

import conftest  # noqa: F401  the settings of JAX under which the tests run
from reference.comparison import select
from reference.table import REFERENCES, Reference

import bayeskit as bk
from bayeskit.inference.starting import start

MAX_SHIFT, MAX_RATIO = 0.3, 1.25
METHODS: dict[str, Callable[[], bk.inference.Method]] = {
    "Pathfinder": lambda: bk.Pathfinder(num_paths=8),
    "Laplace": bk.Laplace,
    "VI full rank": lambda: bk.VI(guide=bk.guides.FullRank(), num_steps=4000),
}
if hasattr(bk, "SMC"):
    METHODS["SMC"] = lambda: bk.SMC()
SHORT = 333


@dataclass(frozen=True)
class Score:
    shift: float
    least: float
    most: float
    k: float
    verdict: str
    ok: bool
    seconds: float

    @property
    def right(self) -> bool:
        return self.shift < MAX_SHIFT and self.least >= 1 / MAX_RATIO and self.most <= MAX_RATIO


def score(reference: Reference, method: bk.inference.Method, key: int) -> Score:
    begin = time.perf_counter()
    post = bk.infer(reference.model, reference.data, method, key=key, init=reference.init, progress=False)
    seconds = time.perf_counter() - begin
    values = {name: draws.to_numpy() for name, draws in post["posterior"].data_vars.items()}
    draws = {name: select(values, name) for name in reference.values}
    shifts = [abs(draws[name].mean() - known["mean"]) / known["sd"] for name, known in reference.values.items()]
    ratios = [draws[name].std() / known["sd"] for name, known in reference.values.items()]
    verdict = bk.check(post, quiet=True)
    k = next((measure.value for measure in verdict.measures if measure.name == "max Pareto k"), np.nan)
    said = "OK" if verdict.ok else ", ".join(f.name for f in verdict.findings if f.severity == "error")
    return Score(max(shifts), min(ratios), max(ratios), k, said, verdict.ok, seconds)


def approximations(references: list[Reference], key: int) -> None:
    print("| posterior | method | worst mean | sds | Pareto k | verdict | right | seconds |")
    print("|---|---|---:|---:|---:|---|---|---:|")
    scores: dict[tuple[str, str], Score] = {}
    for reference in references:
        for name, make in METHODS.items():
            try:
                one = scores[reference.name, name] = score(reference, make(), key)
            except bk.errors.BayeskitError as error:
                print(f"| `{reference.name}` | {name} | | | | raises: {str(error)[:70]} ... | | |", flush=True)
                continue
            cells = [f"{one.shift:.2f}", f"{one.least:.2f} to {one.most:.2f}", f"{one.k:.2f}", one.verdict]
            cells += ["yes" if one.right else "no", f"{one.seconds:.1f}"]
            print(f"| `{reference.name}` | {name} | {' | '.join(cells)} |", flush=True)
    print()
    for name in METHODS:
        mine = {posterior: one for (posterior, method), one in scores.items() if method == name}
        wrong = [posterior for posterior, one in mine.items() if one.ok and not one.right]
        cautious = [posterior for posterior, one in mine.items() if one.right and not one.ok]
        print(
            f"* {name}: right on {sum(one.right for one in mine.values())} of {len(references)}; "
            f"{len(references) - len(mine)} raise; verdict bad on {sum(not one.ok for one in mine.values())}; "
            f"wrong and passed as good: {', '.join(wrong) or 'none'}; "
            f"right and called bad: {', '.join(cautious) or 'none'}"
        )


def warmup_gradients(reference: Reference, num_warmup: int, key: int, init: object) -> int:
    """Leapfrog steps of four chains."""
    method = bk.NUTS(num_warmup=num_warmup, target_accept=reference.target_accept)
    target = bk.Target(bk.bind(reference.model, reference.data))
    start_key, run_key = jax.random.split(jax.random.PRNGKey(key))
    positions, _ = start(target, start_key, method, init)
    _, draws = method.advance(method.init(run_key, target, positions), target, num_warmup)
    return int(draws.stats["n_steps"].sum())


def warmups(references: list[Reference], key: int) -> None:
    print(
        "\n| posterior | warmup alone | Pathfinder | densities | and warmup from it | and a third of it | verdict "
        "then |"
    )
    print("|---|---:|---:|---:|---:|---:|---|")
    same = third = 0
    for reference in references:
        fast = bk.infer(reference.model, reference.data, bk.Pathfinder(), key=key, init=reference.init, progress=False)
        own, densities = int(fast.attrs["num_gradients"]), int(fast.attrs["num_densities"])
        alone = warmup_gradients(reference, 1000, key, reference.init)
        after = own + warmup_gradients(reference, 1000, key, fast)
        short = own + warmup_gradients(reference, SHORT, key, fast)
        method = bk.NUTS(num_warmup=SHORT, target_accept=reference.target_accept)
        post = bk.infer(reference.model, reference.data, method, key=key, init=fast, progress=False)
        ok = bk.check(post, quiet=True).ok
        same, third = same + (after <= alone), third + (short <= alone and ok)
        cells = [str(number) for number in (alone, own, densities, after, short)] + ["OK" if ok else "bad"]
        print(f"| `{reference.name}` | {' | '.join(cells)} |", flush=True)
    print(f"\n* no more gradients in all with the same warmup: {same} of {len(references)}")
    print(f"* no more with a third of the warmup, and a good verdict: {third} of {len(references)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("names", nargs="*", help="posteriors whose name contains one of these; all by default")
    parser.add_argument("--key", type=int, default=0)
    parser.add_argument("--only", choices=("approximations", "warmups"))
    settings = parser.parse_args()
    chosen = [r for r in REFERENCES if not settings.names or any(name in r.name for name in settings.names)]
    if settings.only != "warmups":
        approximations(chosen, settings.key)
    if settings.only != "approximations":
        warmups(chosen, settings.key)


if __name__ == "__main__":
    main()
