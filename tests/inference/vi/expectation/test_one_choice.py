"""One Bernoulli choice, several of them, and averages over particles."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import bayeskit as bk

from .programs import DISCRETE, by_default, by_estimator, is_exact, one, sample, squared


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("estimator", "gradients"),
    [
        (bk.estimators.Score(), [-1 / 0.7, 9 / 0.3]),
        (bk.estimators.Score(3.0), [2 / 0.7, 6 / 0.3]),
        (bk.estimators.Score(lambda: 3.0), [2 / 0.7, 6 / 0.3]),
        (bk.estimators.Enumeration(), [8.0]),
        (bk.estimators.MeasureValued(), [8.0]),
    ],
    ids=["score", "baseline", "function as baseline", "enumeration", "measure_valued"],
)
def test_bernoulli_gradients_take_exactly_their_two_values(estimate, estimator, gradients):
    """(2b+1)² is 1 or 9: the score times it, less the baseline. The law of two values gives mean and deviation."""
    found = estimate(lambda p: squared(p, estimator), 0.3)
    np.testing.assert_allclose(np.unique(np.round(found.gradients, 6)), np.round(sorted(gradients), 6), atol=1e-6)
    low, high = min(gradients), max(gradients)
    assert (0.7 * low + 0.3 * high) == pytest.approx(8.0) if len(gradients) > 1 else low == 8.0
    deviation = np.sqrt(0.3 * 0.7) * (high - low)
    assert deviation == pytest.approx({2: 14.4021 if low < 0 else 7.8558, 1: 0.0}[len(gradients)], abs=1e-3)
    found.check(3.4, 8.0, value_error=0.0 if is_exact(estimator) else 0.06, gradient_error=1.1 * deviation / 4000**0.5)


@by_default("score", "enumeration", among=DISCRETE)
@pytest.mark.parametrize("num", [pytest.param(1, marks=pytest.mark.full), 3])
def test_average_has_the_same_expectation(estimate, estimator, num):
    found = estimate(lambda p: bk.average(num, lambda: squared(p, estimator)), 0.3)
    found.check(3.4, 8.0, value_error=0.0 if is_exact(estimator) else 0.06, gradient_error=0.25)


def test_leave_one_out_baselines_lower_the_variance(estimate):
    plain = estimate(lambda p: jnp.mean(bk.replicate(8, lambda: squared(p, bk.estimators.Score()))), 0.3)
    leave_one_out = estimate(lambda p: bk.average(8, lambda: squared(p, bk.estimators.Score())), 0.3)
    plain.check(3.4, 8.0, value_error=0.03, gradient_error=0.083)  # 14.402 / sqrt(8 * 4000) = .0805
    leave_one_out.check(3.4, 8.0, value_error=0.03, gradient_error=0.047)  # 7.8558, with the best baseline, gives .0439


@pytest.mark.smoke
@pytest.mark.covering
@by_estimator
@pytest.mark.parametrize("form", ["loop", "plate", "scan", "scan of draws", "shapes", "replicate"])
def test_square_of_a_sum_of_three(estimate, estimator, form):
    def program(p):
        coin = dist.Bernoulli(p)
        if form == "loop":
            return sum(sample(f"b{i}", coin, estimator) for i in range(3))
        if form == "plate":
            with numpyro.plate("three", 3):
                return jnp.sum(sample("b", coin, estimator))
        if form == "shapes":
            event = sample("event", coin.expand([2]).to_event(1), estimator)
            shaped = numpyro.sample("shaped", coin, sample_shape=(1,), infer={"estimator": estimator})
            return jnp.sum(event) + jnp.sum(shaped)
        return bk.scan(lambda c, _: (c + sample("b", coin, estimator), None), 0, length=3)[0]

    def f(p):
        if form == "replicate":
            return jnp.sum(bk.replicate(3, lambda: one(dist.Bernoulli(p), estimator))) ** 2.0
        if form == "scan of draws":
            return bk.scan(lambda c, _: (c + one(dist.Bernoulli(p), estimator), None), 0, length=3)[0] ** 2.0
        total = []
        bk.draw(lambda: total.append(program(p)))
        return total[0] ** 2.0

    found = estimate(f, 0.3)
    error = {"score": 0.3, "baseline": 0.3, "enumeration": 0.0, "measure_valued": 0.06}
    name = next(k for k, v in DISCRETE.items() if v == estimator)
    found.check(1.44, 6.6, value_error=0.0 if is_exact(estimator) else 0.035, gradient_error=error[name])
