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
NORMAL = stats.multivariate_normal(LOC, ROOT @ ROOT.T).logpdf(VALUES)


@jax.jit
def rules(df):
    """The log density, the slope of its sum in the degrees of freedom, and the moments."""

    def density(df):
        log_prob = MultivariateStudentT(df, LOC, ROOT).log_prob(VALUES)
        return log_prob.sum(), log_prob

    law = MultivariateStudentT(df, LOC, ROOT)
    slope, log_prob = jax.grad(density, has_aux=True)(df)
    return log_prob, slope, (law.mean, law.variance, law.covariance_matrix)


@pytest.mark.parametrize("df", [0.3, 1.0, 4.0, 30.0])
def test_log_density_against_scipy(df):
    reference = stats.multivariate_t(LOC, ROOT @ ROOT.T, df=df)
    np.testing.assert_allclose(rules(df)[0], reference.logpdf(VALUES), rtol=1e-12)


@pytest.mark.parametrize("df", [1e10, 1e12, 1e15])
def test_many_degrees_of_freedom_are_the_normal_law(df):
    """The ratio of gamma functions cancels: NumPyro's law loses it here."""
    found, slope, _ = rules(df)
    np.testing.assert_allclose(found, NORMAL, atol=2e-6 * 1e10 / df + 1e-12)
    assert abs(slope) < 1e4 / df


def test_numpyro_cancels_there():
    found = jax.jit(lambda df: dist.MultivariateStudentT(df, LOC, ROOT).log_prob(VALUES))(1e15)
    assert np.abs(found - NORMAL).max() > 0.1


def test_one_dimension_is_student_t():
    x = np.linspace(-20, 20, 9)
    law = jax.jit(lambda df, x: MultivariateStudentT(df, np.zeros(1), 1.7 * np.eye(1)).log_prob(x))
    ours = law(2.5, x[:, None])
    np.testing.assert_allclose(ours, stats.t(2.5, scale=1.7).logpdf(x), rtol=1e-12)


def test_moments_are_undefined_where_scipy_says():
    def moments(df):
        return rules(df)[2]

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
    num = 100_000
    draws = jax.jit(lambda df: MultivariateStudentT(df, np.zeros(2), np.eye(2)).sample(jax.random.key(0), (num,)))(4.0)
    share = (np.abs(draws) > 5).all(axis=1).mean()
    truth = 1.2963e-3
    assert abs(share - truth) < 4 * (truth / num) ** 0.5


def test_draws_have_the_marginals():
    draws = jax.jit(lambda df: MultivariateStudentT(df, LOC, ROOT).sample(jax.random.key(1), (20_000,)))(3.0)
    for i in range(3):
        law = stats.t(3.0, loc=LOC[i], scale=np.sqrt((ROOT @ ROOT.T)[i, i]))
        assert stats.kstest(np.asarray(draws[:, i]), law.cdf).pvalue > 1e-3


def test_tiny_degrees_of_freedom_do_not_divide_by_zero():
    draws = jax.jit(lambda df: MultivariateStudentT(df, np.zeros(2), np.eye(2)).sample(jax.random.key(2), (100,)))(0.01)
    assert not np.isnan(draws).any()


def test_batches():
    law = MultivariateStudentT(np.array([3.0, 5.0]), LOC, ROOT)
    assert law.batch_shape == (2,)
    assert law.event_shape == (3,)
    assert jax.eval_shape(lambda: law.sample(jax.random.key(0), (4,))).shape == (4, 2, 3)
    both = jax.jit(lambda law: law.log_prob(VALUES[:, None]))(law)
    assert both.shape == (7, 2)
    np.testing.assert_allclose(np.asarray(both)[:, 1], rules(5.0)[0])


def test_shapes_that_do_not_fit():
    with pytest.raises(bk.errors.ModelError, match="loc and scale_tril must have shapes"):
        MultivariateStudentT(3.0, jnp.zeros(2), jnp.eye(3))
