"""Bounds of the evidence, and the particles that they average over."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import stats

import bayeskit as bk

from .programs import DISCRETE, by_default, coin_model, is_exact, iwelbo, one, sample, weighed


@by_default("enumeration", among=DISCRETE)
def test_elbo_of_a_coin(estimate, estimator):
    found = estimate(
        lambda q: bk.objectives.ELBO()(coin_model, lambda: sample("z", dist.Bernoulli(q), estimator)), 0.4, n=20_000
    )
    if is_exact(estimator):
        assert found.value[0] == pytest.approx(-1.421521, abs=1e-6)
        assert found.gradient[0] == pytest.approx(-0.841833, abs=1e-6)
    p, x = np.array([0.7, 0.3]), np.array([0.0, 2.0])
    joint = np.log(p) + stats.norm.logpdf(0.8, x, 1)
    value = np.sum([0.6, 0.4] * (joint - np.log([0.6, 0.4])))
    gradient = joint[1] - joint[0] - np.log(0.4 / 0.6)
    found.check(value, gradient, value_error=0.0 if is_exact(estimator) else 0.005, gradient_error=0.1)


def test_importance_weighted_elbo_rises_to_the_evidence(estimate):
    bounds = {1: -2.13894, 10: -1.651, 100: -1.628}
    found = [estimate(lambda loc, num=num: iwelbo(loc, num), 0.0, gradient=False) for num in bounds]
    for estimates, (num, bound) in zip(found, bounds.items(), strict=True):
        assert abs(estimates.value - bound) < 4 * estimates.value_error + 6e-4  # the bounds have three decimals
        assert estimates.value_error < 0.03 / np.sqrt(num)
    values = [float(estimates.value[0]) for estimates in found]
    assert values == sorted(values)
    assert values[-1] < -1.625512


@pytest.mark.parametrize(
    "estimator",
    [bk.estimators.Pathwise(), bk.estimators.Score(), pytest.param(bk.estimators.Score(-2.0), marks=pytest.mark.full)],
    ids=repr,
)
def test_importance_weighted_elbo_of_two_against_quadrature(estimate, estimator):
    """Value and gradient, with leave-one-out baselines (VIMCO) where the estimator is the score."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    weights = weights / weights.sum()

    def truth(loc):
        z = loc + nodes
        w = np.exp(-0.5 * (z**2 + (1.2 - z) ** 2 - (z - loc) ** 2)) / np.sqrt(2 * np.pi)
        return np.sum(weights[:, None] * weights * np.log((w[:, None] + w) / 2))

    found = estimate(lambda loc: iwelbo(loc, 2, estimator=estimator), 0.2, n=20_000)
    found.check_against(truth, 0.2, value_error=0.01, gradient_error=0.03)


@by_default("enumeration", "measure_valued")
@pytest.mark.parametrize("num", [3])
def test_log_average_exp_of_coins(estimate, estimator, num):
    """Against the sum over the number of heads."""

    def truth(p):
        weights = []
        for heads in range(num + 1):
            count = stats.binom(num, 0.5).pmf(heads) * 2**num
            number = np.log((heads * np.exp(2.0) + (num - heads) * np.exp(-1.0)) / num)
            weights.append((count * p**heads * (1 - p) ** (num - heads), number))
        return weighed(weights)

    found = estimate(lambda p: bk.log_average_exp(num, lambda: 3.0 * one(dist.Bernoulli(p), estimator) - 1), 0.3)
    found.check_against(truth, 0.3, value_error=0.0 if is_exact(estimator) else 0.025, gradient_error=0.15)


@by_default("score")
def test_weights_of_zero(estimate, estimator):
    """A particle may have no weight at all; its leave-one-out baselines are numbers all the same."""

    def f(p):
        log_weight = bk.log_average_exp(3, lambda: jnp.where(one(dist.Bernoulli(p), estimator) > 0, 0.0, -jnp.inf))
        return jnp.maximum(log_weight, -5.0)

    value = np.array([-5.0, np.log(1 / 3), np.log(2 / 3), 0.0])
    gradient = 3 * np.sum([0.25, 0.5, 0.25] * np.diff(value))
    found = estimate(f, 0.5)
    found.check(
        np.sum(np.array([1, 3, 3, 1]) / 8 * value),
        gradient,
        value_error=0.0 if is_exact(estimator) else 0.03,
        gradient_error=0.2,
    )


@pytest.mark.parametrize("num", [pytest.param(1, marks=pytest.mark.full), pytest.param(2, marks=pytest.mark.full), 7])
def test_the_posterior_as_guide_has_no_variance(estimate, num):
    found = estimate(lambda loc: iwelbo(loc, num, scale=0.5**0.5), 0.6, n=500, gradient=False)
    np.testing.assert_allclose(found.values, -1.625512, atol=1e-6)
    assert found.values.std() < 1e-12


@pytest.mark.parametrize("average", [bk.average, bk.log_average_exp])
def test_particles_bring_one_number_each(average):
    with pytest.raises(bk.errors.ModelError, match=r"returns a number.*bayeskit.replicate"):
        jax.eval_shape(bk.expectation(lambda: average(3, lambda: jnp.arange(2.0))), 0)
    with pytest.raises(bk.errors.ModelError, match=r"returns a number.*bayeskit.replicate"):
        jax.eval_shape(bk.expectation(lambda: average(3, lambda: {"a": jnp.zeros(()), "b": jnp.zeros(())})), 0)
