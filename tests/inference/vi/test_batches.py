"""VI of a model whose plate subsamples its data."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy import stats

import bayeskit as bk
from bayeskit.inference.batches import lift_batches, over_all_rows, with_random_rows

Y = np.random.default_rng(0).normal(1.0, 2.0, 23)
PRECISION = 1.0 / 100.0 + len(Y) / 4.0
WHOLE = stats.norm(0.0, 10.0).logpdf(0.7) + stats.norm(0.7, 2.0).logpdf(Y).sum()  # log density where mu is 0.7
MEAN, SCALE = Y.sum() / 4.0 / PRECISION, PRECISION**-0.5


def model(y, batch=None):
    mu = numpyro.sample("mu", dist.Normal(0.0, 10.0))
    with numpyro.plate("rows", len(y), subsample_size=batch) as rows:
        numpyro.sample("y", dist.Normal(mu, 2.0), obs=y[rows])


def guide():
    loc = numpyro.param("loc", 0.0)
    scale = numpyro.param("scale", 1.0, constraint=dist.constraints.positive)
    numpyro.sample("mu", dist.Normal(loc, scale))


def target(batch):
    return bk.Target(lift_batches(bk.bind(model, {"y": Y, "batch": batch})))


@pytest.mark.parametrize(
    "batch", [pytest.param(1, marks=pytest.mark.full), 5, pytest.param(22, marks=pytest.mark.full)]
)
def test_all_rows_in_batches_are_the_whole(batch):
    with jax.enable_x64(True):
        density = lambda t: t.log_density({"mu": jnp.array(0.7)})  # noqa: E731
        in_batches = jax.jit(lambda t: over_all_rows(t, density))(target(batch))
        np.testing.assert_allclose(in_batches, WHOLE, rtol=1e-12)


def test_random_batches_have_the_mean_of_the_whole():
    at = {"mu": jnp.array(0.7)}
    parts = target(5)
    densities = jax.jit(jax.vmap(lambda key: with_random_rows(parts, key).log_density(at)))(
        jax.random.split(jax.random.key(0), 4000)
    )
    error = densities.std() / 4000**0.5
    assert 0 < error < 0.3
    assert abs(densities.mean() - WHOLE) < 4 * error


@pytest.mark.parametrize(
    "by", [bk.guides.FullRank(), pytest.param(guide, marks=pytest.mark.full)], ids=["automatic", "by hand"]
)
def test_fit_by_batches(by):
    """The fit is that of the whole data, and so are its weights."""
    method = bk.VI(guide=by, num_steps=4000, num_draws=500)
    fit = bk.infer(model, {"y": Y, "batch": 5}, method, key=0, progress=False)
    draws = fit["posterior/mu"].values.ravel()
    assert abs(draws.mean() - MEAN) < 0.2 * SCALE
    assert 0.8 < draws.std() / SCALE < 1.2
    log_evidence = stats.multivariate_normal(np.zeros(len(Y)), 4.0 * np.eye(len(Y)) + 100.0).logpdf(Y)
    weights = fit["sample_stats/log_weight"].values.ravel()
    assert abs(weights.mean() - log_evidence) < 0.1
    assert weights.std() < 0.3
    assert not [name for name in fit["constant_data"].data_vars if "plate" in name]


def test_what_batches_would_bias_is_refused():
    data = {"y": Y, "batch": 5}
    with pytest.raises(
        bk.errors.MethodError, match=r"'rows' subsamples.*noise of its batches would bias ImportanceWeightedELBO"
    ):
        bk.infer(model, data, bk.VI(objective=bk.objectives.ImportanceWeightedELBO(3)), key=0, progress=False)
    with pytest.raises(bk.errors.MethodError, match=r"'rows' subsamples.*would bias Laplace"):
        bk.infer(model, data, bk.VI(guide=bk.guides.Laplace()), key=0, progress=False)
    with pytest.raises(bk.errors.ModelError, match="log_likelihood=True: plate 'rows' subsamples"):
        bk.infer(model, data, bk.VI(), key=0, progress=False, log_likelihood=True)
    with pytest.raises(bk.errors.ModelError, match=r"'rows' subsamples its data.*NUTS would target the wrong"):
        bk.infer(model, data, bk.NUTS(), key=0, progress=False)


def test_latent_sites_in_batches_are_refused():
    def local(y):
        with numpyro.plate("rows", len(y), subsample_size=5) as rows:
            z = numpyro.sample("z", dist.Normal(0.0, 1.0))
            numpyro.sample("y", dist.Normal(z, 1.0), obs=y[rows])

    with pytest.raises(bk.errors.MethodError, match="site 'z' is inside plate 'rows', which subsamples"):
        bk.infer(local, {"y": Y}, bk.VI(), key=0, progress=False)


@pytest.mark.parametrize(
    ("annealed", "width", "error"),
    # by default tests/conformance/test_objectives.py has the width of what stays hot
    [(0.4, 1.0, 0.1), pytest.param(None, 5.0**0.5, 0.25, marks=pytest.mark.full)],
)
def test_annealing_ends_in_the_elbo(annealed, width, error):
    """Hot at first, but the fit is that of the ELBO in the end; without annealing it stays hot."""
    objective = bk.objectives.TemperedELBO(5.0, 8, **({} if annealed is None else {"annealed": annealed}))
    method = bk.VI(guide=bk.guides.FullRank(), objective=objective, num_steps=3000)
    draws = bk.infer(model, {"y": Y}, method, key=0, progress=False)["posterior/mu"].values
    assert abs(draws.std() / SCALE - width) < error


@pytest.mark.full  # by default there are the bound, in test_bounds.py, and a fit by batches, above
def test_hierarchical_fit():
    """A guide with a hidden choice; what is drawn and weighted is what it shows."""

    def hidden():
        u = numpyro.sample("u", dist.Normal(0.0, 1.0))
        numpyro.sample("mu", dist.Normal(numpyro.param("loc", 0.0) + 0.3 * u, jnp.exp(numpyro.param("s", -1.0))))

    objective = bk.objectives.HierarchicalELBO(
        ["mu"], lambda kept: lambda: numpyro.sample("u", dist.Normal(0.0, 1.0)), num_hidden=5
    )
    fit = bk.infer(model, {"y": Y}, bk.VI(hidden, objective, num_steps=3000), key=0, progress=False)
    draws = fit["posterior/mu"].values.ravel()
    assert abs(draws.mean() - MEAN) < 0.2 * SCALE
    assert 0.8 < draws.std() / SCALE < 1.2
