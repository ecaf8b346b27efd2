"""Agents whose critics learn by losses of TD errors, beside the same agents with their own loss; rewards have noise.

    python benchmarks/td_error_agents.py [cartpole] [pendulum] [--seeds 10] [--out DIR] [--plot FILE]

CartPole by PPO, 200,000 steps; Pendulum by SAC, 30,000 steps; rewards in training have Student noise with three degrees
of freedom, and those of evaluation none. Printed: the interquartile mean over seeds of the return at the end, and of
the mean over all evaluations, with intervals of 95% over seeds; the difference from squared error; steps a second,
beside those with the agent's own loss. Bars: not worse than squared error; at least 0.9 of the steps a second.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import numpyro.distributions as dist
import xarray as xr

import bayeskit as bk
from bayeskit.models import td_error
from bayeskit.models.td_error.agents import ERRORS

TASKS = {"cartpole": ("ppo", "CartPole-v1", 200_000, 20), "pendulum": ("sac", "Pendulum-v1", 30_000, 15)}
NOISE = dist.StudentT(3.0, 0.0, 1.0)


def trained(task: str, error: str, asked: argparse.Namespace) -> xr.DataTree:
    """From the folder, or trained now."""
    path = Path(asked.out) / f"{task}-{error}.zarr"
    if path.exists():
        return bk.load(path)
    agent, environment, num_steps, num_evaluations = TASKS[task]
    curves = td_error.train(
        agent,
        environment,
        error=error,
        num_steps=num_steps,
        num_evaluations=num_evaluations,
        num_seeds=asked.seeds,
        reward_noise=NOISE,
        key=0,
        progress=asked.progress,
    )
    Path(asked.out).mkdir(parents=True, exist_ok=True)
    bk.save(curves, path)
    return curves


def over_time(curves: xr.DataTree) -> xr.DataTree:
    """The same with the mean over evaluations as the only one."""
    returns = curves["training/episode_return"].isel(step=slice(1, None)).mean("step").expand_dims(step=[0], axis=1)
    return xr.DataTree.from_dict({"training": xr.Dataset({"episode_return": returns})})


def shown(found: xr.Dataset) -> str:
    last = found.isel(step=-1)
    return f"{float(last['estimate']):9.1f} ({float(last['lower']):8.1f} to {float(last['upper']):8.1f})"


def run(task: str, asked: argparse.Namespace) -> None:
    """A table."""
    print(f"\n{task}: {TASKS[task]}, {asked.seeds} seeds")
    print(
        f"{'error':38}{'return at the end':32}{'mean over evaluations':32}{'minus squared error':34}steps/s  of own",
        flush=True,
    )
    found: dict[str, xr.DataTree] = {}
    for error in ERRORS:
        found[error] = curves = trained(task, error, asked)
        seconds = curves["training/seconds"]
        rate = asked.seeds * float(np.median(np.diff(curves["training"]["step"]) / np.diff(seconds)[0:]))
        base = found.get("squared_error")
        apart = "" if base is None else shown(td_error.interquartile_difference(over_time(curves), over_time(base)))
        own = found["own"]["training"]
        own_rate = asked.seeds * float(np.median(np.diff(own["step"]) / np.diff(own["seconds"])))
        print(
            f"{error:38}{shown(td_error.interquartile_mean(curves)):32}"
            f"{shown(td_error.interquartile_mean(over_time(curves))):32}{apart:34}{rate:7.0f}{rate / own_rate:8.2f}",
            flush=True,
        )
    if asked.plot:
        axes = td_error.plot_learning_curves(found)
        axes.set_title(f"{TASKS[task][1]}, noisy rewards")
        axes.figure.savefig(f"{Path(asked.plot).with_suffix('')}-{task}.png", dpi=120)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tasks", nargs="*", metavar="task", help=f"of {', '.join(TASKS)}")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--out", default="curves", help="where results are kept")
    parser.add_argument("--plot", help="a picture for each task, whose name begins so")
    parser.add_argument("--progress", action="store_true")
    asked = parser.parse_args()
    for task in asked.tasks or TASKS:
        run(task, asked)


if __name__ == "__main__":
    main()
