"""Laws of trained ensembles against many members trained by exact linear algebra."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import stats
from tinygp import kernels

from bayeskit.distributions import BurrXII, MultivariateStudentT
from bayeskit.models import nngp

X = np.linspace(0.0, 2.0, 5)[:, None]
Y = np.sin(2 * X[:, 0])
NEW = np.array([[0.3], [1.1], [2.6]])
NUM = 20_000


class Pair(kernels.Kernel):
    """A covariance and a tangent kernel, each some kernel."""

    covariance: kernels.Kernel
    tangent: kernels.Kernel

    def evaluate(self, X1, X2):
        return self.covariance.evaluate(X1, X2)

    def nngp(self, x1, x2=None):
        return self.covariance(x1, x1 if x2 is None else x2)

    def ntk(self, x1, x2=None):
        return self.tangent(x1, x1 if x2 is None else x2)


PAIR = Pair(1.3 * kernels.ExpSquared(0.7), 2.0 * kernels.Matern32(0.9))


def members(prior, trained_by, key):
    """Functions of the prior with a scale each, corrected at the data."""
    both = jnp.asarray(np.concatenate([X, NEW]))
    generator = np.random.default_rng(key)
    if isinstance(prior, dist.InverseGamma):
        scale = stats.invgamma(prior.concentration, scale=prior.rate).rvs(NUM, generator)
    elif isinstance(prior, BurrXII):
        scale = stats.burr12(prior.c, prior.d).rvs(NUM, generator)
    else:
        scale = np.full(NUM, prior)
    covariance, trained = (np.asarray(jax.jit(kernel)(both, both)) for kernel in (PAIR, trained_by))
    start = np.sqrt(scale)[:, None] * (generator.normal(size=(NUM, 8)) @ np.linalg.cholesky(covariance).T)
    correction = np.linalg.solve(trained[:5, :5], trained[:5, 5:]).T
    return start[:, 5:] + (Y - start[:, :5]) @ correction.T


@pytest.mark.parametrize(
    "prior", [dist.InverseGamma(3.0, 2.0), BurrXII(3.0, 2.0), 1.7], ids=["closed", "burr", "fixed"]
)
@pytest.mark.parametrize("kind", ["readout", "full"])
def test_the_law_is_that_of_the_members(kind, prior):
    mixture = nngp.ScaleMixture(PAIR, prior)
    ensemble = mixture.readout_trained(X, Y) if kind == "readout" else mixture.fully_trained(X, Y)
    drawn = members(prior, PAIR if kind == "readout" else PAIR.ntk, key=0)
    joint, each = ensemble.predict(NEW), ensemble.predict_each(NEW)
    assert (np.abs(drawn.mean(axis=0) - joint.mean) < 4 * drawn.std(axis=0) / NUM**0.5).all()
    products = (drawn - np.asarray(joint.mean))[:, :, None] * (drawn - np.asarray(joint.mean))[:, None]
    error = products.std(axis=0) / NUM**0.5
    assert (np.abs(products.mean(axis=0) - joint.covariance_matrix) < 4 * error).all()
    np.testing.assert_allclose(each.mean, joint.mean, rtol=1e-9)
    np.testing.assert_allclose(each.variance, joint.variance, rtol=1e-7)
    few = drawn[:2000]
    student = isinstance(each, dist.StudentT)  # SciPy's needs no compilation
    mass = stats.t.cdf((few - each.loc) / each.scale, each.df) if student else np.asarray(each.cdf(jnp.asarray(few)))
    for below in mass.T:
        assert stats.kstest(below, stats.uniform.cdf).pvalue > 1e-3


def test_readout_training_learns_nothing_about_the_scale():
    mixture = nngp.ScaleMixture(PAIR, dist.InverseGamma(3.0, 2.0))
    trained, posterior = mixture.readout_trained(X, Y).predict(NEW), mixture.condition(X, Y).predict(NEW)
    assert isinstance(trained, MultivariateStudentT)
    assert float(trained.df) == 6.0
    assert float(posterior.df) == 11.0
    np.testing.assert_allclose(trained.mean, posterior.mean, rtol=1e-9)


def test_equal_kernels_make_both_ensembles_the_same():
    same = nngp.ScaleMixture(Pair(PAIR.covariance, 3.0 * PAIR.covariance), dist.InverseGamma(3.0, 2.0))
    one, other = same.readout_trained(X, Y).predict(NEW), same.fully_trained(X, Y).predict(NEW)
    np.testing.assert_allclose(one.mean, other.mean, rtol=1e-8)
    np.testing.assert_allclose(one.covariance_matrix, other.covariance_matrix, rtol=1e-6)


def test_members_interpolate():
    each = nngp.ScaleMixture(PAIR, BurrXII(3.0, 2.0)).fully_trained(X, Y).predict_each(X)
    np.testing.assert_allclose(each.mean, Y, atol=1e-9)
    assert float(jnp.max(each.variance)) < 1e-9
