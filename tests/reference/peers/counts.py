"""Successes out of trials: batting averages, admissions, a comparison of two proportions, deaths by place and time."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax.typing import ArrayLike
from numpyro import handlers
from numpyro.infer.reparam import LocScaleReparam

# ---- batting averages: Efron and Morris (1975), "Data analysis using Stein's estimator and its generalizations" ----


def fully_pooled(at_bats: ArrayLike, hits: ArrayLike | None = None) -> None:
    """One chance of success for all players."""
    chance = numpyro.sample("chance", dist.Uniform(0.0, 1.0))
    with numpyro.plate("player", at_bats.shape[0]):
        numpyro.sample("hits", dist.Binomial(at_bats, probs=chance), obs=hits)


def not_pooled(at_bats: ArrayLike, hits: ArrayLike | None = None) -> None:
    """A chance of each player's own, of which the others say nothing."""
    with numpyro.plate("player", at_bats.shape[0]):
        chance = numpyro.sample("chance", dist.Uniform(0.0, 1.0))
        numpyro.sample("hits", dist.Binomial(at_bats, probs=chance), obs=hits)


def partially_pooled(at_bats: ArrayLike, hits: ArrayLike | None = None) -> None:
    """Chances with a beta distribution of unknown mean and concentration."""
    mean = numpyro.sample("mean", dist.Uniform(0.0, 1.0))
    concentration = numpyro.sample("concentration", dist.Pareto(1.0, 1.5))
    with numpyro.plate("player", at_bats.shape[0]):
        chance = numpyro.sample("chance", dist.Beta(mean * concentration, (1.0 - mean) * concentration))
        numpyro.sample("hits", dist.Binomial(at_bats, probs=chance), obs=hits)


def partially_pooled_with_logit(at_bats: ArrayLike, hits: ArrayLike | None = None) -> None:
    """Log odds with a normal distribution of unknown mean and scale, non-centred by the handler ``reparam``."""
    loc = numpyro.sample("loc", dist.Normal(-1.0, 1.0))
    scale = numpyro.sample("scale", dist.HalfCauchy(1.0))
    with numpyro.plate("player", at_bats.shape[0]):
        with handlers.reparam(config={"log_odds": LocScaleReparam(0.0)}):
            log_odds = numpyro.sample("log_odds", dist.Normal(loc, scale))
        numpyro.sample("hits", dist.Binomial(at_bats, logits=log_odds), obs=hits)


BASEBALL = {
    "at_bats": np.full(18, 45),
    "hits": np.array([18, 17, 16, 15, 14, 14, 13, 12, 11, 11, 10, 10, 10, 10, 10, 9, 8, 7]),
}

# ---- admissions: Bickel, Hammel and O'Connell (1975), "Sex bias in graduate admissions: data from Berkeley" ---------


def admissions(department: ArrayLike, male: ArrayLike, applications: ArrayLike, admitted: ArrayLike | None = None):
    """Intercept and slope of each department, with a covariance between them."""
    num_departments = len(np.unique(department))
    mean = numpyro.sample("mean", dist.Normal(0.0, jnp.array([4.0, 1.0])).to_event(1))
    scale = numpyro.sample("scale", dist.HalfNormal(1.0).expand([2]).to_event(1))
    correlation = numpyro.sample("correlation", dist.LKJCholesky(2, concentration=2.0))
    with numpyro.plate("department", num_departments):
        z = numpyro.sample("z", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
    effect = numpyro.deterministic("effect", mean + z @ (scale[:, None] * correlation).T)
    log_odds = effect[department, 0] + effect[department, 1] * male
    with numpyro.plate("row", len(applications)):
        numpyro.sample("admitted", dist.Binomial(applications, logits=log_odds), obs=admitted)


ADMISSIONS = {
    "department": np.repeat(np.arange(6), 2),
    "male": np.tile([1, 0], 6),
    "applications": np.array([825, 108, 560, 25, 325, 593, 417, 375, 191, 393, 373, 341]),
    "admitted": np.array([512, 89, 353, 17, 120, 202, 138, 131, 53, 94, 22, 24]),
}

# ---- two proportions ------------------------------------------------------------------------------------------------


def proportions(design: ArrayLike, bought: ArrayLike | None = None) -> None:
    """Logistic regression on whether a row was treated: do the proportions of two groups differ?"""
    coefficient = numpyro.sample("coefficient", dist.Normal(0.0, 1.0).expand([design.shape[1]]).to_event(1))
    chance = numpyro.deterministic("chance", jax.nn.sigmoid(jnp.array([[1.0, 0.0], [1.0, 1.0]]) @ coefficient))
    numpyro.deterministic("difference", chance[1] - chance[0])
    with numpyro.plate("row", design.shape[0]):
        numpyro.sample("bought", dist.Bernoulli(logits=design @ coefficient), obs=bought)


def _proportions() -> dict[str, np.ndarray]:
    treated = np.repeat([0.0, 1.0], 40)
    random = np.random.default_rng(1)
    return {
        "design": np.stack([np.ones(80), treated], axis=1),
        "bought": random.binomial(1, np.where(treated == 1.0, 0.45, 0.25)),
    }


PROPORTIONS = _proportions()

# ---- deaths: nested areas, random walks over age and time -----------------------------------------------------------


def mortality(
    age: ArrayLike,
    area: ArrayLike,
    year: ArrayLike,
    region_of: ArrayLike,
    population: ArrayLike,
    deaths: ArrayLike | None = None,
) -> None:
    """Log odds of dying: areas within regions, and non-centred random walks over the ages and the years."""
    num_ages, num_years = len(np.unique(age)), len(np.unique(year))
    num_areas, num_regions = len(np.unique(area)), len(np.unique(region_of))
    level = numpyro.sample("level", dist.Normal(-4.0, 2.0))
    scale = numpyro.sample("scale", dist.HalfNormal(1.0).expand([4]).to_event(1))
    with numpyro.plate("region", num_regions):
        by_region = scale[0] * numpyro.sample("region_effect", dist.Normal(0.0, 1.0))
    with numpyro.plate("area", num_areas):
        by_area = by_region[region_of] + scale[1] * numpyro.sample("area_effect", dist.Normal(0.0, 1.0))
    with numpyro.plate("age_step", num_ages - 1):
        age_steps = scale[2] * numpyro.sample("age_step_effect", dist.Normal(0.0, 1.0))
    with numpyro.plate("year_step", num_years - 1):
        year_steps = scale[3] * numpyro.sample("year_step_effect", dist.Normal(0.0, 1.0))
    by_age = jnp.concatenate([jnp.zeros(1), jnp.cumsum(age_steps)])
    by_year = jnp.concatenate([jnp.zeros(1), jnp.cumsum(year_steps)])
    log_odds = numpyro.deterministic("log_odds", level + by_area[area] + by_age[age] + by_year[year])
    with numpyro.plate("cell", len(population)):
        numpyro.sample("deaths", dist.Binomial(population, logits=log_odds), obs=deaths)


def _mortality() -> dict[str, np.ndarray]:
    random = np.random.default_rng(2)
    age, area, year = (index.ravel() for index in np.indices((3, 4, 3)))
    population = random.integers(200, 400, age.size)
    log_odds = -4.0 + np.array([0.0, 1.0, 1.8])[age] + random.normal(0.0, 0.3, 4)[area] - 0.1 * year
    return {
        "age": age,
        "area": area,
        "year": year,
        "region_of": np.array([0, 0, 1, 1]),
        "population": population,
        "deaths": random.binomial(population, 1.0 / (1.0 + np.exp(-log_odds))),
    }


MORTALITY = _mortality()
