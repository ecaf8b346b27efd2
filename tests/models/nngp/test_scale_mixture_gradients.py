"""Derivatives of the evidence against finite differences, in both precisions, and a run of NUTS."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.distributions import constraints
from tinygp import kernels

import bayeskit as bk
from bayeskit.distributions import BurrXII
from bayeskit.models import nngp

X = np.random.default_rng(0).normal(size=(12, 2))
Y = np.sin(X[:, 0]) + 0.1 * np.random.default_rng(1).normal(size=12)


def inverse_gamma_by_integral(a, b):
    identity = dist.transforms.AffineTransform(0.0, 1.0, domain=constraints.positive)
    return dist.TransformedDistribution(dist.InverseGamma(a, b), identity)


def matern(length):
    return kernels.Matern52(length, kernels.distance.L2Distance())


PRIORS = {
    "closed": dist.InverseGamma,
    "integral": inverse_gamma_by_integral,
    "burr": BurrXII,
    "log-normal": dist.LogNormal,
    "fixed": lambda a, b: a,
}


def evidence(prior, noise, parameters, y=None):
    length, variance, tau, a, b = parameters
    mixture = nngp.ScaleMixture(variance * matern(length), PRIORS[prior](a, b), noise=noise, noise_variance=tau)
    return mixture.prior(X).log_prob(Y if y is None else y)


POINT = jnp.array([0.8, 1.3, 0.05, 1.4, 0.9])


@cache
def with_gradient(prior, noise):
    """The evidence, and its gradient by the parameters and the responses."""
    return jax.jit(jax.value_and_grad(lambda p, y: evidence(prior, noise, p, y), (0, 1)))


@pytest.mark.parametrize("noise", ["inside", "outside"])
@pytest.mark.parametrize(
    "prior",
    ["burr", *(pytest.param(name, marks=pytest.mark.slow) for name in ("closed", "integral", "log-normal", "fixed"))],
)
def test_gradients_are_finite_differences(prior, noise):
    def value(point, y=Y):
        return with_gradient(prior, noise)(point, y)[0]

    _, (slope, at_y) = with_gradient(prior, noise)(POINT, Y)
    for i in range(5):
        step = 1e-5 * POINT[i]
        ahead, behind = value(POINT.at[i].add(step)), value(POINT.at[i].add(-step))
        assert float(slope[i]) == pytest.approx(float((ahead - behind) / (2 * step)), rel=1e-6, abs=1e-7)
    one = 1e-5 * (np.arange(12) == 4)
    difference = value(POINT, Y + one) - value(POINT, Y - one)
    assert float(at_y[4]) == pytest.approx(float(difference / 2e-5), rel=1e-6)


@pytest.mark.parametrize("noise", [pytest.param("inside", marks=pytest.mark.slow), "outside"])
def test_second_derivatives(noise):
    bend = jax.jit(jax.hessian(lambda p: evidence("burr", noise, p)))(POINT)
    for i in range(5):
        step = 1e-5 * POINT[i]
        ahead, behind = (with_gradient("burr", noise)(POINT.at[i].add(s), Y)[1][0] for s in (step, -step))
        np.testing.assert_allclose(bend[i], (ahead - behind) / (2 * step), rtol=1e-5, atol=1e-6)


def test_equal_eigenvalues_have_a_finite_gradient():
    """Points so far apart that the covariance is a multiple of the identity: eigenvectors have no derivative."""
    x = 100.0 * np.arange(4)[:, None]

    def value(variance, length):
        kernel = variance * kernels.ExpSquared(length)
        return (
            nngp.ScaleMixture(kernel, dist.HalfCauchy(1.0), noise="outside", noise_variance=0.1)
            .prior(x)
            .log_prob(Y[:4])
        )

    both = jax.jit(jax.value_and_grad(value, argnums=(0, 1)))
    _, slope = both(1.3, 1.0)
    step = 1e-5
    difference = (both(1.3 + step, 1.0)[0] - both(1.3 - step, 1.0)[0]) / (2 * step)
    assert float(slope[0]) == pytest.approx(float(difference), rel=1e-6)
    assert float(slope[1]) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("noise", [pytest.param("inside", marks=pytest.mark.slow), "outside"])
@pytest.mark.parametrize("prior", [pytest.param("closed", marks=pytest.mark.slow), "burr"])
def test_single_precision_outside(prior, noise):
    value, (slope, _) = with_gradient(prior, noise)(POINT, Y)
    with jax.enable_x64(False):
        point, y = POINT.astype(jnp.float32), jnp.asarray(Y, jnp.float32)
        single = jax.jit(jax.value_and_grad(lambda p: evidence(prior, noise, p, y)))(point)
        assert single[0].dtype == single[1].dtype == jnp.float32
        several = jax.jit(jax.vmap(lambda p: evidence(prior, noise, p, y)))(jnp.stack([point, 1.1 * point]))
    assert float(single[0]) == pytest.approx(float(value), rel=1e-5)
    assert float(several[0]) == pytest.approx(float(value), rel=1e-5)
    np.testing.assert_allclose(single[1], slope, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_predictions_in_single_precision():
    for prior in (dist.InverseGamma(2.0, 2.0), dist.HalfCauchy(1.0), 1.0):
        for noise in ("inside", "outside"):
            mixture = nngp.ScaleMixture(matern(0.8), prior, noise=noise, noise_variance=0.01)
            double = mixture.condition(X, Y).predict_each(X[:3] + 0.1)
            with jax.enable_x64(False):
                single = mixture.condition(X, Y).predict_each(X[:3] + 0.1)
                assert single.mean.dtype == jnp.float32
                values = single.log_prob(jnp.zeros(3))
                draws = single.sample(jax.random.key(0), (3,))
            assert jnp.isfinite(draws).all()
            np.testing.assert_allclose(single.mean, double.mean, rtol=1e-5)
            np.testing.assert_allclose(values, double.log_prob(jnp.zeros(3)), rtol=1e-4)


def test_prediction_inside_of_a_compiled_function():
    def mean_and_density(length):
        mixture = nngp.ScaleMixture(matern(length), dist.HalfCauchy(1.0), noise="outside", noise_variance=0.01)
        each = mixture.condition(X, Y).predict_each(X[:3] + 0.1, include_noise=True)
        return each.mean, each.log_prob(jnp.zeros(3))

    lengths = jnp.array([0.5, 1.0])
    for together, alone in zip(
        jax.jit(jax.vmap(mean_and_density))(lengths), zip(*map(mean_and_density, lengths), strict=True), strict=True
    ):
        np.testing.assert_allclose(together, jnp.stack(alone), rtol=1e-9)


def test_not_positive_definite_is_nan_under_a_trace():
    twice = np.repeat(X[:3], 2, axis=0)
    for prior in (dist.InverseGamma(2.0, 2.0), dist.HalfCauchy(1.0), 1.0):
        for noise in ("inside", "outside"):
            value = jax.jit(
                lambda tau, prior=prior, noise=noise: (
                    nngp.ScaleMixture(matern(1.0), prior, noise=noise, noise_variance=tau).prior(twice).log_prob(Y[:6])
                )
            )
            assert jnp.isnan(value(0.0))
            assert jnp.isfinite(value(0.01))


@pytest.fixture
def single_precision():
    """For all threads: chains run in threads of their own, which do not see `jax.enable_x64`."""
    jax.config.update("jax_enable_x64", False)
    yield
    jax.config.update("jax_enable_x64", True)


@pytest.mark.slow
def test_nuts_over_hyperparameters_in_single_precision(single_precision):
    def model(x, y):
        length = numpyro.sample("length", dist.LogNormal(0.0, 0.5))
        tau = numpyro.sample("tau", dist.LogNormal(-3.0, 0.5))
        mixture = nngp.ScaleMixture(matern(length), dist.HalfCauchy(1.0), noise="outside", noise_variance=tau)
        numpyro.sample("y", mixture.prior(x), obs=y)

    method = bk.NUTS(num_chains=1, num_warmup=100, num_draws=100)
    post = bk.infer(model, {"x": X, "y": Y}, method, key=0, progress=False)
    assert post.posterior["length"].dtype == np.float32
    assert np.isfinite(post.posterior["length"].to_numpy()).all()
    assert int(post.sample_stats["diverging"].sum()) <= 2


@pytest.mark.full  # by default against importance sampling, in test_importance.py
def test_noise_outside_against_nuts():
    """The mean of the scale from the integral and from a chain that samples it."""
    tau = 0.3
    covariance = np.asarray(matern(0.8)(jnp.asarray(X), jnp.asarray(X)))

    def model(y):
        scale = numpyro.sample("scale", BurrXII(2.0, 1.0))
        law = dist.MultivariateNormal(jnp.zeros(12), scale * covariance + tau * jnp.eye(12))
        numpyro.sample("y", law, obs=y)

    post = bk.infer(model, {"y": Y}, bk.NUTS(num_chains=2, num_warmup=300, num_draws=1500), key=1, progress=False)
    mixture = nngp.ScaleMixture(matern(0.8), BurrXII(2.0, 1.0), noise="outside", noise_variance=tau)
    scale = mixture.condition(X, Y).scale
    summary = bk.summary(post)
    row = summary.loc["scale"]
    assert abs(row["mean"] - float(scale.mean)) < 2 * row["mcse_mean"]
