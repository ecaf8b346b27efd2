"""Importance sampling from the prior, how it collapses, and that the integral does not."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import stats
from tinygp import kernels

from bayeskit.distributions import BurrXII
from bayeskit.models import nngp

NUM = 5_000  # draws


def white(size):
    """Inputs so far apart that the covariance is the identity: only their number matters to the scale."""
    return 100.0 * np.arange(size)[:, None]


@pytest.mark.parametrize(("size", "expected"), [(40, 280), pytest.param(400, 88, marks=pytest.mark.slow)])
def test_the_effective_sample_size_falls(size, expected):
    mixture = nngp.ScaleMixture(kernels.ExpSquared(1.0), BurrXII(2.0, 1.0))

    def effective(key):
        of_data, of_draws = jax.random.split(key)
        y = mixture.prior(white(size)).sample(of_data)
        return mixture.importance(white(size), y, key=of_draws).effective_sample_size

    sizes = jax.lax.map(jax.jit(effective), jax.random.split(jax.random.key(0), 60))
    # the standard error of a median of 60: 1.25 deviations / sqrt(60)
    assert abs(np.median(sizes) - expected) < 4 * 1.25 * np.std(sizes) / 60**0.5


def test_it_warns_and_names_what_does_not_collapse():
    y = np.random.default_rng(0).normal(size=400)
    mixture = nngp.ScaleMixture(kernels.ExpSquared(1.0), BurrXII(2.0, 1.0))
    with pytest.warns(UserWarning, match=r"effective sample size of .* Use condition\(\)"):
        mixture.importance(white(400), y, num_draws=200, key=0)


@pytest.mark.parametrize("noise", [pytest.param("inside", marks=pytest.mark.slow), "outside"])
def test_it_agrees_with_the_integral(noise):
    generator = np.random.default_rng(1)
    x = generator.normal(size=(12, 1))
    y = np.sin(x[:, 0])
    mixture = nngp.ScaleMixture(kernels.ExpSquared(1.0), BurrXII(2.0, 1.0), noise=noise, noise_variance=0.1)
    sampled, exact = mixture.importance(x, y, num_draws=NUM, key=0), mixture.condition(x, y)
    size, scale = float(sampled.effective_sample_size), exact.scale
    assert abs(float(sampled.scale_mean - scale.mean)) < 4 * float(scale.variance / size) ** 0.5
    error = (1 / size - 1 / NUM) ** 0.5  # of the mean likelihood, relative
    gap = float(sampled.log_marginal_likelihood - exact.log_marginal_likelihood)
    assert abs(gap) < 4 * error
    few = mixture.importance(x, y, num_draws=2_000, key=1)
    law = few.predict_each(x)
    assert law.batch_shape == (12,)
    np.testing.assert_allclose(law.mean, exact.predict_each(x).mean, atol=0.02)


@pytest.mark.parametrize("prior", [pytest.param("closed", marks=pytest.mark.full), "integral"])
def test_simulation_based_calibration_of_the_scale(prior):
    """Draw the scale and the data; the posterior probability below the true scale is uniform."""
    law, noise = (dist.InverseGamma(2.0, 2.0), "inside") if prior == "closed" else (BurrXII(2.0, 1.0), "outside")
    x = np.linspace(0.0, 3.0, 6)[:, None]
    kernel, tau = kernels.ExpSquared(0.5), 0.2
    mixture = nngp.ScaleMixture(kernel, law, noise=noise, noise_variance=tau)
    root = jnp.linalg.cholesky(kernel(jnp.asarray(x), jnp.asarray(x)))

    def below_truth(key):
        of_scale, of_function, of_noise = jax.random.split(key, 3)
        scale = law.sample(of_scale)
        spread = (tau * scale) ** 0.5 if noise == "inside" else tau**0.5
        y = scale**0.5 * root @ jax.random.normal(of_function, (6,)) + spread * jax.random.normal(of_noise, (6,))
        return mixture.condition(x, y).scale.cdf(scale)

    below = jax.lax.map(jax.jit(below_truth), jax.random.split(jax.random.key(0), 500))
    counts = np.histogram(below, bins=10, range=(0, 1))[0]
    assert stats.chisquare(counts).pvalue > 1e-3
