"""What is wrong raises, and says which argument and what to do."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from tinygp import kernels

import bayeskit as bk
from bayeskit.models import nngp

KERNEL = kernels.ExpSquared(0.8)
X = np.linspace(0.0, 2.0, 5)[:, None]
Y = np.sin(X[:, 0])


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        (dist.Normal(0.0, 1.0), "density on positive numbers"),
        (dist.Poisson(1.0), "density on positive numbers"),
        (dist.Uniform(-1.0, 1.0), "density on positive numbers"),
        (dist.InverseGamma(jnp.ones(2), 1.0), "the law of one number"),
        (dist.LogNormal(0.0, 1.0).expand([1]).to_event(1), "the law of one number"),
        (0.0, "scale_prior must be positive"),
        (-1.0, "scale_prior must be positive"),
        (float("nan"), "scale_prior must be positive"),
        (np.ones(2), "scale_prior must be one number"),
    ],
)
def test_scale_prior(prior, message):
    with pytest.raises(bk.errors.ModelError, match=message):
        nngp.ScaleMixture(KERNEL, prior)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"noise": "both"}, "noise must be 'inside' or 'outside'"),
        ({"noise_variance": -0.1}, "noise_variance must be finite and not negative"),
        ({"noise_variance": float("inf")}, "noise_variance must be finite"),
        ({"noise_variance": np.ones(3)}, "noise_variance must be one number"),
    ],
)
def test_noise(settings, message):
    with pytest.raises(bk.errors.ModelError, match=message):
        nngp.ScaleMixture(KERNEL, 1.0, **settings)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (X, Y[:3], r"y must have shape \(5,\)"),
        (X, Y[:, None], r"y must have shape \(5,\)"),
        (X, np.arange(5), "y holds int64: labels are for classification"),
        (X, np.where(Y > 0.5, np.nan, Y), "y has NaN or infinity in .* points, the first is point 2"),
        (np.where(X > 1.5, np.inf, X), Y, "x has NaN or infinity in 1 points, the first is point 4"),
        (X[:0], Y[:0], "x must have shape"),
        (np.array(1.0), Y, "x must have shape"),
        (np.array(["a"] * 5), Y, "x must hold real numbers"),
    ],
)
def test_data(x, y, message):
    mixture = nngp.ScaleMixture(KERNEL, 1.0, noise_variance=0.1)
    for method in (mixture.condition, mixture.log_marginal_likelihood):
        with pytest.raises(bk.errors.DataError, match=message):
            method(x, y)


def test_new_inputs():
    posterior = nngp.ScaleMixture(KERNEL, 1.0, noise_variance=0.1).condition(X, Y)
    for method in (posterior.predict, posterior.predict_each):
        with pytest.raises(bk.errors.DataError, match="x_new has points of shape"):
            method(np.zeros((2, 3)))
        with pytest.raises(bk.errors.DataError, match="x_new has NaN"):
            method(np.array([[np.nan]]))


@pytest.mark.parametrize(
    "prior", [dist.InverseGamma(2.0, 2.0), dist.HalfCauchy(1.0), 1.0], ids=["closed", "integral", "fixed"]
)
def test_a_singular_covariance_names_the_noise(prior):
    twice, y = np.repeat(X, 2, axis=0), np.repeat(Y, 2)
    mixture = nngp.ScaleMixture(KERNEL, prior)
    for method in (mixture.condition, mixture.log_marginal_likelihood):
        with pytest.raises(bk.errors.ModelError, match=r"not positive definite .* need a larger noise_variance"):
            method(twice, y)
    with pytest.raises(bk.errors.ModelError, match="noise_variance"):
        mixture.prior(twice).log_prob(y)
    with pytest.raises(bk.errors.ModelError, match="noise_variance"):
        mixture.prior(twice).sample(jax.random.key(0))


def test_no_kernel_at_all():
    """In one dimension of the distance |x| + |y| Matérn is not positive definite in the plane: not a kernel."""
    x = np.random.default_rng(0).normal(size=(40, 2))
    mixture = nngp.ScaleMixture(kernels.Matern52(0.8), dist.HalfCauchy(1.0), noise="outside", noise_variance=0.1)
    with pytest.raises(bk.errors.ModelError, match="not positive definite"):
        mixture.log_marginal_likelihood(x, np.sin(x[:, 0]))


def test_a_law_whose_integral_has_no_end():
    zero = np.zeros(5)  # the likelihood of a scale of zero is infinite
    with pytest.raises(bk.errors.ModelError, match="integral over σ² is not resolved"):
        nngp.ScaleMixture(KERNEL, dist.HalfCauchy(1.0), noise_variance=0.1).log_marginal_likelihood(X, zero)


def test_joint_prediction_where_the_function_is_known():
    posterior = nngp.ScaleMixture(KERNEL, dist.InverseGamma(2.0, 2.0)).condition(X, Y)
    with pytest.raises(bk.errors.ModelError, match="use predict_each"):
        posterior.predict(X)


def test_trained_ensembles_have_no_noise_and_need_a_network():
    with pytest.raises(bk.errors.ModelError, match="noise_variance must be 0"):
        nngp.ScaleMixture(KERNEL, 1.0, noise_variance=0.1).readout_trained(X, Y)
    with pytest.raises(bk.errors.ModelError, match="noise_variance must be 0"):
        nngp.ScaleMixture(KERNEL, 1.0, noise_variance=0.1).fully_trained(X, Y)
    with pytest.raises(bk.errors.ModelError, match="kernel must be a network"):
        nngp.ScaleMixture(KERNEL, 1.0).fully_trained(X, Y)
    with pytest.raises(bk.errors.ModelError, match="no member interpolates"):
        nngp.ScaleMixture(KERNEL, 1.0).readout_trained(np.repeat(X, 2, axis=0), np.repeat(Y, 2))


def test_importance_settings():
    with pytest.raises(bk.errors.MethodError, match="nothing to sample"):
        nngp.ScaleMixture(KERNEL, 1.0).importance(X, Y, key=0)
    with pytest.raises(bk.errors.MethodError, match="num_draws"):
        nngp.ScaleMixture(KERNEL, dist.HalfCauchy(1.0)).importance(X, Y, num_draws=1, key=0)


@pytest.mark.parametrize("noise", ["inside", "outside"])
def test_a_negative_noise_variance_is_nan_where_it_is_traced(noise):
    """The kernel alone would make the covariance positive definite, and the value a number."""

    def evidence(noise_variance):
        law = nngp.ScaleMixture(kernels.ExpSquared(0.2), 1.0, noise=noise, noise_variance=noise_variance)
        return law.log_marginal_likelihood(np.arange(3.0)[:, None], np.ones(3))

    assert np.isnan(jax.jit(evidence)(-0.1))
    assert np.isfinite(jax.jit(evidence)(0.1))


@pytest.mark.parametrize("shape", [(), (2,), (3, 1)])
def test_responses_of_another_number_are_refused(shape):
    law = nngp.ScaleMixture(kernels.ExpSquared(0.2), 1.0, noise_variance=0.1).prior(np.arange(3.0)[:, None])
    with pytest.raises(bk.errors.DataError, match="one response for each of the 3 inputs"):
        law.log_prob(np.zeros(shape))
