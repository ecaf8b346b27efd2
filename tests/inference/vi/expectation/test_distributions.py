"""Distributions of several kinds, and the estimators that they admit."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.distributions import transforms
from scipy import stats

import bayeskit as bk

from .programs import by_estimator, is_exact, one, sample

LOGITS = jnp.array([[0.1, -0.5, 0.8], [0.0, 1.0, 0.0]])
VALUES = jnp.array([1.0, 3.0, -2.0])
PLAIN = bk.estimators.Pathwise(), bk.estimators.Score(), bk.estimators.MeasureValued()


@pytest.mark.covering
@by_estimator
@pytest.mark.parametrize("form", ["batched", "plate", "two sites"])
def test_categorical(estimate, estimator, form):
    def program(logits):
        if form == "two sites":
            sample("c0", dist.Categorical(logits=logits[0]), estimator)
            sample("c1", dist.Categorical(probs=jax.nn.softmax(logits[1])), estimator)
        elif form == "plate":
            with numpyro.plate("two", 2):
                sample("c", dist.Categorical(logits=logits), estimator)
        else:
            sample("c", dist.Categorical(logits=logits).to_event(1), estimator)

    def f(logits):
        c, _ = bk.draw(lambda: program(logits))
        first, second = c["c"] if "c" in c else (c["c0"], c["c1"])
        return VALUES[first] * VALUES[second] ** 2

    def truth(logits):
        p, values = np.exp(logits) / np.exp(logits).sum(1, keepdims=True), np.asarray(VALUES)
        return np.sum(p[0] * values) * np.sum(p[1] * values**2)

    found = estimate(f, LOGITS)
    found.check_against(truth, LOGITS, value_error=0.0 if is_exact(estimator) else 0.25, gradient_error=0.12)


@pytest.mark.full  # by default tests/conformance/test_estimators.py has these distributions with every estimator
@pytest.mark.parametrize(
    "estimator", [bk.estimators.Score(), bk.estimators.Score(7.0), bk.estimators.MeasureValued()], ids=repr
)
def test_poisson(estimate, estimator):
    found = estimate(lambda rate: one(dist.Poisson(rate), estimator) ** 2.0, 2.3)
    found.check(2.3 + 2.3**2, 2 * 2.3 + 1, value_error=0.2, gradient_error=0.3)


@pytest.mark.full  # likewise
@pytest.mark.parametrize("estimator", PLAIN, ids=repr)
def test_gamma(estimate, estimator):
    """E x² = α(α+1)/β²."""

    def truth(q):
        return q[0] * (q[0] + 1) / q[1] ** 2

    found = estimate(lambda q: one(dist.Gamma(q[0], q[1]), estimator) ** 2.0, jnp.array([2.3, 1.5]))
    found.check_against(truth, [2.3, 1.5], value_error=0.1, gradient_error=0.35)


@pytest.mark.parametrize(
    "estimator",
    [*(pytest.param(plain, marks=pytest.mark.full) for plain in PLAIN), bk.estimators.Score(2.0)],  # likewise
    ids=repr,
)
def test_normal(estimate, estimator):
    """E x³ = μ³ + 3μσ², with the gradient 3μ² + 3σ², 6μσ."""
    found = estimate(lambda q: one(dist.Normal(q[0], q[1]), estimator) ** 3.0, jnp.array([0.7, 1.2]), n=20_000)
    found.check(0.7**3 + 3 * 0.7 * 1.44, [3 * 0.49 + 3 * 1.44, 6 * 0.7 * 1.2], value_error=0.08, gradient_error=0.45)


@pytest.mark.parametrize(
    "estimator",
    [
        pytest.param(bk.estimators.Pathwise(), marks=pytest.mark.full),
        bk.estimators.Score(),
        bk.estimators.MeasureValued(),
    ],
    ids=repr,
)
def test_plated_normals_whose_shapes_broadcast(estimate, estimator):
    """E (Σ x_i)² for x_i ~ Normal(m, s_i), with one m for all."""
    scales = jnp.array([0.5, 1.0, 0.7])

    def f(m):
        def program():
            with numpyro.plate("three", 3):
                sample("x", dist.Normal(m, scales), estimator)

        return jnp.sum(bk.draw(program)[0]["x"]) ** 2

    found = estimate(f, 0.4)
    found.check(1.44 + float(jnp.sum(scales**2)), 18 * 0.4, value_error=0.1, gradient_error=0.45)


def test_uniform_with_a_parameter_for_a_bound(estimate):
    estimate(lambda t: one(dist.Uniform(0, t)), 1.7).check(0.85, 0.5, value_error=0.01, gradient_error=0.006)


@pytest.mark.covering
@pytest.mark.parametrize("estimator", [bk.estimators.Score(), bk.estimators.MeasureValued()], ids=repr)
@pytest.mark.parametrize(
    "distribution",
    [
        lambda t: dist.Uniform(0, t),
        lambda t: dist.Uniform(0, t).expand([2]).to_event(1),
        lambda t: dist.TruncatedNormal(0.0, 1.0, low=t),
        lambda t: dist.TransformedDistribution(dist.Uniform(0, 1), transforms.AffineTransform(0.0, t)),
        lambda t: dist.TransformedDistribution(dist.Uniform(0, t), transforms.ExpTransform()),
        lambda t: dist.Delta(t),
    ],
    ids=["uniform", "event", "truncated", "scaled uniform", "exp of uniform", "delta"],
)
def test_score_and_weak_derivatives_need_a_fixed_support(estimate, estimator, distribution):
    with pytest.raises(bk.errors.ModelError, match=r"site 'x'.*support|site 'x': no weak derivative"):
        estimate(lambda t: jnp.sum(one(distribution(t), estimator)), 1.7, n=2)


def test_probability_of_a_half_line_by_score(estimate):
    found = estimate(lambda m: jnp.where(one(dist.Normal(m, 1.0), bk.estimators.Score()) > 0, 1.0, 0.0), 0.3, n=20_000)
    found.check(stats.norm.cdf(0.3), stats.norm.pdf(0.3), value_error=0.005, gradient_error=0.006)
    assert stats.norm.pdf(0.3) == pytest.approx(0.38139, abs=1e-5)


@pytest.mark.parametrize(
    "distribution",
    [
        lambda p: dist.Bernoulli(p),
        lambda p: dist.Poisson(p),
        lambda p: dist.MixtureSameFamily(
            dist.Categorical(probs=jnp.stack([p, 1 - p])), dist.Gamma(jnp.arange(1.0, 3.0), 1.0)
        ),
        lambda p: dist.MixtureSameFamily(
            dist.Categorical(probs=jnp.stack([p, 1 - p])), dist.Normal(jnp.zeros((2, 3)), 1.0).to_event(1)
        ),
    ],
    ids=["Bernoulli", "Poisson", "mixture of gammas", "mixture of vectors"],
)
def test_pathwise_is_refused_where_values_do_not_move(estimate, distribution):
    with pytest.raises(bk.errors.ModelError, match="site 'x': pathwise gradients do not pass"):
        estimate(lambda p: jnp.sum(one(distribution(p), bk.estimators.Pathwise())), 0.3, n=2)


def test_mixture_by_default(estimate):
    """The weight of a mixture: E x² has the derivative E x² of one component minus the other's."""

    def f(p):
        mixing = dist.Categorical(probs=jnp.stack([p, 1 - p]))
        return one(dist.MixtureSameFamily(mixing, dist.Normal(jnp.array([0.0, 2.0]), 1.0))) ** 2

    estimate(f, 0.3).check(0.3 + 0.7 * 5, -4.0, value_error=0.1, gradient_error=0.3)


def test_what_an_estimator_cannot_take_is_refused(estimate):
    for distribution, estimator in [
        (dist.Normal(0.3, 1.0), bk.estimators.Enumeration()),
        (dist.Poisson(0.3), bk.estimators.Enumeration()),
        (dist.StudentT(3.0, 0.3, 1.0), bk.estimators.MeasureValued()),
        (dist.Multinomial(1, jnp.ones(3) / 3), bk.estimators.Enumeration()),
        (dist.Bernoulli(0.3), "score"),
    ]:
        with pytest.raises(bk.errors.ModelError, match="site 'x'"):
            jax.eval_shape(bk.expectation(lambda d=distribution, e=estimator: jnp.sum(one(d, e))), 0)
