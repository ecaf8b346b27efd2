"""The posteriors' log densities in NumPy and SciPy, straight from their descriptions and up to a constant.

Written for clarity, with loops, from the published data as they are: nothing is shared with the NumPyro models.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
from scipy import integrate, stats

Numbers = Mapping[str, np.ndarray]


def normal(values: object, location: object, scale: object) -> float:
    return float(np.sum(stats.norm.logpdf(values, location, scale)))


def autoregression(data: Numbers, p: Numbers) -> float:
    total = normal(p["alpha"], 0, 10) + normal(p["beta"], 0, 10) + stats.halfcauchy.logpdf(p["sigma"], scale=2.5)
    y, order = data["y"], data["K"]
    for t in range(order, data["T"]):
        location = p["alpha"] + sum(p["beta"][k] * y[t - 1 - k] for k in range(order))
        total += normal(y[t], location, p["sigma"])
    return total


def arma11(data: Numbers, p: Numbers) -> float:
    total = normal(p["mu"], 0, 10) + normal(p["phi"], 0, 2) + normal(p["theta"], 0, 2)
    total += stats.halfcauchy.logpdf(p["sigma"], scale=2.5)
    y = data["y"]
    error = y[0] - (p["mu"] + p["phi"] * p["mu"])
    total += normal(error, 0, p["sigma"])
    for t in range(1, data["T"]):
        error = y[t] - (p["mu"] + p["phi"] * y[t - 1] + p["theta"] * error)
        total += normal(error, 0, p["sigma"])
    return total


def brownian_motion(data: Numbers, p: Numbers) -> float:
    innovation, observation, locs = p["innovation_noise_scale"], p["observation_noise_scale"], p["locs"]
    total = float(np.sum(stats.lognorm.logpdf([innovation, observation], s=2.0)))
    total += normal(locs[0], 0, innovation) + normal(locs[1:], locs[:-1], innovation)
    for location, seen in zip(locs, data["observed_locs"], strict=True):
        total += 0.0 if seen is None else normal(seen, location, observation)
    return total


def lorenz_bridge(data: Numbers, p: Numbers) -> float:
    x, h = p["x"], data["step_size"]
    total = normal(x[0], 0, 1)
    for (a, b, c), following in itertools.pairwise(x):
        drift = np.array([10 * (b - a), a * (28 - c) - b, a * b - 8 / 3 * c])
        total += normal(following, np.array([a, b, c]) + h * drift, np.sqrt(h) * data["innovation_scale"])
    for state, value, seen in zip(x, data["observed_values"], data["observation_mask"], strict=True):
        total += normal(value, state[data["observation_index"]], data["observation_scale"]) if seen else 0.0
    return total


def eight_schools(data: Numbers, p: Numbers) -> float:
    total = normal(p["mu"], 0, 5) + stats.halfcauchy.logpdf(p["tau"], scale=5)
    return total + normal(p["theta"], p["mu"], p["tau"]) + normal(data["y"], p["theta"], data["sigma"])


def radon(data: Numbers, p: Numbers) -> float:
    total = normal(p["county_effect_mean"], 0, 1) + normal(p["weight"], 0, 1)
    total += stats.halfnorm.logpdf(p["county_effect_scale"]) + stats.halfnorm.logpdf(p["log_radon_scale"])
    total += normal(p["county_effect"], p["county_effect_mean"], p["county_effect_scale"])
    predictors = np.column_stack([data["log_uranium"], data["floor"], data["floor_by_county"]])
    location = predictors @ p["weight"] + p["county_effect"][np.asarray(data["county"])]
    return total + normal(data["log_radon"], location, p["log_radon_scale"])


def garch11(data: Numbers, p: Numbers) -> float:
    y, scale = data["y"], data["sigma1"]
    total = normal(y[0], p["mu"], scale)
    for t in range(1, data["T"]):
        shock = p["alpha1"] * (y[t - 1] - p["mu"]) ** 2
        scale = np.sqrt(p["alpha0"] + shock + p["beta1"] * scale**2)
        total += normal(y[t], p["mu"], scale)
    return total


def gp_regression(data: Numbers, p: Numbers) -> float:
    total = stats.gamma.logpdf(p["rho"], 25, scale=1 / 4)
    total += stats.halfnorm.logpdf(p["alpha"], scale=2) + stats.halfnorm.logpdf(p["sigma"])
    distance = np.subtract.outer(data["x"], data["x"])
    covariance = p["alpha"] ** 2 * np.exp(-0.5 * (distance / p["rho"]) ** 2) + p["sigma"] * np.eye(data["N"])
    return total + stats.multivariate_normal.logpdf(data["y"], np.zeros(data["N"]), covariance)


def hidden_markov(data: Numbers, p: Numbers) -> float:
    """The forward recursion on probabilities, rescaled at every step."""
    total = normal(p["mu"], [3, 10], 1)
    transition = np.stack([p["theta1"], p["theta2"]])
    forward = stats.norm.pdf(data["y"][0], p["mu"], 1)
    for value in data["y"][1:]:
        total += np.log(forward.sum())
        forward = (forward / forward.sum()) @ transition * stats.norm.pdf(value, p["mu"], 1)
    return total + np.log(forward.sum())


def lotka_volterra(data: Numbers, p: Numbers) -> float:
    rates, start, sigma = p["theta"], p["z_init"], p["sigma"]
    total = normal(rates, [1, 0.05, 1, 0.05], [0.5, 0.05, 0.5, 0.05])
    total += float(np.sum(stats.lognorm.logpdf(start, s=1, scale=10)))
    total += float(np.sum(stats.lognorm.logpdf(sigma, s=1, scale=np.exp(-1))))

    def slope(time: float, z: np.ndarray) -> list[float]:
        return [(rates[0] - rates[1] * z[1]) * z[0], (-rates[2] + rates[3] * z[0]) * z[1]]

    path = integrate.solve_ivp(
        slope, (0, data["ts"][-1]), start, t_eval=data["ts"], method="DOP853", rtol=1e-11, atol=1e-11
    )
    total += float(np.sum(stats.lognorm.logpdf(data["y_init"], s=sigma, scale=start)))
    return total + float(np.sum(stats.lognorm.logpdf(data["y"], s=sigma, scale=path.y.T)))


def gaussian_mixture(data: Numbers, p: Numbers) -> float:
    theta, mu, sigma = p["theta"], p["mu"], p["sigma"]
    total = normal(mu, 0, 2) + np.sum(stats.halfnorm.logpdf(sigma, scale=2)) + stats.beta.logpdf(theta, 5, 5)
    first, second = (stats.norm.pdf(data["y"], mu[k], sigma[k]) for k in (0, 1))
    return total + np.sum(np.log(theta * first + (1 - theta) * second))


def log10earn_height(data: Numbers, p: Numbers) -> float:
    return normal(np.log10(data["earn"]), p["beta"][0] + p["beta"][1] * np.array(data["height"]), p["sigma"])


def kidscore_momiq(data: Numbers, p: Numbers) -> float:
    location = p["beta"][0] + p["beta"][1] * np.array(data["mom_iq"])
    return stats.halfcauchy.logpdf(p["sigma"], scale=2.5) + normal(data["kid_score"], location, p["sigma"])


def kidscore_interaction(data: Numbers, p: Numbers) -> float:
    b, schooling, iq = p["beta"], np.array(data["mom_hs"]), np.array(data["mom_iq"])
    location = b[0] + b[1] * schooling + b[2] * iq + b[3] * schooling * iq
    return stats.halfcauchy.logpdf(p["sigma"], scale=2.5) + normal(data["kid_score"], location, p["sigma"])


def kilpisjarvi(data: Numbers, p: Numbers) -> float:
    total = normal(p["alpha"], data["pmualpha"], data["psalpha"]) + normal(p["beta"], data["pmubeta"], data["psbeta"])
    return total + normal(data["y"], p["alpha"] + p["beta"] * np.array(data["x"]), p["sigma"])


def logmesquite(data: Numbers, p: Numbers) -> float:
    logged = ("diam1", "diam2", "canopy_height", "total_height", "density")
    location = p["beta"][0] + sum(p["beta"][i] * np.log(data[name]) for i, name in enumerate(logged, start=1))
    return normal(np.log(data["weight"]), location + p["beta"][6] * np.array(data["group"]), p["sigma"])


def nes(data: Numbers, p: Numbers) -> float:
    b = p["beta"]
    columns = {name: np.array(values) for name, values in data.items()}
    location = b[0] + b[1] * columns["real_ideo"] + b[2] * columns["race_adj"]
    location = location + sum(b[age + 1] * (columns["age_discrete"] == age) for age in (2, 3, 4))
    location = location + b[6] * columns["educ1"] + b[7] * columns["gender"] + b[8] * columns["income"]
    return normal(columns["partyid7"], location, p["sigma"])


def blr(data: Numbers, p: Numbers) -> float:
    total = normal(p["beta"], 0, 10) + stats.halfnorm.logpdf(p["sigma"], scale=10)
    return total + normal(data["y"], np.array(data["X"]) @ p["beta"], p["sigma"])


DESCRIBED = {
    "arK-arK": autoregression,
    "arma-arma11": arma11,
    "brownian_motion_unknown_scales_missing_middle_observations": brownian_motion,
    "convection_lorenz_bridge": lorenz_bridge,
    "earnings-log10earn_height": log10earn_height,
    "eight_schools-eight_schools_centered": eight_schools,
    "eight_schools-eight_schools_noncentered": eight_schools,
    "garch-garch11": garch11,
    "gp_pois_regr-gp_regr": gp_regression,
    "hmm_example-hmm_example": hidden_markov,
    "hudson_lynx_hare-lotka_volterra": lotka_volterra,
    "kidiq-kidscore_interaction": kidscore_interaction,
    "kidiq-kidscore_momiq": kidscore_momiq,
    "kilpisjarvi_mod-kilpisjarvi": kilpisjarvi,
    "low_dim_gauss_mix-low_dim_gauss_mix": gaussian_mixture,
    "mesquite-logmesquite": logmesquite,
    "nes1972-nes": nes,
    "radon_contextual_effects_minnesota_halfnormal": radon,
    "sblrc-blr": blr,
}
