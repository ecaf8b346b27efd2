"""Programs whose numbers were once wrong: derivatives of higher order, branches in replications, steps in loops."""

from __future__ import annotations

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import bayeskit as bk


def coin(name, logits, estimator):
    return bk.draw(lambda: numpyro.sample(name, dist.Bernoulli(logits=logits), infer={"estimator": estimator}))[0][name]


def assert_mean(estimates, truth):
    estimates = np.asarray(estimates, float)
    error = estimates.std(0) / np.sqrt(len(estimates))
    np.testing.assert_array_less(np.abs(estimates.mean(0) - np.asarray(truth)), 4.0 * error + 1e-5)


def keys(number):
    return jax.random.split(jax.random.PRNGKey(3), number)


THETA = jnp.array([0.4, -0.7])


def test_disarm_in_a_branch_of_replications_within_replications():
    """The branch is taken by some of the outer ones only; both replications are of one length."""

    def f(theta):
        def one():
            b = coin("b", theta[0], bk.estimators.Score())
            inner = lambda: (2.0 * coin("c", theta[1] + b, bk.estimators.DisARM()) + 1.0) ** 2 * (1.0 + b)  # noqa: E731
            return bk.cond(b > 0, lambda: bk.replicate(2, inner), lambda: jnp.zeros(2) + theta[0])

        return jnp.mean(bk.replicate(2, one))

    def truth(theta):
        p, q = jax.nn.sigmoid(theta[0]), jax.nn.sigmoid(theta[1] + 1.0)
        return p * 2.0 * (1.0 + 8.0 * q) + (1.0 - p) * theta[0]

    gradients = jax.jit(jax.vmap(jax.grad(bk.expectation(f), argnums=1), (0, None)))(keys(3000), THETA)
    assert_mean(gradients, jax.jit(jax.grad(truth))(THETA))


def test_mixed_second_derivatives_of_a_measure_valued_choice_before_a_custom_one_raise():
    def by_score(key, distribution, continuation):
        x = jax.lax.stop_gradient(distribution.sample(key))
        log_q = distribution.log_prob(x)
        return continuation(x) * jnp.exp(log_q - jax.lax.stop_gradient(log_q))

    def f(theta):
        m, c = coin("m", theta[0], bk.estimators.MeasureValued()), coin("c", theta[1], bk.estimators.Custom(by_score))
        return (m + 2.0 * c) ** 2

    estimate = lambda theta: bk.expectation(f)(0, theta)  # noqa: E731
    assert jnp.all(jnp.isfinite(jax.jit(jax.grad(estimate))(THETA)))
    with pytest.raises(bk.errors.ModelError, match="second derivatives"):
        jax.eval_shape(jax.hessian(estimate), THETA)


def test_second_derivatives_of_a_mixture():
    def f(theta):
        parts = dist.Normal(jnp.array([0.0, 1.0]) + theta[1], jnp.array([1.0, 0.5]))
        mixture = dist.MixtureSameFamily(dist.Categorical(logits=jnp.array([theta[0], 0.0])), parts)
        return bk.draw(lambda: numpyro.sample("z", mixture))[0]["z"] ** 2

    def truth(theta):
        p = jax.nn.sigmoid(theta[0])
        return p * (theta[1] ** 2 + 1.0) + (1.0 - p) * ((1.0 + theta[1]) ** 2 + 0.25)

    estimates = jax.jit(jax.vmap(jax.hessian(bk.expectation(f), argnums=1), (0, None)))(keys(4000), THETA)
    assert_mean(estimates, jax.jit(jax.hessian(truth))(THETA))


@pytest.mark.parametrize("first", [True, False])
def test_a_fitted_baseline_beside_an_enumerated_choice(first):
    """Its gradient is E C - b, whichever of the two comes first."""

    def f(logits, b):
        score, both = bk.estimators.Score(bk.estimators.FittedBaseline(lambda: b)), {}
        for name in ("u", "z") if first else ("z", "u"):
            both[name] = coin(name, 0.3, bk.estimators.Enumeration()) if name == "u" else coin(name, logits, score)
        return (both["z"] + 1.0) ** 2 * (both["u"] + 1.0)

    upwards = jax.jit(jax.vmap(jax.grad(bk.expectation(f), argnums=2), (0, None, None)))(keys(3000), 0.4, 1.5)
    mean = (1.0 + 3.0 * jax.nn.sigmoid(0.4)) * (1.0 + jax.nn.sigmoid(0.3))
    assert_mean(upwards, mean - 1.5)


def in_a_scan(x):
    return jax.lax.scan(lambda c, v: (c + jnp.where(v > 0, 1.0, 0.0), None), 0.0, x[None])[0]


def carried_through_a_scan(x):
    return jax.lax.scan(lambda c, _: ((c[1], jnp.floor(c[0])), None), (x, 0.0), None, length=4)[0][0]


STEPS = {
    "scan": in_a_scan,
    "carried": carried_through_a_scan,
    "fori_loop": lambda x: jax.lax.fori_loop(0, 2, lambda _, c: c + jnp.where(x > 0, 1.0, 0.0), 0.0),
    "branch": lambda x: jax.lax.cond(jnp.isfinite(jnp.exp(1.0)), lambda v: jnp.sign(v), lambda v: 0.0, x),
    "argsort": lambda x: jnp.array([1.0, 5.0])[jnp.argsort(jnp.stack([x, 0.0]))[0]],
    "top_k": lambda x: jnp.array([1.0, 5.0])[jax.lax.top_k(jnp.stack([x, 0.0]), 1)[1][0]],
    "remainder": lambda x: x % 1.0,
}
SMOOTH = {
    "scan": lambda x: jax.lax.scan(lambda c, v: (jnp.tanh(c + v), c * v), 0.5, x[None])[1].sum(),
    "branch": lambda x: jax.lax.cond(jnp.isfinite(jnp.exp(1.0)), lambda v: v**2, lambda v: 0.0 * v, x),
    "sort": lambda x: jnp.sort(jnp.stack([x, 0.0]))[0],
}


def drawn(g):
    return lambda loc: g(bk.draw(lambda: numpyro.sample("x", dist.Normal(loc, 1.0)))[0]["x"])


@pytest.mark.parametrize("name", STEPS)
def test_a_step_is_found_in(name):
    with pytest.warns(UserWarning, match="'x' reaches the result through a step"):
        jax.eval_shape(bk.expectation(drawn(STEPS[name])), 0, 0.3)


@pytest.mark.parametrize("name", SMOOTH)
def test_no_step_is_found_in(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        jax.eval_shape(bk.expectation(drawn(SMOOTH[name])), 0, 0.3)


def test_a_number_that_is_doubled_many_times():
    """It has a million terms, of which no more than some are told apart."""

    def f(logits):
        number = 1.0 * coin("b", logits, bk.estimators.Enumeration())
        for _ in range(20):
            number = number + number
        return number

    np.testing.assert_allclose(jax.jit(bk.expectation(f))(0, 0.3), 2.0**20 * jax.nn.sigmoid(0.3), rtol=1e-5)
