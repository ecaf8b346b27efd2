"""Choices in branches, and branches of an objective."""

from __future__ import annotations

import numpyro.distributions as dist

import bayeskit as bk

from .programs import by_default, is_exact, keys_for, one, sample


@by_default("measure_valued")
def test_choice_in_a_branch(estimate, estimator):
    def f(p):
        x = []

        def program():
            u = sample("u", dist.Uniform())
            x.append(
                bk.cond(
                    u < 0.5,
                    lambda: sample("left", dist.Bernoulli(p), estimator),
                    lambda: sample("right", dist.Bernoulli(p), estimator),
                )
            )

        bk.draw(program)
        return (2 * x[0] + 1) ** 2.0

    found = estimate(f, 0.3)
    found.check(3.4, 8.0, value_error=0.0 if is_exact(estimator) else 0.06, gradient_error=0.26)


@by_default("enumeration")
def test_branches_within_branches(estimate, estimator):
    """Three Bernoulli(p) leaves that count 1, 2 and 3, reached with probability p², p(1-p) and 1-p."""

    def f(p):
        x = []

        def program():
            a = sample("a", dist.Bernoulli(p), estimator)
            b = sample("b", dist.Bernoulli(p), estimator)

            def upper():
                return bk.cond(
                    b > 0,
                    lambda: 1.0 * sample("c", dist.Bernoulli(p), estimator),
                    lambda: 2.0 * sample("d", dist.Bernoulli(p), estimator),
                )

            x.append(bk.cond(a > 0, upper, lambda: 3.0 * sample("e", dist.Bernoulli(p), estimator)))

        bk.draw(program)
        return x[0]

    def truth(p):
        return p * (p**2 + 2.0 * p * (1 - p) + 3.0 * (1 - p))

    found = estimate(f, 0.3, n=keys_for(estimator))
    found.check_against(truth, 0.3, value_error=0.0 if is_exact(estimator) else 0.03, gradient_error=0.15)


@by_default("score")
def test_branches_of_an_objective(estimate, estimator):
    """A branch with particles, and one with a draw: E = p (p² + p(1-p)/2) + (1-p) 9p."""

    def f(p):
        def coin():
            return 1.0 * one(dist.Bernoulli(p), estimator)

        return bk.cond(coin() > 0, lambda: bk.average(2, coin), lambda: 3.0 * coin()) ** 2

    def truth(p):
        return p * (p**2 + p * (1 - p) / 2) + (1 - p) * 9 * p

    found = estimate(f, 0.3, n=keys_for(estimator))
    found.check_against(truth, 0.3, value_error=0.0 if is_exact(estimator) else 0.07, gradient_error=0.15)
