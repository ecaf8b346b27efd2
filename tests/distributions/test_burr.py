"""`BurrXII` against SciPy."""

import jax
import numpy as np
import pytest
from numpyro.distributions import constraints
from scipy import stats

from bayeskit.distributions import BurrXII

CASES = [(2.0, 1.0, 1.0), (0.5, 3.0, 2.0), (5.0, 0.3, 0.1), (3.0, 4.0, 7.0)]


X = np.logspace(-8, 8, 100)
MASS = np.array([1e-6, 0.01, 0.5, 0.99, 1 - 1e-9])


@jax.jit
def rules(c, d, scale):
    law = BurrXII(c, d, scale)
    at = law.icdf(MASS)
    return (law.log_prob(X), law.cdf(X), at, law.cdf(at)), (law.mean, law.variance)


@pytest.mark.parametrize(("c", "d", "scale"), CASES)
def test_against_scipy(c, d, scale):
    (log_prob, below, at, back), _ = rules(c, d, scale)
    reference = stats.burr12(c, d, scale=scale)
    np.testing.assert_allclose(log_prob, reference.logpdf(X), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(below, reference.cdf(X), rtol=1e-10)
    np.testing.assert_allclose(at, reference.ppf(MASS), rtol=1e-7)
    np.testing.assert_allclose(back, MASS, rtol=1e-12)


@pytest.mark.parametrize(("c", "d", "scale"), CASES)
def test_moments_exist_or_are_infinite(c, d, scale):
    _, (mean, variance) = rules(c, d, scale)
    reference = stats.burr12(c, d, scale=scale)
    if c * d > 1:
        assert mean == pytest.approx(reference.mean(), rel=1e-10)
    else:
        assert np.isinf(mean)
    if c * d > 2:
        assert variance == pytest.approx(reference.var(), rel=1e-8)
    else:
        assert np.isinf(variance)


def test_draws_have_the_distribution_function():
    draws = BurrXII(2.0, 1.0).sample(jax.random.key(0), (20_000,))
    assert stats.kstest(np.asarray(draws), stats.burr12(2.0, 1.0).cdf).pvalue > 1e-3


def test_far_tails_in_single_precision():
    with jax.enable_x64(False):
        rule = jax.jit(jax.value_and_grad(lambda c, x: BurrXII(c, 1.0).log_prob(x)))
        assert rule(2.0, np.float32(1e-30))[0] == pytest.approx(np.log(2e-30), rel=1e-6)
        assert np.isfinite(rule(2.0, np.float32(1e30))[1])


def test_batches_and_constraints():
    law = BurrXII(np.ones((3, 1)), np.ones(2))
    assert law.batch_shape == (3, 2)
    draws, *moments = jax.eval_shape(lambda: (law.sample(jax.random.key(0), (4,)), law.mean, law.variance))
    assert draws.shape == (4, 3, 2)
    assert [moment.shape for moment in moments] == [(3, 2), (3, 2)]
    assert law.support is constraints.positive
    with pytest.raises(ValueError, match="c parameter"):
        BurrXII(-1.0, 1.0, validate_args=True)
