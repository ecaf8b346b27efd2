"""The arithmetic of weights, families, volumes and ladders."""

from __future__ import annotations

import numpy as np
import pytest

from bayeskit.inference.smc import ladder, shrinkage, weights
from bayeskit.inference.smc.evidence import pooled
from bayeskit.inference.smc.moves import spread


def test_next_temperature_has_the_effective_size():
    log_likelihood = -np.random.default_rng(0).chisquare(5, size=1000) * 20
    log_likelihood[:100] = -np.inf
    temperature = weights.next_temperature(log_likelihood, 0.01, 0.6)
    found = weights.effective_size(weights.normalised(weights.incremental(log_likelihood, temperature - 0.01)))
    assert found == pytest.approx(0.6 * 900, rel=1e-9)
    assert weights.next_temperature(log_likelihood / 1e6, 0.0, 0.6) == 1.0


def test_systematic_resampling_is_unbiased_and_keeps_order():
    given = np.array([0.05, 0.4, 0.3, 0.0, 0.25])
    offsets = (np.arange(1000) + 0.5) / 1000
    chosen = np.stack([weights.systematic(given, u) for u in offsets])
    assert (np.diff(chosen, axis=1) >= 0).all()
    counts = np.stack([(chosen == one).sum(1) for one in range(5)], 1)
    np.testing.assert_allclose(counts.mean(0), 5 * given, atol=1e-3)
    assert (np.abs(counts - 5 * given) < 1).all()


def test_rounding_is_the_variance_of_the_sizes_of_families():
    rng = np.random.default_rng(1)
    eve = np.sort(rng.integers(0, 12, size=40))
    eve = np.unique(eve, return_inverse=True)[1]
    given = rng.dirichlet(np.ones(40))
    sizes = np.stack(
        [np.bincount(eve[weights.systematic(given, u)], minlength=40) / 40 for u in (np.arange(4000) + 0.5) / 4000]
    )
    assert weights.rounding(eve, given) == pytest.approx(sizes.var(0).sum(), rel=2e-3)


def test_variance_of_importance_sampling():
    """With one stage the estimate is that of plain importance sampling, the relative variance of the weights."""
    raw = np.random.default_rng(2).gamma(2.0, size=500)
    found = weights.evidence_variance(np.arange(500), raw / raw.sum(), 0.0)
    assert found == pytest.approx((raw / raw.mean()).var() / 500)


def test_variance_of_two_stages_without_moves():
    """Particles that do not move make the two stages one: the variance is that of the product of the weights."""
    rng = np.random.default_rng(3)
    size, truth = 200, []
    estimates = []
    for _ in range(2000):
        values = rng.normal(size=size)
        first, second = np.exp(0.5 * values), np.exp(0.7 * values)
        share = first / first.sum()
        parents = weights.systematic(share, rng.uniform())
        later = second[parents]
        rounded = weights.rounding(np.arange(size), share)
        estimates.append(weights.evidence_variance(parents, later / later.sum(), rounded))
        truth.append(first.mean() * later.mean())
    truth = np.array(truth) / np.exp(0.72)
    # the sampling errors of the two: of a variance, and of a mean
    error = np.hypot(truth.var() * np.sqrt(2 * 3 / 2000), np.std(estimates) / np.sqrt(2000))
    assert abs(np.mean(estimates) - truth.var()) < 4 * error + 2 * truth.var() / size  # it is right to first order


def test_pooled():
    estimates, errors = np.array([1.0, 1.2, 0.9]), np.array([0.1, 0.1, 0.2])
    one = pooled(estimates, errors, unbiased=False)
    assert one["log_evidence"] == pytest.approx(estimates.mean())
    centre = (100 * 1.0 + 100 * 1.2 + 25 * 0.9) / 225
    chi2 = 100 * (1.0 - centre) ** 2 + 100 * (1.2 - centre) ** 2 + 25 * (0.9 - centre) ** 2
    assert one["log_evidence_chi2"] == pytest.approx(chi2)
    assert one["log_evidence_error"] == pytest.approx(np.sqrt(0.06 / 9 * chi2 / 2))
    mean = pooled(estimates, errors, unbiased=True)["log_evidence"]
    assert mean == pytest.approx(np.log(np.exp(estimates).mean()))
    assert pooled(estimates[:1], errors[:1], unbiased=True) == {"log_evidence": 1.0, "log_evidence_error": 0.1}


def test_spread_is_of_the_bulk():
    rng = np.random.default_rng(4)
    covariance = np.array([[1.0, 0.6], [0.6, 2.0]])
    draws = rng.multivariate_normal(np.zeros(2), covariance, size=20_000)
    draws[:20] *= 1e6
    factor = spread(draws)
    np.testing.assert_allclose(factor @ factor.T, covariance, rtol=0.08)
    assert spread(draws[:15]).shape == (2,)


@pytest.mark.parametrize("num_delete", [1, 5])
def test_shells_are_those_of_order_statistics(num_delete):
    """The lowest of n uniform volumes is at n / (n + 1) in the mean; the account goes by the mean of its logarithm."""
    live = shrinkage.counts(10, num_delete, 10)
    assert list(live[:num_delete]) == list(range(10, 10 - num_delete, -1))
    shells, left = shrinkage.log_shells(np.log(0.5), live)
    assert left == pytest.approx(np.log(0.5) - (1 / live).sum())
    assert np.exp(shells).sum() + np.exp(left) == pytest.approx(0.5)


def test_account_of_a_known_integral():
    """L(X) = exp(-X / s): the evidence is s (1 - exp(-1 / s)), and over many runs the error is what is stated."""
    rng, scale, size = np.random.default_rng(5), 0.01, 100
    truth = np.log(scale * -np.expm1(-1 / scale))
    scores, errors = [], []
    for _ in range(200):
        volume = np.cumsum(np.log(rng.uniform(size=900)) / size)
        dead = -np.exp(volume) / scale
        live = -np.exp(volume[-1]) * rng.uniform(size=size) / scale
        found = shrinkage.account(dead, live, 0.0, 1, rng)
        scores.append((found.log_evidence - truth) / found.error)
        errors.append(found.error)
    assert abs(np.mean(scores)) < 4 / np.sqrt(200)
    assert 0.8 < np.std(scores) < 1.2  # 4 standard errors of it, 1 / sqrt(400)
    assert np.mean(errors) == pytest.approx(np.sqrt(found.information / size), rel=0.15)


def test_ties():
    assert shrinkage.ties(np.array([0.0, 1.0, 1.0, 2.0, 1.0]), 10) == 0.6
    assert shrinkage.ties(np.array([0.0, 1.0, 1.0, 2.0]), 10) == 0.0


def test_ladder_divides_the_barrier_equally():
    before = ladder.first_ladder(6)
    assert before[0] == 0
    assert before[-1] == 1
    rejection = np.array([0.1, 0.2, 0.4, 0.6, 0.2])
    after = ladder.equalised(before, rejection)
    assert (np.diff(after) > 0).all()
    assert after[0] == 0
    assert after[-1] == 1
    from scipy.interpolate import PchipInterpolator

    barrier = np.concatenate([[0], np.cumsum(rejection)])
    back = PchipInterpolator(barrier, before)
    np.testing.assert_allclose(back(np.linspace(0, barrier[-1], 6)), after, atol=1e-12)


def test_stepping_stones_of_independent_blocks():
    rng = np.random.default_rng(6)
    draws = rng.normal(size=(20, 50, 3)) * [0.5, 0.2, 0.1]
    log_sums = np.logaddexp.reduce(draws, axis=1)
    found, error = ladder.stepping_stones(log_sums, np.full(20, 50))
    direct = sum(np.log(np.exp(draws[:, :, k]).mean()) for k in range(3))
    assert found == pytest.approx(direct)
    exact = sum(np.expm1(s**2) for s in (0.5, 0.2, 0.1)) / 1000
    assert error == pytest.approx(np.sqrt(exact), rel=4 / np.sqrt(2 * 20))
    assert ladder.stepping_stones(log_sums[:1], np.array([50]))[1] == np.inf
