"""What every guide must do: a row in the table gets all tests.

The target is a joint normal distribution over two sites, b given a normal with mean SLOPES · a: whatever holds a normal
distribution holds it. The fits are of two independent normal coordinates, which every guide here can hold.
"""

from __future__ import annotations

import json
from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from jax.flatten_util import ravel_pytree
from scipy import stats

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
# blocks, mixtures and the other flow have rows of their own
FULL = ("block of all kinds", "masked autoregressive flow")
by_guide = pytest.mark.parametrize("name", rows(GUIDES, NEEDS, full=FULL))


def test_every_kind_is_here():
    here = {GUIDES[name]().kind for name in GUIDES if name not in NEEDS} | {"flow"}
    assert here == set(Guide.kinds())


NUM_DRAWS, NUM_POINTS = 2000, 60_000


class Found(NamedTuple):
    """Of a guide with parameters somewhere, not only at the start.

    Attributes:
        choices: draws of the sites.
        log_q: their log densities, as they were drawn.
        densities: the log densities of the same values.
        ratios: of the density and a wide Student's t, at draws of that.
        detached: gradient of a log density by the parameters of the detached guide.
        attached: by those of the guide.
    """

    choices: dict
    log_q: np.ndarray
    densities: np.ndarray
    ratios: np.ndarray
    detached: dict
    attached: dict


@cache
def standard_student_t():
    """Draws and their log densities."""
    law = stats.multivariate_t(np.zeros(3), np.eye(3), df=4.0, seed=3)
    draws = law.rvs(NUM_POINTS)
    return draws, law.logpdf(draws)


@cache
def found_of(name):
    """All that is looked at, as one program."""
    guide = GUIDES[name]()
    guide.ready(TARGET, TARGET.size)

    def moved(key):
        parameters = guide.init(key, TARGET, jnp.array([0.3, -0.2, 0.1]))
        generator = np.random.default_rng(0)
        parameters = jax.tree.map(lambda leaf: leaf + 0.2 * generator.normal(size=leaf.shape), parameters)
        if "root" in parameters:
            parameters["root"] = jnp.tril(parameters["root"]) + jnp.eye(3)
        return parameters

    def drawn(parameters, key):
        def one():
            choices, log_q = bk.draw(guide.programs(parameters, TARGET)[1])
            return choices, number_of(log_q)

        return bk.expectation(one)(key)

    def density(parameters, choices, detach=False):
        program = guide.programs(parameters, TARGET)[1]
        program = bk.detach(program) if detach else program
        return bk.expectation(lambda: number_of(bk.log_density(program, choices)))(0)

    @jax.jit
    def everything(key, standard, log_standard):
        parameters = moved(key)
        choices, log_q = jax.vmap(partial(drawn, parameters))(jax.random.split(jax.random.PRNGKey(2), NUM_DRAWS))
        first, vector = ravel_pytree(jax.tree.map(lambda leaf: leaf[0], choices))
        values = jax.vmap(lambda choice: ravel_pytree(choice)[0])(choices)
        centred = values - values.mean(0)
        root = 1.5 * jnp.linalg.cholesky(centred.T @ centred / NUM_DRAWS)
        everywhere = jax.vmap(vector)(jnp.concatenate([values, values.mean(0) + standard @ root.T]))
        densities = jax.vmap(partial(density, parameters))(everywhere)
        ratios = jnp.exp(densities[NUM_DRAWS:] - (log_standard - jnp.log(jnp.diag(root)).sum()))
        slopes = (jax.grad(density)(parameters, vector(first), detach) for detach in (True, False))
        return Found(choices, log_q, densities[:NUM_DRAWS], ratios, *slopes)

    return jax.tree.map(np.asarray, everything(jax.random.PRNGKey(0), *standard_student_t()))


@by_guide
def test_the_density_of_a_draw_is_the_density_at_its_value(name):
    found = found_of(name)
    assert sum(np.size(leaf) for leaf in found.choices.values()) == NUM_DRAWS * 3
    np.testing.assert_allclose(found.densities, found.log_q, rtol=1e-6, atol=1e-6)


@by_guide
def test_the_density_integrates_to_one(name):
    """By importance sampling with a wide Student's t around the draws."""
    ratios = found_of(name).ratios
    error = ratios.std() / NUM_POINTS**0.5
    assert error < 0.02
    assert abs(ratios.mean() - 1) < 4 * error


@by_guide
def test_nothing_passes_the_parameters_of_a_detached_guide(name):
    found = found_of(name)
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(found.detached))
    assert any(np.any(leaf) for leaf in jax.tree.leaves(found.attached))


@pytest.mark.parametrize("name", rows(GUIDES, NEEDS))
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


# fitted in test_methods.py (full rank, Laplace) or in tests/inference/vi (blocks, mixtures, flows, guides by hand)
ALSO_FITTED_ELSEWHERE = set(GUIDES) - {"mean_field", "low_rank", "coupling flow"}


@pytest.mark.parametrize("name", rows(GUIDES, NEEDS, full=ALSO_FITTED_ELSEWHERE))
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
