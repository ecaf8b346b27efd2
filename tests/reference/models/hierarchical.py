"""Partial pooling: eight schools and the Minnesota radon survey."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.infer.reparam import LocScaleReparam

Data = Mapping[str, object]


def eight_schools_centered(sigma: jax.Array, y: jax.Array) -> None:
    """The centred form: a funnel that no fixed step size explores."""
    mu = numpyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = numpyro.sample("tau", dist.HalfCauchy(5.0))
    with numpyro.plate("school", y.shape[0]):
        theta = numpyro.sample("theta", dist.Normal(mu, tau))
        numpyro.sample("y", dist.Normal(theta, sigma), obs=y)


def eight_schools_decentered(sigma: jax.Array, y: jax.Array) -> None:
    """The centred model, non-centred from outside by NumPyro's handler: the same posterior."""
    with numpyro.handlers.reparam(config={"theta": LocScaleReparam(centered=0.0)}):
        eight_schools_centered(sigma, y)


def eight_schools_noncentered(sigma: jax.Array, y: jax.Array) -> None:
    """The non-centred form, written out."""
    mu = numpyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = numpyro.sample("tau", dist.HalfCauchy(5.0))
    with numpyro.plate("school", y.shape[0]):
        theta_trans = numpyro.sample("theta_trans", dist.Normal(0.0, 1.0))
        theta = numpyro.deterministic("theta", mu + tau * theta_trans)
        numpyro.sample("y", dist.Normal(theta, sigma), obs=y)


def radon(
    num_counties: int,
    log_uranium: jax.Array,
    floor: jax.Array,
    county: jax.Array,
    floor_by_county: jax.Array,
    log_radon: jax.Array,
) -> None:
    """Radon by county, with soil uranium, the floor and the county's mean floor as predictors.

    Most counties have few houses, so that the county effects are non-centred.
    """
    mean = numpyro.sample("county_effect_mean", dist.Normal(0.0, 1.0))
    scale = numpyro.sample("county_effect_scale", dist.HalfNormal(1.0))
    weight = numpyro.sample("weight", dist.Normal(0.0, 1.0).expand([3]).to_event(1))
    log_radon_scale = numpyro.sample("log_radon_scale", dist.HalfNormal(1.0))
    with numpyro.plate("counties", num_counties):
        offset = numpyro.sample("county_offset", dist.Normal(0.0, 1.0))
    effect = numpyro.deterministic("county_effect", mean + scale * offset)
    location = effect[county] + weight[0] * log_uranium + weight[1] * floor + weight[2] * floor_by_county
    with numpyro.plate("houses", log_radon.shape[0]):
        numpyro.sample("log_radon", dist.Normal(location, log_radon_scale), obs=log_radon)


def prepare_eight_schools(data: Data) -> dict[str, np.ndarray]:
    return {name: np.asarray(data[name], float) for name in ("sigma", "y")}


def prepare_radon(data: Data) -> dict[str, object]:
    numbers = {n: np.asarray(data[n], float) for n in ("log_uranium", "floor", "floor_by_county", "log_radon")}
    return {**numbers, "num_counties": int(data["num_counties"]), "county": np.asarray(data["county"], int)}
