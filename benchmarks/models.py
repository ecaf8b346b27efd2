"""The five posteriors on which samplers are timed, as plain NumPyro functions with their data.

`PROBLEMS` maps a name to a function that returns `(model, data)`. The data of all but the logistic regression are those
of posteriordb, in `data/posteriordb`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

Data = dict[str, object]
Model = Callable[..., None]


def radon(county, log_uranium, floor, floor_by_county, log_radon, num_counties):
    """Radon in 919 Minnesota houses: 85 county effects, non-centred, and three regression weights (91 parameters)."""
    mean = numpyro.sample("county_effect_mean", dist.Normal(0.0, 1.0))
    scale = numpyro.sample("county_effect_scale", dist.HalfNormal(1.0))
    with numpyro.plate("counties", num_counties):
        standard = numpyro.sample("county_effect_standard", dist.Normal(0.0, 1.0))
    county_effect = numpyro.deterministic("county_effect", mean + scale * standard)
    weight = numpyro.sample("weight", dist.Normal(0.0, 1.0).expand([3]).to_event(1))
    noise = numpyro.sample("log_radon_scale", dist.HalfNormal(1.0))
    centre = county_effect[county] + log_uranium * weight[0] + floor * weight[1] + floor_by_county * weight[2]
    with numpyro.plate("houses", len(log_radon)):
        numpyro.sample("log_radon", dist.Normal(centre, noise), obs=log_radon)


def eight_schools(sigma, y):
    """Eight schools, non-centred (10 parameters)."""
    mu = numpyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = numpyro.sample("tau", dist.HalfCauchy(5.0))
    with numpyro.plate("schools", len(y)):
        standard = numpyro.sample("theta_standard", dist.Normal(0.0, 1.0))
        theta = numpyro.deterministic("theta", mu + tau * standard)
        numpyro.sample("y", dist.Normal(theta, sigma), obs=y)


def kidscore_interaction(mom_hs, mom_iq, kid_score):
    """Linear regression with a strongly correlated posterior, unstandardised on purpose (5 parameters)."""
    beta = numpyro.sample("beta", dist.ImproperUniform(dist.constraints.real_vector, (), (4,)))
    sigma = numpyro.sample("sigma", dist.HalfCauchy(2.5))
    centre = beta[0] + beta[1] * mom_hs + beta[2] * mom_iq + beta[3] * mom_hs * mom_iq
    with numpyro.plate("children", len(kid_score)):
        numpyro.sample("kid_score", dist.Normal(centre, sigma), obs=kid_score)


def autoregression(y, K=5):
    """Autoregression of order five on 200 values (7 parameters)."""
    alpha = numpyro.sample("alpha", dist.Normal(0.0, 10.0))
    beta = numpyro.sample("beta", dist.Normal(0.0, 10.0).expand([K]).to_event(1))
    sigma = numpyro.sample("sigma", dist.HalfCauchy(2.5))
    lags = jnp.stack([y[K - k : len(y) - k] for k in range(1, K + 1)], axis=1)
    numpyro.sample("obs", dist.Normal(alpha + lags @ beta, sigma).to_event(1), obs=y[K:])


def logistic_regression(x, y):
    """Logistic regression with a standard normal prior on intercept and weights."""
    intercept = numpyro.sample("intercept", dist.Normal(0.0, 1.0))
    weights = numpyro.sample("weights", dist.Normal(0.0, 1.0).expand([x.shape[1]]).to_event(1))
    with numpyro.plate("rows", x.shape[0]):
        numpyro.sample("y", dist.Bernoulli(logits=intercept + x @ weights), obs=y)


FOLDER = Path(__file__).resolve().parents[1] / "data" / "posteriordb"


def _read(name: str) -> dict:
    return json.loads((FOLDER / f"{name}.json").read_text())["data"]


def radon_data() -> Data:
    """The 919 houses; counties are numbered from zero."""
    raw = _read("radon_contextual_effects_minnesota_halfnormal")
    names = ("log_uranium", "floor", "floor_by_county", "log_radon")
    county = np.asarray(raw["county"])
    arrays = {name: np.asarray(raw[name], dtype=float) for name in names}
    return {"county": county - county.min(), "num_counties": int(raw["num_counties"]), **arrays}


def eight_schools_data() -> Data:
    """Estimated effects and their standard errors."""
    raw = _read("eight_schools-eight_schools_noncentered")
    return {name: np.asarray(raw[name], dtype=float) for name in ("sigma", "y")}


def kidscore_data() -> Data:
    """Test scores of 434 children."""
    raw = _read("kidiq-kidscore_interaction")
    return {name: np.asarray(raw[name], dtype=float) for name in ("mom_hs", "mom_iq", "kid_score")}


def autoregression_data() -> Data:
    """The series of length 200."""
    return {"y": np.asarray(_read("arK-arK")["y"], dtype=float), "K": 5}


def logistic_data(num_rows: int = 1000, num_predictors: int = 25, seed: int = 0) -> Data:
    """Synthetic table: correlated predictors, weights of size about one half."""
    rng = np.random.default_rng(seed)
    mixing = np.eye(num_predictors) + 0.3 * rng.normal(size=(num_predictors, num_predictors)) / np.sqrt(num_predictors)
    x = rng.normal(size=(num_rows, num_predictors)) @ mixing
    logits = 0.5 + x @ (0.5 * rng.normal(size=num_predictors))
    y = (rng.uniform(size=num_rows) < 1 / (1 + np.exp(-logits))).astype(int)
    return {"x": x, "y": y}


PROBLEMS: dict[str, Callable[[], tuple[Model, Data]]] = {
    "radon": lambda: (radon, radon_data()),
    "eight_schools": lambda: (eight_schools, eight_schools_data()),
    "kidscore_interaction": lambda: (kidscore_interaction, kidscore_data()),
    "arK": lambda: (autoregression, autoregression_data()),
    "logistic_1000x25": lambda: (logistic_regression, logistic_data()),
}
