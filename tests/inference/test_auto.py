"""What `auto` chooses, and that it says why."""

import json

import jax
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import bayeskit as bk
from bayeskit.inference import Method
from bayeskit.inference.auto import Auto

Y = np.random.default_rng(0).normal(1.0, 1.0, size=40)


def mean(y, batch=None, learned=False):
    mu = numpyro.sample("mu", dist.Normal(0.0, 10.0))
    scale = numpyro.param("scale", 1.0, constraint=dist.constraints.positive) if learned else 1.0
    with numpyro.plate("row", len(y), subsample_size=batch) as rows:
        numpyro.sample("y", dist.Normal(mu, scale), obs=y[rows])


def chosen(method=None, **data):
    method = method or bk.auto()
    target = bk.Target(method.lift(bk.bind(mean, {"y": Y, **data})))
    method, reason = method.chosen(target)
    method.check_target(target)
    return method, reason


def test_the_run_is_that_of_the_chosen_method_and_says_why(tmp_path):
    method = bk.auto(num_chains=2, num_draws=100)
    post = bk.infer(mean, {"y": Y}, method, key=0, progress=False, store=tmp_path / "run.zarr")
    plain = bk.infer(mean, {"y": Y}, bk.NUTS(num_chains=2, num_draws=100), key=0, progress=False)
    np.testing.assert_array_equal(post["posterior/mu"], plain["posterior/mu"])
    assert post.attrs["method"] == "NUTS"
    assert json.loads(post.attrs["method_settings"])["num_chains"] == 2
    assert post.attrs["method_reason"] == "NUTS: 1 continuous coordinates, all rows at once"
    assert bk.load(tmp_path / "run.zarr").attrs["method_reason"] == post.attrs["method_reason"]
    assert "method_reason" not in plain.attrs


def test_batches_and_parameters_are_fitted():
    for data, word in ({"batch": 8}, "plate 'row' subsamples"), ({"learned": True}, "numpyro.param"):
        method, reason = chosen(**data)
        assert isinstance(method, bk.VI)
        assert isinstance(method.guide, bk.guides.FullRank)
        assert word in reason


def test_an_accelerator_gets_many_chains(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    method, reason = chosen()
    assert isinstance(method, bk.ChEES)
    assert method.num_chains == 128
    assert "gpu" in reason
    few, _ = chosen(bk.auto(num_chains=4))
    assert isinstance(few, bk.NUTS)


def from_three(y):
    mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
    numpyro.sample("y", dist.Normal(mu + numpyro.sample("k", dist.DiscreteUniform(3, 5)), 1.0), obs=y)


def with_a_count(y):
    mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
    numpyro.sample("y", dist.Normal(mu + numpyro.sample("k", dist.Poisson(3.0)), 1.0), obs=y)


def test_discrete_sites_that_cannot_be_summed_out_are_drawn(tmp_path):
    method, store = bk.auto(num_chains=2, num_draws=20), tmp_path / "run.zarr"
    post = bk.infer(from_three, {"y": 4.2}, method, key=0, progress=False, store=store)
    assert post.attrs["method"] == "DiscreteHMCGibbs"
    assert set(post["posterior"].data_vars) == {"mu", "k"}
    reason = post.attrs["method_reason"]
    assert reason.startswith(
        "DiscreteHMCGibbs: discrete sites are drawn (k), since they cannot be summed out: site 'k'"
    )
    assert bk.resume(from_three, {"y": 4.2}, store, progress=False).identical(post)
    with pytest.raises(bk.errors.ModelError, match=r"site 'k' .*Poisson.* cannot be enumerated"):
        bk.infer(with_a_count, {"y": 4.2}, method, key=0, progress=False)


def test_impossible_settings():
    for setting, value in {"num_chains": 0, "num_draws": 2.5}.items():
        with pytest.raises(bk.errors.MethodError, match=setting):
            bk.auto(**{setting: value})
    assert isinstance(bk.auto(), Auto)
    assert "auto" not in Method.kinds()
