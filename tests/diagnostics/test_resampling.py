"""Importance resampling of a variational fit."""

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy import stats

import bayeskit as bk
from bayeskit.storage import make_tree

COVARIANCE = np.array([[1.0, 0.7], [0.7, 2.0]])


def gaussian():
    z = numpyro.sample("z", dist.MultivariateNormal(jnp.array([0.5, -1.0]), COVARIANCE))
    numpyro.deterministic("total", z.sum())
    numpyro.factor("nothing", 0.0)


@pytest.fixture(scope="module")
def fit():
    """Independent normals, too narrow."""
    method = bk.VI(num_steps=1500, num_draws=20_000, num_chains=2)
    return bk.infer(gaussian, None, method, key=0, progress=False)


def test_resampled_draws_have_the_moments_of_the_posterior(fit):
    """Standard errors from the effective number of draws that the weights leave, and from the resampling."""
    post = bk.importance_resample(fit, 4000, key=1)
    assert post["posterior/z"].shape == (2, 4000, 2)
    for chain in range(2):
        z = post["posterior/z"].values[chain]
        before = fit["posterior/z"].values[chain]
        number = 1 / (1 / 4000 + 1 / post["sample_stats/importance_ess"].values[chain, 0])
        mean_error = np.sqrt(np.diag(COVARIANCE) / number)
        assert np.all(np.abs(z.mean(0) - [0.5, -1.0]) < 4 * mean_error)
        error = np.sqrt((np.outer(np.diag(COVARIANCE), np.diag(COVARIANCE)) + COVARIANCE**2) / number)
        assert np.all(np.abs(np.cov(z.T) - COVARIANCE) < 4 * error)
        assert abs(np.cov(before.T)[0, 1]) < 0.1  # what the guide had said


def test_draws_stay_together(fit):
    post = bk.importance_resample(fit, 500, key=1)
    np.testing.assert_allclose(post["posterior/total"], post["posterior/z"].sum(post["posterior/z"].dims[-1]))
    assert set(post["sample_stats"].data_vars) == {"lp", "pareto_k", "importance_ess"}
    density = stats.multivariate_normal([0.5, -1.0], COVARIANCE).logpdf(post["posterior/z"].values)
    np.testing.assert_allclose(post["sample_stats/lp"], density, rtol=1e-6)
    np.testing.assert_array_equal(post["posterior/z"].coords["draw"], np.arange(500))
    assert post.attrs["num_draws"] == 500
    assert post["posterior/z"].attrs == fit["posterior/z"].attrs


def test_the_same_key_gives_the_same_draws(fit):
    one, two, other = (bk.importance_resample(fit, 100, key=key)["posterior/z"].values for key in (0, 0, 1))
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, other)


def test_verdict_before_and_after(fit):
    before = bk.check(fit, quiet=True)
    assert [finding.name for finding in before.findings] == ["guide_moments"]
    assert "bayeskit.importance_resample(post, num_draws, key=...)" in before.findings[0].advice
    assert bk.check(bk.importance_resample(fit, 1000, key=1), quiet=True).ok


def test_halves_of_independent_draws_are_not_compared():
    """One fit whose halves differ by chance, as they do once in a while."""
    draws = np.r_[np.random.default_rng(0).normal(size=500), 0.3 + np.random.default_rng(1).normal(size=500)][None]
    weights = 0.2 * np.random.default_rng(2).normal(size=(1, 1000))
    plain = make_tree({"posterior": {"x": draws}, "sample_stats": {"lp": weights}})
    fitted = make_tree({"posterior": {"x": draws}, "sample_stats": {"lp": weights, "log_weight": weights}})
    assert "r_hat" in [finding.name for finding in bk.check(plain, quiet=True).findings]
    assert bk.check(fitted, quiet=True).findings == ()


def test_repeated_draws_count_once(fit):
    post = bk.importance_resample(fit, 50_000, key=1)
    verdict = bk.check(post, quiet=True)
    worth = post["sample_stats/importance_ess"].values[:, 0].sum()
    assert verdict.min_ess_bulk <= worth < 40_000


def test_far_guides_are_refused_unless_forced():
    generator = np.random.default_rng(0)
    log_weight = generator.exponential(size=(1, 2000))  # of weights with the tail of 1 / x: k is one
    sample_stats = {"lp": log_weight, "log_weight": log_weight}
    far = make_tree({"posterior": {"x": generator.normal(size=(1, 2000))}, "sample_stats": sample_stats})
    with pytest.raises(bk.errors.MethodError, match=r"Pareto k of fit 0 is .* NUTS .* force=True"):
        bk.importance_resample(far, 100, key=0)
    verdict = bk.check(bk.importance_resample(far, 1000, key=0, force=True), quiet=True)
    assert not verdict.ok
    assert "pareto_k" in [finding.name for finding in verdict.findings]


def test_few_draws_with_weight_are_found():
    weights = {"lp": np.zeros((1, 400)), "log_weight": np.random.default_rng(0).normal(size=(1, 400))}
    draws = np.random.default_rng(1).normal(size=(1, 400))
    post = bk.importance_resample(make_tree({"posterior": {"x": draws}, "sample_stats": weights}), 1000, key=0)
    few = (("chain", "draw"), np.full((1, 1000), 40.0))
    post["sample_stats"] = post["sample_stats"].to_dataset().assign(importance_ess=few)
    findings = [finding.name for finding in bk.check(post, quiet=True).findings]
    assert "importance_ess" in findings


@pytest.mark.parametrize("num_draws", [0, -3])
def test_impossible_numbers_of_draws_are_named(fit, num_draws):
    with pytest.raises(bk.errors.MethodError, match="num_draws"):
        bk.importance_resample(fit, num_draws, key=0)


def test_only_variational_fits_have_weights():
    draws = make_tree({"posterior": {"x": np.zeros((2, 10))}, "sample_stats": {"lp": np.zeros((2, 10))}})
    with pytest.raises(bk.errors.DataError, match="log_weight"):
        bk.importance_resample(draws, 10, key=0)


def test_resampling_twice_is_refused(fit):
    with pytest.raises(bk.errors.DataError, match="resampled already"):
        bk.importance_resample(bk.importance_resample(fit, 10, key=0), 10, key=0)
