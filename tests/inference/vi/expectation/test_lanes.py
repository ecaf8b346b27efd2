"""What enumeration costs: operations, executions, what is computed once."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import bayeskit as bk

from .programs import coin_model, sample


def test_ten_enumerated_sites_are_traced_once():
    """Each is one more axis of the same operations, not one more copy of them."""

    def f(p):
        choices, _ = bk.draw(
            lambda: [sample(f"b{i}", dist.Bernoulli(p), bk.estimators.Enumeration()) for i in range(10)]
        )
        return sum(choices.values()) ** 2.0

    both = jax.value_and_grad(bk.expectation(f), argnums=1)
    value, gradient = jax.jit(both)(jax.random.PRNGKey(0), 0.3)
    assert float(value) == pytest.approx(10 * 0.3 * 0.7 + 9.0, abs=1e-9)
    assert float(gradient) == pytest.approx(10 * 0.4 + 60.0, abs=1e-9)
    operations = len(jax.make_jaxpr(both)(jax.random.PRNGKey(0), 0.3).eqns)
    assert operations < 2000


def test_too_many_lanes_are_refused_by_name():
    coins = dist.Bernoulli(0.3)

    def particles():
        return iwelbo_of_coins(13)

    def iwelbo_of_coins(num):
        return bk.objectives.ImportanceWeightedELBO(num)(
            coin_model, lambda: sample("z", coins, bk.estimators.Enumeration())
        )

    with pytest.raises(
        bk.errors.ModelError, match=r"8192 times.*max_lanes=4096.*'z' \(enumerated, shape \(13,\), 8192\)"
    ):
        jax.eval_shape(bk.expectation(particles), 0)
    assert np.isfinite(jax.jit(bk.expectation(lambda: iwelbo_of_coins(3), max_lanes=8))(0))
    with pytest.raises(bk.errors.ModelError, match="8 times, more than max_lanes=7"):
        jax.eval_shape(bk.expectation(lambda: iwelbo_of_coins(3), max_lanes=7), 0)

    def mixed():
        drawn, _ = bk.draw(
            lambda: (
                sample("a", coins.expand([10]), bk.estimators.MeasureValued()),
                sample("b", coins.expand([9]), bk.estimators.Enumeration()),
            )
        )
        return 1.0 * jnp.sum(drawn["a"]) * jnp.sum(drawn["b"])

    with pytest.raises(
        bk.errors.ModelError, match=r"5632 times.*'b' \(enumerated, shape \(9,\), 512\), 'a'.*\(10,\), 10\)"
    ):
        jax.eval_shape(bk.expectation(mixed), 0)


@pytest.mark.parametrize(
    "estimator", [bk.estimators.Enumeration(), bk.estimators.MeasureValued()], ids=["enumeration", "measure_valued"]
)
def test_what_comes_before_a_choice_is_computed_once(estimator):
    """Executions with the choice at other values share it: XLA counts about the flops of one."""
    matrix = jnp.asarray(np.random.default_rng(0).normal(size=(200, 200)), jnp.float32) / 20.0

    def prefix(theta):
        return jnp.tanh(theta * matrix) @ matrix @ matrix

    def f(theta):
        features = prefix(theta)

        def program():
            return numpyro.sample("b", dist.Categorical(logits=features[0, :4]), infer={"estimator": estimator})

        return jnp.sin(bk.draw(program)[0]["b"] + features[0, 1])

    def flops(g):
        return jax.jit(g).lower(0.3).compile().cost_analysis()["flops"]

    alone = flops(jax.grad(lambda theta: jnp.sin(prefix(theta)[0, :4]).sum()))
    assert flops(jax.grad(lambda theta: bk.expectation(f)(jax.random.PRNGKey(0), theta))) < 1.3 * alone
