"""What every guide must do: a row in the table gets all tests.

The target is a joint normal distribution over two sites, b given a normal with mean SLOPES · a: whatever holds a normal
distribution holds it. The fits are of two independent normal coordinates, which every guide here can hold.
"""

from __future__ import annotations

import json
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import bayeskit as bk
from bayeskit.inference.vi.guides.guide import Guide
from bayeskit.program.weights import number_of

from .extras import rows

SLOPES = np.array([1.0, -0.5])


def chained():
    a = numpyro.sample("a", dist.MultivariateNormal(jnp.array([0.5, -1.0]), jnp.array([[1.0, 0.9], [0.9, 2.0]])))
    numpyro.sample("b", dist.Normal(a @ SLOPES, 0.5))
    numpyro.factor("nothing", 0.0)


def by_hand():
    loc, log_scale = numpyro.param("loc", jnp.zeros(3)), numpyro.param("log_scale", jnp.zeros(3))
    a = numpyro.sample("a", dist.Normal(loc[:2], jnp.exp(log_scale[:2])).to_event(1))
    numpyro.sample("b", dist.Normal(loc[2] + a[0], jnp.exp(log_scale[2])))


TARGET = bk.Target(bk.bind(chained))
GUIDES = {
    "mean_field": lambda: bk.guides.MeanField(),
    "full_rank": lambda: bk.guides.FullRank(),
    "low_rank": lambda: bk.guides.LowRank(rank=2),
    "laplace": lambda: bk.guides.Laplace(),
    "block": lambda: bk.guides.Block(("b", bk.guides.MeanField()), (["a"], bk.guides.FullRank())),
    "block of all kinds": lambda: bk.guides.Block(
        ("b", bk.guides.Mixture(bk.guides.MeanField(), 2)), rest=bk.guides.Flow("coupling", num_layers=2)
    ),
    "mixture": lambda: bk.guides.Mixture(bk.guides.FullRank(), 3),
    "masked autoregressive flow": lambda: bk.guides.Flow(num_layers=2, width=8),
    "coupling flow": lambda: bk.guides.Flow("coupling", num_layers=2, width=8),
    "custom": lambda: bk.guides.Guide.of(by_hand),
}
NEEDS = dict.fromkeys(("block of all kinds", "masked autoregressive flow", "coupling flow"), "flowjax")
by_guide = pytest.mark.parametrize("name", rows(GUIDES, NEEDS))


def test_every_kind_is_here():
    here = {GUIDES[name]().kind for name in GUIDES if name not in NEEDS} | {"flow"}
    assert here == set(Guide.kinds())


@cache
def parameters_of(name, scale=0.5):
    """A guide with parameters somewhere, not only at the start."""
    guide = GUIDES[name]()
    guide.ready(TARGET, TARGET.size)

    @jax.jit
    def moved(key):
        parameters = guide.init(key, TARGET, jnp.array([0.3, -0.2, 0.1]))
        leaves, structure = jax.tree.flatten(parameters)
        keys = jax.random.split(jax.random.fold_in(key, 1), len(leaves))
        leaves = [leaf + scale * jax.random.normal(k, leaf.shape) for k, leaf in zip(keys, leaves, strict=True)]
        parameters = jax.tree.unflatten(structure, leaves)
        if "root" in parameters:
            parameters["root"] = jnp.tril(parameters["root"]) + jnp.eye(3)
        return parameters

    return guide, moved(jax.random.PRNGKey(0))


def draws_of(guide, parameters, count):
    """Draws of the sites, and their log densities."""

    def one(key):
        def drawn():
            choices, log_q = bk.draw(guide.programs(parameters, TARGET)[1])
            return choices, number_of(log_q)

        return bk.expectation(drawn)(key)

    return jax.jit(jax.vmap(one))(jax.random.split(jax.random.PRNGKey(2), count))


def log_density_of(guide, parameters):
    def one(choices):
        program = guide.programs(parameters, TARGET)[1]
        return bk.expectation(lambda: number_of(bk.log_density(program, choices)))(0)

    return jax.jit(jax.vmap(one))


@by_guide
def test_the_density_of_a_draw_is_the_density_at_its_value(name):
    guide, parameters = parameters_of(name)
    choices, log_q = draws_of(guide, parameters, 20)
    assert sum(np.size(leaf) for leaf in choices.values()) == 20 * 3
    np.testing.assert_allclose(log_density_of(guide, parameters)(choices), log_q, rtol=1e-6, atol=1e-6)


@by_guide
def test_the_density_integrates_to_one(name):
    """By importance sampling with a wide Student's t around the draws."""
    guide, parameters = parameters_of(name, 0.2)
    choices, _ = draws_of(guide, parameters, 2000)
    values = np.concatenate([np.reshape(leaf, (2000, -1)) for leaf in choices.values()], axis=1)
    log_density = log_density_of(guide, parameters)
    splits = np.cumsum([np.reshape(leaf, (2000, -1)).shape[1] for leaf in choices.values()])[:-1]

    @jax.jit
    def ratios(key, loc, root):
        wide = dist.MultivariateStudentT(4.0, loc, root)
        points = wide.sample(key, (40_000,))
        parts = jnp.split(points, splits, axis=1)
        pairs = zip(choices.items(), parts, strict=True)
        given = {site: jnp.reshape(part, (40_000, *leaf.shape[1:])) for (site, leaf), part in pairs}
        return jnp.exp(log_density(given) - wide.log_prob(points))

    ratio = ratios(jax.random.PRNGKey(3), values.mean(0), 1.5 * np.linalg.cholesky(np.cov(values.T)))
    error = ratio.std() / 200
    assert error < 0.02
    assert abs(ratio.mean() - 1) < 4 * error


@by_guide
def test_nothing_passes_the_parameters_of_a_detached_guide(name):
    guide, parameters = parameters_of(name)
    choices = jax.tree.map(lambda leaf: leaf[0], draws_of(guide, parameters, 20)[0])

    def density(parameters, detach):
        program = guide.programs(parameters, TARGET)[1]
        program = bk.detach(program) if detach else program
        return bk.expectation(lambda: number_of(bk.log_density(program, choices)))(0)

    gradient, attached = jax.jit(lambda p: [jax.grad(density)(p, detach) for detach in (True, False)])(parameters)
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(gradient))
    assert any(np.any(leaf) for leaf in jax.tree.leaves(attached))


@by_guide
def test_settings_survive_json(name):
    guide = GUIDES[name]()
    assert Guide.kinds()[guide.kind] is type(guide)
    method = bk.VI(guide=guide, num_steps=10)
    written = json.loads(json.dumps(method.settings()))
    if not guide.is_recordable:
        with pytest.raises(bk.errors.MethodError, match="written in Python"):
            Guide.from_record(json.loads(json.dumps(guide.as_record())))
        return
    assert Guide.from_record(json.loads(json.dumps(guide.as_record()))) == guide
    again = bk.VI.from_settings(written)
    assert again == method
    assert hash(again) == hash(method)


MEAN, SD = np.array([0.5, -1.0, 3.0]), np.array([1.0, 0.5, 2.0])


def apart():
    a = numpyro.sample("a", dist.Normal(MEAN[:2], SD[:2]).to_event(1))
    numpyro.sample("b", dist.Normal(MEAN[2] + 0.0 * a.sum(), SD[2]))
    numpyro.factor("nothing", 0.0)


def apart_by_hand():
    loc, log_scale = numpyro.param("loc", jnp.zeros(3)), numpyro.param("log_scale", jnp.zeros(3))
    numpyro.sample("a", dist.Normal(loc[:2], jnp.exp(log_scale[:2])).to_event(1))
    numpyro.sample("b", dist.Normal(loc[2], jnp.exp(log_scale[2])))


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(row, marks=pytest.mark.full)
        if row in ("block of all kinds", "masked autoregressive flow")
        else row
        for row in rows(GUIDES, NEEDS)
    ],
)
def test_a_fit_finds_mean_and_deviation(name):
    """Within four standard errors; a twentieth of a deviation is left to fits by noisy gradients."""
    guide = bk.guides.Guide.of(apart_by_hand) if name == "custom" else GUIDES[name]()
    landing = bk.objectives.ELBO(8, sticking_the_landing=True)
    method = bk.VI(guide=guide, objective=landing, num_steps=2000, learning_rate=0.03, num_draws=2000)
    post = bk.infer(apart, None, method, key=0, progress=False)
    found = np.column_stack([post["posterior/a"].values[0], post["posterior/b"].values[0]])
    assert np.all(np.abs(found.mean(0) - MEAN) < (4 / 2000**0.5 + 0.05) * SD)
    assert np.all(np.abs(found.std(0) / SD - 1) < 4 / 4000**0.5 + 0.05)
    assert abs(float(post["sample_stats/log_weight"].mean())) < 0.05  # log Z = 0
    assert bk.check(post, quiet=True).ok
