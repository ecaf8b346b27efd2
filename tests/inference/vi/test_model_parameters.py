"""`numpyro.param` in the model: fitted with the guide, by the same bound."""

import dataclasses
import itertools

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy import stats

import bayeskit as bk

Y = 3.0 + 1.5 * np.random.default_rng(0).normal(size=12)
POSITIVE = dist.constraints.positive


def model(y):
    """The evidence is a normal density, N(y; 0, (s² + 1/4) I + t² 1 1ᵀ), whose maximum is in closed form."""
    sigma = numpyro.param("sigma", 1.0, constraint=POSITIVE)
    mu = numpyro.sample("mu", dist.Normal(0.0, numpyro.param("tau", 2.0, constraint=POSITIVE)))
    numpyro.deterministic("ratio", mu / sigma)
    with numpyro.plate("row", len(y)):
        z = numpyro.sample("z", dist.Normal(mu, sigma))
        numpyro.sample("y", dist.Normal(z, 0.5), obs=y)


METHOD = bk.VI(
    guide=bk.guides.FullRank(),
    objective=bk.objectives.ELBO(8, sticking_the_landing=True),
    num_steps=2000,
    num_chains=2,
    num_draws=500,
)


def fit(**settings):
    return bk.infer(model, {"y": Y}, dataclasses.replace(METHOD, **settings), key=0, progress=False)


@pytest.fixture(scope="module")
def post():
    return fit()


def test_parameters_maximise_the_evidence(post):
    """The mean has variance t² + s'² / n with s'² = s² + 1/4; the n - 1 contrasts have s'²."""
    noise = Y.var(ddof=1)
    sigma, tau = np.sqrt(noise - 0.25), np.sqrt(Y.mean() ** 2 - noise / len(Y))
    found = post["model_parameters"]
    assert found["sigma"].dims == ("fit",)
    np.testing.assert_allclose(found["sigma"], sigma, atol=0.03)
    np.testing.assert_allclose(found["tau"], tau, atol=0.03)
    covariance = noise * np.eye(len(Y)) + tau**2
    evidence = stats.multivariate_normal(np.zeros(len(Y)), covariance).logpdf(Y)
    np.testing.assert_allclose(post["sample_stats/log_weight"].mean("draw"), evidence, atol=0.05)


def test_draws_are_those_of_the_fitted_model(post):
    sigma = post["model_parameters/sigma"].values[:, None]
    np.testing.assert_allclose(post["posterior/ratio"] * sigma, post["posterior/mu"], rtol=1e-10)
    assert "constant_data" not in post.children
    assert post.attrs["model"].endswith(".model")


def test_saved_and_loaded(post, tmp_path):
    assert bk.load(bk.save(post, tmp_path / "post.zarr")).identical(post)


def test_a_hand_written_guide_finds_the_same(post):
    def guide(y):
        row = jnp.zeros(len(y))
        scale = numpyro.param("scale", 0.1 + row, constraint=POSITIVE)
        start = jnp.mean(y)  # at zero there is another optimum, with tau = 0
        mu = numpyro.sample("mu", dist.Normal(numpyro.param("m", start), numpyro.param("s", 0.1, constraint=POSITIVE)))
        slope = numpyro.param("slope", 0.0)
        with numpyro.plate("row", len(y)):
            numpyro.sample("z", dist.Normal(numpyro.param("centre", y) + slope * (mu - start), scale))

    other = fit(guide=guide, num_chains=1)
    np.testing.assert_allclose(other["model_parameters/sigma"], post["model_parameters/sigma"][:1], atol=0.05)


def test_a_pytree_of_parameters():
    def network(x, y):
        weights = numpyro.param("net", {"slope": jnp.zeros(2), "shift": jnp.zeros(())})
        noise = numpyro.sample("noise", dist.LogNormal(0.0, 1.0))
        numpyro.sample("y", dist.Normal(x @ weights["slope"] + weights["shift"], noise).to_event(1), obs=y)

    x = np.random.default_rng(1).normal(size=(50, 2))
    y = x @ [1.0, -2.0] + 0.5
    method = bk.VI(num_steps=2000, objective=bk.objectives.ELBO(8, sticking_the_landing=True))
    tree = bk.infer(network, {"x": x, "y": y + 0.1 * x[:, 0] ** 2}, method, key=0, progress=False)
    design = np.column_stack([x, np.ones(50)])
    least = np.linalg.lstsq(design, y + 0.1 * x[:, 0] ** 2, rcond=None)[0]
    np.testing.assert_allclose(tree["model_parameters/net 1"].values[0], least[:2], atol=0.01)
    np.testing.assert_allclose(tree["model_parameters/net 0"].values[0], least[2], atol=0.01)


def test_resumed_run_is_the_uninterrupted_one(post, tmp_path, monkeypatch):
    stream = bk.VI.stream

    def stopping(self, state, target, num_steps, num_chunks):
        yield from itertools.islice(stream(self, state, target, num_steps, num_chunks), 2)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(bk.VI, "stream", stopping)
        with pytest.raises(bk.errors.Interrupted):
            bk.infer(model, {"y": Y}, METHOD, key=0, progress=False, store=tmp_path / "run.zarr")
    again = bk.resume(model, {"y": Y}, tmp_path / "run.zarr", progress=False)
    assert again["model_parameters"].to_dataset().identical(post["model_parameters"].to_dataset())
    assert again["posterior"].to_dataset().identical(post["posterior"].to_dataset())


@pytest.mark.parametrize(
    "settings", [{"optimizer": "natural"}, {"guide": bk.guides.Laplace()}, {"objective": bk.objectives.WakeGuide(4)}]
)
def test_what_cannot_fit_them_says_so(settings):
    with pytest.raises(bk.errors.ModelError, match=r"numpyro\.param statements"):
        fit(**settings)


def test_a_parameter_of_both_model_and_guide_is_refused():
    def guide(y):
        sigma = numpyro.param("sigma", 1.0)
        mu = numpyro.sample("mu", dist.Normal(0.0, jnp.exp(sigma)))
        with numpyro.plate("row", len(y)):
            numpyro.sample("z", dist.Normal(mu, 1.0))

    with pytest.raises(bk.errors.ModelError, match="'sigma' is in both the model and the guide"):
        fit(guide=guide)


def test_log_likelihoods_at_unknown_parameters_are_refused():
    with pytest.raises(bk.errors.ModelError, match="log_likelihood=True"):
        bk.infer(model, {"y": Y}, bk.VI(num_steps=10), key=0, progress=False, log_likelihood=True)


def test_sampling_still_refuses_them():
    with pytest.raises(bk.errors.ModelError, match=r"'sigma' is a numpyro\.param"):
        bk.infer(model, {"y": Y}, bk.NUTS(), key=0, progress=False)
