"""Importance sampling from the prior, how it collapses, and that the integral does not."""

import warnings

import jax
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import stats
from tinygp import kernels

from bayeskit.distributions import BurrXII
from bayeskit.models import nngp


def white(size):
    """Inputs so far apart that the covariance is the identity: only their number matters to the scale."""
    return 100.0 * np.arange(size)[:, None]


@pytest.mark.parametrize(("size", "expected"), [(40, 280), pytest.param(400, 88, marks=pytest.mark.slow)])
def test_the_effective_sample_size_falls(size, expected):
    mixture = nngp.ScaleMixture(kernels.ExpSquared(1.0), BurrXII(2.0, 1.0))
    sizes = []
    for key in range(60):
        of_data, of_draws = jax.random.split(jax.random.key(key))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            y = mixture.prior(white(size)).sample(of_data)
            sizes.append(float(mixture.importance(white(size), y, key=of_draws).effective_sample_size))
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
    sampled, exact = mixture.importance(x, y, num_draws=20_000, key=0), mixture.condition(x, y)
    size, scale = float(sampled.effective_sample_size), exact.scale
    assert abs(float(sampled.scale_mean - scale.mean)) < 4 * float(scale.variance / size) ** 0.5
    error = (1 / size - 1 / 20_000) ** 0.5  # of the mean likelihood, relative
    gap = float(sampled.log_marginal_likelihood - exact.log_marginal_likelihood)
    assert abs(gap) < 4 * error
    few = mixture.importance(x, y, num_draws=2_000, key=1)
    assert few.predict_each(x).batch_shape == (12,)
    np.testing.assert_allclose(few.predict_each(x).mean, exact.predict_each(x).mean, atol=0.02)


@pytest.mark.parametrize("prior", ["closed", "integral"])
def test_simulation_based_calibration_of_the_scale(prior):
    """Draw the scale and the data; the posterior probability below the true scale is uniform."""
    law, noise = (dist.InverseGamma(2.0, 2.0), "inside") if prior == "closed" else (BurrXII(2.0, 1.0), "outside")
    x = np.linspace(0.0, 3.0, 6)[:, None]
    kernel, tau = kernels.ExpSquared(0.5), 0.2
    mixture = nngp.ScaleMixture(kernel, law, noise=noise, noise_variance=tau)
    root = np.linalg.cholesky(np.asarray(kernel(jax.numpy.asarray(x), jax.numpy.asarray(x))))
    generator = np.random.default_rng(0)
    scales = np.asarray(law.sample(jax.random.key(0), (500,)))
    below = []
    for scale in scales:
        function = scale**0.5 * root @ generator.normal(size=6)
        spread = (tau * scale) ** 0.5 if noise == "inside" else tau**0.5
        posterior = mixture.condition(x, function + spread * generator.normal(size=6)).scale
        below.append(float(posterior.cdf(scale)))
    counts = np.histogram(below, bins=10, range=(0, 1))[0]
    assert stats.chisquare(counts).pvalue > 1e-3
