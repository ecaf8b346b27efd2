"""Leave-one-county-out of the radon model, by importance weights and by brute force.

    python benchmarks/loo.py

Fits the hierarchical regression of `models/radon.py` to all houses, estimates the log predictive density of each county
from that fit, then leaves out twelve counties, of all sizes, one after another, and fits again. Prints the difference
beside Pareto's k and the Monte Carlo error of the brute force; and the difference of `bk.loo` to `arviz_stats.loo`.
"""

from __future__ import annotations

import runpy
import sys
import time
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

import jax

jax.config.update("jax_enable_x64", True)

import arviz_stats
import numpy as np
from numpyro.primitives import Messenger
from scipy.special import logsumexp

import bayeskit as bk

radon = runpy.run_path(str(ROOT / "models" / "radon.py"))
METHOD = bk.NUTS(num_chains=4, num_warmup=500, num_draws=1000)
NUM_REFITS = 12


class Masked(Messenger):
    def __init__(self, counts):
        super().__init__()
        self.counts = counts

    def process_message(self, msg):
        if msg["type"] == "sample" and msg["name"] == "log_radon":
            msg["fn"] = msg["fn"].mask(self.counts)


def without(county, floor, log_uranium, counts, log_radon=None):
    """The model with the houses masked that do not count: shapes stay, and so one program serves all counties."""
    with Masked(counts):
        radon["model"](county, floor, log_uranium, log_radon)


def main() -> None:
    warnings.simplefilter("ignore")
    data = radon["data"](bk.read_data(ROOT / "data" / "radon.csv"))
    sizes = np.bincount(data["county"])
    post = bk.infer(radon["model"], data, METHOD, key=0, log_likelihood=True, progress=False)
    ours, theirs = bk.loo(post), arviz_stats.loo(post, pointwise=True)
    print(f"bk.loo and arviz_stats.loo differ by {abs(ours.elpd - theirs.elpd):.1e} in elpd", end=", ")
    print(f"{np.abs(np.asarray(ours.elpd_i) - np.asarray(theirs.elpd_i)).max():.1e} in the worst term")
    found = bk.loo(post, group="county")
    shapes = np.asarray(found.pareto_k)
    print(f"{len(sizes)} counties: k above {found.good_k:.2f} at {int((shapes > found.good_k).sum())}")
    chosen = np.argsort(sizes)[np.linspace(0, len(sizes) - 1, NUM_REFITS).astype(int)]
    print("county houses      k   weights   refit   difference   error of refit")
    start = time.perf_counter()
    for county in chosen:
        counts = data["county"] != county
        fit = bk.infer(without, {**data, "counts": counts}, METHOD, key=1, progress=False)
        fit = bk.log_likelihood(radon["model"], data, fit)
        inside = fit["log_likelihood/log_radon"].values[..., ~counts].sum(axis=-1).ravel()
        brute = logsumexp(inside) - np.log(inside.size)
        ratio = np.exp(inside - inside.max())
        error = ratio.std() / ratio.mean() / ratio.size**0.5
        weighted = float(np.asarray(found.elpd_i)[county])
        print(
            f"{county:6d} {sizes[county]:6d} {shapes[county]:6.2f} {weighted:9.3f} {brute:7.3f} "
            f"{weighted - brute:12.3f} {error:12.3f}",
            flush=True,
        )
    print(f"{NUM_REFITS} refits took {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
