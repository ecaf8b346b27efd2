"""Simulation-based calibration: what is right passes, and what is broken is found.

    python benchmarks/sbc.py            # all rows
    python benchmarks/sbc.py right      # or: faults, dask, or the name of a row

For each row: 300 replicates, the smallest p-value over all test quantities with Holm's rule, where it is, and the
verdict. `dask` runs 64 replicates on local clusters of one and two workers, and once more with a worker killed under
way, and compares the ranks.
"""

from __future__ import annotations

import dataclasses
import os
import runpy
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import xarray as xr

import bayeskit as bk
from bayeskit.inference import Method
from bayeskit.inference.method import DirectMethod

schools = runpy.run_path(str(ROOT / "models" / "eight_schools_noncentred.py"))["model"]
process = runpy.run_path(str(ROOT / "models" / "gp.py"))["model"]
REPLICATES = 300
CHAIN = bk.NUTS(num_chains=1, num_warmup=500, num_draws=1000)
SCHOOLS = {"sigma": np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])}
TIMES = {"t": np.linspace(0.0, 3.0, 15)}
ROWS = {"x": np.linspace(0.0, 2.0, 12)}


def line(x, y=None):
    intercept = numpyro.sample("intercept", dist.Normal(0.0, 2.0))
    slope = numpyro.sample("slope", dist.Normal(0.0, 1.0))
    sigma = numpyro.sample("sigma", dist.HalfNormal(1.0))
    with numpyro.plate("row", len(x)):
        numpyro.sample("y", dist.Normal(intercept + slope * x, sigma), obs=y)


def conjugate(x, y=None, scale=1.0, offset=0):
    """A regression with known noise, whose posterior is normal."""
    intercept = numpyro.sample("intercept", dist.Normal(0.0, scale))
    slope = numpyro.sample("slope", dist.Normal(0.0, scale))
    mean = intercept + slope * jnp.roll(x, offset)
    with numpyro.plate("row", len(x)):
        numpyro.sample("y", dist.Normal(mean, 0.5), obs=y)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Broken(DirectMethod):
    """Fits another model than the one that is simulated, or changes what the method draws."""

    kind: ClassVar[str] = "broken"

    method: Method
    arguments: tuple[tuple[str, float], ...] = ()
    change: Callable[[xr.DataTree], xr.DataTree] | None = None

    def answer(self, model: Any, data: Any, *, key: Any) -> xr.DataTree:
        post = bk.infer(model, {**data, **dict(self.arguments)}, self.method, key=key, progress=False)
        return post if self.change is None else self.change(post)


def truncated(post: xr.DataTree) -> xr.DataTree:
    """The outer tenth of the draws of the slope is missing."""
    slope = post["posterior/slope"].values.ravel()
    low, high = np.quantile(slope, [0.05, 0.95])
    inside = (slope > low) & (slope < high)
    stacked = {n: v.values.reshape(-1)[inside][None] for n, v in post["posterior"].data_vars.items()}
    values = xr.Dataset({n: (("chain", "draw"), v) for n, v in stacked.items()})
    return xr.DataTree.from_dict({"/posterior": values})


WEIGHTED = bk.objectives.ImportanceWeightedELBO(50, doubly_reparameterized=True)
IWELBO = bk.VI(guide=bk.guides.Laplace(), objective=WEIGHTED, num_steps=300, num_draws=500)
SHORT = bk.VI(guide=bk.guides.FullRank(), objective=bk.objectives.ImportanceWeightedELBO(50), num_steps=1000)
RIGHT = {
    "eight schools, non-centred, NUTS": (schools, SCHOOLS, CHAIN),
    "regression, NUTS": (line, ROWS, CHAIN),
    "Gaussian process, NUTS": (process, TIMES, CHAIN),
    "conjugate regression, VI, IWELBO-50": (conjugate, ROWS, IWELBO),
}
FAULTS = {
    "prior three times too narrow": (conjugate, ROWS, Broken(method=CHAIN, arguments=(("scale", 1.0 / 3.0),))),
    "likelihood off by one observation": (conjugate, ROWS, Broken(method=CHAIN, arguments=(("offset", 1),))),
    "truncated posterior": (conjugate, ROWS, Broken(method=CHAIN, change=truncated)),
    "mean-field VI, correlated posterior": (
        conjugate,
        ROWS,
        bk.VI(guide=bk.guides.MeanField(), objective=bk.objectives.ELBO(8), num_steps=1000, num_draws=500),
    ),
    "VI, IWELBO-50, stopped too early": (conjugate, ROWS, dataclasses.replace(SHORT, num_draws=500)),
    "MCLMC, step size too large": (
        conjugate,
        ROWS,
        bk.MCLMC(num_chains=1, num_warmup=500, num_draws=500, desired_energy_variance=30.0),
    ),
}


def row(name: str, model: Any, data: Any, method: Any) -> None:
    start = time.perf_counter()
    ranks = bk.sbc(model, data, method, num_replicates=REPLICATES, key=1, progress=False)
    seconds = time.perf_counter() - start
    table, verdict = bk.calibration(ranks), bk.check(ranks, quiet=True)
    worst = table.iloc[0]
    failed = int((ranks["replicates/failure"] != "").sum())
    print(
        f"{name:38} adjusted p {worst['p_adjusted']:8.1e} ({table.index[0]}, {worst['shape'] or 'even'}), "
        f"{len(table)} quantities, {failed} failed, {'passes' if 'miscalibrated' not in str(verdict) else 'FAILS'}, "
        f"{seconds:.0f} s",
        flush=True,
    )


def same(a: xr.DataTree, b: xr.DataTree) -> bool:
    return all(a[group].equals(b[group]) for group in ("ranks", "pit", "truth"))


def dask() -> None:
    from distributed import Client, LocalCluster

    method = bk.NUTS(num_chains=1, num_warmup=1000, num_draws=2000)

    def run(executor: Any) -> tuple[xr.DataTree, float]:
        start = time.perf_counter()
        ranks = bk.sbc(schools, SCHOOLS, method, num_replicates=64, executor=executor, progress=False)
        return ranks, time.perf_counter() - start

    here, _ = run(None)
    seconds = {}
    for workers in (1, 2):
        cluster = LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None)
        with cluster, Client(cluster) as client:
            run(client)  # compiles
            found = [run(client) for _ in range(3)]
            seconds[workers] = min(s for _, s in found)
            print(f"{workers} worker(s): {seconds[workers]:.1f} s, identical: {all(same(here, r) for r, _ in found)}")
            if workers == 2:
                victim = next(iter(client.run(os.getpid).values()))
                threading.Timer(seconds[2] / 2, os.kill, (victim, signal.SIGKILL)).start()
                ranks, took = run(client)
                print(f"one killed under way: {took:.1f} s, identical: {same(here, ranks)}")
    print(f"two workers are {seconds[1] / seconds[2]:.2f} times as fast as one", flush=True)


if __name__ == "__main__":
    wanted = sys.argv[1:] or ["right", "faults", "dask"]
    for group, rows in (("right", RIGHT), ("faults", FAULTS)):
        for name, (model, data, method) in rows.items():
            if group in wanted or name in wanted:
                row(name, model, data, method)
    if "dask" in wanted:
        dask()
