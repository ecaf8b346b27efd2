"""Data of the posteriors on which samplers are timed, as NumPy arrays.

`DATA` maps the name of a problem to a function that returns its data. Those of the first four are from posteriordb, in
`data/posteriordb`; the others are made here, from fixed seeds. NumPy alone is imported: a library that needs no JAX
is not to wait for it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

Data = dict[str, object]
FOLDER = Path(__file__).resolve().parents[1] / "data" / "posteriordb"


def _read(name: str) -> dict:
    return json.loads((FOLDER / f"{name}.json").read_text())["data"]


def radon() -> Data:
    """The 919 houses; counties are numbered from zero."""
    raw = _read("radon_contextual_effects_minnesota_halfnormal")
    names = ("log_uranium", "floor", "floor_by_county", "log_radon")
    county = np.asarray(raw["county"])
    arrays = {name: np.asarray(raw[name], dtype=float) for name in names}
    return {"county": county - county.min(), "num_counties": int(raw["num_counties"]), **arrays}


def eight_schools() -> Data:
    """Estimated effects and their standard errors."""
    raw = _read("eight_schools-eight_schools_noncentered")
    return {name: np.asarray(raw[name], dtype=float) for name in ("sigma", "y")}


def kidscore_interaction() -> Data:
    """Test scores of 434 children."""
    raw = _read("kidiq-kidscore_interaction")
    return {name: np.asarray(raw[name], dtype=float) for name in ("mom_hs", "mom_iq", "kid_score")}


def autoregression() -> Data:
    """The series of length 200."""
    return {"y": np.asarray(_read("arK-arK")["y"], dtype=float), "K": 5}


def logistic_regression(num_rows: int = 1000, num_predictors: int = 25, seed: int = 0) -> Data:
    """Synthetic table: correlated predictors, weights of size about one half."""
    rng = np.random.default_rng(seed)
    mixing = np.eye(num_predictors) + 0.3 * rng.normal(size=(num_predictors, num_predictors)) / np.sqrt(num_predictors)
    x = rng.normal(size=(num_rows, num_predictors)) @ mixing
    logits = 0.5 + x @ (0.5 * rng.normal(size=num_predictors))
    y = (rng.uniform(size=num_rows) < 1 / (1 + np.exp(-logits))).astype(int)
    return {"x": x, "y": y}


def stochastic_volatility(num_returns: int = 500, seed: int = 5) -> Data:
    """Returns whose log variance is a stationary autoregression with persistence 0.9."""
    rng = np.random.default_rng(seed)
    mu, phi, sigma = -1.0, 0.9, 0.5
    noise = rng.normal(size=num_returns)
    h = np.empty(num_returns)
    h[0] = mu + sigma / np.sqrt(1 - phi**2) * noise[0]
    for t in range(1, num_returns):
        h[t] = mu + phi * (h[t - 1] - mu) + sigma * noise[t]
    return {"returns": np.exp(h / 2) * rng.normal(size=num_returns)}


def poisson_gp(num_points: int = 11, seed: int = 2) -> Data:
    """Counts at equally spaced points, whose log rate is a draw of the Gaussian process."""
    rng = np.random.default_rng(seed)
    x = np.linspace(-10.0, 10.0, num_points)
    amplitude, length_scale = 1.5, 4.0
    covariance = amplitude**2 * np.exp(-0.5 * ((x[:, None] - x) / length_scale) ** 2)
    f = np.linalg.cholesky(covariance + 1e-8 * np.eye(num_points)) @ rng.normal(size=num_points)
    return {"x": x, "counts": rng.poisson(np.exp(f))}


def poisson_hierarchy(num_groups: int = 2000, num_rows: int = 20_000, seed: int = 3) -> Data:
    """Counts of groups of about ten rows each, with one predictor."""
    rng = np.random.default_rng(seed)
    group, x = rng.integers(num_groups, size=num_rows), rng.normal(size=num_rows)
    effect = 1.0 + 0.5 * rng.normal(size=num_groups)
    return {"group": group, "num_groups": num_groups, "x": x, "counts": rng.poisson(np.exp(effect[group] + 0.3 * x))}


MODEL_OF = {
    "radon": "radon",
    "eight_schools": "eight_schools",
    "kidscore_interaction": "kidscore_interaction",
    "arK": "autoregression",
    "logistic_1000x25": "logistic_regression",
    "stochastic_volatility": "stochastic_volatility",
    "poisson_gp": "poisson_gp",
    "poisson_hierarchy": "poisson_hierarchy",
    "logistic_100000x10": "logistic_regression",
}
"""Of each problem the function of that name: of its data here, of its model in `models.py` and `pymc_models.py`."""


def by_problem(functions: Mapping[str, Any]) -> dict[str, Any]:
    """The functions of a module by the names of the problems."""
    return {problem: functions[name] for problem, name in MODEL_OF.items()}


DATA: dict[str, Callable[[], Data]] = {
    **by_problem(globals()),
    "logistic_100000x10": lambda: logistic_regression(100_000, 10, seed=4),
}
