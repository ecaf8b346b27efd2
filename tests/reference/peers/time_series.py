"""Autoregression, stochastic volatility and exponential smoothing."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax.typing import ArrayLike
from numpyro import handlers
from numpyro.contrib.control_flow import scan

# ---- an autoregression of order two ----------------------------------------------------------------------------------


def _coefficients() -> tuple[ArrayLike, ArrayLike, ArrayLike, ArrayLike]:
    first = numpyro.sample("first", dist.Normal(0.0, 1.0))
    second = numpyro.sample("second", dist.Normal(0.0, 1.0))
    level = numpyro.sample("level", dist.Normal(0.0, 1.0))
    return first, second, level, numpyro.sample("scale", dist.HalfNormal(1.0))


def autoregression_by_scan(y: ArrayLike) -> None:
    """Step by step; the observations are put in from outside, by the handler ``condition``."""
    first, second, level, scale = _coefficients()

    def step(carry: tuple[ArrayLike, ArrayLike], _: ArrayLike) -> tuple[tuple[ArrayLike, ArrayLike], None]:
        before, last = carry
        value = numpyro.sample("value", dist.Normal(level + first * last + second * before, scale))
        return (last, value), None

    with handlers.condition(data={"value": jnp.asarray(y[2:])}):
        scan(step, (y[0], y[1]), jnp.arange(len(y) - 2))


def autoregression(y: ArrayLike) -> None:
    """All at once, since all values are known."""
    first, second, level, scale = _coefficients()
    with numpyro.plate("time", len(y) - 2):
        numpyro.sample("value", dist.Normal(level + first * y[1:-1] + second * y[:-2], scale), obs=y[2:])


def _series() -> dict[str, np.ndarray]:
    random = np.random.default_rng(11)
    y = [0.0, 0.5]
    for _ in range(38):
        y.append(0.3 + 0.6 * y[-1] - 0.3 * y[-2] + random.normal(0.0, 0.5))
    return {"y": np.array(y)}


SERIES = _series()

# ---- stochastic volatility: Kim, Shephard and Chib (1998); Student's t of Hoffman and Gelman (2014) -----------------


def stochastic_volatility(returns: ArrayLike) -> None:
    """The log volatility is a random walk, and the returns have heavy tails."""
    variance = numpyro.sample("variance", dist.InverseGamma(2.5, 0.1))
    walk = dist.GaussianRandomWalk(jnp.sqrt(variance), num_steps=len(returns))
    log_volatility = numpyro.sample("log_volatility", walk)
    freedom = numpyro.sample("freedom", dist.Exponential(0.1))
    with numpyro.plate("day", len(returns)):
        numpyro.sample("return", dist.StudentT(freedom, 0.0, jnp.exp(log_volatility)), obs=returns)


def _returns() -> dict[str, np.ndarray]:
    random = np.random.default_rng(12)
    log_volatility = np.cumsum(random.normal(0.0, 0.25, 40))
    return {"returns": np.exp(log_volatility) * random.standard_t(6.0, 40)}


RETURNS = _returns()

# ---- exponential smoothing: Holt (1957) and Winters (1960), with additive seasons ----------------------------------


def holt_winters(y: ArrayLike, num_seasons: int) -> None:
    """Level, trend and seasons, each smoothed by what was observed."""
    smooth_level = numpyro.sample("smooth_level", dist.Beta(2.0, 2.0))
    smooth_trend = numpyro.sample("smooth_trend", dist.Beta(2.0, 2.0))
    smooth_season = numpyro.sample("smooth_season", dist.Beta(2.0, 2.0))
    noise = numpyro.sample("noise", dist.HalfNormal(1.0))
    level = numpyro.sample("level", dist.Normal(0.0, 2.0))
    trend = numpyro.sample("trend", dist.Normal(0.0, 0.5))
    with numpyro.plate("season", num_seasons):
        seasons = numpyro.sample("seasons", dist.Normal(0.0, 1.0))

    def step(carry: tuple[ArrayLike, ArrayLike, ArrayLike], _: ArrayLike) -> tuple[tuple[ArrayLike, ...], ArrayLike]:
        level, trend, seasons = carry
        season, mean = seasons[0], level + trend + seasons[0]
        value = numpyro.sample("value", dist.Normal(mean, noise))
        new_level = smooth_level * (value - season) + (1.0 - smooth_level) * (level + trend)
        new_trend = smooth_trend * (new_level - level) + (1.0 - smooth_trend) * trend
        new_season = smooth_season * (value - new_level) + (1.0 - smooth_season) * season
        return (new_level, new_trend, jnp.append(seasons[1:], new_season)), mean

    with handlers.condition(data={"value": jnp.asarray(y)}):
        _, means = scan(step, (level, trend, seasons), jnp.arange(len(y)))
    numpyro.deterministic("mean", means)


def _seasonal() -> dict[str, object]:
    random = np.random.default_rng(13)
    time = np.arange(32)
    y = 1.0 + 0.05 * time + np.array([0.8, -0.3, -0.9, 0.4])[time % 4] + random.normal(0.0, 0.2, 32)
    return {"y": y, "num_seasons": 4}


SEASONAL = _seasonal()
