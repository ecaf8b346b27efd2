"""The log likelihood after the fact is that of the run."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
import xarray as xr

import bayeskit as bk
from bayeskit.errors import DataError, ModelError

METHOD = bk.HMC(num_chains=2, num_warmup=30, num_draws=150, chain_method="vectorized")  # the quickest to compile
X, Y = np.array([0.5, -1.0, 2.0]), np.array([1.2, -0.4, 0.9])


def regression(x, y):
    slope = numpyro.sample("slope", dist.Normal(0.0, 1.0))
    scale = numpyro.sample("scale", dist.HalfNormal(1.0))
    with numpyro.plate("row", len(x)):
        numpyro.sample("y", dist.Normal(slope * x, scale), obs=y)


def mixture(y):
    mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))
    with numpyro.plate("row", 3):
        kind = numpyro.sample("kind", dist.Categorical(jnp.array([0.3, 0.7])))
        numpyro.sample("y", dist.Normal(mean + kind, 1.0), obs=y)


@pytest.mark.filterwarnings("ignore:leave-one-out cannot be trusted")  # of three observations
@pytest.mark.parametrize(
    ("model", "data"), [pytest.param(regression, {"x": X, "y": Y}, marks=pytest.mark.full), (mixture, {"y": Y})]
)
def test_as_in_the_run(model, data):
    coords = {"row": ["a", "b", "c"]}
    run = bk.infer(model, data, METHOD, key=0, coords=coords, log_likelihood=True, progress=False)
    bare = run.copy()
    del bare["log_likelihood"]
    after = bk.log_likelihood(model, data, bare)
    np.testing.assert_allclose(after["log_likelihood/y"], run["log_likelihood/y"], rtol=1e-12)
    assert after["log_likelihood/y"].dims == ("chain", "draw", "row")
    assert list(after["log_likelihood/row"].values) == ["a", "b", "c"]
    assert bk.loo(after).elpd == pytest.approx(bk.loo(run).elpd, rel=1e-12)
    assert "log_likelihood" not in bare.children


def test_other_data_under_the_fit():
    post = bk.infer(regression, {"x": X, "y": Y}, METHOD, key=0, progress=False)
    other = bk.log_likelihood(regression, {"x": X[:2], "y": Y[1:]}, post)["log_likelihood/y"]
    slope, scale = post["posterior/slope"].values, post["posterior/scale"].values
    residual = (Y[1:] - slope[..., None] * X[:2]) / scale[..., None]
    expected = -0.5 * residual**2 - np.log(scale[..., None] * np.sqrt(2 * np.pi))
    np.testing.assert_allclose(other, expected, rtol=1e-10)


def test_errors():
    post = bk.infer(regression, {"x": X, "y": Y}, METHOD, key=0, keep=["slope"], progress=False)
    with pytest.raises(ModelError, match="the fit lacks the latent site 'scale'; is it a fit of this model"):
        bk.log_likelihood(regression, {"x": X, "y": Y}, post)
    with pytest.raises(ModelError, match=r"the fit lacks the latent site 'mean'"):
        bk.log_likelihood(mixture, {"y": Y}, post)
    with pytest.raises(DataError, match=r"post must be a fit, the DataTree that bayeskit.infer returned, got DataTree"):
        bk.log_likelihood(regression, {"x": X, "y": Y}, xr.DataTree())
    whole = bk.infer(regression, {"x": X, "y": Y}, METHOD, key=0, progress=False)
    whole["posterior"]["scale"] = -whole["posterior/scale"]
    with pytest.raises(DataError, match="the log likelihood of 'y' is NaN at draw 0 of chain 0: the fit holds draws"):
        bk.log_likelihood(regression, {"x": X, "y": Y}, whole)
