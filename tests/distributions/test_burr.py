"""`BurrXII` against SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro.distributions import constraints
from scipy import stats

from bayeskit.distributions import BurrXII

CASES = [(2.0, 1.0, 1.0), (0.5, 3.0, 2.0), (5.0, 0.3, 0.1), (3.0, 4.0, 7.0)]


@pytest.mark.parametrize(("c", "d", "scale"), CASES)
def test_against_scipy(c, d, scale):
    law, reference = BurrXII(c, d, scale), stats.burr12(c, d, scale=scale)
    x = np.logspace(-8, 8, 100)
    np.testing.assert_allclose(law.log_prob(x), reference.logpdf(x), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(law.cdf(x), reference.cdf(x), rtol=1e-10)
    mass = np.array([1e-6, 0.01, 0.5, 0.99, 1 - 1e-9])
    np.testing.assert_allclose(law.icdf(mass), reference.ppf(mass), rtol=1e-7)
    np.testing.assert_allclose(law.cdf(law.icdf(mass)), mass, rtol=1e-12)


@pytest.mark.parametrize(("c", "d", "scale"), CASES)
def test_moments_exist_or_are_infinite(c, d, scale):
    law, reference = BurrXII(c, d, scale), stats.burr12(c, d, scale=scale)
    if c * d > 1:
        assert law.mean == pytest.approx(reference.mean(), rel=1e-10)
    else:
        assert jnp.isinf(law.mean)
    if c * d > 2:
        assert law.variance == pytest.approx(reference.var(), rel=1e-8)
    else:
        assert jnp.isinf(law.variance)


def test_draws_have_the_distribution_function():
    draws = BurrXII(2.0, 1.0).sample(jax.random.key(0), (20_000,))
    assert stats.kstest(np.asarray(draws), stats.burr12(2.0, 1.0).cdf).pvalue > 1e-3


def test_far_tails_in_single_precision():
    with jax.enable_x64(False):
        value = BurrXII(2.0, 1.0).log_prob(jnp.float32(1e-30))
        assert value == pytest.approx(np.log(2e-30), rel=1e-6)
        assert jnp.isfinite(jax.grad(lambda c: BurrXII(c, 1.0).log_prob(jnp.float32(1e30)))(2.0))


def test_batches_and_constraints():
    law = BurrXII(jnp.ones((3, 1)), jnp.ones(2))
    assert law.batch_shape == (3, 2)
    assert law.sample(jax.random.key(0), (4,)).shape == (4, 3, 2)
    assert law.mean.shape == law.variance.shape == (3, 2)
    assert law.support is constraints.positive
    with pytest.raises(ValueError, match="c parameter"):
        BurrXII(-1.0, 1.0, validate_args=True)
