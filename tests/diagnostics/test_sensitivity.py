"""Power scaling, and the log prior that it needs."""

from __future__ import annotations

import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
import scipy.stats
import xarray as xr

import bayeskit as bk
from bayeskit.storage import make_tree

rng = np.random.default_rng(0)
NORMAL = scipy.stats.norm


def conjugate(prior_sd, noise_sd, y, draws=4000):
    """Independent draws of the mean of a normal distribution, with its log prior and log likelihood."""
    precision = prior_sd**-2 + len(y) * noise_sd**-2
    mu = rng.normal(y.sum() * noise_sd**-2 / precision, precision**-0.5, size=(4, draws // 4))
    return make_tree(
        {
            "posterior": {"mu": mu},
            "log_prior": {"mu": NORMAL.logpdf(mu, 0.0, prior_sd)},
            "log_likelihood": {"y": NORMAL.logpdf(y, mu[..., None], noise_sd)},
        }
    )


@pytest.mark.parametrize(
    ("prior_sd", "y", "diagnosis"),
    [
        (1.0, np.full(4, 6.0), "prior-data conflict"),
        (100.0, np.full(4, 6.0), ""),
        (0.05, np.zeros(2), "weak likelihood"),
    ],
)
def test_what_prior_and_data_say(prior_sd, y, diagnosis):
    table = bk.power_scale(conjugate(prior_sd, 1.0, y))
    assert table.loc["mu", "diagnosis"] == diagnosis
    assert table.loc["mu", "prior_k"] <= 0.7


def test_it_is_that_of_arviz():
    from arviz_stats import psense

    post = conjugate(1.0, 1.0, np.array([2.0, 3.0]))
    table = bk.power_scale(post)
    for group in ("prior", "likelihood"):
        np.testing.assert_allclose(table.loc["mu", group], float(psense(post, group=group)["mu"]), rtol=1e-8)


def test_what_is_missing_is_named():
    post = conjugate(1.0, 1.0, np.array([2.0, 3.0]))
    for group in ("log_prior", "log_likelihood"):
        groups = {path: node.to_dataset() for path, node in post.children.items() if path != group}
        with pytest.raises(bk.errors.StorageError, match=rf"bk\.{group}\(model, data, post\)"):
            bk.power_scale(xr.DataTree.from_dict(groups))
    with pytest.raises(bk.errors.StorageError, match="no variable 'nu'"):
        bk.power_scale(post, "nu")
    with pytest.raises(bk.errors.StorageError, match="prior_names"):
        bk.power_scale(post, prior_names=["nu"])
    broken = make_tree({**{g: dict(post[g].data_vars) for g in ("posterior", "log_likelihood")}})
    broken["log_prior"] = xr.Dataset({"mu": post["log_prior/mu"] + np.inf})
    with pytest.raises(bk.errors.DataError, match="infinite"):
        bk.power_scale(broken)


def hierarchy(group, y=None):
    tau = numpyro.sample("tau", dist.HalfNormal(2.0))
    mean = numpyro.sample("mean", dist.Normal(0.0, 3.0))
    with numpyro.plate("group", 3):
        effect = numpyro.sample("effect", dist.Normal(mean, tau))
    bk.prior_factor("pull", -0.5 * mean**2)
    with numpyro.plate("row", len(group)):
        numpyro.sample("y", dist.Normal(effect[group], 1.0), obs=y)


DATA = {"group": np.array([0, 0, 1, 2]), "y": np.array([1.0, 2.0, -1.0, 0.5])}


@pytest.fixture(scope="module")
def with_prior():
    values = {"tau": np.exp(rng.normal(size=(2, 50))), "mean": rng.normal(size=(2, 50))}
    values["effect"] = rng.normal(size=(2, 50, 3))
    kinds = dict.fromkeys(values, "latent")
    return bk.log_prior(hierarchy, DATA, make_tree({"posterior": values}, site_kinds=kinds))


def test_log_prior_is_that_of_the_sites(with_prior):
    post = {name: v.to_numpy() for name, v in with_prior["posterior"].data_vars.items()}
    prior = with_prior["log_prior"]
    np.testing.assert_allclose(prior["tau"], scipy.stats.halfnorm.logpdf(post["tau"], scale=2.0))
    np.testing.assert_allclose(prior["mean"], NORMAL.logpdf(post["mean"], 0.0, 3.0))
    expected = NORMAL.logpdf(post["effect"], post["mean"][..., None], post["tau"][..., None])
    np.testing.assert_allclose(prior["effect"], expected)
    np.testing.assert_allclose(prior["pull"], -0.5 * post["mean"] ** 2)
    assert prior["effect"].dims == ("chain", "draw", "group")


def test_the_top_of_a_hierarchy_is_known_and_scaled(with_prior):
    attrs = {str(name): v.attrs.get("depends_on") for name, v in with_prior["log_prior"].data_vars.items()}
    assert attrs == {"tau": "", "mean": "", "effect": "tau, mean", "pull": None}
    post = bk.log_likelihood(hierarchy, DATA, with_prior)
    top = bk.power_scale(post, "tau")
    same, other = (bk.power_scale(post, "tau", prior_names=["tau", "mean", "pull", *more]) for more in ([], ["effect"]))
    np.testing.assert_allclose(top["prior"], same["prior"], rtol=1e-8)
    assert not np.isclose(top["prior"], other["prior"]).all()


def test_log_prior_refuses_what_is_no_fit():
    with pytest.raises(bk.errors.DataError, match="must be a fit"):
        bk.log_prior(hierarchy, DATA, 3)
    with pytest.raises(bk.errors.ModelError, match="lacks the latent site"):
        bk.log_prior(hierarchy, DATA, make_tree({"posterior": {"tau": np.ones((1, 5))}}))
