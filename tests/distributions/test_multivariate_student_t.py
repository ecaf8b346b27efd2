"""`MultivariateStudentT` against SciPy, the normal law, and its own tails."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import stats

import bayeskit as bk
from bayeskit.distributions import MultivariateStudentT

ROOT = np.array([[1.3, 0.0, 0.0], [0.4, 0.8, 0.0], [-0.7, 0.2, 0.5]])
LOC = np.array([0.3, -1.0, 2.0])
VALUES = np.random.default_rng(0).normal(size=(7, 3)) * 3


@pytest.mark.parametrize("df", [0.3, 1.0, 4.0, 30.0])
def test_log_density_against_scipy(df):
    reference = stats.multivariate_t(LOC, ROOT @ ROOT.T, df=df)
    law = MultivariateStudentT(df, LOC, ROOT)
    np.testing.assert_allclose(law.log_prob(VALUES), reference.logpdf(VALUES), rtol=1e-12)


@pytest.mark.parametrize("df", [1e10, 1e12, 1e15])
def test_many_degrees_of_freedom_are_the_normal_law(df):
    """The ratio of gamma functions cancels: NumPyro's law loses it here."""
    normal = dist.MultivariateNormal(LOC, scale_tril=ROOT).log_prob(VALUES)
    np.testing.assert_allclose(
        MultivariateStudentT(df, LOC, ROOT).log_prob(VALUES), normal, atol=2e-6 * 1e10 / df + 1e-12
    )
    slope = jax.grad(lambda df: MultivariateStudentT(df, LOC, ROOT).log_prob(VALUES).sum())(df)
    assert abs(slope) < 1e4 / df


def test_numpyro_cancels_there():
    normal = dist.MultivariateNormal(LOC, scale_tril=ROOT).log_prob(VALUES)
    assert np.abs(dist.MultivariateStudentT(1e15, LOC, ROOT).log_prob(VALUES) - normal).max() > 0.1


def test_one_dimension_is_student_t():
    x = np.linspace(-20, 20, 9)
    ours = MultivariateStudentT(2.5, np.zeros(1), 1.7 * np.eye(1)).log_prob(x[:, None])
    np.testing.assert_allclose(ours, stats.t(2.5, scale=1.7).logpdf(x), rtol=1e-12)


def test_moments_are_undefined_where_scipy_says():
    def moments(df):
        law = MultivariateStudentT(df, LOC, ROOT)
        return law.mean, law.variance, law.covariance_matrix

    mean, variance, covariance = moments(5.0)
    np.testing.assert_array_equal(mean, LOC)
    np.testing.assert_allclose(covariance, 5 / 3 * ROOT @ ROOT.T)
    np.testing.assert_allclose(variance, np.diag(covariance))
    assert stats.t.stats(1.5) == (0.0, np.inf)
    np.testing.assert_array_equal(moments(1.5)[0], LOC)
    assert np.isinf(moments(1.5)[1]).all()
    assert np.isnan(stats.t.stats(0.9)[1])
    assert np.isnan(moments(0.9)[0]).all()
    assert np.isnan(moments(0.9)[1]).all()


def test_coordinates_share_their_tails():
    """Independent t's of the same marginals would give 5.6e-5."""
    num = 1_000_000
    draws = MultivariateStudentT(4.0, jnp.zeros(2), jnp.eye(2)).sample(jax.random.key(0), (num,))
    share = float(jnp.mean(jnp.all(jnp.abs(draws) > 5, axis=1)))
    truth = 1.2963e-3
    assert abs(share - truth) < 4 * (truth / num) ** 0.5


def test_draws_have_the_marginals():
    draws = MultivariateStudentT(3.0, LOC, ROOT).sample(jax.random.key(1), (20_000,))
    for i in range(3):
        law = stats.t(3.0, loc=LOC[i], scale=np.sqrt((ROOT @ ROOT.T)[i, i]))
        assert stats.kstest(np.asarray(draws[:, i]), law.cdf).pvalue > 1e-3


def test_tiny_degrees_of_freedom_do_not_divide_by_zero():
    draws = MultivariateStudentT(0.01, jnp.zeros(2), jnp.eye(2)).sample(jax.random.key(2), (100,))
    assert not jnp.isnan(draws).any()


def test_batches():
    law = MultivariateStudentT(jnp.array([3.0, 5.0]), LOC, ROOT)
    assert law.batch_shape == (2,)
    assert law.event_shape == (3,)
    assert law.sample(jax.random.key(0), (4,)).shape == (4, 2, 3)
    both = law.log_prob(VALUES[:, None])
    assert both.shape == (7, 2)
    np.testing.assert_allclose(both[:, 1], MultivariateStudentT(5.0, LOC, ROOT).log_prob(VALUES))


def test_shapes_that_do_not_fit():
    with pytest.raises(bk.errors.ModelError, match="loc and scale_tril must have shapes"):
        MultivariateStudentT(3.0, jnp.zeros(2), jnp.eye(3))
