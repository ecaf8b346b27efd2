"""Deaths and replacements of live points, by BlackJAX's nested slice sampler."""

from __future__ import annotations

from typing import Any, NamedTuple

import blackjax.ns.nss as nss
import jax
import jax.numpy as jnp
from blackjax.ns.base import StateWithLogLikelihood

from bayeskit._typing import Array
from bayeskit.inference.smc.moves import Particles, has_correlations
from bayeskit.inference.smc.split import parts
from bayeskit.target import Target


class Plan(NamedTuple):
    """How a stage goes: deaths at a time, how often, and slice moves until a replacement counts as independent."""

    num_delete: int
    num_rounds: int
    num_moves: int


def rounds(plan: Plan, target: Target, keys: Array, live: Particles) -> tuple[Particles, Particles, Array]:
    """Rounds of deaths and replacements of all runs: live points, dead points in order, and expansions a slice."""
    size = live.position.shape[-1]
    correlated = has_correlations(live.position.shape[1], size)

    def point(position: Array, loglikelihood_birth: Array) -> StateWithLogLikelihood:
        return StateWithLogLikelihood(position, *parts(target, position), loglikelihood_birth)

    def factor(key: Array, state: Any, info: Any, params: Any) -> dict[str, Array]:
        del key, info, params
        return {"covariance_factor": _factor(state.particles.position, correlated)}

    kernel = nss.build_kernel(
        point, num_inner_steps=plan.num_moves, num_delete=plan.num_delete, inner_kernel_params=factor
    )

    def one_run(key: Array, live: Particles) -> tuple[Particles, Particles, Array]:
        births = jnp.full_like(live.log_likelihood, -jnp.inf)
        state = nss.init(
            live.position,
            lambda _: StateWithLogLikelihood(*live, births),
            loglikelihood_birth=-jnp.inf,
            update_inner_kernel_params_fn=factor,
            rng_key=key,
        )

        def one_round(state: Any, key: Array) -> Any:
            new, info = kernel(key, state)
            return jax.tree.map(lambda a, b: a.astype(b.dtype), new, state), info

        state, info = jax.lax.scan(one_round, state, jax.random.split(key, plan.num_rounds))
        last, gone = state.particles, info.particles
        dead = jax.tree.map(
            lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), (gone.position, gone.logdensity, gone.loglikelihood)
        )
        left = Particles(last.position, last.logdensity, last.loglikelihood)
        return left, Particles(*dead), info.update_info.num_expansions.mean()

    return jax.vmap(one_run)(jnp.asarray(keys), live)


def _factor(positions: Array, correlated: bool) -> Array:
    """A factor of the covariance of the live points, of its diagonal where they are too few for correlations."""
    scale = jnp.std(positions, axis=0)
    scale = jnp.where(scale > 0, scale, 1e-8)
    if not correlated:
        return jnp.diag(scale)
    standard = (positions - positions.mean(0)) / scale
    covariance = standard.T @ standard / positions.shape[0]
    return scale[:, None] * jnp.linalg.cholesky(covariance + 1e-6 * jnp.eye(positions.shape[1]))
