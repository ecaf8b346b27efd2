"""Modes besides those of the starts: which are told, with what mass, and that chains start where they did."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import bayeskit as bk
from bayeskit.target.start import start_chains


def mixture(weight, scale):
    """In two dimensions around -1 and 1, the first `scale` times as wide."""
    x = numpyro.sample("x", dist.ImproperUniform(dist.constraints.real, (), event_shape=(2,)))
    low = dist.Normal(-1.0, scale * 0.2).log_prob(x).sum() + jnp.log(weight)
    high = dist.Normal(1.0, 0.2).log_prob(x).sum() + jnp.log1p(-weight)
    numpyro.factor("density", jnp.logaddexp(low, high))


def modes(model, key=0, chains=4, **data):
    target = bk.Target(bk.bind(model, data))
    return json.loads(start_chains(target, jax.random.PRNGKey(key), chains, strategy="ascent").modes or "[]")


@pytest.mark.parametrize(("weight", "scale"), [(0.5, 1.0), (0.1, 1.0), (0.8, 0.3)])
def test_masses_are_the_weights(weight, scale):
    found = modes(mixture, weight=weight, scale=scale)
    assert len(found) == 2
    low = next(mode for mode in found if mode["centre"]["x"][0] < 0)
    high = next(mode for mode in found if mode is not low)
    assert low["log_mass"] - high["log_mass"] == pytest.approx(np.log(weight / (1 - weight)), abs=0.02)
    np.testing.assert_allclose(low["centre"]["x"], -1.0, atol=0.1 * scale)
    np.testing.assert_allclose(low["scale"]["x"], 0.2 * scale, rtol=0.25)


def test_one_chain_finds_them_too():
    assert {len(modes(mixture, key, 1, weight=0.5, scale=1.0)) for key in range(4)} <= {0, 2}


def regression(x, y):
    b = numpyro.sample("b", dist.Normal(0.0, 1.0).expand([3]).to_event(1))
    scale = numpyro.sample("scale", dist.HalfNormal(1.0))
    numpyro.sample("y", dist.Normal(x @ b, scale).to_event(1), obs=y)


def funnel():
    scale = numpyro.sample("scale", dist.LogNormal(0.0, 3.0))
    numpyro.sample("x", dist.Normal(0.0, scale).expand([9]).to_event(1))
    numpyro.factor("centre", 0.0)


def test_where_there_is_one_mode_or_none_nothing_is_said():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20, 3))
    assert modes(regression, x=x, y=x.sum(axis=1) + rng.normal(size=20)) == []
    assert modes(funnel) == []


def test_places_are_in_the_coordinates_of_the_model():
    def model():
        x = numpyro.sample("x", dist.LogNormal(0.0, 1.0))
        numpyro.factor("two", jnp.logaddexp(-0.5 * ((x - 0.3) / 0.03) ** 2, -0.5 * ((x - 3.0) / 0.1) ** 2))

    low, high = sorted((mode["centre"]["x"][0], mode["scale"]["x"][0]) for mode in modes(model))
    assert low == pytest.approx((0.3, 0.03), rel=0.1)
    assert high == pytest.approx((3.0, 0.1), rel=0.1)


def test_chains_start_where_they_would_without(monkeypatch):
    target = bk.Target(bk.bind(mixture, {"weight": 0.5, "scale": 1.0}))
    key = jax.random.PRNGKey(3)
    there = start_chains(target, key, 4, strategy="ascent")
    monkeypatch.setattr("bayeskit.target.start.find_modes", lambda *_: "")
    np.testing.assert_array_equal(there.values["x"], start_chains(target, key, 4, strategy="ascent").values["x"])


def test_a_stored_run_remembers(tmp_path):
    """All chains of this key are in one mode."""
    data = {"weight": 0.5, "scale": 1.0}
    method = bk.NUTS(num_warmup=150, num_draws=100)
    key = next(k for k in range(20) if _sides(data, k) == 1)
    post = bk.infer(mixture, data, method, key=key, store=tmp_path / "run.zarr", progress=False)
    longer = bk.extend(mixture, data, tmp_path / "run.zarr", num_draws=50, progress=False)
    for result in (post, longer, bk.load(tmp_path / "run.zarr")):
        assert "unvisited_mode" in [finding.name for finding in bk.check(result, quiet=True).findings]


def _sides(data, key):
    start_key, _ = jax.random.split(jax.random.PRNGKey(key))
    found = start_chains(bk.Target(bk.bind(mixture, data)), start_key, 4, strategy="ascent")
    return len(np.unique(np.sign(np.asarray(found.values["x"])[:, 0])))


def test_chains_that_were_told_where_to_start_are_told_of_other_modes():
    method = bk.NUTS(num_warmup=150, num_draws=100)
    post = bk.infer(mixture, {"weight": 0.5, "scale": 1.0}, method, key=0, init={"x": [1.0, 1.0]}, progress=False)
    (finding,) = (f for f in bk.check(post, quiet=True).findings if f.name == "unvisited_mode")
    assert finding.value == pytest.approx(0.5, abs=0.01)
