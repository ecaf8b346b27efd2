"""Weights that are nearly equal are no sign of a bad guide, and a tail that promises much is."""

from __future__ import annotations

import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from arviz_stats.base import array_stats
from scipy import integrate, stats
from scipy.special import logsumexp

import bayeskit as bk
from bayeskit.diagnostics.importance import MAX_K, pareto_k
from bayeskit.numerics.tails import FARTHEST, Tail, fit_pareto, largest_tail, nearly_equal
from bayeskit.storage import make_tree

SIZE = 4000
KEYS = range(8)
NORMAL = stats.norm


def mixture(weights, means, scales):
    """Draws of a mixture of normal distributions, and its log density."""
    weights, means, scales = map(np.array, (weights, means, scales))

    def draw(rng):
        chosen = rng.choice(len(weights), size=SIZE, p=weights)
        return means[chosen] + scales[chosen] * rng.normal(size=SIZE)

    return draw, lambda z: logsumexp(np.log(weights) + NORMAL.logpdf(z[:, None], means, scales), axis=1)


def standard(rng):
    return rng.normal(size=SIZE)


def against(log_posterior, draw=standard, log_guide=NORMAL.logpdf):
    def log_weights(rng):
        z = draw(rng)
        return log_posterior(z) - log_guide(z)

    return log_weights


ONE, LOG_ONE = mixture([0.6, 0.4], [0.6, -0.9], [0.75, 0.75])
TWO, LOG_TWO = mixture([0.9, 0.1], [0.0, 5.0], [1.0, 1.0])
CLOSE, LOG_CLOSE = mixture([0.9, 0.1], [0.0, 4.0], [1.0, 1.0])

GOOD = {
    # guide and posterior differ by a hundredth of their mass or less; the mixture is 5% too wide
    "two parts of a mixture at one mode": against(NORMAL.logpdf, ONE, LOG_ONE),
    "nearly a normal distribution": against(
        lambda z: stats.t.logpdf(z, 30), lambda rng: 1.03 * standard(rng), lambda z: NORMAL.logpdf(z, scale=1.03)
    ),
    "a thousandth with an eighth power": against(lambda z: NORMAL.logpdf(z) + np.log1p(1e-3 * z**8 / 105)),
    "a hundredth of a Cauchy distribution": against(
        lambda z: np.logaddexp(np.log(0.99) + NORMAL.logpdf(z), np.log(0.01) + stats.cauchy.logpdf(z))
    ),
    "a few weights five percent higher": lambda rng: 0.05 * (rng.random(SIZE) < 0.01) + 1e-3 * rng.random(SIZE),
}
BAD = {
    "Student's t with 2 degrees of freedom": against(
        lambda z: stats.t.logpdf(z, 2), lambda rng: 1.37 * standard(rng), lambda z: NORMAL.logpdf(z, scale=1.37)
    ),
    "Student's t with 3 degrees of freedom": against(
        lambda z: stats.t.logpdf(z, 3), lambda rng: 1.26 * standard(rng), lambda z: NORMAL.logpdf(z, scale=1.26)
    ),
    "a tenth of the posterior 4 standard deviations away": against(LOG_CLOSE),
    "a tenth of the posterior 5 standard deviations away": against(LOG_TWO),
}


def shapes(log_weights):
    """Of each key: k-hat as it comes, and as it counts."""
    every = [log_weights(np.random.default_rng(key)) for key in KEYS]
    return [float(array_stats.psislw(-one)[1]) for one in every], [pareto_k(one).k for one in every]


@pytest.mark.parametrize("name", GOOD)
def test_a_tail_without_size_is_no_trouble(name):
    raw, counted = shapes(GOOD[name])
    assert max(raw) > MAX_K  # the shape alone would be called bad
    assert max(counted) <= MAX_K


@pytest.mark.parametrize("name", BAD)
def test_a_tail_that_promises_much_is_found(name):
    _, counted = shapes(BAD[name])
    assert min(counted) > MAX_K


def test_mixtures_that_end_in_one_mode_are_good_fits():
    """Of a normal posterior, with components that the optimisation has left nearly the same: k-hat is above one."""

    def normal():
        numpyro.sample("z", dist.Normal(0.0, 1.0))
        numpyro.factor("nothing", 0.0)

    method = bk.VI(guide=bk.guides.Mixture(bk.guides.FullRank(), 2), num_steps=1000, num_chains=2, num_draws=SIZE)
    raw = []
    for key in range(3):
        fit = bk.infer(normal, None, method, key=key, progress=False)
        raw += [float(array_stats.psislw(-one)[1]) for one in fit["sample_stats/log_weight"].values]
        verdict = bk.check(fit, quiet=True)
        assert verdict.findings == ()
        assert len(bk.importance_resample(fit, 100, key=0)["posterior/draw"]) == 100
    assert max(raw) > 1.0


@pytest.mark.parametrize("spread", [0.0, 1e-12, 1e-6])
def test_constant_weights(spread):
    weights = spread * np.random.default_rng(0).standard_cauchy(size=(1, 1000))
    tree = make_tree({"posterior": {"x": weights}, "sample_stats": {"lp": weights, "log_weight": weights}})
    assert [one for one in bk.check(tree, quiet=True).findings if one.name == "pareto_k"] == []
    assert pareto_k(weights).k == 0.0


@pytest.mark.parametrize("height", [0.1, 3.0])
def test_largest_weights_that_are_the_same_are_a_bound(height):
    """ArviZ has no shape for them."""
    log_weights = height * (np.random.default_rng(0).random(1000) < 0.3)
    with pytest.raises(ValueError, match="All tail values are the same"):
        array_stats.psislw(-log_weights)
    fit = pareto_k(log_weights)
    assert fit.k == 0.0
    np.testing.assert_allclose(fit.weights, np.exp(log_weights) / np.exp(log_weights).sum())


def test_too_few_draws_to_tell():
    log_weight = 0.3 * np.random.default_rng(0).normal(size=(1, 24))
    stats_of = {"lp": log_weight, "log_weight": log_weight}
    fit = make_tree({"posterior": {"x": log_weight}, "sample_stats": stats_of})
    verdict = bk.check(fit, quiet=True)
    assert "Pareto k (fewer than 25 draws)" in verdict.unchecked
    assert "pareto_k" not in {finding.name for finding in verdict.findings}
    with pytest.raises(bk.errors.MethodError) as raised:
        bk.importance_resample(fit, 10, key=0)
    assert str(raised.value) == (
        "the fit has 24 draws, too few to tell whether its weights reach the posterior; make it with more (num_draws "
        "of bayeskit.VI), or pass force=True for a result whose verdict is bad"
    )
    assert not bk.check(bk.importance_resample(fit, 10, key=0, force=True), quiet=True).ok
    assert pareto_k(5.0 * log_weight / 0.3).k == np.inf  # one draw has most of the weight


@pytest.mark.parametrize("shape", [-0.5, 0.3, 0.8, 1.5])
def test_the_shape_and_scale_of_a_tail_are_found(shape):
    """The standard errors of maximum likelihood: (1 + k) / sqrt(n), and sigma sqrt(2 (1 + k) / n)."""
    size, scale = 4000, 0.02
    excess = np.sort(stats.genpareto.rvs(shape, scale=scale, size=size, random_state=0))
    found_shape, found_scale = fit_pareto(excess)
    assert abs(found_shape - shape) < 4 * (1 + abs(shape)) / np.sqrt(size)
    assert abs(found_scale - scale) < 4 * scale * np.sqrt(2 * (1 + abs(shape)) / size)


@pytest.mark.parametrize("shape", [-0.4, 0.0, 0.7, 1.0, 1.6])
def test_what_lies_beyond_the_draws_is_the_integral_of_the_quantiles(shape):
    tail = Tail(threshold=1.3, share=0.1, shape=shape, scale=0.4)

    def height(log_p):
        p = np.exp(log_p)
        return p * (tail.threshold + stats.genpareto.isf(p / tail.share, shape, scale=tail.scale) - 1.0)

    expected, _ = integrate.quad(height, np.log(1e-6), np.log(1e-3))
    assert tail.excess(1e-6, 1e-3) == pytest.approx(expected, rel=1e-4)


def test_the_tail_is_taken_where_it_is_one():
    """Most of the largest weights lie on a plateau here, and the tail begins above it."""
    rng = np.random.default_rng(0)
    plateau, above = 1.0 + 1e-4 * rng.random(SIZE), 1.1 + stats.genpareto.rvs(0.2, scale=0.1, size=60, random_state=1)
    tail = largest_tail(np.sort(np.r_[plateau, above]))
    assert tail.share * (SIZE + 60) <= 60
    assert abs(tail.shape - 0.2) < 4 * 1.2 / np.sqrt(tail.share * (SIZE + 60))


@pytest.mark.parametrize("size", [11, 95])
def test_one_tail_in_a_hundred_is_not_believed(size):
    """Of those that are of the distribution that is fitted."""
    rng, times = np.random.default_rng(0), 600
    far = 0
    for _ in range(times):
        excess = np.sort(stats.genpareto.rvs(0.9, size=size, random_state=rng))
        shape, scale = fit_pareto(excess)
        far += stats.kstest(excess, "genpareto", args=(shape, 0.0, scale)).statistic * np.sqrt(size) > FARTHEST
    assert abs(far / times - 0.01) < 4 * np.sqrt(0.01 * 0.99 / times)


def test_weights_that_differ_by_much_are_not_nearly_equal():
    """Whatever their tail: a bounded one, with half of the draws worth nothing."""
    assert not nearly_equal(np.log(np.random.default_rng(0).random(1000)))
