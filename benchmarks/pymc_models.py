"""The models of `models.py` for PyMC, which nutpie compiles with Numba: its usual, and fastest, way."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pymc as pm
import pytensor.tensor as pt

from benchmarks.problem_data import by_problem


def radon(data: dict) -> pm.Model:
    """Non-centred county effects."""
    with pm.Model() as model:
        mean, scale = pm.Normal("county_effect_mean", 0.0, 1.0), pm.HalfNormal("county_effect_scale", 1.0)
        standard = pm.Normal("county_effect_standard", 0.0, 1.0, shape=data["num_counties"])
        weight, noise = pm.Normal("weight", 0.0, 1.0, shape=3), pm.HalfNormal("log_radon_scale", 1.0)
        effect = (mean + scale * standard)[data["county"]]
        columns = np.stack([data["log_uranium"], data["floor"], data["floor_by_county"]], axis=1)
        pm.Normal("log_radon", effect + columns @ weight, noise, observed=data["log_radon"])
    return model


def eight_schools(data: dict) -> pm.Model:
    """Non-centred."""
    with pm.Model() as model:
        mu, tau = pm.Normal("mu", 0.0, 5.0), pm.HalfCauchy("tau", 5.0)
        standard = pm.Normal("theta_standard", 0.0, 1.0, shape=8)
        pm.Normal("y", mu + tau * standard, data["sigma"], observed=data["y"])
    return model


def kidscore_interaction(data: dict) -> pm.Model:
    """Flat weights."""
    with pm.Model() as model:
        beta, sigma = pm.Flat("beta", shape=4), pm.HalfCauchy("sigma", 2.5)
        hs, iq = data["mom_hs"], data["mom_iq"]
        centre = beta[0] + beta[1] * hs + beta[2] * iq + beta[3] * hs * iq
        pm.Normal("kid_score", centre, sigma, observed=data["kid_score"])
    return model


def autoregression(data: dict) -> pm.Model:
    """Order five."""
    y, order = data["y"], data["K"]
    lags = np.stack([y[order - k : len(y) - k] for k in range(1, order + 1)], axis=1)
    with pm.Model() as model:
        alpha, beta = pm.Normal("alpha", 0.0, 10.0), pm.Normal("beta", 0.0, 10.0, shape=order)
        sigma = pm.HalfCauchy("sigma", 2.5)
        pm.Normal("obs", alpha + lags @ beta, sigma, observed=y[order:])
    return model


def logistic_regression(data: dict) -> pm.Model:
    """Standard normal prior."""
    x = data["x"]
    with pm.Model() as model:
        intercept, weights = pm.Normal("intercept", 0.0, 1.0), pm.Normal("weights", 0.0, 1.0, shape=x.shape[1])
        pm.Bernoulli("y", logit_p=intercept + x @ weights, observed=data["y"])
    return model


def stochastic_volatility(data: dict) -> pm.Model:
    """Non-centred, the path without a loop."""
    returns = data["returns"]
    with pm.Model() as model:
        mu, phi, sigma = pm.Cauchy("mu", 0.0, 10.0), pm.Uniform("phi", -1.0, 1.0), pm.HalfCauchy("sigma", 5.0)
        standard = pm.Normal("h_standard", 0.0, 1.0, shape=len(returns))
        path = pt.concatenate([standard[:1] / pm.math.sqrt(1.0 - phi**2), standard[1:]])
        power, lag = phi, 1
        while lag < len(returns):
            path = path + power * pt.concatenate([np.zeros(lag), path[:-lag]])
            power, lag = power**2, 2 * lag
        pm.Normal("returns", 0.0, pm.math.exp((mu + sigma * path) / 2), observed=returns)
    return model


def poisson_gp(data: dict) -> pm.Model:
    """Non-centred, by the Cholesky factor."""
    x = data["x"]
    with pm.Model() as model:
        length_scale, amplitude = pm.Gamma("length_scale", 25.0, 4.0), pm.HalfNormal("amplitude", 2.0)
        standard = pm.Normal("f_standard", 0.0, 1.0, shape=len(x))
        covariance = amplitude**2 * pm.math.exp(-0.5 * ((x[:, None] - x) / length_scale) ** 2)
        f = pt.linalg.cholesky(covariance + 1e-8 * np.eye(len(x))) @ standard
        pm.Poisson("counts", pm.math.exp(f), observed=data["counts"])
    return model


def poisson_hierarchy(data: dict) -> pm.Model:
    """Non-centred effects of groups."""
    with pm.Model() as model:
        mean, scale, slope = pm.Normal("mean", 0.0, 2.0), pm.HalfNormal("scale", 1.0), pm.Normal("slope", 0.0, 1.0)
        standard = pm.Normal("effect_standard", 0.0, 1.0, shape=data["num_groups"])
        log_rate = (mean + scale * standard)[data["group"]] + slope * data["x"]
        pm.Poisson("counts", pm.math.exp(log_rate), observed=data["counts"])
    return model


MODELS: dict[str, Callable[[dict], pm.Model]] = by_problem(globals())
