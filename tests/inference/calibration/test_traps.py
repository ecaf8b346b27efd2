"""What would give wrong ranks without a word, and what must not take the ranks that are there with it."""

from __future__ import annotations

import dataclasses
import threading
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro import handlers

import bayeskit as bk
from bayeskit.inference.calibration.ranks import rank
from bayeskit.inference.calibration.simulate import Simulator
from bayeskit.inference.fan_out import check_executor, map_tasks
from bayeskit.inference.method import DirectMethod
from bayeskit.storage import make_tree

ROWS = 5
SEED = np.array([0, 1], np.uint32)


def model(x=None, y=None):
    mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
    tau = numpyro.sample("tau", dist.HalfNormal(1.0))
    with numpyro.plate("row", ROWS):
        numpyro.sample("y", dist.Normal(mu * (1.0 if x is None else x), tau), obs=y)


@dataclasses.dataclass(frozen=True)
class Prior(DirectMethod):
    """Draws of the prior, of which some fail in a way of their own."""

    kind: ClassVar[str] = "prior_double"
    breaks_above: float = np.inf

    def answer(self, model, data, *, key):
        if np.asarray(data["y"]).mean() > self.breaks_above:
            raise ZeroDivisionError("no row")
        noise = np.random.default_rng(np.asarray(key)).normal(size=(1, 50))
        return make_tree({"posterior": {"mu": noise, "tau": np.abs(noise)}})


def run(model, data, method=None, replicates=12, **settings):
    return bk.sbc(model, data, method or Prior(), replicates, num_draws=19, progress=False, **settings)


@pytest.mark.parametrize("given", [[1, 2, 3, 4, 5], np.arange(ROWS, dtype=np.uint8), np.ones(ROWS, bool)])
def test_whole_numbers_do_not_round_what_is_simulated(given):
    simulated = Simulator(model, {"y": given})(SEED)
    wanted = Simulator(model, {})(SEED)
    assert np.array_equal(simulated.data["y"], wanted.data["y"])
    assert (simulated.data["y"] % 1 != 0).all()


def test_small_integers_do_not_wrap_counts():
    def counts(y=None):
        numpyro.sample("rate", dist.Normal(1000.0, 1.0))
        numpyro.sample("y", dist.Poisson(1000.0), obs=y)

    assert Simulator(counts, {"y": np.uint8(3)})(SEED).data["y"] > 255


def test_counts_that_overflow_are_failures():
    def counts(y=None):
        numpyro.sample("mu", dist.Normal(0.0, 1.0))
        with numpyro.plate("row", ROWS):
            numpyro.sample("y", dist.Poisson(1e30), obs=y)

    assert "too large for its type" in run(counts, {}, replicates=1)["replicates/failure"].values[0]


def test_rounding_has_no_rank():
    one = np.float32(1.0)
    draws = one + np.array([1, -2, 0], np.float32)[:, None] * np.finfo(np.float32).eps
    assert rank(np.array([one]), draws, np.random.default_rng(0)).tied.all()
    assert not rank(np.array([1.001], np.float32), draws, np.random.default_rng(0)).tied.any()
    assert not rank(np.array([1]), np.array([[1], [2]]), np.random.default_rng(0)).tied.any()


def test_a_masked_prior_is_refused_and_a_whole_mask_is_not():
    def masked(valid, y=None):
        with numpyro.plate("row", ROWS), handlers.mask(mask=valid):
            theta = numpyro.sample("theta", dist.Normal(0.0, 1.0))
            numpyro.sample("y", dist.Normal(theta, 1.0), obs=y)

    with pytest.raises(bk.errors.ModelError, match="'theta' is masked"):
        Simulator(masked, {"valid": np.arange(ROWS) > 0})
    assert Simulator(masked, {"valid": np.ones(ROWS, bool)}).latent == {"theta": (ROWS,)}


def test_an_improper_prior_is_refused_in_words():
    def improper(y=None):
        mu = numpyro.sample("mu", dist.ImproperUniform(dist.constraints.real, (), ()))
        numpyro.sample("y", dist.Normal(mu, 1.0).expand([ROWS]), obs=y)

    with pytest.raises(bk.errors.ModelError, match="cannot be drawn from"):
        run(improper, {})


def test_a_posterior_to_simulate_from_is_whole_and_of_these_covariates():
    data = {"x": np.arange(1.0, ROWS + 1), "y": np.zeros(ROWS)}
    method = bk.VI(num_steps=20, num_draws=20)
    post = bk.infer(model, data, method, key=0, progress=False)
    with pytest.raises(bk.errors.DataError, match="covariates"):
        run(model, {**data, "x": data["x"] + 1.0}, method, around=post)
    part = bk.infer(model, data, method, key=0, keep=["mu"], progress=False)
    with pytest.raises(bk.errors.DataError, match="'tau' has shape"):
        run(model, data, method, around=part)


def test_whatever_a_fit_raises_the_others_go_on():
    failures = run(model, {}, Prior(breaks_above=0.0))["replicates/failure"].values
    assert 0 < (failures == "ZeroDivisionError: no row").sum() < 12
    assert (failures == "").any()


def test_a_test_quantity_is_tried_before_the_first_fit():
    def broken(values, data):
        return values["nu"]

    for quantities, match in (({"q": broken}, "'q' raises KeyError"), ([broken], "by name"), ({"q": 3}, "by name")):
        with pytest.raises(bk.errors.MethodError, match=match):
            run(model, {}, quantities=quantities)
    with pytest.raises(bk.errors.MethodError, match="must return numbers"):
        run(model, {}, quantities={"q": lambda values, data: "a"})


def test_what_stops_the_tasks_keeps_the_ranks(monkeypatch):
    from bayeskit.inference.calibration import sbc

    def stops(function, tasks, *args, **settings):
        yield 0, function(0)
        raise OSError("the workers are gone")

    monkeypatch.setattr(sbc, "map_tasks", stops)
    with pytest.raises(bk.errors.Interrupted, match=r"the workers are gone.* after 1 of 12") as stopped:
        run(model, {})
    assert stopped.value.post["pit"].sizes["replicate"] == 1


def test_executors_that_cannot_run():
    distributed = pytest.importorskip("distributed")
    with pytest.raises(bk.errors.MethodError, match="no Dask scheduler at 'tcp://a:b'"):
        list(map_tasks(jnp.sin, [1.0], "tcp://a:b"))
    client = distributed.Client.__new__(distributed.Client)
    client.status = "closed"
    with pytest.raises(bk.errors.MethodError, match="not connected"):
        check_executor(client)
    check_executor(np.int64(2))


def test_what_cannot_be_sent_to_a_worker():
    pytest.importorskip("distributed")
    lock = threading.Lock()
    with pytest.raises(bk.errors.MethodError, match="cannot be sent to a worker"):
        list(map_tasks(lambda task: lock, [1.0], 1))
