"""Estimators by distributions: the gradient of E x² is that of variance + mean², or the estimator is refused."""

import json
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import bayeskit as bk
from bayeskit.program.execution import Estimator

NUM = 4000


def by_score(key, distribution, continuation):
    x = jax.lax.stop_gradient(distribution.sample(key))
    number, log_q = continuation(x), distribution.log_prob(x)
    return number + jax.lax.stop_gradient(number) * (log_q - jax.lax.stop_gradient(log_q))


class Row(NamedTuple):
    """An estimator, and the distributions that it is valid for."""

    estimator: Estimator
    valid: set[str]


CONTINUOUS = {"Normal", "Gamma", "Beta", "LogNormal", "StudentT", "Dirichlet", "Mixture"}
FINITE = {"Bernoulli", "Categorical", "Binomial", "Independent", "Expanded"}
ALL = {
    "pathwise": Row(bk.estimators.Pathwise(), {*CONTINUOUS, "Uniform"}),
    "score": Row(bk.estimators.Score(), {*CONTINUOUS, *FINITE, "Poisson"}),
    "enumeration": Row(bk.estimators.Enumeration(), FINITE),
    "measure": Row(bk.estimators.MeasureValued(), {*FINITE, "Normal", "Gamma", "Poisson"}),
    "disarm": Row(bk.estimators.DisARM(), {"Bernoulli"}),
    "custom": Row(bk.estimators.Custom(by_score), {"Bernoulli", "Normal"}),
}
LOGITS = jnp.array([0.3, -0.2, 0.9])
CASES = {  # parameters, distribution
    "Normal": (jnp.array([0.7, 1.2]), lambda p: dist.Normal(p[0], p[1])),
    "Gamma": (jnp.array([2.3, 1.5]), lambda p: dist.Gamma(p[0], p[1])),
    "Beta": (jnp.array([2.0, 3.0]), lambda p: dist.Beta(p[0], p[1])),
    "LogNormal": (jnp.array([0.1, 0.3]), lambda p: dist.LogNormal(p[0], p[1])),
    "StudentT": (jnp.array([12.0, 0.5]), lambda p: dist.StudentT(p[0], p[1], 1.0)),
    "Dirichlet": (jnp.array([1.0, 2.0, 3.0]), dist.Dirichlet),
    "Uniform": (jnp.array([0.2, 1.7]), lambda p: dist.Uniform(p[0], p[1])),
    "Bernoulli": (jnp.array(0.3), dist.Bernoulli),
    "Categorical": (LOGITS, lambda p: dist.Categorical(logits=p)),
    "Binomial": (jnp.array(0.3), lambda p: dist.Binomial(4, p)),
    "Poisson": (jnp.array(2.3), dist.Poisson),
    "Mixture": (
        LOGITS,
        lambda p: dist.MixtureSameFamily(dist.Categorical(logits=p), dist.Normal(jnp.arange(3.0), 1.0)),
    ),
    "Independent": (
        jnp.array([0.3, 0.6]),
        lambda p: dist.Bernoulli(p).to_event(1),
    ),
    "Expanded": (jnp.array(0.4), lambda p: dist.Bernoulli(p).expand([3])),
}


def second_moment(parameters, make):
    if make is CASES["Categorical"][1]:
        return jnp.sum(jax.nn.softmax(parameters) * jnp.arange(3.0) ** 2)
    distribution = make(parameters)
    return jnp.sum(distribution.variance + distribution.mean**2)


# the same rules of NumPyro's distributions as other rows
FULL = ("StudentT", "LogNormal", "Expanded")
# the score has one rule for all of them; a beta is drawn as a Dirichlet
PAIRS_FULL = {("score", name) for name in ("Gamma", "Beta", "Dirichlet", "Mixture", "Binomial")}
PAIRS_FULL |= {
    ("pathwise", "Beta"),
    ("measure", "Binomial"),
}  # by differences between values, as categories


def tier(estimator, name):
    return pytest.mark.full if name in FULL or (estimator, name) in PAIRS_FULL else ()


PAIRS = [
    pytest.param(estimator, name, id=f"{estimator}-{name}", marks=tier(estimator, name))
    for estimator in ALL
    for name in CASES
    if estimator not in ("disarm", "custom") or name in ("Bernoulli", "Normal")
]


def test_every_kind_is_here():
    assert {row.estimator.kind for row in ALL.values()} == set(Estimator.kinds())


@pytest.mark.parametrize(
    "estimator", [*(row.estimator for row in ALL.values()), bk.estimators.Score(2.0)], ids=lambda one: one.kind
)
def test_settings_survive_json(estimator):
    written = json.loads(json.dumps(estimator.as_record()))
    if estimator.is_recordable:
        assert Estimator.from_record(written) == estimator
    else:
        with pytest.raises(bk.errors.MethodError, match="written in Python"):
            Estimator.from_record(written)


@pytest.mark.parametrize(("estimator", "name"), PAIRS)
def test_gradient_is_right_or_refused(name, estimator):
    parameters, make = CASES[name]
    row = ALL[estimator]

    def f(p):
        program = lambda: numpyro.sample("x", make(p), infer={"estimator": row.estimator})  # noqa: E731
        return jnp.sum(bk.draw(program)[0]["x"] ** 2.0)

    with jax.enable_x64(True):
        parameters = jnp.asarray(parameters, float)
        estimate = jax.vmap(jax.value_and_grad(bk.expectation(f), argnums=1), (0, None))
        keys = jax.random.split(jax.random.PRNGKey(5), NUM)
        if name not in row.valid:
            with pytest.raises(bk.errors.ModelError, match="site 'x'"):
                jax.eval_shape(estimate, keys, parameters)
            return

        @jax.jit
        def both(keys, parameters):
            return estimate(keys, parameters), jax.value_and_grad(lambda p: second_moment(p, make))(parameters)

        for found, truth, bound in zip(*both(keys, parameters), (0.1, 0.4), strict=True):
            error = np.std(found, axis=0) / NUM**0.5
            assert np.all(error <= bound * np.maximum(1.0, np.abs(truth)))
            assert np.all(np.abs(np.mean(found, axis=0) - truth) <= 4 * error + 1e-9)


def test_misuse_at_the_site_is_named():
    program = lambda: numpyro.sample("x", dist.Normal(0.0, 1.0), infer={"estimator": "score"})  # noqa: E731
    with pytest.raises(bk.errors.ModelError, match=r"site 'x'.*bayeskit\.estimators\.Score\(\)"):
        jax.eval_shape(bk.expectation(lambda: bk.draw(program)[1]), 0)
