"""Log densities of the demanding posteriors in NumPy and SciPy, up to a constant: functions of arguments and values.

Written for clarity, with loops; nothing is shared with the NumPyro models.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
from scipy import stats

from .described import Numbers, normal


def admissions(data: Numbers, p: Numbers) -> float:
    total = normal(p["centre"], 0, [4, 1]) + float(np.sum(stats.halfnorm.logpdf(p["scale"]))) + normal(p["white"], 0, 1)
    # of the factor of a correlation matrix of two with concentration 2: its last element squared
    total += 2 * np.log(p["factor"][1, 1])
    effects = [p["centre"] + np.diag(p["scale"]) @ p["factor"] @ white for white in p["white"]]
    for department, male, applied, admitted in zip(*(data[k] for k in ("department", "male", "applied", "admitted"))):  # noqa: B905
        level, slope = effects[department]
        total += float(stats.binom.logpmf(admitted, applied, 1 / (1 + np.exp(-level - slope * male))))
    return total


def cox_process(data: Numbers, p: Numbers) -> float:
    covariance = data["factor"] @ data["factor"].T
    prior = stats.multivariate_normal(np.zeros(len(covariance)), covariance)
    return float(
        prior.logpdf(p["log_intensity"]) + stats.poisson.logpmf(data["counts"], np.exp(p["log_intensity"])).sum()
    )


def eight_schools(data: Numbers, p: Numbers) -> float:
    theta = (np.asarray(p["theta"]) - p["mu"]) / p["tau"]
    total = normal(p["mu"], 0, 5) + float(stats.halfcauchy.logpdf(p["tau"], scale=5)) + normal(theta, 0, 1)
    return total + normal(data["y"], p["theta"], data["sigma"])


def heteroscedastic(data: Numbers, p: Numbers) -> float:
    total = float(stats.t.logpdf(p["centre"], 3, -13, 36) + stats.t.logpdf(p["log_noise"], 3, 0, 10))
    terms = []
    for name, number, size in (("mean", 40, 36.0), ("noise", 20, 2.5)):
        scale, length, white = (p[f"{name}_{part}"] for part in ("scale", "length", "white"))
        total += float(stats.t.logpdf(scale, 3, 0, size) + stats.invgamma.logpdf(length, 2.0, scale=0.4)) + normal(
            white, 0, 1
        )
        term = np.zeros(len(data["x"]))
        for j in range(1, number + 1):
            frequency = j * np.pi / 2.5
            spectral = scale**2 * np.sqrt(2 * np.pi) * length * np.exp(-0.5 * (length * frequency) ** 2)
            term += np.sqrt(spectral) * white[j - 1] * np.sin(frequency * (data["x"] + 1.25)) / np.sqrt(1.25)
        terms.append(term)
    return total + normal(data["y"], p["centre"] + terms[0], np.exp(p["log_noise"] + terms[1]))


def hidden_markov(data: Numbers, p: Numbers) -> float:
    """By the sum of products of matrices, scaled at every step."""
    total = normal(p["phi"], [0, 3], 1) + normal(p["lam"], [0, 3], 1)
    transition = np.stack([p["theta1"], p["theta2"]])
    weights = np.ones(2)
    for t, (u, v) in enumerate(zip(data["u"], data["v"], strict=True)):
        weights = weights if t == 0 else weights @ transition
        weights = weights * p["phi"] * np.exp(-p["phi"] * u) * p["lam"] * np.exp(-p["lam"] * v)
        total += np.log(weights.sum())
        weights = weights / weights.sum()
    return float(total)


def poisson_process(data: Numbers, p: Numbers) -> float:
    total = float(stats.gamma.logpdf(p["rho"], 25, scale=1 / 4) + stats.halfnorm.logpdf(p["alpha"], scale=2))
    n = len(data["x"])
    covariance = 1e-10 * np.eye(n)
    for i, j in itertools.product(range(n), repeat=2):
        covariance[i, j] += p["alpha"] ** 2 * np.exp(-((data["x"][i] - data["x"][j]) ** 2) / (2 * p["rho"] ** 2))
    rate = np.exp(np.linalg.cholesky(covariance) @ p["white"])
    return total + normal(p["white"], 0, 1) + float(stats.poisson.logpmf(data["k"], rate).sum())


def stochastic_volatility(data: Numbers, p: Numbers) -> float:
    total = float(stats.beta.logpdf(p["persistence"], 20, 1.5) + stats.cauchy.logpdf(p["level"], 0, 5))
    total += float(stats.halfcauchy.logpdf(p["size"], scale=2)) + normal(p["white"], 0, 1)
    slope, deviation = 2 * p["persistence"] - 1, 0.0
    for t, value in enumerate(data["returns"]):
        shock = p["size"] * p["white"][t]
        deviation = shock / np.sqrt(1 - slope**2) if t == 0 else slope * deviation + shock
        total += normal(value, 0, np.exp((p["level"] + deviation) / 2))
    return total


DESCRIBED: dict[str, Callable[[Numbers, Numbers], float]] = {
    function.__name__: function
    for function in (
        admissions,
        cox_process,
        eight_schools,
        heteroscedastic,
        hidden_markov,
        poisson_process,
        stochastic_volatility,
    )
}
