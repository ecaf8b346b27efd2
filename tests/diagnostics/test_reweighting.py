"""Another prior from the same draws, and posterior predictive p-values."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

import bayeskit as bk
from bayeskit.storage import make_tree

NORMAL = scipy.stats.norm
Y = np.array([1.0, 1.4])
rng = np.random.default_rng(0)
MU = rng.normal(Y.sum() / 2.25, 2.25**-0.5, size=(4, 5000))  # the prior has standard deviation 2


def under(mean, sd, mu=MU):
    return make_tree({"posterior": {"mu": mu}, "log_prior": {"mu": NORMAL.logpdf(mu, mean, sd)}})


def test_the_other_posterior_in_closed_form():
    new = bk.reweight(under(0.0, 2.0), under(0.0, 1.0), key=1, num_draws=4000)
    draws = new["posterior/mu"].to_numpy()
    assert draws.shape == (1, 4000)
    worth = min(float(new["sample_stats/importance_ess"][0, 0]), 4000)
    assert abs(draws.mean() - Y.sum() / 3) < 4 * (1 / 3 / worth) ** 0.5
    assert abs(draws.std() - 3**-0.5) < 4 * (1 / 3 / (2 * worth)) ** 0.5
    assert bk.check(new, quiet=True).max_r_hat < 1.01
    assert bk.reweight(under(0.0, 2.0), under(0.0, 1.0), key=1)["posterior/mu"].size > 4000  # as many as are worth it


def test_what_is_too_far_away_is_refused():
    with pytest.raises(bk.errors.MethodError, match="fit the other model"):
        bk.reweight(under(0.0, 2.0), under(-20.0, 0.5), key=1)


def test_the_likelihood_counts_where_both_have_it():
    trees = []
    for sd in (1.0, 1.2):
        log_lik = NORMAL.logpdf(Y, MU[..., None], sd)
        groups = {"posterior": {"mu": MU}, "log_prior": {"mu": np.zeros(MU.shape)}, "log_likelihood": {"y": log_lik}}
        trees.append(make_tree(groups))
    new = bk.reweight(*trees, key=1, num_draws=4000)
    precision = 0.25 + 2 / 1.2**2
    worth = min(float(new["sample_stats/importance_ess"][0, 0]), 4000)
    assert abs(float(new["posterior/mu"].mean()) - Y.sum() / 1.2**2 / precision) < 4 * (1 / precision / worth) ** 0.5


def test_wrong_trees_are_refused():
    with pytest.raises(bk.errors.DataError, match="same draws"):
        bk.reweight(under(0.0, 2.0), under(0.0, 1.0, MU + 1.0), key=1)
    with pytest.raises(bk.errors.StorageError, match="log_prior"):
        bk.reweight(make_tree({"posterior": {"mu": MU}}), under(0.0, 1.0), key=1)
    with pytest.raises(bk.errors.DataError, match="other must be"):
        bk.reweight(under(0.0, 2.0), 3, key=1)
    with pytest.raises(bk.errors.MethodError, match="num_draws"):
        bk.reweight(under(0.0, 2.0), under(0.0, 1.0), key=1, num_draws=0)


def predicted(y, replicated):
    return make_tree({"posterior_predictive": {"y": replicated}, "observed_data": {"y": y}})


def test_p_values_are_tail_probabilities():
    y = rng.normal(size=50)
    post = predicted(y, rng.normal(size=(4, 500, 50)))
    table = bk.p_values(post, {"max": np.max, "number": np.size})
    assert table.loc["number", "p"] == 0.5  # ties
    exact = 1.0 - NORMAL.cdf(y.max()) ** 50
    assert abs(table.loc["max", "p"] - exact) < 4 * (exact * (1 - exact) / 2000) ** 0.5


def test_p_values_refuse_what_is_no_number():
    post = predicted(np.zeros(3), np.zeros((1, 5, 3)))
    with pytest.raises(bk.errors.DataError, match="'same' must be a number"):
        bk.p_values(post, {"same": lambda y: y})
    with pytest.raises(bk.errors.StorageError, match="no predictions"):
        bk.p_values(make_tree({"posterior": {"mu": MU}}), {"max": np.max})
    with pytest.raises(bk.errors.StorageError, match="var_name=y"):
        bk.p_values(post, {"max": np.max}, var_name="z")
    with pytest.raises(bk.errors.DataError, match="shape"):
        bk.p_values(predicted(np.zeros(3), np.zeros((1, 5, 4))), {"max": np.max})
