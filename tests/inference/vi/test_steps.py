"""A pathwise choice that reaches the result through a step is named."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import bayeskit as bk

pytestmark = pytest.mark.smoke


def normal(mean, estimator=None):
    infer = {} if estimator is None else {"estimator": estimator}
    return bk.draw(lambda: numpyro.sample("u", dist.Normal(mean, 1.0), infer=infer))[0]["u"]


def model():
    a = numpyro.sample("a", dist.Normal(0.0, 1.0))
    s = numpyro.sample("s", dist.HalfNormal(1.0))
    numpyro.sample("x", dist.Normal(a, s), obs=1.2)
    numpyro.sample("k", dist.Poisson(s), obs=3)
    numpyro.sample("c", dist.Categorical(logits=jnp.stack([a, s, 0.0])), obs=1)


def guide(mean):
    numpyro.sample("a", dist.StudentT(3.0, mean, 1.0))
    numpyro.sample("s", dist.Gamma(2.0, jnp.exp(mean)))


def switch(mean):
    u = normal(mean)
    level = jnp.where(jnp.arange(5) < u, 0.0, 1.0)
    return bk.log_density(lambda: numpyro.sample("y", dist.Normal(level, 1.0), obs=jnp.zeros(5)), {})


STEPS = {
    "comparison": lambda m: jnp.where(normal(m) > 0, 1.0, 0.0),
    "boolean as a number": lambda m: (normal(m) > 0) * 1.0,
    "rounding": lambda m: jnp.round(normal(m)),
    "integer": lambda m: normal(m).astype(int) * 1.0,
    "argmax": lambda m: jnp.array([1.0, 2.0])[jnp.argmax(jnp.stack([normal(m), 0.0]))],
    "switch point": switch,
    "in particles": lambda m: bk.average(3, lambda: (normal(m) > 0) * 1.0),
}


def bounded():
    u = numpyro.sample("u", dist.Uniform(0.0, 1.0))
    s = numpyro.sample("s", dist.HalfNormal(1.0))
    numpyro.sample("y", dist.Normal(u, s), obs=0.4)


def bounded_guide(m):
    numpyro.sample("u", dist.Uniform(0.0, 1.0))
    numpyro.sample("s", dist.LogNormal(m, 1.0))


def odds():
    u = numpyro.sample("u", dist.Normal(0.0, 1.0))
    numpyro.sample("b", dist.Bernoulli(logits=u))


def odds_guide(m):
    u = numpyro.sample("u", dist.Normal(m, 1.0))
    numpyro.sample(
        "b", dist.Bernoulli(logits=jnp.where(m > 0, u, -20.0)), infer={"estimator": bk.estimators.Enumeration()}
    )


def votes():
    """Yes or no by row: where several draws are mapped, the guard of infinite odds is a transposed array."""
    u = numpyro.sample("u", dist.Normal(jnp.zeros(2), 1.0).to_event(1))
    with numpyro.plate("row", 3):
        numpyro.sample("y", dist.Bernoulli(logits=jnp.ones((3, 2)) @ u), obs=jnp.array([0, 1, 1]))


def votes_guide(m):
    numpyro.sample("u", dist.Normal(m * jnp.ones(2), 1.0).to_event(1))


def ranked(m):
    """The partner of the smaller of two numbers: it jumps where they meet, though it is a real number."""
    _, partners = jax.lax.sort((jnp.stack([normal(m), 0.0]), jnp.array([1.0, 2.0])), num_keys=1)
    return partners[0]


def doublings(m):
    """How often a number must be doubled to exceed a bound: a loop whose length it decides."""
    counted = jax.lax.while_loop(lambda c: c[1] < 10.0, lambda c: (c[0] + 1.0, 2.0 * c[1]), (0.0, jnp.exp(normal(m))))
    return counted[0]


STEPS |= {"partner in a sort": ranked, "length of a loop": doublings}


SMOOTH = {
    "score": lambda m: jnp.where(normal(m, bk.estimators.Score()) > 0, 1.0, 0.0),
    "relu": lambda m: jax.nn.relu(normal(m)),
    "joined": lambda m: (lambda u: jnp.where(u > 0, u, 0.0))(normal(m)),
    "abs": lambda m: jnp.abs(normal(m)),
    "clip": lambda m: jnp.clip(normal(m), -1.0, 1.0),
    "softplus": lambda m: jax.nn.softplus(normal(m)),
    "logsumexp": lambda m: jax.nn.logsumexp(jnp.stack([normal(m), 0.0])),
    "sort": lambda m: jnp.sort(jnp.stack([normal(m), 0.0]))[0],
    "elbo": lambda m: bk.objectives.ELBO(4)(model, lambda: guide(m)),
    "importance-weighted": lambda m: bk.objectives.ImportanceWeightedELBO(3)(model, lambda: guide(m)),
    "bounded support": lambda m: bk.objectives.ELBO()(bounded, lambda: bounded_guide(m)),
    "resampling": lambda m: bk.objectives.ELBO()(model, bk.normalize(model, bk.integrators.SIR(3, lambda: guide(m)))),
    "laplace": lambda m: (
        bk.objectives.ELBO()(bounded, bk.normalize(bounded, bk.integrators.LaplaceProposal(2))) + 0.0 * m
    ),
    "odds of a later choice": lambda m: bk.objectives.ELBO()(odds, lambda: odds_guide(m)),
    "votes": lambda m: bk.objectives.ELBO(4)(votes, lambda: votes_guide(m)),
    "data in the comparison": lambda m: normal(m) * jnp.where(jnp.array(2.0) > 1.0, 1.0, 0.0),
}


@pytest.mark.parametrize("name", STEPS)
def test_step_is_named(name):
    with pytest.warns(
        UserWarning, match=r"value of 'u' reaches the result through a step.*bayeskit\.estimators\.Score"
    ):
        jax.eval_shape(jax.grad(bk.expectation(STEPS[name]), argnums=1), jax.random.key(0), 0.3)


@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_programs_are_let_pass(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        jax.eval_shape(jax.grad(bk.expectation(SMOOTH[name]), argnums=1), jax.random.key(0), 0.3)


def test_an_expectation_inside_another_raises():
    """Its key would be the same at every call, and a log of it biased."""
    inner = bk.expectation(normal)
    with pytest.raises(bk.errors.ModelError, match="inside the function of another"):
        bk.expectation(lambda m: jnp.log(inner(0, m) ** 2))(1, 0.3)


def test_a_loop_with_a_counter_is_let_pass():
    def halved(m):
        return jax.lax.fori_loop(0, jnp.asarray(3), lambda _, x: 0.5 * x, normal(m))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        jax.eval_shape(bk.expectation(halved), jax.random.key(0), 0.3)  # a `while`, which has no derivative in reverse


def test_an_operation_that_is_not_known_counts_as_a_step():
    def called_back(m):
        u = normal(m)
        return jax.pure_callback(np.tanh, jax.ShapeDtypeStruct((), u.dtype), u)

    with pytest.warns(UserWarning, match=r"value of 'u' .*an operation that may be one \(pure_callback\)"):
        jax.eval_shape(bk.expectation(called_back), jax.random.key(0), 0.3)
