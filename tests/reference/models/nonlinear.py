"""A Gaussian process, a mixture and a predator-prey system."""

from __future__ import annotations

from collections.abc import Mapping

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.distributions import constraints

Data = Mapping[str, object]


def gp_regression(x: jax.Array, y: jax.Array) -> None:
    """A Gaussian process with a squared exponential kernel; ``sigma`` itself is the variance of the noise."""
    rho = numpyro.sample("rho", dist.Gamma(25.0, 4.0))
    alpha = numpyro.sample("alpha", dist.HalfNormal(2.0))
    sigma = numpyro.sample("sigma", dist.HalfNormal(1.0))
    distance = (x[:, None] - x[None, :]) / rho
    covariance = alpha**2 * jnp.exp(-0.5 * distance**2) + sigma * jnp.eye(x.shape[0])
    numpyro.sample("y", dist.MultivariateNormal(jnp.zeros_like(x), covariance_matrix=covariance), obs=y)


def gaussian_mixture(y: jax.Array) -> None:
    """Two normal components in order of their means.

    The density of the ordered means is a constant times that of the unordered ones; it enters as a factor on a flat
    distribution over ordered vectors.
    """
    theta = numpyro.sample("theta", dist.Beta(5.0, 5.0))
    mu = numpyro.sample("mu", dist.ImproperUniform(constraints.ordered_vector, (), event_shape=(2,)))
    numpyro.factor("mu_prior", dist.Normal(0.0, 2.0).log_prob(mu).sum())
    sigma = numpyro.sample("sigma", dist.HalfNormal(2.0).expand([2]).to_event(1))
    weights = dist.Categorical(probs=jnp.stack([theta, 1.0 - theta]))
    numpyro.sample("y", dist.MixtureSameFamily(weights, dist.Normal(mu, sigma)), obs=y)


def unordered_mixture(y: jax.Array) -> None:
    """The same mixture without the order: two equal modes, which no honest verdict accepts."""
    theta = numpyro.sample("theta", dist.Beta(5.0, 5.0))
    mu = numpyro.sample("mu", dist.Normal(0.0, 2.0).expand([2]).to_event(1))
    sigma = numpyro.sample("sigma", dist.HalfNormal(2.0).expand([2]).to_event(1))
    weights = dist.Categorical(probs=jnp.stack([theta, 1.0 - theta]))
    numpyro.sample("y", dist.MixtureSameFamily(weights, dist.Normal(mu, sigma)), obs=y)


def predator_prey_path(theta: jax.Array, start: jax.Array, times: jax.Array) -> jax.Array:
    """The logs of both populations at ``times``, from ``start`` at time zero. The system is solved in logs."""

    def drift(time: jax.Array, logs: jax.Array, theta: jax.Array) -> jax.Array:
        prey, predator = jnp.exp(logs)
        return jnp.stack([theta[0] - theta[1] * predator, -theta[2] + theta[3] * prey])

    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(drift),
        diffrax.Tsit5(),
        t0=0.0,
        t1=times[-1],
        dt0=0.1,
        y0=jnp.log(start),
        args=theta,
        saveat=diffrax.SaveAt(ts=times),
        stepsize_controller=diffrax.PIDController(rtol=1e-6, atol=1e-6),
        max_steps=1024,
        throw=False,  # unreachable parameters give infinite populations: density zero
    )
    return solution.ys


def lotka_volterra(ts: jax.Array, y_init: jax.Array, y: jax.Array) -> None:
    """Hares and lynxes. The rates are sampled in units of their prior scales."""
    scale = jnp.array([0.5, 0.05, 0.5, 0.05])
    location = jnp.array([2.0, 1.0, 2.0, 1.0])
    rates = numpyro.sample("rates", dist.TruncatedNormal(location, 1.0, low=0.0).to_event(1))
    theta = numpyro.deterministic("theta", scale * rates)
    z_init = numpyro.sample("z_init", dist.LogNormal(jnp.log(10.0), 1.0).expand([2]).to_event(1))
    sigma = numpyro.sample("sigma", dist.LogNormal(-1.0, 1.0).expand([2]).to_event(1))
    logs = predator_prey_path(theta, z_init, ts)
    numpyro.sample("y_init", dist.LogNormal(jnp.log(z_init), sigma), obs=y_init)
    numpyro.sample("y", dist.LogNormal(logs, sigma), obs=y)


def prepare_gp_regression(data: Data) -> dict[str, np.ndarray]:
    return {name: np.asarray(data[name], float) for name in ("x", "y")}


def prepare_mixture(data: Data) -> dict[str, np.ndarray]:
    return {"y": np.asarray(data["y"], float)}


def prepare_lotka_volterra(data: Data) -> dict[str, np.ndarray]:
    return {name: np.asarray(data[name], float) for name in ("ts", "y_init", "y")}
