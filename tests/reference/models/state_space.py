"""A noisy random walk with a gap, and a noisy Lorenz system with a gap."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

Data = Mapping[str, object]


def brownian_motion(num_steps: int, observed_at: jax.Array, observed_locs: jax.Array) -> None:
    """A random walk seen at some steps.

    Both scales may be small, so that neither the walk nor its increments are free of a funnel. Given the scales and the
    observations the walk is Gaussian: it is sampled in units of that distribution, and the observations enter with the
    walk integrated out. It is the same joint density, factored the other way round.
    """
    innovation = numpyro.sample("innovation_noise_scale", dist.LogNormal(0.0, 2.0))
    observation = numpyro.sample("observation_noise_scale", dist.LogNormal(0.0, 2.0))
    times = jnp.arange(1.0, num_steps + 1.0)[observed_at]
    marginal = innovation**2 * jnp.minimum(times[:, None], times) + observation**2 * jnp.eye(times.shape[0])
    numpyro.sample(
        "observed_locs", dist.MultivariateNormal(jnp.zeros_like(times), covariance_matrix=marginal), obs=observed_locs
    )

    differences = jnp.eye(num_steps) - jnp.eye(num_steps, k=-1)
    seen = jnp.zeros(num_steps).at[observed_at].set(1.0)
    precision = differences.T @ differences / innovation**2 + jnp.diag(seen) / observation**2
    factor = jnp.linalg.cholesky(precision)
    pull = jnp.zeros(num_steps).at[observed_at].set(observed_locs) / observation**2
    white = numpyro.sample("white", dist.Normal(0.0, 1.0).expand([num_steps]).to_event(1))
    # the conditional mean and a draw around it, from one factor of the precision
    centre = jax.scipy.linalg.solve_triangular(factor, pull, lower=True)
    numpyro.deterministic("locs", jax.scipy.linalg.solve_triangular(factor, centre + white, lower=True, trans=1))


def lorenz_drift(state: jax.Array) -> jax.Array:
    x, y, z = state
    return jnp.stack([10.0 * (y - x), x * (28.0 - z) - y, x * y - 8.0 / 3.0 * z])


def lorenz_bridge(
    num_steps: int,
    observation_index: int,
    observed_at: jax.Array,
    observed_values: jax.Array,
    observation_scale: jax.Array,
    innovation_scale: jax.Array,
    step_size: jax.Array,
) -> None:
    """An Euler-Maruyama path of the Lorenz system, one coordinate seen at both ends.

    The innovations are small, so that the centred path is a thin tube around the deterministic one. They are sampled in
    units of their scale instead. The start is near a saddle at the origin, and the data fix only its distance along the
    unstable direction: the isotropic start is rotated to have that direction as its first axis.
    """
    growth = (jnp.sqrt(1201.0) - 11.0) / 2.0  # the positive eigenvalue of the drift's derivative at the origin
    unstable = jnp.stack([growth + 1.0, jnp.asarray(10.0)]) / jnp.hypot(growth + 1.0, 10.0)  # its left eigenvector
    axes = numpyro.sample("axes", dist.Normal(0.0, 1.0).expand([3]).to_event(1))
    along, across = unstable * axes[0], jnp.stack([-unstable[1], unstable[0]]) * axes[1]
    start = jnp.append(along + across, axes[2])
    noise = numpyro.sample("noise", dist.Normal(0.0, 1.0).expand([num_steps - 1, 3]).to_event(2))

    def step(state: jax.Array, kick: jax.Array) -> tuple[jax.Array, jax.Array]:
        state = state + step_size * lorenz_drift(state) + jnp.sqrt(step_size) * innovation_scale * kick
        return state, state

    _, path = jax.lax.scan(step, start, noise, unroll=4)
    path = numpyro.deterministic("x", jnp.concatenate([start[None], path]))
    seen = path[observed_at, observation_index]
    numpyro.sample("observed_values", dist.Normal(seen, observation_scale), obs=observed_values)


def prepare_brownian_motion(data: Data) -> dict[str, object]:
    values = np.array([np.nan if value is None else value for value in data["observed_locs"]], float)
    seen = np.flatnonzero(~np.isnan(values))
    return {"num_steps": len(values), "observed_at": seen, "observed_locs": values[seen]}


def prepare_lorenz_bridge(data: Data) -> dict[str, object]:
    seen = np.flatnonzero(np.asarray(data["observation_mask"], bool))
    values = [data["observed_values"][index] for index in seen]
    scales = {name: np.asarray(data[name], float) for name in ("observation_scale", "innovation_scale", "step_size")}
    return {
        **scales,
        "num_steps": len(data["observed_values"]),
        "observation_index": int(data["observation_index"]),
        "observed_at": seen,
        "observed_values": np.asarray(values, float),
    }
