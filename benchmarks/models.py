"""The posteriors on which samplers are timed, as plain NumPyro functions; `pymc_models.py` has them in PyMC.

`PROBLEMS` maps a name to a function that returns `(model, data)`; the data are made in `problem_data.py`.
"""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

from benchmarks.problem_data import DATA, Data, by_problem

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


def stochastic_volatility(returns):
    r"""Log variances that follow a stationary autoregression, non-centred (number of returns + 3 parameters).

    .. math:: h_1 = \mu + \sigma z_1 / \sqrt{1 - \phi^2}, \quad h_t = \mu + \phi (h_{t-1} - \mu) + \sigma z_t, \quad
        y_t \sim N(0, e^{h_t})

    The path is not computed by a loop, which would take most of the time of every library, but by
    :math:`(1 - \phi B)^{-1} = \prod_j (1 + \phi^{2^j} B^{2^j})` with :math:`B` the lag.
    """
    mu = numpyro.sample("mu", dist.Cauchy(0.0, 10.0))
    phi = numpyro.sample("phi", dist.Uniform(-1.0, 1.0))
    sigma = numpyro.sample("sigma", dist.HalfCauchy(5.0))
    with numpyro.plate("days", len(returns)):
        standard = numpyro.sample("h_standard", dist.Normal(0.0, 1.0))
    path = jnp.concatenate([standard[:1] / jnp.sqrt(1.0 - phi**2), standard[1:]])
    power, lag = phi, 1
    while lag < len(returns):
        path = path + power * jnp.concatenate([jnp.zeros(lag), path[:-lag]])
        power, lag = power**2, 2 * lag
    with numpyro.plate("days", len(returns)):
        numpyro.sample("returns", dist.Normal(0.0, jnp.exp((mu + sigma * path) / 2)), obs=returns)


def poisson_gp(x, counts):
    """Poisson counts, their log rate a Gaussian process with a squared exponential kernel (13 parameters)."""
    length_scale = numpyro.sample("length_scale", dist.Gamma(25.0, 4.0))
    amplitude = numpyro.sample("amplitude", dist.HalfNormal(2.0))
    standard = numpyro.sample("f_standard", dist.Normal(0.0, 1.0).expand([len(x)]).to_event(1))
    covariance = amplitude**2 * jnp.exp(-0.5 * ((x[:, None] - x) / length_scale) ** 2)
    f = jnp.linalg.cholesky(covariance + 1e-8 * jnp.eye(len(x))) @ standard
    with numpyro.plate("points", len(x)):
        numpyro.sample("counts", dist.Poisson(jnp.exp(f)), obs=counts)


def poisson_hierarchy(group, num_groups, x, counts):
    """Counts with an effect of each group, non-centred (2,003 parameters with the data of `problem_data.py`)."""
    mean = numpyro.sample("mean", dist.Normal(0.0, 2.0))
    scale = numpyro.sample("scale", dist.HalfNormal(1.0))
    slope = numpyro.sample("slope", dist.Normal(0.0, 1.0))
    with numpyro.plate("groups", num_groups):
        standard = numpyro.sample("effect_standard", dist.Normal(0.0, 1.0))
    effect = mean + scale * standard
    with numpyro.plate("rows", len(counts)):
        numpyro.sample("counts", dist.Poisson(jnp.exp(effect[group] + slope * x)), obs=counts)


MODELS: dict[str, Model] = by_problem(globals())


def _problem(name: str) -> Callable[[], tuple[Model, Data]]:
    return lambda: (MODELS[name], DATA[name]())


PROBLEMS: dict[str, Callable[[], tuple[Model, Data]]] = {name: _problem(name) for name in DATA}
