"""Linear regressions, most of them with flat priors.

A flat prior stays flat under a linear map, so the coefficients are sampled in the orthogonal basis of the predictors
(thin QR) and mapped back: the posterior is the same, without the correlation between intercept and slopes.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.distributions import constraints

Data = Mapping[str, object]


def _flat(name: str, support: constraints.Constraint = constraints.real, shape: tuple[int, ...] = ()) -> jax.Array:
    return numpyro.sample(name, dist.ImproperUniform(support, (), event_shape=shape))


def _orthogonal(columns: list[np.ndarray], response: np.ndarray) -> dict[str, np.ndarray]:
    """``q r`` = design matrix with a leading column of ones; the columns of ``q`` have mean square one."""
    design = np.column_stack([np.ones_like(response), *columns])
    q, r = np.linalg.qr(design)
    scale = np.sqrt(len(response))
    return {"q": q * scale, "r": r / scale, "y": response}


def _flat_regression(q: jax.Array, r: jax.Array, y: jax.Array, sigma: jax.Array) -> None:
    coefficients = _flat("coefficients", shape=(q.shape[1],))
    numpyro.deterministic("beta", jax.scipy.linalg.solve_triangular(r, coefficients))
    numpyro.sample("y", dist.Normal(q @ coefficients, sigma), obs=y)


def log10earn_height(q: jax.Array, r: jax.Array, y: jax.Array) -> None:
    """log10(earnings) on height; everything flat."""
    _flat_regression(q, r, y, sigma=_flat("sigma", constraints.positive))


def kidscore_momiq(q: jax.Array, r: jax.Array, y: jax.Array) -> None:
    """A child's test score on the mother's IQ; flat coefficients."""
    _flat_regression(q, r, y, sigma=numpyro.sample("sigma", dist.HalfCauchy(2.5)))


def kidscore_interaction(q: jax.Array, r: jax.Array, y: jax.Array) -> None:
    """A child's test score on the mother's schooling, her IQ and their product; flat coefficients."""
    _flat_regression(q, r, y, sigma=numpyro.sample("sigma", dist.HalfCauchy(2.5)))


def logmesquite(q: jax.Array, r: jax.Array, y: jax.Array) -> None:
    """The log weight of mesquite leaves on the logs of what is easily measured; everything flat."""
    _flat_regression(q, r, y, sigma=_flat("sigma", constraints.positive))


def nes(q: jax.Array, r: jax.Array, y: jax.Array) -> None:
    """Party identification on ideology and demography; everything flat."""
    _flat_regression(q, r, y, sigma=_flat("sigma", constraints.positive))


def blr(X: jax.Array, y: jax.Array) -> None:
    """A regression with proper priors and no intercept."""
    beta = numpyro.sample("beta", dist.Normal(0.0, 10.0).expand([X.shape[1]]).to_event(1))
    sigma = numpyro.sample("sigma", dist.HalfNormal(10.0))
    numpyro.sample("y", dist.Normal(X @ beta, sigma), obs=y)


def kilpisjarvi(
    x: jax.Array, y: jax.Array, pmualpha: jax.Array, psalpha: jax.Array, pmubeta: jax.Array, psbeta: jax.Array
) -> None:
    """Summer temperature on the year, which is not centred: ``alpha`` is the temperature at year zero.

    Sampled is the level at the mean year, ``alpha + beta * mean(x)``: given ``beta`` a shift, with Jacobian one.
    """
    middle = x.mean()
    beta = numpyro.sample("beta", dist.Normal(pmubeta, psbeta))
    level = numpyro.sample("level", dist.Normal(pmualpha + beta * middle, psalpha))
    numpyro.deterministic("alpha", level - beta * middle)
    sigma = _flat("sigma", constraints.positive)
    numpyro.sample("y", dist.Normal(level + beta * (x - middle), sigma), obs=y)


def prepare_log10earn_height(data: Data) -> dict[str, np.ndarray]:
    return _orthogonal([np.asarray(data["height"], float)], np.log10(np.asarray(data["earn"], float)))


def prepare_kidscore_momiq(data: Data) -> dict[str, np.ndarray]:
    return _orthogonal([np.asarray(data["mom_iq"], float)], np.asarray(data["kid_score"], float))


def prepare_kidscore_interaction(data: Data) -> dict[str, np.ndarray]:
    schooling, iq = (np.asarray(data[name], float) for name in ("mom_hs", "mom_iq"))
    return _orthogonal([schooling, iq, schooling * iq], np.asarray(data["kid_score"], float))


def prepare_logmesquite(data: Data) -> dict[str, np.ndarray]:
    logged = ("diam1", "diam2", "canopy_height", "total_height", "density")
    columns = [np.log(np.asarray(data[name], float)) for name in logged]
    return _orthogonal([*columns, np.asarray(data["group"], float)], np.log(np.asarray(data["weight"], float)))


def prepare_nes(data: Data) -> dict[str, np.ndarray]:
    ages = [(np.asarray(data["age_discrete"]) == age).astype(float) for age in (2, 3, 4)]
    before, after = ("real_ideo", "race_adj"), ("educ1", "gender", "income")
    columns = [np.asarray(data[name], float) for name in before] + ages
    columns += [np.asarray(data[name], float) for name in after]
    return _orthogonal(columns, np.asarray(data["partyid7"], float))


def prepare_kilpisjarvi(data: Data) -> dict[str, np.ndarray]:
    names = ("x", "y", "pmualpha", "psalpha", "pmubeta", "psbeta")
    return {name: np.asarray(data[name], float) for name in names}


def prepare_blr(data: Data) -> dict[str, np.ndarray]:
    return {name: np.asarray(data[name], float) for name in ("X", "y")}
