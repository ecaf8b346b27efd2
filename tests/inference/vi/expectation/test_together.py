"""Several estimators in one program."""

from __future__ import annotations

import itertools

import jax
import numpy as np
import numpyro.distributions as dist

import bayeskit as bk

from .programs import DISCRETE, by_default, sample, sigmoid, weighed


@by_default("score")
def test_discrete_choices_between_pathwise_ones(estimate, estimator):
    """x ~ N(t, 1), b | x, y | x, b and c | x, b, against Gauss-Hermite quadrature and a sum over b and c."""

    def f(t):
        def program():
            x = sample("x", dist.Normal(t, 1.0))
            b = sample("b", dist.Bernoulli(jax.nn.sigmoid(x)), estimator)
            sample("y", dist.Normal(b * t + x, 0.5))
            sample("c", dist.Bernoulli(jax.nn.sigmoid(b - x)), estimator)

        c, _ = bk.draw(program)
        return c["y"] ** 2 * (1 + c["c"]) * (1 + 2 * c["b"])

    def truth(t):
        nodes, weights = np.polynomial.hermite_e.hermegauss(60)
        x, weights, total = t + nodes, weights / weights.sum(), 0.0
        for b, c in itertools.product((0, 1), repeat=2):
            q, r = sigmoid(x), sigmoid(b - x)
            probability = (q if b else 1 - q) * (r if c else 1 - r)
            total += np.sum(weights * probability * ((b * t + x) ** 2 + 0.25)) * (1 + c) * (1 + 2 * b)
        return total

    estimate(f, 0.4).check_against(truth, 0.4, value_error=0.2, gradient_error=0.35)


def test_four_estimators_in_one_program(estimate):
    """Each choice has another estimator, and each depends on those before it."""

    def probability(p, i, before, sigmoid):
        return sigmoid(p * i - 0.5 * before) if i else p

    def f(p):
        def program():
            total = 0.0
            for i, estimator in enumerate(DISCRETE.values()):
                coin = dist.Bernoulli(probability(p, i, total, jax.nn.sigmoid))
                total += (i + 1) * sample(f"b{i}", coin, estimator)
            return total

        total = []
        bk.draw(lambda: total.append(program()))
        return total[0] ** 2

    def truth(p):
        cases = []
        for coins in itertools.product((0, 1), repeat=4):
            weight, total = 1.0, 0.0
            for i, b in enumerate(coins):
                q = probability(p, i, total, sigmoid)
                weight, total = weight * (q if b else 1 - q), total + (i + 1) * b
            cases.append((weight, total**2))
        return weighed(cases)

    estimate(f, 0.4).check_against(truth, 0.4, value_error=0.5, gradient_error=2.0)
