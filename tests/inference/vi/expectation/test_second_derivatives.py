"""Second derivatives are right, or they raise."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
import pytest

import bayeskit as bk

from .programs import is_exact, one, sample, squared


def product_of_coins(p, first, second):
    choices, _ = bk.draw(lambda: (sample("a", dist.Bernoulli(p), first), sample("b", dist.Bernoulli(p**2), second)))
    return 1.0 * choices["a"] * choices["b"]


def second_derivative(f, at, n=4000):
    keys = jax.random.split(jax.random.PRNGKey(0), n)
    found = jax.jit(jax.vmap(jax.hessian(bk.expectation(f), argnums=1), (0, None)))(keys, at)
    return float(jnp.mean(found)), float(jnp.std(found)) / n**0.5


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param(bk.estimators.Score(), bk.estimators.Score(), marks=pytest.mark.full),
        (bk.estimators.Score(0.4), bk.estimators.Score(0.3)),
        (bk.estimators.Enumeration(), bk.estimators.Score()),
        (bk.estimators.Enumeration(),) * 2,
    ],
    ids=repr,
)
def test_second_derivatives(first, second):
    """E ab = p³ has the second derivative 6p."""
    mean, error = second_derivative(lambda p: product_of_coins(p, first, second), 0.5)
    assert abs(mean - 3.0) < 4 * error + 1e-9
    assert error < (1e-9 if is_exact(first) and is_exact(second) else 0.3)


def test_second_derivative_of_one_measure_valued_coin():
    """A sum over the support is linear in the probabilities: (2b+1)² with Bernoulli(p²) gives 1 + 8p²."""
    mean, error = second_derivative(lambda p: squared(p**2, bk.estimators.MeasureValued()), 0.3, n=10)
    assert (mean, error) == (pytest.approx(16.0), pytest.approx(0.0))


@pytest.mark.parametrize(
    "f",
    [
        lambda p: product_of_coins(p, bk.estimators.MeasureValued(), bk.estimators.MeasureValued()),
        lambda p: product_of_coins(p, bk.estimators.MeasureValued(), bk.estimators.Score()),
        lambda p: product_of_coins(p, bk.estimators.Score(), bk.estimators.MeasureValued()),
        lambda p: product_of_coins(p, bk.estimators.Enumeration(), bk.estimators.MeasureValued()),
        lambda p: 1.0 * jnp.prod(one(dist.Bernoulli(p).expand([2]), bk.estimators.MeasureValued())),
        lambda p: p * one(dist.Bernoulli(p), bk.estimators.MeasureValued()),
        lambda p: one(dist.Normal(p, 1.0), bk.estimators.MeasureValued()) ** 2,
        lambda p: one(dist.Gamma(2.0, p), bk.estimators.MeasureValued()) ** 2,
        lambda p: one(dist.Poisson(p), bk.estimators.MeasureValued()) ** 2.0,
    ],
    ids=["two", "then score", "after score", "after enumeration", "vector", "factor", "Normal", "Gamma", "Poisson"],
)
def test_second_derivatives_that_would_lose_terms_raise(f):
    with pytest.raises(bk.errors.ModelError, match="second derivatives do not pass a measure-valued choice"):
        jax.eval_shape(jax.hessian(bk.expectation(f), argnums=1), 0, 0.3)
