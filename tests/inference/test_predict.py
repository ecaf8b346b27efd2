from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.contrib.control_flow import scan

import bayeskit as bk
from bayeskit.errors import ModelError
from bayeskit.storage import make_tree

X = np.linspace(-1.0, 1.0, 6)
Y = np.array([-1.1, -0.2, -0.4, 0.6, 0.4, 1.3])


def line(x, y=None):
    slope = numpyro.sample("slope", dist.Normal(0.0, 1.0))
    with numpyro.plate("row", len(x)):
        mean = numpyro.deterministic("mean", slope * x)
        numpyro.sample("y", dist.Normal(mean, 0.1), obs=y)


def fit(observed=None, kinds="latent", **draws):
    groups = {"posterior": draws}
    if observed is not None:
        groups["observed_data"] = observed
    return make_tree(groups, site_kinds=dict.fromkeys(draws, kinds))


TINY = bk.HMC(num_chains=1, num_warmup=20, num_draws=20, chain_method="vectorized")  # the quickest to compile
SLOPES = np.linspace(0.5, 1.5, 600).reshape(2, 300)


def test_replicated_data():
    post = fit({"y": Y}, slope=SLOPES)
    out = bk.predict(line, {"x": X, "y": Y}, post, key=1)
    y = out["posterior_predictive/y"]
    assert y.dims == ("chain", "draw", "y_dim_0")
    assert y.shape == (2, 300, 6)
    assert "posterior_predictive" not in post.children
    np.testing.assert_array_equal(out["posterior/slope"], SLOPES)
    noise = (y.values - SLOPES[..., None] * X) / 0.1
    assert abs(noise.mean()) < 4 / np.sqrt(noise.size)
    assert abs(noise.std() - 1) < 4 / np.sqrt(2 * noise.size)
    assert abs(np.corrcoef(noise.reshape(-1, 6).T)[0, 1]) < 0.2


def test_same_key_same_draws_and_batches_do_not_matter():
    post = fit({"y": Y}, slope=SLOPES)
    first, again, other = (bk.predict(line, {"x": X}, post, key=key) for key in (1, 1, 2))
    assert first.identical(again)
    assert not np.array_equal(first["posterior_predictive/y"], other["posterior_predictive/y"])


def test_new_covariates_of_another_size():
    out = bk.predict(line, {"x": [2.0, 3.0]}, fit({"y": Y}, slope=SLOPES), key=0, sites=["y", "mean"])
    predictive = out["posterior_predictive"]
    assert predictive["y"].dims == ("chain", "draw", "row")
    np.testing.assert_allclose(predictive["mean"].values, SLOPES[..., None] * [2.0, 3.0])
    np.testing.assert_allclose(predictive["y"].values, predictive["mean"].values, atol=0.6)


def test_prior():
    out = bk.predict(line, {"x": X, "y": Y}, key=3, num_draws=400)
    assert set(out.children) == {"prior", "prior_predictive"}
    slope = out["prior/slope"].values
    assert slope.shape == (1, 400)
    assert abs(slope.mean()) < 4 / 20
    assert abs(slope.std() - 1) < 4 / np.sqrt(800)
    np.testing.assert_allclose(out["prior/mean"], slope[..., None] * X)
    np.testing.assert_allclose(out["prior_predictive/y"], out["prior/mean"], atol=0.6)
    assert out["prior_predictive/y"].dims == ("chain", "draw", "row")


def mixture(size, y=None):
    weight = numpyro.sample("weight", dist.Beta(1.0, 1.0))
    with numpyro.plate("row", size):
        z = numpyro.sample("z", dist.Bernoulli(weight), infer={"enumerate": "parallel"})
        numpyro.sample("y", dist.Normal(10.0 * z, 1.0), obs=y)


def test_discrete_site_of_each_observation_is_drawn_anew():
    y = np.array([0.1, 9.0, 11.0])
    for data in ({"size": 3, "y": y}, {"size": 4}):
        out = bk.predict(mixture, data, fit({"y": y}, weight=np.full((2, 500), 0.25)), key=0)["posterior_predictive"]
        assert set(out.data_vars) == {"z", "y"}
        n = out["z"].size
        assert abs(out["z"].values.mean() - 0.25) < 4 * np.sqrt(0.25 * 0.75 / n)
        np.testing.assert_allclose(out["y"].values, 10.0 * out["z"].values, atol=6.0)


def shared(y=None):
    p = numpyro.sample("p", dist.Beta(1.0, 1.0))
    k = numpyro.sample("k", dist.Bernoulli(p), infer={"enumerate": "parallel"})
    with numpyro.plate("row", 3):
        numpyro.sample("y", dist.Normal(10.0 * k, 1.0), obs=y)


def test_discrete_site_that_observations_share_is_refused():
    with pytest.raises(bk.errors.ModelError, match=r"'k'.*summed out"):
        bk.predict(shared, {"y": np.ones(3)}, fit({"y": np.ones(3)}, p=np.full((2, 5), 0.5)), key=0)


def test_site_observed_with_a_mask_and_scalar_observation():
    def model(y=None, total=None):
        mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
        with numpyro.plate("row", 2):
            numpyro.sample("y", dist.Normal(mu, 0.1), obs=y)
        numpyro.sample("total", dist.Normal(2 * mu, 0.1), obs=total)

    out = bk.predict(model, {"y": [1.0, 2.0], "total": 3.0}, fit(mu=np.ones((1, 50))), key=0)["posterior_predictive"]
    assert out["total"].shape == (1, 50)
    assert out["y"].shape == (1, 50, 2)
    np.testing.assert_allclose(out["total"].values, 2.0, atol=0.6)


def test_factor_and_prior_factor_are_no_draws():
    def model(y=None):
        mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
        bk.prior_factor("soft", -jnp.abs(mu))
        numpyro.factor("hard", -(mu**2))
        numpyro.sample("y", dist.Normal(mu, 0.1), obs=y)

    out = bk.predict(model, {"y": 1.0}, fit(mu=np.ones((1, 5))), key=0)
    assert list(out["posterior_predictive"].data_vars) == ["y"]


def test_counts_and_booleans_keep_their_types():
    def model(n=None, b=None):
        rate = numpyro.sample("rate", dist.Gamma(2.0, 1.0))
        with numpyro.plate("row", 3):
            numpyro.sample("n", dist.Poisson(rate), obs=n)
            numpyro.sample("b", dist.Bernoulli(0.5), obs=b)

    data = {"n": np.array([1, 2, 3]), "b": np.array([True, False, True])}
    out = bk.predict(model, data, fit(rate=np.ones((1, 20))), key=0)["posterior_predictive"]
    assert out["n"].dtype.kind == "i"
    assert set(np.unique(out["b"].values)) == {0, 1}


def test_what_counts_as_a_new_input():
    def model(y=None, scale=1.0, shift=None):
        mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
        shift = 0.0 if shift is None else shift
        with numpyro.plate("row", 3):
            numpyro.sample("log_y", dist.Normal(mu + shift, scale), obs=None if y is None else jnp.log(y))

    data = {"y": np.array([1.1, 2.1, 0.7])}
    post = bk.infer(model, data, TINY, key=0, progress=False)
    for given, group in (
        (data, "posterior_predictive"),
        ({}, "posterior_predictive"),
        ({**data, "scale": 2.0}, "predictions"),
        ({"shift": np.ones(3)}, "predictions"),
        ({"y": data["y"][::-1].copy()}, "predictions"),
    ):
        out = bk.predict(model, given, post, key=0)
        assert set(out.children) - set(post.children) - {"predictions_constant_data"} == {group}, given
    with jax.enable_x64(False):
        assert "predictions" not in bk.predict(model, data, post, key=0).children  # the same numbers, rounded


def test_fit_of_infer_with_coordinates(tmp_path):
    method = bk.HMC(num_chains=2, num_warmup=100, num_draws=50, chain_method="vectorized")
    coords = {"row": [f"r{i}" for i in range(6)]}
    post = bk.infer(line, {"x": X, "y": Y}, method, key=0, coords=coords, progress=False)
    out = bk.predict(line, {"x": X}, post, key=1)
    assert out["posterior_predictive/y"].dims == ("chain", "draw", "row")
    assert list(out["posterior_predictive/y"].coords["row"].values) == coords["row"]
    fewer = bk.predict(line, {"x": X[:2]}, out, key=1)
    assert list(fewer["predictions/y"].coords["row"].values) == [0, 1]
    np.testing.assert_array_equal(fewer["predictions_constant_data/x"], X[:2])
    assert set(fewer["predictions"].data_vars) == {"y", "mean"}
    slope = fewer["posterior/slope"].values
    np.testing.assert_allclose(fewer["predictions/mean"], slope[..., None] * X[:2])
    np.testing.assert_array_equal(fewer["posterior_predictive/y"], out["posterior_predictive/y"])
    text = bk.report(fewer, tmp_path / "report.html").read_text()
    assert "predictions for new inputs" in text
    assert "Posterior predictive check of y" in text


def test_a_binomial_is_predicted():
    """NumPyro draws it with a table that it reads beyond its end, and discards what it read there."""

    def model(y):
        chance = numpyro.sample("chance", dist.Beta(1.0, 1.0))
        numpyro.sample("y", dist.Binomial(45, probs=chance), obs=y)

    post = bk.infer(model, {"y": 17}, bk.HMC(num_chains=2, num_warmup=100, num_draws=400), key=0, progress=False)
    drawn = bk.predict(model, {"y": 17}, post, key=1)["posterior_predictive/y"]
    residual = drawn - 45 * post["posterior/chance"]
    assert abs(float(residual.mean())) < 4 * float(residual.std()) / np.sqrt(residual.size)


def test_two_discrete_sites_are_not_each_other_s_observation():
    def model(y):
        mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))
        items = numpyro.plate("item", 2, dim=-2)
        with items:
            a = numpyro.sample("a", dist.Bernoulli(0.3))
            b = numpyro.sample("b", dist.Bernoulli(0.6))
        with items, numpyro.plate("column", 3, dim=-1):
            numpyro.sample("y", dist.Normal(mean + a - b, 1.0), obs=y)

    y = np.zeros((2, 3))
    post = bk.infer(model, {"y": y}, TINY, key=0, progress=False)
    with pytest.raises(ModelError, match=r"the discrete latent site '[ab]' was summed out, and observations share it"):
        bk.predict(model, {"y": y}, post, key=1)


def test_a_series_conditioned_inside_the_model_is_no_forecast():
    def model(y, steps=6):
        slope = numpyro.sample("slope", dist.Normal(0.0, 1.0))

        def step(last, _):
            value = numpyro.sample("value", dist.Normal(slope * last, 1.0))
            return value, None

        with numpyro.handlers.condition(data={"value": y}):
            scan(step, 1.0, None, length=steps)

    y = np.array([0.3, 0.1, -0.4, 0.2])
    fit = bk.infer(model, {"y": y, "steps": 4}, TINY, key=0, progress=False)
    with pytest.raises(ModelError, match="site 'value' is conditioned on 4 of 6 steps of a scan, a forecast that"):
        bk.predict(model, {"y": y, "steps": 6}, fit, key=1)
