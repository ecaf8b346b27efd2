"""Choices under masks, events and plates."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import bayeskit as bk

from .programs import by_default, by_estimator, is_exact, one, sample

KEPT = jnp.array([True, False, False])
MASKED = {
    "event": lambda p: dist.Bernoulli(p).expand([3]).mask(KEPT).to_event(1),
    "under an expansion": lambda p: dist.Bernoulli(p).mask(False).expand([3]),
}


@pytest.mark.covering
@by_estimator
@pytest.mark.parametrize("form", MASKED)
def test_a_masked_choice_is_drawn_and_has_its_gradient(estimate, estimator, form):
    """A mask takes elements out of the density; they are drawn all the same, and a number may depend on them."""
    found = estimate(lambda p: 1.0 * jnp.sum(one(MASKED[form](p), estimator)), 0.3)
    found.check(0.9, 3.0, value_error=0.0 if is_exact(estimator) else 0.015, gradient_error=0.2)


@by_default("enumeration")
def test_event_in_a_plate(estimate, estimator):
    """The density of six coins and the square of their sum."""

    def f(p):
        def program():
            with numpyro.plate("two", 2):
                sample("b", dist.Bernoulli(p).expand([3]).to_event(1), estimator)

        choices, log_q = bk.draw(program)
        return jnp.sum(choices["b"]) ** 2.0 + log_q

    def truth(p):
        return 6 * p * (1 - p) + 36 * p**2 + 6 * (p * np.log(p) + (1 - p) * np.log(1 - p))

    found = estimate(f, 0.3, n=3000)
    found.check_against(truth, 0.3, value_error=0.0 if is_exact(estimator) else 0.12, gradient_error=1.2)


@by_default("measure_valued")
def test_rows_that_are_drawn(estimate, estimator):
    """A local coin for each row of a minibatch: the scaled sum has the expectation of the whole."""

    def f(p):
        def program():
            with numpyro.plate("rows", 4, subsample_size=2) as rows:
                sample("z", dist.Bernoulli(p * (1 + rows) / 4), estimator)

        choices, _ = bk.draw(program)
        return 2 * jnp.sum(choices["z"] * (1.0 + choices["rows"]))

    estimate(f, 0.3).check(0.3 * 30 / 4, 30 / 4, value_error=0.06, gradient_error=0.3)
