"""Posteriors whose means and standard deviations are known, and methods that are right or wrong about them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

import bayeskit as bk

ROOT = Path(__file__).resolve().parents[1]
SCHOOLS = json.loads((ROOT / "data" / "posteriordb" / "eight_schools-eight_schools_noncentered.json").read_text())
SIZE, CORRELATION = 5, 0.95


class Problem(NamedTuple):
    """A posterior: `truth` holds the mean and the standard deviation of the sites that are compared.

    `kurtosis` is that of the values, on which the error of a standard deviation depends: 3 for a normal density.
    """

    model: Callable[..., None]
    data: dict[str, Any]
    truth: dict[str, tuple[Any, Any]]
    kurtosis: float = 3.0


class Setting(NamedTuple):
    """A method for a problem; `init` is that of `bayeskit.infer`."""

    name: str
    problem: Problem
    method: Any
    init: Any = None


def gaussian():
    covariance = CORRELATION + (1 - CORRELATION) * jnp.eye(SIZE)
    numpyro.sample("x", dist.MultivariateNormal(jnp.arange(float(SIZE)), covariance))
    numpyro.factor("data", 0.0)


def regression(x, y):
    b = numpyro.sample("b", dist.Normal(0.0, 2.0).expand([x.shape[1]]).to_event(1))
    with numpyro.plate("row", len(x)):
        numpyro.sample("y", dist.Normal(x @ b, 0.5), obs=y)


def schools(sigma, y, centred):
    mu = numpyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = numpyro.sample("tau", dist.HalfCauchy(5.0))
    with numpyro.plate("school", len(y)):
        if centred:
            theta = numpyro.sample("theta", dist.Normal(mu, tau))
        else:
            theta = numpyro.deterministic("theta", mu + tau * numpyro.sample("z", dist.Normal(0.0, 1.0)))
        numpyro.sample("y", dist.Normal(theta, sigma), obs=y)


def funnel(centred):
    v = numpyro.sample("v", dist.Normal(0.0, 3.0))
    if centred:
        numpyro.sample("x", dist.Normal(0.0, jnp.exp(v / 2)).expand([9]).to_event(1))
    else:
        numpyro.sample("z", dist.Normal(0.0, 1.0).expand([9]).to_event(1))
    numpyro.factor("data", 0.0)


def modes(weight, apart):
    with numpyro.plate("axis", 8):
        z = numpyro.sample("z", dist.Normal(0.0, 3.0))
    heights = [dist.Normal(centre, 0.5).log_prob(z).sum() for centre in (apart, -apart)]
    numpyro.factor("modes", jnp.logaddexp(jnp.log(weight) + heights[0], jnp.log1p(-weight) + heights[1]))


def heavy():
    numpyro.sample("x", dist.StudentT(5.0, 0.0, 1.0).expand([4]).to_event(1))
    numpyro.factor("data", 0.0)


def waiting(y):
    """Times of which the rate is known but for a gamma distribution; few of them leave it skewed."""
    rate = numpyro.sample("rate", dist.Gamma(0.5, 1.0))
    with numpyro.plate("row", len(y)):
        numpyro.sample("y", dist.Exponential(rate), obs=y)


def _normal_regression(size: int, rows: int) -> Problem:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, size))
    y = x @ rng.normal(size=size) + 0.5 * rng.normal(size=rows)
    covariance = np.linalg.inv(x.T @ x / 0.25 + np.eye(size) / 4.0)
    truth = (covariance @ x.T @ y / 0.25, np.sqrt(np.diag(covariance)))
    return Problem(regression, {"x": x, "y": y}, {"b": truth})


def _schools(centred: bool) -> Problem:
    values = SCHOOLS["reference"] | SCHOOLS.get("exact", {})
    data = {name: np.asarray(SCHOOLS["data"][name], float) for name in ("sigma", "y")}
    theta = [[values[f"theta[{i}]"][what] for i in range(1, 9)] for what in ("mean", "sd")]
    truth = {"theta": tuple(map(np.array, theta)), **{n: (values[n]["mean"], values[n]["sd"]) for n in ("mu", "tau")}}
    return Problem(schools, {**data, "centred": centred}, truth)


def _modes(weight: float, apart: float = 1.0) -> Problem:
    """Each mode is normal: precision 4 + 1/9, centre 4 apart / (4 + 1/9), of which the prior is the same at both."""
    precision = 4.0 + 1.0 / 9.0
    centre = 4.0 * apart / precision
    mean = (2 * weight - 1) * centre
    sd = np.sqrt(1 / precision + centre**2 - mean**2)
    return Problem(modes, {"weight": weight, "apart": apart}, {"z": (np.full(8, mean), np.full(8, sd))})


def _waiting(number: int) -> Problem:
    shape, rate = 0.5 + number, 1.0 + number
    return Problem(waiting, {"y": np.ones(number)}, {"rate": (shape / rate, np.sqrt(shape) / rate)}, 3 + 6 / shape)


GAUSSIAN = Problem(gaussian, {}, {"x": (np.arange(float(SIZE)), np.ones(SIZE))})
REGRESSION, WIDE = _normal_regression(4, 30), _normal_regression(10, 40)
NONCENTRED, CENTRED = _schools(False), _schools(True)
FUNNEL = Problem(funnel, {"centred": True}, {"v": (0.0, 3.0)})
UNFUNNELLED = Problem(funnel, {"centred": False}, {"v": (0.0, 3.0)})
EQUAL, UNEQUAL, NEAR = _modes(0.5), _modes(0.2), _modes(0.5, apart=0.3)
HEAVY = Problem(heavy, {}, {"x": (np.zeros(4), np.full(4, np.sqrt(5 / 3)))}, kurtosis=9.0)
SKEWED, WAITING = _waiting(1), _waiting(30)

LONG = bk.NUTS(num_warmup=400, num_draws=500)
FAR = {"x": np.full(SIZE, 100.0)}
HIGH = {"z": np.ones(8)}
QUICK = {"num_steps": 1500, "num_draws": 10_000}

SETTINGS = (
    Setting("Gaussian, NUTS", GAUSSIAN, LONG),
    Setting("Gaussian, ChEES", GAUSSIAN, bk.ChEES()),
    Setting("Gaussian, MEADS", GAUSSIAN, bk.MEADS()),
    Setting(
        "Gaussian, ChEES, 512 chains of 5 draws", GAUSSIAN, bk.ChEES(num_chains=512, num_superchains=4, num_draws=5)
    ),
    Setting("regression, NUTS", REGRESSION, LONG),
    Setting("regression, VI of full rank", REGRESSION, bk.VI(guide=bk.guides.FullRank(), **QUICK)),
    Setting("regression, Laplace", REGRESSION, bk.Laplace(num_draws=10_000)),
    Setting("regression, Pathfinder", REGRESSION, bk.Pathfinder()),
    Setting("regression, SMC", REGRESSION, bk.SMC(num_particles=500)),
    Setting("regression, SGLD", REGRESSION, bk.SGLD(step_size=0.05, steps_per_draw=40)),
    Setting("heavy tails, NUTS", HEAVY, LONG),
    Setting("gamma, NUTS", WAITING, LONG),
    Setting("eight schools, NUTS", NONCENTRED, LONG),
    Setting("funnel without its neck, NUTS", UNFUNNELLED, LONG),
    Setting("two modes, equal, SMC", EQUAL, bk.SMC(num_particles=1000)),
    Setting("two modes, equal, tempering", EQUAL, bk.ParallelTempering(num_draws=4000)),
    Setting("two modes that meet, NUTS", NEAR, LONG),
    Setting("two modes, equal, NUTS", EQUAL, LONG),
    Setting("two modes, unequal, NUTS", UNEQUAL, LONG),
    Setting("two modes, unequal, one chain", UNEQUAL, bk.NUTS(num_chains=1, num_warmup=400, num_draws=1000)),
    Setting("two modes, all chains started in one", EQUAL, LONG, HIGH),
    Setting("two modes, SMC of 30 particles", UNEQUAL, bk.SMC(num_particles=30)),
    Setting("centred eight schools, NUTS", CENTRED, LONG),
    Setting("funnel, NUTS", FUNNEL, LONG),
    Setting("funnel, VI of mean field", FUNNEL, bk.VI(guide=bk.guides.MeanField(), **QUICK)),
    Setting("Gaussian, VI of mean field", GAUSSIAN, bk.VI(guide=bk.guides.MeanField(), **QUICK)),
    Setting("Gaussian, 20 draws", GAUSSIAN, bk.NUTS(num_warmup=400, num_draws=20)),
    Setting("Gaussian, no warmup, far start", GAUSSIAN, bk.NUTS(num_warmup=0, num_draws=500), FAR),
    Setting(
        "Gaussian, short warmup, far start, short trajectories",
        GAUSSIAN,
        bk.NUTS(num_warmup=20, num_draws=200, initial_step_size=1e-3, max_tree_depth=2),
        FAR,
    ),
    Setting("Gaussian, step too large", GAUSSIAN, bk.NUTS(num_warmup=0, num_draws=500, initial_step_size=20.0)),
    Setting(
        "Gaussian, 512 chains of 5 draws that start far away",
        GAUSSIAN,
        bk.ChEES(num_chains=512, num_superchains=4, num_warmup=2, num_draws=5, max_leapfrogs=2),
        "uniform",
    ),
    Setting("skewed gamma, Laplace", SKEWED, bk.Laplace(num_draws=10_000)),
    Setting("skewed gamma, Pathfinder", SKEWED, bk.Pathfinder(num_paths=1)),
    Setting(
        "skewed gamma, VI of mean field", SKEWED, bk.VI(guide=bk.guides.MeanField(), **{**QUICK, "num_draws": 100_000})
    ),
    Setting("regression, SGLD, large steps", REGRESSION, bk.SGLD(step_size=1.5, steps_per_draw=40)),
    Setting("regression in 10, SMC of 20 particles", WIDE, bk.SMC(num_particles=20)),
)
