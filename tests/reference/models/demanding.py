"""Seven posteriors on which a bold sampler diverges or is left behind, with data that are made here or published.

They are sampled with default settings, as a first user would; their awkward geometry is the point of them.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.distributions import constraints

from .hierarchical import eight_schools_noncentered

Arguments = dict[str, object]
DATA = Path(__file__).resolve().parents[3] / "data"
FOLDER = DATA / "demanding"
"""Means and standard deviations of a long run of NumPyro's sampler, one file a posterior."""


def hidden_markov(u: jax.Array, v: jax.Array) -> None:
    """Two hidden states with exponential emissions of two kinds, positive ordered rates, 8 elements."""
    stay = [numpyro.sample(f"theta{k + 1}", dist.Dirichlet(jnp.ones(2))) for k in range(2)]
    rates = {}
    for name, centre in (("phi", jnp.array([0.0, 3.0])), ("lam", jnp.array([0.0, 3.0]))):
        flat = dist.ImproperUniform(constraints.positive_ordered_vector, (), event_shape=(2,))
        rates[name] = numpyro.sample(name, flat)
        numpyro.factor(f"{name}_prior", dist.Normal(centre, 1.0).log_prob(rates[name]).sum())
    emission = dist.Exponential(rates["phi"]).log_prob(u[:, None])
    emission += dist.Exponential(rates["lam"]).log_prob(v[:, None])
    transition = jnp.log(jnp.stack(stay))

    def step(forward: jax.Array, log_density: jax.Array) -> tuple[jax.Array, None]:
        return jax.nn.logsumexp(forward[:, None] + transition, axis=0) + log_density, None

    forward, _ = jax.lax.scan(step, emission[0], emission[1:], unroll=4)
    numpyro.factor("emissions", jax.nn.logsumexp(forward))


def poisson_process(x: jax.Array, k: jax.Array) -> None:
    """Counts whose log rate is a Gaussian process, white latent values (13 parameters)."""
    rho = numpyro.sample("rho", dist.Gamma(25.0, 4.0))
    alpha = numpyro.sample("alpha", dist.HalfNormal(2.0))
    covariance = alpha**2 * jnp.exp(-0.5 * ((x[:, None] - x) / rho) ** 2) + 1e-10 * jnp.eye(len(x))
    white = numpyro.sample("white", dist.Normal(0.0, 1.0).expand([len(x)]).to_event(1))
    numpyro.sample("k", dist.Poisson(jnp.exp(jnp.linalg.cholesky(covariance) @ white)).to_event(1), obs=k)


def _spectral(x: jax.Array, number: int, boundary: float, scale: jax.Array, length: jax.Array) -> jax.Array:
    """Basis of a Gaussian process on (-1, 1) times the roots of its spectral density (Solin and Särkkä 2020)."""
    root = jnp.arange(1, number + 1) * jnp.pi / (2 * boundary)
    basis = jnp.sin(root * (x[:, None] + boundary)) / jnp.sqrt(boundary)
    return basis * scale * (2 * jnp.pi) ** 0.25 * jnp.sqrt(length) * jnp.exp(-0.25 * (length * root) ** 2)


def heteroscedastic(x: jax.Array, y: jax.Array) -> None:
    """Mean and log standard deviation are Gaussian processes with 40 and 20 basis functions (66 parameters)."""
    centre = numpyro.sample("centre", dist.StudentT(3.0, -13.0, 36.0))
    log_noise = numpyro.sample("log_noise", dist.StudentT(3.0, 0.0, 10.0))
    terms = []
    for name, number, size in (("mean", 40, 36.0), ("noise", 20, 2.5)):
        scale = numpyro.sample(f"{name}_scale", dist.FoldedDistribution(dist.StudentT(3.0, 0.0, size)))
        length = numpyro.sample(f"{name}_length", dist.InverseGamma(2.0, 0.4))
        white = numpyro.sample(f"{name}_white", dist.Normal(0.0, 1.0).expand([number]).to_event(1))
        terms.append(_spectral(x, number, 1.25, scale, length) @ white)
    numpyro.sample("y", dist.Normal(centre + terms[0], jnp.exp(log_noise + terms[1])).to_event(1), obs=y)


def admissions(department: jax.Array, male: jax.Array, applied: jax.Array, admitted: jax.Array) -> None:
    """Logits of admission with correlated effects of the department and of being male in it (17 parameters)."""
    centre = numpyro.sample("centre", dist.Normal(0.0, jnp.array([4.0, 1.0])).to_event(1))
    scale = numpyro.sample("scale", dist.HalfNormal(1.0).expand([2]).to_event(1))
    factor = numpyro.sample("factor", dist.LKJCholesky(2, concentration=2.0))
    with numpyro.plate("departments", 6):
        white = numpyro.sample("white", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
    effect = centre + white @ (scale[:, None] * factor).T
    logits = effect[department, 0] + effect[department, 1] * male
    numpyro.sample("admitted", dist.Binomial(applied, logits=logits).to_event(1), obs=admitted)


def stochastic_volatility(returns: jax.Array) -> None:
    """Log volatilities, an autoregression of order one driven by white shocks (103 parameters)."""
    persistence = numpyro.sample("persistence", dist.Beta(20.0, 1.5))
    level = numpyro.sample("level", dist.Cauchy(0.0, 5.0))
    size = numpyro.sample("size", dist.HalfCauchy(2.0))
    white = numpyro.sample("white", dist.Normal(0.0, 1.0).expand(returns.shape).to_event(1))
    slope = 2 * persistence - 1

    def step(before: jax.Array, shock: jax.Array) -> tuple[jax.Array, jax.Array]:
        following = slope * before + size * shock
        return following, following

    first = size * white[0] / jnp.sqrt(1 - slope**2)
    _, rest = jax.lax.scan(step, first, white[1:], unroll=8)
    log_volatility = numpyro.deterministic("log_volatility", level + jnp.concatenate([first[None], rest]))
    numpyro.sample("returns", dist.Normal(0.0, jnp.exp(log_volatility / 2)).to_event(1), obs=returns)


def cox_process(factor: jax.Array, counts: jax.Array) -> None:
    """Counts on a grid of 10 by 10, log intensities with a normal prior as they are (100 parameters)."""
    prior = dist.MultivariateNormal(jnp.zeros(len(counts)), scale_tril=factor)
    log_intensity = numpyro.sample("log_intensity", prior)
    numpyro.sample("counts", dist.Poisson(jnp.exp(log_intensity)).to_event(1), obs=counts)


def emissions() -> Arguments:
    """400 steps of a chain that stays with probabilities .9 and .8."""
    rng = np.random.default_rng(20)
    state, states = 0, []
    for _ in range(400):
        state = state if rng.uniform() < (0.9, 0.8)[state] else 1 - state
        states.append(state)
    rates = {"u": np.array([0.3, 2.5]), "v": np.array([0.1, 3.5])}
    return {name: rng.exponential(1 / rate[states]) for name, rate in rates.items()}


def counts_at_eleven_points() -> Arguments:
    """Counts that fall and rise twice."""
    return {"x": np.linspace(-10, 10, 11), "k": np.array([40, 37, 29, 12, 4, 3, 9, 19, 77, 82, 33])}


def crash() -> Arguments:
    """The motorcycle table of `data`, time mapped to (-1, 1)."""
    with (DATA / "motorcycle.csv").open() as lines:
        time, y = np.array([[float(cell) for cell in row.values()] for row in csv.DictReader(lines)]).T
    return {"x": 2 * (time - time.min()) / np.ptp(time) - 1, "y": y}


def berkeley() -> Arguments:
    """Applications and admissions of 1973, six departments, men first (Bickel, Hammel and O'Connell 1975)."""
    applied = [825, 108, 560, 25, 325, 593, 417, 375, 191, 393, 373, 341]
    admitted = [512, 89, 353, 17, 120, 202, 138, 131, 53, 94, 22, 24]
    both = {"applied": np.array(applied), "admitted": np.array(admitted)}
    return {"department": np.repeat(np.arange(6), 2), "male": np.tile([1, 0], 6), **both}


def returns() -> Arguments:
    """100 returns of a process with persistence .95 and shocks of .3."""
    rng = np.random.default_rng(3)
    h = [-0.5]
    for _ in range(99):
        h.append(-0.5 + 0.95 * (h[-1] + 0.5) + 0.3 * rng.normal())
    return {"returns": np.exp(np.array(h) / 2) * rng.normal(size=len(h))}


def grid_of_counts() -> Arguments:
    """A rough field of variance 1.9 on the unit square, correlated over a length of .3, and counts there."""
    rng = np.random.default_rng(5)
    points = np.stack(np.meshgrid(np.arange(10), np.arange(10)), axis=-1).reshape(-1, 2) / 10
    distance = np.linalg.norm(points[:, None] - points, axis=-1)
    factor = np.linalg.cholesky(1.9 * np.exp(-distance / 0.3))
    return {"factor": factor, "counts": rng.poisson(np.exp(factor @ rng.normal(size=100)))}


def coaching() -> Arguments:
    """Effects of coaching in eight schools and their standard errors (Rubin 1981)."""
    y, sigma = [28, 8, -3, 7, -1, 1, 18, 12], [15, 10, 16, 11, 9, 11, 10, 18]
    return {"sigma": np.array(sigma, float), "y": np.array(y, float)}


DEMANDING: dict[str, tuple[Callable[..., None], Callable[[], Arguments]]] = {
    "admissions": (admissions, berkeley),
    "cox_process": (cox_process, grid_of_counts),
    "eight_schools": (eight_schools_noncentered, coaching),
    "heteroscedastic": (heteroscedastic, crash),
    "hidden_markov": (hidden_markov, emissions),
    "poisson_process": (poisson_process, counts_at_eleven_points),
    "stochastic_volatility": (stochastic_volatility, returns),
}
"""Name, model, and what makes its arguments."""
