"""Leave-one-group-out against the closed form, and against brute force where weights cannot tell."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import scipy.stats
import xarray as xr

import bayeskit as bk
from bayeskit.storage import make_tree

GROUP = np.repeat(["a", "b", "c"], [2, 3, 4])


def fit(y, seen=None, draws=20_000, prior_sd=1.0):
    """Independent draws of a mean given the observations that are seen, and the log likelihoods of all."""
    rng = np.random.default_rng(0)
    data = y if seen is None else y[seen]
    precision = prior_sd**-2 + len(data)
    mu = rng.normal(data.sum() / precision, precision**-0.5, size=(4, draws // 4))
    log_lik = scipy.stats.norm.logpdf(y, mu[..., None], 1.0)
    return make_tree({"posterior": {"mu": mu}, "log_likelihood": {"y": log_lik}, "constant_data": {"group": GROUP}})


def exact(y, label, prior_sd=1.0):
    """The log predictive density of a group given the others."""
    inside, others = y[label == GROUP], y[label != GROUP]
    precision = prior_sd**-2 + len(others)
    cov = np.eye(len(inside)) + 1.0 / precision
    return scipy.stats.multivariate_normal.logpdf(inside, np.full(len(inside), others.sum() / precision), cov)


Y = np.random.default_rng(1).normal(size=9)


@pytest.fixture(scope="module")
def post():
    return fit(Y)


def test_groups_against_the_closed_form(post):
    found = bk.loo(post, group="group")
    assert found.n_data_points == 3
    # independent draws, k below 0.5: the error of a log mean is the coefficient of variation / sqrt(S)
    for label, term in zip("abc", np.asarray(found.elpd_i), strict=True):
        log_lik = post["log_likelihood/y"].to_numpy()[..., label == GROUP].sum(axis=-1)
        ratio = np.exp(-(log_lik - log_lik.max()))
        error = ratio.std() / ratio.mean() / ratio.size**0.5
        assert abs(term - exact(Y, label)) < 4 * error
    assert float(found.elpd) == pytest.approx(float(np.sum(found.elpd_i)))


def test_labels_may_be_given_and_single_observations_are_those_of_arviz(post):
    from arviz_stats import loo as arviz_loo

    assert bk.loo(post, group=GROUP).elpd == bk.loo(post, group="group").elpd
    single = bk.loo(post, group=np.arange(9))
    np.testing.assert_allclose(single.elpd_i, bk.loo(post).elpd_i, atol=1e-8)
    np.testing.assert_allclose(bk.loo(post).elpd, arviz_loo(post, var_name="y").elpd, atol=1e-8)


def test_bad_groups_are_told_and_refitted():
    y = Y + np.where(GROUP == "c", 2.0, 0.0)
    post = fit(y, draws=2000)
    with pytest.warns(UserWarning, match="cannot be trusted at 1 of 3 groups, .*: c"):
        bk.loo(post, group="group")
    asked = []

    def refit(label):
        asked.append(label)
        return fit(y, label != GROUP)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = bk.loo(post, group="group", refit=refit)
    assert asked == ["c"]
    assert float(found.pareto_k[2]) == 0.0
    log_lik = fit(y, GROUP != "c")["log_likelihood/y"].to_numpy()[..., GROUP == "c"].sum(axis=-1)
    ratio = np.exp(log_lik - log_lik.max())
    error = ratio.std() / ratio.mean() / ratio.size**0.5
    assert abs(float(found.elpd_i[2]) - exact(y, "c")) < 4 * error
    assert float(found.elpd) == pytest.approx(float(np.sum(found.elpd_i)))


@pytest.mark.parametrize(
    ("group", "match"), [("county", "neither a dimension"), (np.zeros(3), "has shape"), ([["a"]], "has shape")]
)
def test_wrong_groups_are_refused(post, group, match):
    with pytest.raises(bk.errors.DataError, match=match):
        bk.loo(post, group=group)


def test_a_refit_without_log_likelihoods_is_refused():
    post = fit(Y + np.where(GROUP == "c", 2.0, 0.0), draws=2000)
    with pytest.raises(bk.errors.DataError, match="must return a fit with the log likelihoods"):
        bk.loo(post, group="group", refit=lambda label: xr.DataTree())
    with pytest.raises(bk.errors.DataError, match="all observations have"):
        bk.loo(post, group="group", refit=lambda label: shorter(post))


def shorter(post):
    return make_tree(
        {"posterior": {"mu": post["posterior/mu"].to_numpy()}, "log_likelihood": {"y": np.zeros((1, 4, 2))}}
    )
