"""Autoregression, moving average, conditional variance and a hidden Markov model."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.distributions import constraints

Data = Mapping[str, object]


def autoregression(K: int, y: jax.Array) -> None:
    """An autoregression of order ``K``, conditional on the first ``K`` values."""
    alpha = numpyro.sample("alpha", dist.Normal(0.0, 10.0))
    beta = numpyro.sample("beta", dist.Normal(0.0, 10.0).expand([K]).to_event(1))
    sigma = numpyro.sample("sigma", dist.HalfCauchy(2.5))
    lagged = jnp.stack([y[K - lag : -lag] for lag in range(1, K + 1)], axis=1)
    numpyro.sample("y", dist.Normal(alpha + lagged @ beta, sigma), obs=y[K:])


def arma11(y: jax.Array) -> None:
    """ARMA(1, 1); the error before the first observation is zero and the value before it is ``mu``."""
    mu = numpyro.sample("mu", dist.Normal(0.0, 10.0))
    phi = numpyro.sample("phi", dist.Normal(0.0, 2.0))
    theta = numpyro.sample("theta", dist.Normal(0.0, 2.0))
    sigma = numpyro.sample("sigma", dist.HalfCauchy(2.5))
    previous = jnp.append(mu, y[:-1])
    surprise = y - mu - phi * previous

    def step(error: jax.Array, value: jax.Array) -> tuple[jax.Array, jax.Array]:
        error = value - theta * error
        return error, error

    _, errors = jax.lax.scan(step, jnp.zeros(()), surprise, unroll=8)
    numpyro.sample("y", dist.Normal(y - errors, sigma), obs=y)


def garch11(sigma1: jax.Array, y: jax.Array) -> None:
    """GARCH(1, 1). A flat Dirichlet is flat on the triangle ``alpha1 + beta1 < 1``."""
    mu = numpyro.sample("mu", dist.ImproperUniform(constraints.real, (), event_shape=()))
    alpha0 = numpyro.sample("alpha0", dist.ImproperUniform(constraints.positive, (), event_shape=()))
    weights = numpyro.sample("weights", dist.Dirichlet(jnp.ones(3)))
    alpha1 = numpyro.deterministic("alpha1", weights[0])
    beta1 = numpyro.deterministic("beta1", weights[1])

    def step(variance: jax.Array, shock: jax.Array) -> tuple[jax.Array, jax.Array]:
        variance = shock + beta1 * variance
        return variance, variance

    first = jnp.asarray(sigma1) ** 2
    _, later = jax.lax.scan(step, first, alpha0 + alpha1 * (y[:-1] - mu) ** 2, unroll=8)
    variance = jnp.append(first, later)
    numpyro.sample("y", dist.Normal(mu, jnp.sqrt(variance)), obs=y)


def hidden_markov(y: jax.Array) -> None:
    """Two hidden states, summed out by the forward algorithm; no weights on the first state.

    The positive, ordered means have no proper distribution of that support in NumPyro: a flat one with their density
    as a factor.
    """
    theta1 = numpyro.sample("theta1", dist.Dirichlet(jnp.ones(2)))
    theta2 = numpyro.sample("theta2", dist.Dirichlet(jnp.ones(2)))
    mu = numpyro.sample("mu", dist.ImproperUniform(constraints.positive_ordered_vector, (), event_shape=(2,)))
    numpyro.factor("mu_prior", dist.Normal(jnp.array([3.0, 10.0]), 1.0).log_prob(mu).sum())
    emission = dist.Normal(mu, 1.0).log_prob(y[:, None])
    transition = jnp.log(jnp.stack([theta1, theta2]))

    def step(forward: jax.Array, log_density: jax.Array) -> tuple[jax.Array, None]:
        return jax.nn.logsumexp(forward[:, None] + transition, axis=0) + log_density, None

    forward, _ = jax.lax.scan(step, emission[0], emission[1:], unroll=4)
    numpyro.factor("y", jax.nn.logsumexp(forward))


def prepare_autoregression(data: Data) -> dict[str, object]:
    return {"K": int(data["K"]), "y": np.asarray(data["y"], float)}


def prepare_series(data: Data) -> dict[str, np.ndarray]:
    return {"y": np.asarray(data["y"], float)}


def prepare_garch11(data: Data) -> dict[str, np.ndarray]:
    return {name: np.asarray(data[name], float) for name in ("sigma1", "y")}
