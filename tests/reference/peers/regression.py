"""Regressions: sparse, with excess zeros, by neural networks and by Gaussian processes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax.typing import ArrayLike
from numpyro.contrib.hsgp.approximation import hsgp_squared_exponential

# ---- the horseshoe: Carvalho, Polson and Scott (2010), "The horseshoe estimator for sparse signals" ----------------


def _horseshoe(num_columns: int) -> ArrayLike:
    local = numpyro.sample("local", dist.HalfCauchy(1.0).expand([num_columns]).to_event(1))
    shared = numpyro.sample("shared", dist.HalfCauchy(1.0))
    z = numpyro.sample("z", dist.Normal(0.0, 1.0).expand([num_columns]).to_event(1))
    return numpyro.deterministic("coefficient", shared * local * z)


def horseshoe(x: ArrayLike, y: ArrayLike | None = None) -> None:
    """A normal regression of which most coefficients are nearly zero."""
    coefficient = _horseshoe(x.shape[1])
    precision = numpyro.sample("precision", dist.Gamma(3.0, 1.0))
    with numpyro.plate("row", x.shape[0]):
        numpyro.sample("y", dist.Normal(x @ coefficient, precision**-0.5), obs=y)


def horseshoe_bernoulli(x: ArrayLike, y: ArrayLike | None = None) -> None:
    """A logistic regression of which most coefficients are nearly zero."""
    coefficient = _horseshoe(x.shape[1])
    with numpyro.plate("row", x.shape[0]):
        numpyro.sample("y", dist.Bernoulli(logits=x @ coefficient), obs=y)


def _sparse() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(5)
    x = random.normal(size=(40, 5))
    return x, x @ np.array([2.0, 0.0, 0.0, -1.0, 0.0])


def _sparse_rows(seed: int) -> dict[str, np.ndarray]:
    x, mean = _sparse()
    return {"x": x, "y": mean + np.random.default_rng(seed).normal(0.0, 0.5, mean.size)}


def _sparse_choices(seed: int) -> dict[str, np.ndarray]:
    x, mean = _sparse()
    return {"x": x, "y": np.random.default_rng(seed).binomial(1, 1.0 / (1.0 + np.exp(-mean)))}


SPARSE, SPARSE_BERNOULLI = _sparse_rows(6), _sparse_choices(7)

# ---- counts with excess zeros: Lambert (1992), "Zero-inflated Poisson regression" ----------------------------------


def zero_inflated(x: ArrayLike, y: ArrayLike | None = None) -> None:
    """Both the chance of a structural zero and the rate of the others depend on the covariates."""
    columns = x.shape[1]
    for_zero = numpyro.sample("for_zero", dist.Normal(0.0, 1.0).expand([columns]).to_event(1))
    for_rate = numpyro.sample("for_rate", dist.Normal(0.0, 1.0).expand([columns]).to_event(1))
    with numpyro.plate("row", x.shape[0]):
        gate, rate = jax.nn.sigmoid(x @ for_zero), jnp.exp(x @ for_rate)
        numpyro.sample("y", dist.ZeroInflatedPoisson(gate, rate), obs=y)


def zero_inflated_by_hand(x: ArrayLike, y: ArrayLike | None = None) -> None:
    """The same with the kind of each zero as a discrete site, which is summed out; a Poisson rate of nearly zero."""
    columns = x.shape[1]
    for_zero = numpyro.sample("for_zero", dist.Normal(0.0, 1.0).expand([columns]).to_event(1))
    for_rate = numpyro.sample("for_rate", dist.Normal(0.0, 1.0).expand([columns]).to_event(1))
    with numpyro.plate("row", x.shape[0]):
        structural = numpyro.sample("structural", dist.Bernoulli(logits=x @ for_zero), infer={"enumerate": "parallel"})
        rate = jnp.where(structural == 1, 1e-8, jnp.exp(x @ for_rate))
        numpyro.sample("y", dist.Poisson(rate), obs=y)


def _zeros() -> dict[str, np.ndarray]:
    random = np.random.default_rng(8)
    x = np.stack([np.ones(40), random.normal(size=40)], axis=1)
    structural = random.uniform(size=40) < 1.0 / (1.0 + np.exp(-(x @ [-0.5, 0.5])))
    return {"x": x, "y": np.where(structural, 0, random.poisson(np.exp(x @ [1.0, 0.5])))}


ZEROS = _zeros()

# ---- neural networks: Neal (1996), "Bayesian learning for neural networks" -----------------------------------------


def network(x: ArrayLike, width: int, depth: int, y: ArrayLike | None = None) -> None:
    """A fully connected network of ``depth`` hidden layers, standard normal weights and tanh."""
    layer = x
    for number in range(depth):
        weights = dist.Normal(0.0, 1.0).expand([layer.shape[1], width]).to_event(2)
        layer = jnp.tanh(layer @ numpyro.sample(f"hidden{number + 1}", weights))
    output = numpyro.sample("output", dist.Normal(0.0, 1.0).expand([width, 1]).to_event(2))
    mean = numpyro.deterministic("mean", layer @ output)
    precision = numpyro.sample("precision", dist.Gamma(3.0, 1.0))
    with numpyro.plate("row", x.shape[0]):
        numpyro.sample("y", dist.Normal(mean, precision**-0.5).to_event(1), obs=y)


def _curve() -> dict[str, np.ndarray]:
    random = np.random.default_rng(9)
    x = np.linspace(-1.0, 1.0, 24)
    mean = x + 0.5 * np.sin(3.0 * x)
    return {"x": np.stack([np.ones(24), x], axis=1), "y": (mean + random.normal(0.0, 0.2, 24))[:, None]}


SHALLOW, DEEP = {**_curve(), "width": 3, "depth": 1}, {**_curve(), "width": 3, "depth": 2}

# ---- Gaussian processes: Rasmussen and Williams (2006); Solin and Särkkä (2020) for the Hilbert-space form ----------


def gaussian_process(x: ArrayLike, y: ArrayLike | None = None) -> None:
    """The squared exponential kernel, with its variance, length scale and noise unknown."""
    variance = numpyro.sample("variance", dist.LogNormal(0.0, 1.0))
    length = numpyro.sample("length", dist.LogNormal(0.0, 1.0))
    noise = numpyro.sample("noise", dist.LogNormal(-1.0, 1.0))
    covariance = variance * jnp.exp(-0.5 * ((x[:, None] - x) / length) ** 2) + noise * jnp.eye(len(x))
    numpyro.sample("y", dist.MultivariateNormal(jnp.zeros(len(x)), covariance), obs=y)


def hilbert_space_process(x: ArrayLike, half_width: float, num_functions: int, y: ArrayLike | None = None) -> None:
    """The same kernel by eigenfunctions of the Laplacian on an interval, as NumPyro has it."""
    amplitude = numpyro.sample("amplitude", dist.LogNormal(0.0, 1.0))
    length = numpyro.sample("length", dist.LogNormal(0.0, 1.0))
    noise = numpyro.sample("noise", dist.LogNormal(-1.0, 1.0))
    f = hsgp_squared_exponential(x, alpha=amplitude, length=length, ell=half_width, m=num_functions)
    with numpyro.plate("row", len(x)):
        numpyro.sample("y", dist.Normal(f, noise), obs=y)


def _wave() -> dict[str, np.ndarray]:
    random = np.random.default_rng(10)
    x = np.linspace(-2.0, 2.0, 20)
    return {"x": x, "y": np.sin(1.5 * x) + random.normal(0.0, 0.3, 20)}


WAVE = _wave()
HILBERT_SPACE = {**WAVE, "half_width": 3.0, "num_functions": 8}
