"""A stored run that is killed again and again ends as if nothing had happened.

Each try is a process of its own, whose store is watched, and which is killed (SIGKILL) at a moment that is drawn
beforehand: where its store has so many draws, and some milliseconds later, so that writes are hit too. After each kill
the store must open, with all the draws that it says it has; at the end the result must be bit for bit that of a run
that was left alone.

python benchmarks/killed.py [--kills 20] [--seed 0] [--draws 200000]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import numpyro
import numpyro.distributions as dist

import bayeskit as bk
from bayeskit.storage.run_folder import partial_folder
from bayeskit.storage.run_store import RunStore

DATA = {"y": np.array([1.2, 0.7, 1.9])}


def model(y):
    """A normal mean."""
    mean = numpyro.sample("mean", dist.Normal(0.0, 10.0))
    numpyro.sample("y", dist.Normal(mean, 1.0), obs=y)


def method(draws: int) -> bk.HMC:
    """Cheap, so that a run is mostly its store."""
    return bk.HMC(num_chains=2, num_warmup=2000, num_draws=draws, trajectory_length=1.0, chain_method="vectorized")


def drawn(path: Path) -> int:
    """Draws of the run under way that a checkpoint knows; -1 where there is no store yet."""
    try:
        return RunStore.open(path).num_draws
    except bk.errors.StorageError:
        return -1


def go(path: Path, draws: int) -> None:
    """Begin the run, or go on with it, whichever it takes: what the script of a cluster job does."""
    if partial_folder(path).exists() or path.exists():
        bk.resume(model, DATA, path, progress=False)
    else:
        bk.infer(model, DATA, method(draws), key=0, store=path, progress=False)


def kill_at(path: Path, draws: int, moment: float, later: float) -> str:
    """One try, killed where its store has that share of the draws; what was found after it."""
    before = drawn(path)
    with subprocess.Popen([sys.executable, __file__, "--go", str(path), "--draws", str(draws)]) as process:
        while not (drawn(path) >= max(moment * draws, before) or path.exists()):
            if process.poll() is not None:
                raise SystemExit(f"a run has failed: {process.returncode}")
            time.sleep(0.002)
        time.sleep(later)
        process.kill()
    return found(path, draws)


def found(path: Path, draws: int) -> str:
    """What a killed run has left; it must be readable, all of it."""
    if path.exists():
        bk.load(path)["posterior/mean"].load()
        return "result"
    store = RunStore.open(path)
    for group in store.groups:
        for array in store.group(group).values():
            assert np.asarray(array).shape[1] == store.num_draws
    return f"{store.num_draws / draws:.0%}" if store.read_checkpoint() is not None else "start"


def main() -> None:
    """Kill, go on, compare."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--draws", type=int, default=200_000)
    parser.add_argument("--go", type=Path, default=None)
    given = parser.parse_args()
    if given.go is not None:
        go(given.go, given.draws)
        return
    rng = np.random.default_rng(given.seed)
    moments = (np.arange(given.kills) + rng.random(given.kills)) / given.kills * 1.05 - 0.02
    with tempfile.TemporaryDirectory() as folder:
        whole, path = Path(folder, "whole.zarr"), Path(folder, "run.zarr")
        go(whole, given.draws)
        delays = 0.02 * rng.random(given.kills)
        left = [kill_at(path, given.draws, min(m, 1.0), d) for m, d in zip(moments, delays, strict=True)]
        go(path, given.draws)
        first, second = bk.load(whole), bk.load(path)
        same = all(first[g].to_dataset().identical(second[g].to_dataset()) for g in first.children)
        print(f"killed {given.kills} times; left behind: {', '.join(left)}")
        print(f"the result is {'the same, bit for bit' if same else 'ANOTHER'}; beside it: {os.listdir(folder)}")
        if not same:
            raise SystemExit(1)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
