"""Choices in loops; loops in branches, in loops and in particles, and the other way round."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import bayeskit as bk

from .programs import by_default, by_estimator, is_exact, keys_for, one, sample, sigmoid, weighed


@pytest.mark.smoke
@by_default("enumeration")
def test_branch_in_a_scan(estimate, estimator):
    def f(p):
        total = []

        def program():
            def body(c, _):
                b = bk.cond(
                    c < 0.5,
                    lambda: 1.0 * sample("b", dist.Bernoulli(jax.nn.sigmoid(p + c)), estimator),
                    lambda: 2.0 * sample("d", dist.Bernoulli(jax.nn.sigmoid(p - c)), estimator),
                )
                return c + b, None

            total.append(bk.scan(body, 0.0, length=3)[0])

        _, log_q = bk.draw(program)
        return total[0] ** 2 + log_q

    def truth(p):
        cases = []
        for coins in itertools.product((0, 1), repeat=3):
            weight, c = 1.0, 0.0
            for b in coins:
                q = sigmoid(p + c if c < 0.5 else p - c)
                weight, c = weight * (q if b else 1 - q), c + (b if c < 0.5 else 2 * b)
            cases.append((weight, c**2 + np.log(weight)))
        return weighed(cases)

    found = estimate(f, 0.3, n=keys_for(estimator))
    found.check_against(truth, 0.3, value_error=0.0 if is_exact(estimator) else 0.08, gradient_error=0.1)


@by_default("score")
def test_scan_in_a_branch(estimate, estimator):
    def f(p):
        total = []

        def program():
            a = sample("a", dist.Bernoulli(p), estimator)

            def loop():
                def body(c, _):
                    return c + sample("b", dist.Bernoulli(jax.nn.sigmoid(p + c)), estimator), None

                return bk.scan(body, 0.0, length=2)[0]

            total.append(bk.cond(a > 0, loop, lambda: 3.0 * sample("d", dist.Bernoulli(p), estimator)))

        _, log_q = bk.draw(program)
        return total[0] ** 2 + log_q

    def truth(p):
        cases = []
        for b, c in itertools.product((0, 1), repeat=2):
            first, second = sigmoid(p), sigmoid(p + b)
            weight = p * (first if b else 1 - first) * (second if c else 1 - second)
            cases.append((weight, (b + c) ** 2 + np.log(weight)))
        for d in (0, 1):
            weight = (1 - p) * (p if d else 1 - p)
            cases.append((weight, (3 * d) ** 2 + np.log(weight)))
        return weighed(cases)

    found = estimate(f, 0.3, n=keys_for(estimator))
    found.check_against(truth, 0.3, value_error=0.0 if is_exact(estimator) else 0.08, gradient_error=0.2)


@pytest.mark.covering
@by_estimator
@pytest.mark.parametrize("inside", [True, False], ids=["in a program", "around draws"])
def test_scan_in_a_scan(estimate, estimator, inside):
    def f(p):
        def choose(c, d):
            coin = dist.Bernoulli(jax.nn.sigmoid(p + 0.5 * d - 0.3 * c))
            return sample("x", coin, estimator) if inside else one(coin, estimator)

        def outer(c, _):
            return c + bk.scan(lambda d, _: (d + choose(c, d), None), 0.0, length=2)[0], None

        def loops():
            return bk.scan(outer, 0.0, length=2)[0]

        if not inside:
            return loops() ** 2
        choices, _ = bk.draw(loops)
        assert choices["x"].shape == (2, 2)
        return jnp.sum(choices["x"]) ** 2.0

    def truth(p):
        cases = []
        for coins in itertools.product((0, 1), repeat=4):
            weight, c = 1.0, 0.0
            for first, second in (coins[:2], coins[2:]):
                d = 0.0
                for b in (first, second):
                    q = sigmoid(p + 0.5 * d - 0.3 * c)
                    weight, d = weight * (q if b else 1 - q), d + b
                c = c + d
            cases.append((weight, c**2))
        return weighed(cases)

    found = estimate(f, 0.3, n=keys_for(estimator))
    found.check_against(truth, 0.3, value_error=0.0 if is_exact(estimator) else 0.08, gradient_error=0.15)


@by_default("score")
def test_particles_in_a_scan(estimate, estimator):
    def f(p):
        def body(c, _):
            coin = dist.Bernoulli(jax.nn.sigmoid(p + c))
            return c + bk.average(2, lambda: 1.0 * one(coin, estimator)), None

        return bk.scan(body, 0.0, length=2)[0] ** 2

    def truth(p):
        cases = []
        for coins in itertools.product((0, 1), repeat=4):
            weight, c = 1.0, 0.0
            for pair in (coins[:2], coins[2:]):
                q = sigmoid(p + c)
                for b in pair:
                    weight = weight * (q if b else 1 - q)
                c = c + sum(pair) / 2
            cases.append((weight, c**2))
        return weighed(cases)

    found = estimate(f, 0.3, n=keys_for(estimator))
    found.check_against(truth, 0.3, value_error=0.0 if is_exact(estimator) else 0.03, gradient_error=0.06)


@by_default("measure_valued")
def test_a_scan_in_a_particle(estimate, estimator):
    def f(p):
        def particle():
            def body(c, _):
                return c + one(dist.Bernoulli(jax.nn.sigmoid(p + c)), estimator), None

            return bk.scan(body, 0.0, length=2)[0] ** 2

        return bk.average(2, particle)

    def truth(p):
        cases = []
        for b, c in itertools.product((0, 1), repeat=2):
            first, second = sigmoid(p), sigmoid(p + b)
            cases.append(((first if b else 1 - first) * (second if c else 1 - second), (b + c) ** 2))
        return weighed(cases)

    found = estimate(f, 0.3, n=keys_for(estimator))
    found.check_against(truth, 0.3, value_error=0.0 if is_exact(estimator) else 0.025, gradient_error=0.03)
