"""Variational inference on data in their own units: two regressions of posteriordb, by four ways of fitting.

    python benchmarks/vi_units.py

Prints, for each, the largest distance of a posterior mean from the published one in published standard deviations, the
range of the ratios of the standard deviations, the bound, Pareto's k, and the time with compilation. Needs the folder
of published posteriors (`tests/reference`).
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[1] / "tests")]

import jax

jax.config.update("jax_enable_x64", True)

import numpy as np
import xarray as xr
from reference.table import REFERENCES, Reference

import bayeskit as bk

LANDING = bk.objectives.ELBO(8, sticking_the_landing=True)
WAYS = {
    "full_rank(), Adam, 10,000 steps": bk.VI(guide=bk.guides.FullRank(), objective=LANDING),
    "full_rank(), natural, 500 steps": bk.VI(
        guide=bk.guides.FullRank(), objective=LANDING, optimizer="natural", num_steps=500
    ),
    "laplace_guide(), no steps": bk.VI(guide=bk.guides.Laplace(), num_steps=0),
    "laplace_guide(), Adam, 1,000 steps": bk.VI(guide=bk.guides.Laplace(), objective=LANDING, num_steps=1000),
}
NAMES = ("kidiq-kidscore_momiq", "kidiq-kidscore_interaction")


def against(post: xr.DataTree, reference: Reference) -> tuple[float, float, float]:
    """Largest distance of a mean; smallest and largest ratio of standard deviations."""
    shifts, ratios = [], []
    for label, published in reference.values.items():
        name, *index = re.split(r"[\[\],]", label.rstrip("]"))
        draws = post[f"posterior/{name}"].values
        draws = draws[(..., *[int(i) - 1 for i in index])] if index else draws
        shifts.append(abs(draws.mean() - published["mean"]) / published["sd"])
        ratios.append(draws.std() / published["sd"])
    return max(shifts), min(ratios), max(ratios)


def main() -> None:
    references = {reference.name: reference for reference in REFERENCES}
    for name in NAMES:
        for way, method in WAYS.items():
            post = bk.infer(references[name].model, references[name].data, method, key=0, progress=False)
            verdict = bk.check(post, quiet=True)
            k = next(measure.value for measure in verdict.measures if measure.name == "max Pareto k")
            shift, low, high = against(post, references[name])
            bound = float(np.mean(post["sample_stats/log_weight"]))
            print(
                f"{name:28} {way:36} mean {shift:8.3f} sd {low:6.3f} to {high:6.3f} bound {bound:10.2f} k {k:5.2f} "
                f"{'ok' if verdict.ok else 'not ok':7} {post.attrs['wall_time']:.1f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
