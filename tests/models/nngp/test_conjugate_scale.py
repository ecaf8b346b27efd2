"""A second conjugate family, made here: one class and one row, and everything agrees with quadrature."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from tinygp import kernels

from bayeskit.distributions import MultivariateStudentT
from bayeskit.models import nngp
from bayeskit.models.nngp.mixtures.inverse_gamma import InverseGammaScale
from bayeskit.models.nngp.mixtures.scale import ConjugateScale, IntegratedScale, scaled_root
from bayeskit.models.nngp.mixtures.scale_prior import CONJUGATE, as_scale
from bayeskit.xla.precision import to_default


class TwoInverseGammas(dist.MixtureSameFamily):
    """Either of two inverse gamma laws."""


class TwoInverseGammasScale(ConjugateScale):
    """Data change both laws, and their weights by the density that either gives to the data."""

    distribution: TwoInverseGammas

    @property
    def either(self):
        return InverseGammaScale(self.distribution.component_distribution)

    def log_terms(self, likelihood):
        logits = jax.nn.log_softmax(self.distribution.mixing_distribution.logits)
        return logits + self.either.log_evidence(likelihood)

    def posterior(self, likelihood):
        weights = dist.Categorical(logits=self.log_terms(likelihood))
        return TwoInverseGammasScale(TwoInverseGammas(weights, self.either.posterior(likelihood).distribution))

    def log_evidence(self, likelihood):
        return jax.nn.logsumexp(self.log_terms(likelihood))

    def normal_mixture(self, mean, root):
        law = self.either.distribution
        logits, degrees = self.distribution.mixing_distribution.logits, 2 * law.concentration
        ratio = law.rate / law.concentration
        if root.ndim == 2:
            joint = MultivariateStudentT(*to_default((degrees, mean, scaled_root(ratio[:, None, None], root))))
            return dist.MixtureSameFamily(dist.Categorical(logits=to_default(logits)), joint)
        each = dist.StudentT(*to_default((degrees, mean[:, None], scaled_root(ratio, root[:, None]))))
        return dist.MixtureSameFamily(dist.Categorical(logits=jnp.broadcast_to(logits, each.batch_shape)), each)


X = np.linspace(-1.0, 1.0, 7)[:, None]
Y = np.sin(3 * X[:, 0])
NEW = np.array([[0.15], [1.4]])
LAW = TwoInverseGammas(
    dist.Categorical(logits=jnp.log(jnp.array([0.3, 0.7]))),
    dist.InverseGamma(jnp.array([3.0, 8.0]), jnp.array([1.0, 20.0])),
)


@pytest.fixture
def scales(monkeypatch):
    """The law by quadrature, and in closed form."""
    assert isinstance(as_scale(LAW), IntegratedScale)

    def make(**noise):
        integral = nngp.ScaleMixture(kernels.ExpSquared(0.6), LAW, **noise)
        with monkeypatch.context() as patch:
            patch.setitem(CONJUGATE, TwoInverseGammas, TwoInverseGammasScale)
            return integral, nngp.ScaleMixture(kernels.ExpSquared(0.6), LAW, **noise)

    return make


def test_a_second_family_agrees_with_quadrature(scales):
    integral, closed = (m.condition(X, Y) for m in scales(noise_variance=0.1))
    np.testing.assert_allclose(closed.log_marginal_likelihood, integral.log_marginal_likelihood, atol=1e-10)

    @jax.jit
    def look(posterior):
        scale, law = posterior.scale, posterior.predict(NEW, include_noise=True)
        densities = scale.log_prob(jnp.array([0.1, 1.0, 5.0])), law.log_prob(Y[:2])
        return densities, (scale.mean, law.mean), law.variance

    (densities, means, variance), (others, other_means, other_variance) = look(closed), look(integral)
    for one, other in zip(densities, others, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-9)
    for one, other in zip(means, other_means, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9)
    np.testing.assert_allclose(variance, other_variance, rtol=1e-8)


def test_a_second_family_is_integrated_with_noise_outside(scales):
    integral, closed = (m.condition(X, Y) for m in scales(noise="outside", noise_variance=0.1))
    assert isinstance(closed.scale, nngp.QuadratureScale)
    assert closed.log_marginal_likelihood == integral.log_marginal_likelihood


def test_a_second_family_has_a_prior_and_ensembles(scales):
    integral, closed = scales()
    laws = [(m.prior(X), m.readout_trained(X, Y).predict_each(NEW)) for m in (closed, integral)]
    look = jax.jit(lambda prior, each: (prior.log_prob(Y), prior.variance, each.log_prob(Y[:2])))
    (density, variance, trained), (other_density, other_variance, other_trained) = (look(*pair) for pair in laws)
    np.testing.assert_allclose(density, other_density, atol=1e-10)
    np.testing.assert_allclose(variance, other_variance, rtol=1e-12)
    np.testing.assert_allclose(trained, other_trained, atol=1e-9)
    assert jax.eval_shape(lambda: laws[0][0].sample(jax.random.key(0), (3,))).shape == (3, 7)
