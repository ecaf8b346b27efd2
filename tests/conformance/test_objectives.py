"""What every objective must do: a row in the table gets all tests.

The model is z ~ N(0, 1), x = 1.2 ~ N(z, 1): its posterior is N(0.6, 1/2) and its evidence N(1.2; 0, 2). Where the guide
is the posterior, a bound is the evidence and a divergence is zero, and neither has a gradient.
"""

from __future__ import annotations

import json
import math
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy import stats

import bayeskit as bk
from bayeskit.inference.vi.objectives import Objective, log_weight

EVIDENCE = stats.norm.logpdf(1.2, 0.0, 2**0.5)
POSTERIOR = (0.6, 0.5 * math.log(0.5))  # mean and log standard deviation


def model():
    z = numpyro.sample("z", dist.Normal(0.0, 1.0))
    numpyro.sample("x", dist.Normal(z, 1.0), obs=1.2)


def normal(loc, log_scale):
    return bk.bind(
        lambda loc, log_scale: numpyro.sample("z", dist.Normal(loc, jnp.exp(log_scale))),
        {"loc": loc, "log_scale": log_scale},
    )


def hidden(loc, log_scale):
    """N(loc, s²) as the sum of two halves, the first of which is hidden."""
    half = jnp.exp(log_scale) / 2**0.5
    return lambda: numpyro.sample("z", dist.Normal(numpyro.sample("u", dist.Normal(loc, half)), half))


def half_given_sum(kept):
    return lambda: numpyro.sample("u", dist.Normal((0.6 + kept["z"]) / 2, 0.125**0.5))


class Row(NamedTuple):
    """An objective, and its value at the guide that it is best for; where there is none in closed form, a bound.

    Attributes:
        noise: whether single draws differ there.
    """

    objective: Any
    value: float
    noise: bool = False
    guide: Any = normal
    best: tuple[float, float] = POSTERIOR
    only_bounded: bool = False


def tempered(temperature):
    """The best guide is the posterior to the power 1/T; E log p(y, z) plus T times the entropy."""
    variance = 0.5 * temperature
    entropy = 0.5 * math.log(2 * math.pi * math.e * variance)
    value = EVIDENCE - 0.5 * math.log(math.pi) - variance + temperature * entropy
    return Row(bk.objectives.TemperedELBO(temperature, 2), value, best=(0.6, 0.5 * math.log(variance)))


ENTROPY = 0.5 * math.log(2 * math.pi * math.e * 0.5)
ROWS = {
    "elbo": Row(bk.objectives.ELBO(2), EVIDENCE),
    "elbo, sticking the landing": Row(bk.objectives.ELBO(2, sticking_the_landing=True), EVIDENCE),
    "importance_weighted_elbo": Row(bk.objectives.ImportanceWeightedELBO(4), EVIDENCE),
    "importance_weighted_elbo, doubly": Row(
        bk.objectives.ImportanceWeightedELBO(4, doubly_reparameterized=True), EVIDENCE
    ),
    "hierarchical_elbo": Row(bk.objectives.HierarchicalELBO(["z"], half_given_sum, 2), EVIDENCE, guide=hidden),
    "annealed_elbo": Row(bk.objectives.AnnealedELBO(2, 0.01, 2), EVIDENCE, noise=True, only_bounded=True),
    "tempered_elbo": tempered(2.0),
    "renyi": Row(bk.objectives.Renyi(0.5, 4), EVIDENCE),
    "custom": Row(Objective.of(lambda model, guide: log_weight(model, guide)), EVIDENCE),
    "wake_guide": Row(bk.objectives.WakeGuide(4), -ENTROPY, noise=True),
    "reweighted_wake_sleep": Row(bk.objectives.ReweightedWakeSleep(4), EVIDENCE),
    "forward_kl": Row(bk.objectives.ForwardKL(4), 0.0),
    "symmetric_kl": Row(bk.objectives.SymmetricKL(4), 0.0),
    "f_divergence": Row(bk.objectives.FDivergence("jensen_shannon", 4), 0.0),
    "cauchy_schwarz": Row(bk.objectives.CauchySchwarz(4), 0.0),
    "log_variance": Row(bk.objectives.LogVariance(4), 0.0),
}
by_row = pytest.mark.parametrize("name", ROWS)


def test_every_kind_is_here():
    assert {row.objective.kind for row in ROWS.values()} == set(Objective.kinds())


KEYS = 1000


@cache
def estimates_of(name):
    """Values and gradients for many keys, at a guide."""
    row = ROWS[name]
    estimate = bk.expectation(lambda at: row.objective(model, row.guide(*at)))
    return jax.jit(jax.vmap(jax.value_and_grad(estimate, argnums=1), (0, None)))


@by_row
def test_value_and_gradient_at_the_best_guide(name):
    row = ROWS[name]
    values, gradients = estimates_of(name)(jax.random.split(jax.random.PRNGKey(0), KEYS), jnp.array(row.best))
    error = np.std(values) / KEYS**0.5
    assert np.mean(values) < row.value + 4 * error + 1e-9
    assert row.only_bounded or np.mean(values) > row.value - 4 * error - 1e-9
    assert row.noise == (error > 1e-9)
    slack = 0.02 if row.only_bounded else 1e-9
    assert np.all(np.abs(np.mean(gradients, 0)) < 4 * np.std(gradients, 0) / KEYS**0.5 + slack)


@by_row
def test_it_is_worse_elsewhere(name):
    """Its gradient from a guide that is off leads back: the mean towards the posterior's."""
    off = jnp.array([0.1, ROWS[name].best[1]])
    _, gradients = estimates_of(name)(jax.random.split(jax.random.PRNGKey(1), KEYS), off)
    slope = np.mean(gradients, 0)[0]
    assert slope > 4 * np.std(gradients, 0)[0] / KEYS**0.5


@by_row
def test_settings_survive_json(name):
    objective = ROWS[name].objective
    assert Objective.kinds()[objective.kind] is type(objective)
    written = json.loads(json.dumps(objective.as_record()))
    if objective.is_recordable:
        assert Objective.from_record(written) == objective
    else:
        with pytest.raises(bk.errors.MethodError, match="written in Python"):
            Objective.from_record(written)
