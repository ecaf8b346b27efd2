"""Tasks here and on a cluster: the same results, whoever does them and whoever dies."""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
from typing import ClassVar

import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import bayeskit as bk
from bayeskit.errors import MethodError
from bayeskit.inference.fan_out import map_tasks
from bayeskit.inference.method import DirectMethod
from bayeskit.storage import make_tree

SQUARES = {i: i * i for i in range(20)}


def square(task):
    return task * task


@pytest.fixture(scope="module")
def client():
    """Two workers that are threads of this process: what is sent is pickled all the same."""
    distributed = pytest.importorskip("distributed")
    settings = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.Client(processes=False, **settings) as client:
        yield client


def test_tasks_here():
    assert dict(map_tasks(square, range(20))) == SQUARES


def test_tasks_on_a_cluster(client):
    assert dict(map_tasks(square, range(20), client, by_value=(square,))) == SQUARES
    assert dict(map_tasks(square, [], client)) == {}


def test_an_error_of_a_task_is_raised_as_it_is(client):
    with pytest.raises(ZeroDivisionError):
        list(map_tasks(lambda task: 1 / task, [1, 0], client))


def test_what_is_not_done_is_given_up(client):
    tasks = map_tasks(square, range(20), client, by_value=(square,))
    next(tasks)
    tasks.close()
    assert dict(map_tasks(square, range(20), client, by_value=(square,))) == SQUARES


def test_without_dask_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MethodError, match=r"bayeskit\[dask\]"):
        map_tasks(square, [1], 2)


def model(y=None):
    mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
    numpyro.sample("y", dist.Normal(mu, 1.0).expand([3]).to_event(1), obs=y)


@dataclasses.dataclass(frozen=True)
class Exact(DirectMethod):
    """Independent draws of the posterior."""

    kind: ClassVar[str] = "exact_on_a_cluster"

    def answer(self, model, data, *, key):
        noise = np.random.default_rng(np.asarray(key)).normal(size=(1, 50))
        return make_tree({"posterior": {"mu": np.asarray(data["y"]).sum() / 4 + noise / 2}})


def test_ranks_are_the_same_on_a_cluster(client):
    same_ranks(Exact(), client)


def same_ranks(method, client):
    here = bk.sbc(model, {}, method, 6, num_draws=19, progress=False)
    there = bk.sbc(model, {}, method, 6, num_draws=19, executor=client, progress=False)
    assert all(here[group].equals(there[group]) for group in ("ranks", "pit", "truth", "replicates"))
    assert (here["replicates/num_draws"].values > 0).all()
    assert np.isfinite(here["pit/mu"].values).all()


@pytest.mark.slow
def test_a_worker_that_dies_costs_time_only(tmp_path):
    distributed = pytest.importorskip("distributed")
    first = tmp_path / "first"

    def dies_once(task):
        if task == 5 and not first.exists():
            first.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return task * task

    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        assert dict(map_tasks(dies_once, range(20), client)) == SQUARES
        same_ranks(bk.NUTS(num_chains=1, num_warmup=50, num_draws=50), client)
    assert first.exists()
