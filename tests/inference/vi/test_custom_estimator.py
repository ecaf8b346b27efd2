"""Estimators written by a user, before, after and among the others."""

from functools import cache

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
import pytest

import bayeskit as bk


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def by_enumeration(key, distribution, continuation):
    del key
    support = distribution.enumerate_support()
    numbers = jax.vmap(continuation)(support)
    return jnp.sum(jnp.exp(distribution.log_prob(support)) * numbers)


def by_score(key, distribution, continuation):
    x = jax.lax.stop_gradient(distribution.sample(key))
    number, log_q = continuation(x), distribution.log_prob(x)
    return number + jax.lax.stop_gradient(number) * (log_q - jax.lax.stop_gradient(log_q))


MINE = {"enumeration": bk.estimators.Custom(by_enumeration), "score": bk.estimators.Custom(by_score)}
OURS = {
    "enumeration": bk.estimators.Enumeration(),
    "score": bk.estimators.Score(),
    "measure": bk.estimators.MeasureValued(),
}


def make(first, second, third):
    def f(p):
        def program():
            a = numpyro.sample("a", dist.Bernoulli(p), infer={"estimator": first})
            b = numpyro.sample("b", dist.Bernoulli(0.2 + 0.5 * p * a), infer={"estimator": second})
            return numpyro.sample("c", dist.Bernoulli(p**2 + 0.3 * b * (1 - a)), infer={"estimator": third})

        z, _ = bk.draw(program)
        return (1.0 + z["a"] + 2 * z["b"] * p - 3 * z["c"]) ** 2

    return f


@cache
def exact():
    """Value and gradient, all three choices enumerated."""
    with jax.enable_x64(True):
        return jax.jit(jax.value_and_grad(bk.expectation(make(*[bk.estimators.Enumeration()] * 3)), argnums=1))(0, 0.4)


@pytest.mark.covering
@pytest.mark.parametrize("mine", MINE)
@pytest.mark.parametrize("ours", OURS)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_agrees_with_enumeration(mine, ours, place):
    estimators = [OURS[ours]] * 3
    estimators[place] = MINE[mine]
    estimate = jax.jit(jax.vmap(jax.value_and_grad(bk.expectation(make(*estimators)), argnums=1), (0, None)))
    values, gradients = estimate(jax.random.split(jax.random.PRNGKey(1), 4000), 0.4)
    truth = exact()
    for found, expected in zip((values, gradients), truth, strict=True):
        error = found.std() / 4000**0.5
        assert error < 0.6
        assert abs(found.mean() - expected) < 4 * error + 1e-9


def test_two_of_them():
    both = make(MINE["enumeration"], bk.estimators.Enumeration(), MINE["enumeration"])
    assert jnp.isclose(jax.jit(bk.expectation(both))(0, 0.4), exact()[0], rtol=1e-12)


def test_refused_in_a_loop():
    def f(p):
        def step(carry, _):
            program = lambda: numpyro.sample("b", dist.Bernoulli(p), infer={"estimator": MINE["score"]})  # noqa: E731
            return carry + bk.draw(program)[0]["b"], None

        return bk.scan(step, 0, length=2)[0]

    with pytest.raises(bk.errors.ModelError, match=r"site 'b'.*scan"):
        jax.eval_shape(bk.expectation(f), 0, 0.3)
