"""Estimators by distributions: the gradient of E x² is that of variance + mean², or the estimator is refused."""

import json

import jax
import jax.numpy as jnp
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


ALL = {
    "pathwise": bk.estimators.Pathwise(),
    "score": bk.estimators.Score(),
    "enumeration": bk.estimators.Enumeration(),
    "measure": bk.estimators.MeasureValued(),
    "disarm": bk.estimators.DisARM(),
    "custom": bk.estimators.Custom(by_score),
}
LOGITS = jnp.array([0.3, -0.2, 0.9])
CASES = {  # parameters, distribution, estimators that are valid
    "Normal": (jnp.array([0.7, 1.2]), lambda p: dist.Normal(p[0], p[1]), {"pathwise", "score", "measure", "custom"}),
    "Gamma": (jnp.array([2.3, 1.5]), lambda p: dist.Gamma(p[0], p[1]), {"pathwise", "score", "measure"}),
    "Beta": (jnp.array([2.0, 3.0]), lambda p: dist.Beta(p[0], p[1]), {"pathwise", "score"}),
    "LogNormal": (jnp.array([0.1, 0.3]), lambda p: dist.LogNormal(p[0], p[1]), {"pathwise", "score"}),
    "StudentT": (jnp.array([12.0, 0.5]), lambda p: dist.StudentT(p[0], p[1], 1.0), {"pathwise", "score"}),
    "Dirichlet": (jnp.array([1.0, 2.0, 3.0]), dist.Dirichlet, {"pathwise", "score"}),
    "Uniform": (jnp.array([0.2, 1.7]), lambda p: dist.Uniform(p[0], p[1]), {"pathwise"}),
    "Bernoulli": (jnp.array(0.3), dist.Bernoulli, {"score", "enumeration", "measure", "disarm", "custom"}),
    "Categorical": (LOGITS, lambda p: dist.Categorical(logits=p), {"score", "enumeration", "measure"}),
    "Binomial": (jnp.array(0.3), lambda p: dist.Binomial(4, p), {"score", "enumeration", "measure"}),
    "Poisson": (jnp.array(2.3), dist.Poisson, {"score", "measure"}),
    "Mixture": (
        LOGITS,
        lambda p: dist.MixtureSameFamily(dist.Categorical(logits=p), dist.Normal(jnp.arange(3.0), 1.0)),
        {"score", "pathwise"},
    ),
    "Independent": (
        jnp.array([0.3, 0.6]),
        lambda p: dist.Bernoulli(p).to_event(1),
        {"score", "enumeration", "measure"},
    ),
    "Expanded": (jnp.array(0.4), lambda p: dist.Bernoulli(p).expand([3]), {"score", "enumeration", "measure"}),
}


def second_moment(parameters, make):
    if make is CASES["Categorical"][1]:
        return jnp.sum(jax.nn.softmax(parameters) * jnp.arange(3.0) ** 2)
    distribution = make(parameters)
    return jnp.sum(distribution.variance + distribution.mean**2)


# the same rules of NumPyro's distributions as other rows
FULL = ("StudentT", "LogNormal", "Expanded")
PAIRS = [
    pytest.param(estimator, name, id=f"{estimator}-{name}", marks=pytest.mark.full if name in FULL else ())
    for estimator in ALL
    for name in CASES
    if estimator not in ("disarm", "custom") or name in ("Bernoulli", "Normal")
]


def test_every_kind_is_here():
    assert {estimator.kind for estimator in ALL.values()} == set(Estimator.kinds())


@pytest.mark.parametrize("estimator", [*ALL.values(), bk.estimators.Score(2.0)], ids=lambda one: one.kind)
def test_settings_survive_json(estimator):
    written = json.loads(json.dumps(estimator.as_record()))
    if estimator.is_recordable:
        assert Estimator.from_record(written) == estimator
    else:
        with pytest.raises(bk.errors.MethodError, match="written in Python"):
            Estimator.from_record(written)


@pytest.mark.parametrize(("estimator", "name"), PAIRS)
def test_gradient_is_right_or_refused(name, estimator):
    parameters, make, valid = CASES[name]

    def f(p):
        program = lambda: numpyro.sample("x", make(p), infer={"estimator": ALL[estimator]})  # noqa: E731
        return jnp.sum(bk.draw(program)[0]["x"] ** 2.0)

    with jax.enable_x64(True):
        parameters = jnp.asarray(parameters, float)
        estimate = jax.jit(jax.vmap(jax.value_and_grad(bk.expectation(f), argnums=1), (0, None)))
        keys = jax.random.split(jax.random.PRNGKey(5), NUM)
        if estimator not in valid:
            with pytest.raises(bk.errors.ModelError, match="site 'x'"):
                jax.eval_shape(estimate, keys, parameters)
            return
        values, gradients = estimate(keys, parameters)
        value, gradient = jax.jit(jax.value_and_grad(lambda p: second_moment(p, make)))(parameters)
        for found, truth, bound in ((values, value, 0.1), (gradients, gradient, 0.4)):
            error = jnp.std(found, axis=0) / NUM**0.5
            assert jnp.all(error <= bound * jnp.maximum(1.0, jnp.abs(truth)))
            assert jnp.all(jnp.abs(found.mean(0) - truth) <= 4 * error + 1e-9)


def test_misuse_at_the_site_is_named():
    program = lambda: numpyro.sample("x", dist.Normal(0.0, 1.0), infer={"estimator": "score"})  # noqa: E731
    with pytest.raises(bk.errors.ModelError, match=r"site 'x'.*bayeskit\.estimators\.Score\(\)"):
        jax.eval_shape(bk.expectation(lambda: bk.draw(program)[1]), 0)
