"""Sensitivity, comparison, reweighting and p-values, where a number would be wrong without a word."""

from __future__ import annotations

import warnings

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import bayeskit as bk
from bayeskit.storage import make_tree

pytestmark = pytest.mark.filterwarnings("ignore:leave-one-out")
RNG = np.random.default_rng(0)
MU = RNG.normal(2.0, 0.5, size=(2, 300))
Y = RNG.normal(2.0, 1.0, size=12)
LOG_LIKELIHOOD = -0.5 * (Y - MU[..., None]) ** 2


def fit(scale=1.0, **groups):
    groups = {"log_likelihood": {"y": LOG_LIKELIHOOD / scale**2 - np.log(scale)}, **groups}
    return make_tree({"posterior": {"mu": MU, "fixed": np.ones_like(MU)}, **groups})


def test_a_flat_prior_has_no_power():
    row = bk.power_scale(fit(log_prior={"mu": np.full(MU.shape, -2.0)})).loc["mu"]
    assert row["prior"] == row["prior_k"] == 0.0
    assert row["likelihood"] > 0.0
    assert row["diagnosis"] == ""


def test_what_cannot_be_scaled_is_refused():
    post = fit(log_prior={"mu": -0.5 * MU**2})
    with pytest.raises(bk.errors.StorageError, match="prior_names is empty"):
        bk.power_scale(post, prior_names=[])
    with pytest.raises(bk.errors.StorageError, match="no draw of fixed differs"):
        bk.power_scale(post, "fixed")
    with pytest.raises(bk.errors.DataError, match="as many chains and draws"):
        bk.power_scale(fit(log_prior={"mu": -0.5 * MU[:, :50] ** 2}))


def test_observations_in_single_precision_or_missing_are_the_same_observations():
    missing = np.where(np.arange(12) == 3, np.nan, Y)
    for one, other in ((Y, Y.astype(np.float32)), (missing, missing)):
        posts = {"a": fit(observed_data={"y": one}), "b": fit(2.0, observed_data={"y": other})}
        assert list(bk.compare(posts).index) == ["a", "b"]
    with pytest.raises(bk.errors.DataError, match="different observations"):
        bk.compare({"a": fit(observed_data={"y": Y}), "b": fit(observed_data={"y": missing})})


@pytest.mark.parametrize("posts", [[fit(), fit()], {"a": fit(), "b": None}, {"a": "a.zarr", "b": fit()}])
def test_what_is_no_result_cannot_be_compared(posts):
    with pytest.raises(bk.errors.StorageError, match=r"compare needs|must be the DataTree"):
        bk.compare(posts)


def test_an_observation_without_a_label_is_in_no_group():
    with pytest.raises(bk.errors.DataError, match="missing"):
        bk.loo(fit(), group=np.where(np.arange(12) < 2, np.nan, 1.0))
    with pytest.raises(bk.errors.DataError, match="put in order"):
        bk.loo(fit(), group=np.array(["a", 1] * 6, dtype=object))


def test_a_site_may_be_called_group():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        named = bk.loo(fit(log_likelihood={"group": LOG_LIKELIHOOD}), group=np.arange(12) % 4)
        assert named.elpd == bk.loo(fit(), group=np.arange(12) % 4).elpd


@pytest.mark.filterwarnings("ignore:leave-one-out")
def test_a_refit_without_finite_densities_is_refused():
    with pytest.raises(bk.errors.DataError, match=r"refit\(.*NaN or infinite"):
        bk.loo(fit(0.3), group=np.arange(12) % 2, refit=lambda label: fit(np.nan))


def test_weights_compare_the_same_sites():
    both = {"mu": -0.5 * MU**2, "fixed": np.zeros_like(MU)}
    with pytest.raises(bk.errors.DataError, match="'fixed' is a latent site of one"):
        bk.reweight(fit(log_prior=both), fit(log_prior={"mu": both["mu"]}), key=0)
    alone = make_tree({"posterior": {"mu": MU, "fixed": np.ones_like(MU)}, "log_prior": both})
    with pytest.raises(bk.errors.DataError, match="one of the two trees only"):
        bk.reweight(fit(log_prior=both), alone, key=0)
    assert bk.reweight(alone, alone, key=0, num_draws=np.int64(5))["posterior"].sizes["draw"] == 5


def test_a_statistic_that_sorts_leaves_the_data_alone():
    def smallest(y):
        y.sort()
        return y[0]

    predicted = RNG.normal(2.0, 1.0, size=(2, 40, 12))
    post = make_tree({"posterior_predictive": {"y": predicted}, "observed_data": {"y": Y}})
    sorting, plain = (bk.p_values(post, {"s": statistic}) for statistic in (smallest, np.min))
    assert sorting.equals(plain)
    assert np.array_equal(post["observed_data/y"].values, Y)
    for statistics in (np.max, [np.max], {"s": 3}):
        with pytest.raises(bk.errors.DataError, match="functions by name"):
            bk.p_values(post, statistics)
    with pytest.raises(bk.errors.StorageError, match="must be a fit"):
        bk.p_values(None, {"s": np.max})


def test_a_prior_that_takes_steps_in_another_site_depends_on_it():
    def steps(y):
        a = numpyro.sample("a", dist.Normal(0.0, 1.0))
        b = numpyro.sample("b", dist.Normal(jnp.where(a > 0.0, 1.0, -1.0), 1.0))
        numpyro.sample("c", dist.Normal(jnp.zeros_like(a), 1.0))
        numpyro.sample("y", dist.Normal(b, 1.0), obs=y)

    ones = np.ones((1, 4))
    prior = bk.log_prior(steps, {"y": 0.3}, make_tree({"posterior": {"a": ones, "b": ones, "c": ones}}))["log_prior"]
    assert [prior[name].attrs["depends_on"] for name in "abc"] == ["", "a", ""]


def test_a_refit_stands_in_where_weights_give_no_number():
    wild, calm = fit(0.005), fit()
    with pytest.raises(bk.errors.DataError, match="estimate of 'y' is"):
        bk.loo(wild, group=np.arange(12) % 2)
    with pytest.raises(bk.errors.DataError, match="refit must be a function"):
        bk.loo(wild, refit=3)
    found = bk.loo(wild, group=np.arange(12) % 2, refit=lambda label: calm)
    assert np.isfinite([found.elpd, found.p, found.se]).all()
    by_hand = [LOG_LIKELIHOOD[..., half::2].sum(axis=-1) for half in (0, 1)]
    assert np.allclose(found.elpd_i, [np.log(np.exp(one).mean()) for one in by_hand])
