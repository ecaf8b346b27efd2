"""An expectation is an ordinary function of JAX: transformations, trees, types, keys."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import bayeskit as bk

from .programs import by_default, is_exact, one, squared


@pytest.mark.parametrize(
    "estimator",
    [bk.estimators.Score(), pytest.param(bk.estimators.MeasureValued(), marks=pytest.mark.full)],
    ids=["score", "measure_valued"],
)
def test_transformations_of_the_expectation_agree(estimator):
    def f(p, scale):
        return scale * squared(p, estimator)

    both = jax.grad(bk.expectation(f), argnums=(1, 2))
    keys = jax.random.split(jax.random.PRNGKey(1), 5)
    compiled = jax.jit(both)
    by_jit = np.array([compiled(key, 0.3, 2.0) for key in keys])
    np.testing.assert_allclose(np.array(both(keys[0], 0.3, 2.0)), by_jit[0])

    @jax.jit
    def otherwise(keys):
        by_vmap = jax.vmap(both, (0, None, None))(keys, 0.3, 2.0)
        by_scan = jax.lax.scan(lambda _, key: (None, both(key, 0.3, 2.0)), None, keys)[1]
        value, forward = jax.jvp(lambda p: bk.expectation(f)(keys[0], p, 2.0), (0.3,), (1.0,))
        return by_vmap, by_scan, value, forward

    by_vmap, by_scan, value, forward = otherwise(keys)
    np.testing.assert_allclose(np.array(by_vmap).T, by_jit)
    np.testing.assert_allclose(np.array(by_scan).T, by_jit)
    np.testing.assert_allclose(forward, by_jit[0, 0])
    np.testing.assert_allclose(2.0 * by_jit[0, 1], value)


@by_default("enumeration")
def test_pytrees_integers_and_dtypes(estimator):
    def f(p):
        b = one(dist.Bernoulli(p["p"]), estimator)
        return {"integer": b, "boolean": b > 0, "list": [b * 2.0, jnp.stack([b, 1 - b])]}

    found = jax.jit(bk.expectation(f))(3, {"p": 0.3})
    if is_exact(estimator):
        assert float(found["integer"]) == float(found["boolean"]) == pytest.approx(0.3)
        np.testing.assert_allclose(found["list"][1], [0.3, 0.7])
    assert found["boolean"].dtype == jnp.float64
    gradients = jax.jit(jax.jacobian(bk.expectation(f), argnums=1))(3, {"p": 0.3})
    if is_exact(estimator) or estimator == bk.estimators.MeasureValued():
        np.testing.assert_allclose(gradients["list"][1]["p"], [1.0, -1.0])
    with jax.enable_x64(False):
        both = jax.value_and_grad(bk.expectation(lambda p: squared(p, estimator)), argnums=1)
        value, gradient = jax.jit(both)(0, 0.3)
        assert value.dtype == gradient.dtype == jnp.float32


def test_complex_numbers_are_refused():
    with pytest.raises(bk.errors.ModelError, match="real numbers"):
        bk.expectation(lambda: 1j * one(dist.Normal(0.0, 1.0)))(0)


def test_keys():
    f = bk.expectation(
        lambda p: (
            squared(p, bk.estimators.Score()) + bk.scan(lambda c, _: (c + one(dist.Normal()), c), 0.0, length=2)[0]
        )
    )

    by_integer, by_key = float(jax.jit(lambda: f(7, 0.3))()), jax.jit(lambda key: f(key, 0.3))
    for make in (jnp.int32, jax.random.PRNGKey, jax.random.key):
        assert float(by_key(make(7))) == by_integer
        assert float(by_key(make(8))) != by_integer


@pytest.mark.parametrize("returned", [1.0, 2, True], ids=repr)
def test_plain_numbers(returned):
    assert bk.expectation(lambda: returned)(0) == returned


def test_parameter_free_expectations_have_zero_gradient(estimate):
    """A choice that the parameter does not touch, and the parameter beside it."""
    estimate(lambda t: t**2 + 0 * squared(0.3, bk.estimators.Score()), 3.0, n=10).check(9.0, 6.0)
