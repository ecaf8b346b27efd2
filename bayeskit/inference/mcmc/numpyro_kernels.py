"""NumPyro's NUTS and HMC kernels as pure functions over explicit state.

NumPyro's kernels keep settings in closures that ``init`` fills; they are filled again by an abstract ``init``
(``jax.eval_shape``), which computes nothing, so a stored state can be advanced in a new process.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from numpyro.infer.hmc import HMCState, hmc

from bayeskit._typing import Array
from bayeskit.target import Target

Settings = dict[str, Any]


def _potential(target: Target) -> Callable[[Array], Array]:
    return lambda position: -target.log_density(target.unravel(position))


def init_chain(algorithm: str, settings: Settings, key: Array, target: Target, position: Array) -> HMCState:
    """State before the first step at a flat position."""
    init, _ = hmc(potential_fn_gen=_potential, algo=algorithm)
    return init(position, model_args=(target,), rng_key=key, **settings)


def refreshed(state: HMCState, target: Target) -> HMCState:
    """The state at the same place of another target."""
    energy, slope = jax.value_and_grad(_potential(target))(state.z)
    return state._replace(potential_energy=energy, z_grad=slope)


def step_chain(
    algorithm: str, settings: Settings, state: HMCState, target: Target
) -> tuple[HMCState, Array, dict[str, Array]]:
    """One transition, which adapts while the state's step is below ``num_warmup``."""
    init, sample = hmc(potential_fn_gen=_potential, algo=algorithm)
    jax.eval_shape(lambda key, z: init(z, model_args=(target,), rng_key=key, **settings), state.rng_key, state.z)
    new = sample(state, model_args=(target,), model_kwargs={})
    new = jax.tree.map(lambda fresh, old: jnp.asarray(fresh, jnp.result_type(old)), new, state)
    stats = {
        "diverging": new.diverging,
        "energy": new.energy,
        "lp": -new.potential_energy,
        "acceptance_rate": new.accept_prob,
        "step_size": state.adapt_state.step_size,
        "n_steps": new.num_steps,
    }
    if algorithm == "NUTS":
        depth = settings["max_tree_depth"]
        stats["tree_depth"] = jnp.floor(jnp.log2(jnp.maximum(new.num_steps, 1))).astype(jnp.int32) + 1
        stats["reached_max_treedepth"] = (new.num_steps >= 2**depth - 1) & ~new.diverging
    return new, new.z, stats
