"""Quadrature of the softmax, inducing points, and the bound, each against an independent computation."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
from tinygp import kernels

import bayeskit as bk
from bayeskit.errors import DataError
from bayeskit.models import nngp
from bayeskit.models.nngp.classification.fitted_classifier import bound_by_quadrature
from bayeskit.models.nngp.classification.inducing import at_points, chosen_points
from bayeskit.models.nngp.classification.scale import classifier_scale
from bayeskit.models.nngp.classification.softmax import expected_log_sum_exp, expected_softmax
from bayeskit.models.nngp.classification.sparse import Rows, SparseGuide, bound

GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(12, 2))
LABELS = GENERATOR.integers(0, 3, size=12)
KERNEL = kernels.Matern32(1.5, distance=kernels.L2Distance())
PRIOR = dist.InverseGamma(3.0, 2.0)


def mean_is(values, truth):
    """The mean of draws is the truth, by the standard error."""
    values = np.asarray(values, float)
    z = (values.mean(0) - truth) / (values.std(0, ddof=1) / np.sqrt(len(values)))
    assert np.abs(z).max() < 4, z


@pytest.mark.parametrize(("mean", "variance"), [(0.3, 0.01), (-2.0, 4.0), (-40.0, 1.0), (-30.0, 60.0), (5.0, 900.0)])
def test_two_classes_are_a_logistic_integral(mean, variance):
    """$f_1 - f_2$ is normal; tiny probabilities have the same relative error."""
    sd = np.sqrt(variance)
    law = scipy.stats.norm(mean, sd)
    edges = np.linspace(mean - 12 * sd, max(mean + 12 * sd, mean + 2 * variance), 60)
    logistic = scipy.special.expit
    parts = [scipy.integrate.quad(lambda d: law.pdf(d) * logistic(d), a, b)[0] for a, b in itertools.pairwise(edges)]
    found = expected_softmax(np.array([[mean + 1.0, 1.0]]), np.array([[0.75 * variance, 0.25 * variance]]))
    np.testing.assert_allclose(found[0, 0], sum(parts), rtol=1e-5)
    np.testing.assert_allclose(found.sum(axis=1), 1.0, rtol=1e-12)


def test_softmax_without_variance():
    f = GENERATOR.normal(size=(7, 5)) * 10
    np.testing.assert_allclose(expected_softmax(f, np.zeros_like(f)), scipy.special.softmax(f, axis=1), rtol=1e-7)
    log_sum = expected_log_sum_exp(f, np.zeros_like(f))
    np.testing.assert_allclose(log_sum, scipy.special.logsumexp(f, axis=1), atol=1e-6)


def test_softmax_of_many_classes_is_its_mean():
    mean, variance = GENERATOR.normal(size=(2, 4)) * 3, GENERATOR.uniform(0.01, 20.0, size=(2, 4))
    f = mean + np.sqrt(variance) * GENERATOR.normal(size=(50_000, 2, 4))
    mean_is(scipy.special.softmax(f, axis=2), expected_softmax(mean, variance))
    mean_is(scipy.special.logsumexp(f, axis=2), expected_log_sum_exp(mean, variance))


def test_conditional_of_inducing_values():
    points = chosen_points(KERNEL, X, 5)
    new = GENERATOR.normal(size=(4, 2))
    weights, left = points.project(new)
    cross, inside = np.asarray(KERNEL(new, points.points)), np.asarray(KERNEL(points.points, points.points))
    np.testing.assert_allclose(points.factor @ points.factor.T, inside, atol=1e-12)
    np.testing.assert_allclose(left, 1.0 - np.sum(cross * np.linalg.solve(inside, cross.T).T, axis=1), atol=1e-12)
    np.testing.assert_allclose(weights @ points.factor.T, cross, atol=1e-12)


def test_all_inputs_leave_nothing():
    weights, left = chosen_points(KERNEL, X, len(X)).project(X)
    np.testing.assert_allclose(left, 0.0, atol=1e-12)
    np.testing.assert_allclose(weights @ weights.T, KERNEL(X, X), atol=1e-12)
    np.testing.assert_allclose(at_points(KERNEL, X).project(X)[1], 0.0, atol=1e-12)


def test_pivots_take_no_input_twice_and_leave_less_than_the_first_inputs():
    twice = np.concatenate([X, X])
    points = chosen_points(KERNEL, twice, 6)
    assert len(np.unique(points.points, axis=0)) == 6
    assert points.project(twice)[1].sum() < at_points(KERNEL, X[:6]).project(twice)[1].sum()
    with pytest.raises(DataError, match=r"12 different directions.*inducing=12"):
        chosen_points(KERNEL, twice, 13)


def test_what_is_no_kernel_is_refused():
    """The Matern kernel of the sum of absolute differences is indefinite in two dimensions."""
    with pytest.raises(DataError, match="not positive semidefinite"):
        chosen_points(kernels.Matern32(1.5), X, 12)
    with pytest.raises(DataError, match="singular"):
        at_points(kernels.Matern32(1.5), X)


def some_guide(classes=3, points=5):
    """Far from the prior, so that no term of the bound is zero."""
    numbers = GENERATOR.normal(size=(3, classes, points, points)) * 0.5
    arrays = (numbers[0, :, 0], numbers[1, :, 0], numbers[2], 0.4, 0.3, -0.8)
    return SparseGuide(*(jnp.asarray(array, float) for array in arrays))


def rows(number=5):
    points = at_points(KERNEL, GENERATOR.normal(size=(number, 2)))
    return Rows(*map(jnp.asarray, points.project(X)), jnp.asarray(LABELS))


@pytest.mark.parametrize("prior", [PRIOR, pytest.param(1.7, marks=pytest.mark.slow)])
def test_bound_of_batches_has_the_mean_and_the_gradient_of_the_whole(prior):
    data, scale = rows(), classifier_scale(prior)
    guide = some_guide()
    direction = jax.tree.map(lambda leaf: jnp.asarray(GENERATOR.normal(size=leaf.shape)), guide)

    def along(t):
        return jax.tree.map(lambda leaf, step: leaf + t * step, guide, direction)

    def estimate(key):
        number = lambda t: bk.expectation(bound)(key, along(t), scale, data, 5, 2)  # noqa: E731
        return jax.value_and_grad(number)(0.0)

    values, slopes = jax.jit(jax.vmap(estimate))(jax.random.split(jax.random.key(1), 2_000))
    mean_is(values, bound_by_quadrature(guide, scale, data))
    step = 1e-3
    both = [bound_by_quadrature(along(t), scale, data) for t in (step, -step)]
    mean_is(slopes, (both[0] - both[1]) / (2 * step))


def test_bound_is_that_of_the_plain_programs():
    """The model and the guide, with inducing values and functions drawn one after the other."""
    data = rows()
    guide = some_guide()

    def functions(scale, white):
        law = dist.Normal(data.weights @ white.T, jnp.sqrt(scale * data.left)[:, None])
        return numpyro.sample("f", law.to_event(2))

    def model():
        scale = numpyro.sample("scale", PRIOR)
        white = numpyro.sample("white", dist.Normal(0.0, jnp.sqrt(scale)).expand([3, 5]).to_event(2))
        f = functions(scale, white)
        numpyro.sample("labels", dist.Categorical(logits=f).to_event(1), obs=data.labels)

    def approximation():
        scale = numpyro.sample("scale", guide.scale)
        at = scale ** (0.5 * guide.exponent) * guide.mean
        law = dist.MultivariateNormal(at, scale_tril=jnp.sqrt(scale) * guide.factor)
        functions(scale, numpyro.sample("white", law.to_event(1)))

    estimate = jax.jit(jax.vmap(lambda key: bk.expectation(bk.objectives.ELBO())(key, model, approximation)))
    mean_is(
        estimate(jax.random.split(jax.random.key(2), 2_000)), bound_by_quadrature(guide, classifier_scale(PRIOR), data)
    )


def test_bound_is_below_the_evidence_and_close():
    """Two points and two classes: the evidence is an integral over the scale and two differences of functions."""
    x, labels = np.array([0.0, 0.7]), np.array([0, 1])
    lower = np.linalg.cholesky(2 * np.asarray(KERNEL(x, x)))
    z = np.linspace(-8, 8, 81)
    weights = scipy.stats.norm.pdf(z) * (z[1] - z[0])
    both = np.stack(np.meshgrid(z, z, indexing="ij"), axis=-1) @ lower.T
    log_scale = np.linspace(-5, 7, 121)
    given = [
        np.einsum("i,j,ij", weights, weights, np.prod(scipy.special.expit(np.exp(s / 2) * both * [1, -1]), axis=-1))
        for s in log_scale
    ]
    density = np.exp(np.asarray(PRIOR.log_prob(np.exp(log_scale))) + log_scale)
    evidence = np.log(np.sum(density * given) * (log_scale[1] - log_scale[0]))
    fit = nngp.SparseClassifier(KERNEL, PRIOR, inducing=2).fit(x, labels, key=0, num_steps=600, progress=False)
    assert evidence - 0.1 < fit.bound < evidence
