"""Microcanonical Langevin Monte Carlo, by BlackJAX."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, NamedTuple

import blackjax
import jax
import jax.numpy as jnp

from bayeskit._settings import check_choice, is_number, is_whole, require
from bayeskit._typing import Array
from bayeskit.errors import ModelError
from bayeskit.inference.chains.independent import CHAIN_METHODS, ChainMethod
from bayeskit.inference.method import check_counts
from bayeskit.target import Target


class MCLMCState(NamedTuple):
    """State of one chain: raw key, steps taken, BlackJAX's integrator state, and what the warmup tunes."""

    key: Array
    step: Array
    position: Any
    length: Array
    step_size: Array
    inverse_mass_matrix: Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class MCLMC(ChainMethod):
    r"""Microcanonical Langevin Monte Carlo, unadjusted (Robnik, De Luca, Silverstein and Seljak 2023).

    Dynamics of constant energy whose velocity is refreshed over a length :math:`L`. There is no accept-reject step: the
    discretisation leaves a bias, kept small by tuning the step size to an energy error a dimension of
    ``desired_energy_variance``. One draw is one step after every ``steps_per_draw``.

    Args:
        num_chains: number of chains.
        num_warmup: steps a chain spent on tuning :math:`L`, the step size and a diagonal metric.
        num_draws: draws a chain.
        steps_per_draw: integrator steps between draws; single steps are strongly correlated.
        desired_energy_variance: variance of the energy change a step and dimension; smaller means less bias.
        chain_method: as for :class:`bayeskit.NUTS`.

    Raises:
        MethodError: an impossible setting.
    """

    kind: ClassVar[str] = "mclmc"
    starts_from: ClassVar[str] = "ascent"

    num_chains: int = 4
    num_warmup: int = 4000
    num_draws: int = 1000
    steps_per_draw: int = 16
    desired_energy_variance: float = 5e-4
    chain_method: str = "auto"

    @property
    def library(self) -> str:
        return "blackjax"

    def __post_init__(self) -> None:
        check_counts(self)
        require(self.num_warmup >= 100, "num_warmup", self.num_warmup, "at least 100: MCLMC has no default step size")
        steps = self.steps_per_draw
        require(is_whole(steps) and steps >= 1, "steps_per_draw", steps, "an integer of at least 1")
        variance = self.desired_energy_variance
        require(is_number(variance) and variance > 0, "desired_energy_variance", variance, "positive")
        check_choice("chain_method", self.chain_method, CHAIN_METHODS)

    @property
    def warmup_steps(self) -> int:
        return 0

    def check_target(self, target: Target) -> None:
        super().check_target(target)
        if target.size < 2:
            raise ModelError(
                f"MCLMC needs at least two unconstrained coordinates, the model has {target.size}; use NUTS"
            )

    def _kernel(self) -> Any:
        return blackjax.mclmc.build_kernel(desired_energy_var=self.desired_energy_variance)

    def init_chain(self, key: Array, target: Target, position: Array) -> MCLMCState:
        key, start = jax.random.split(key)
        state = blackjax.mclmc.init(position, _flat(target), start)
        size = jnp.asarray(position.shape[0], position.dtype)
        zero = jnp.zeros((), jnp.int32)
        return MCLMCState(key, zero, state, jnp.sqrt(size), 0.25 * jnp.sqrt(size), jnp.ones_like(position))

    def warm_chain(self, state: MCLMCState, target: Target) -> MCLMCState:
        position, tuned, _ = blackjax.mclmc_find_L_and_step_size(
            mclmc_kernel=self._kernel(),
            num_steps=self.num_warmup,
            state=state.position,
            rng_key=jax.random.fold_in(state.key, 2**31 - 1),
            logdensity_fn=_flat(target),
            desired_energy_var=self.desired_energy_variance,
        )
        scale = jnp.broadcast_to(tuned.inverse_mass_matrix, state.inverse_mass_matrix.shape)
        new = state._replace(position=position, length=tuned.L, step_size=tuned.step_size, inverse_mass_matrix=scale)
        return jax.tree.map(lambda fresh, old: jnp.asarray(fresh, old.dtype), new, state)

    def step_chain(self, state: MCLMCState, target: Target) -> tuple[MCLMCState, Array, dict[str, Array]]:
        kernel, density = self._kernel(), _flat(target)
        keys = jax.random.split(jax.random.fold_in(state.key, state.step), self.steps_per_draw)

        def step(position: Any, key: Array) -> tuple[Any, Array]:
            position, info = kernel(key, position, density, state.inverse_mass_matrix, state.length, state.step_size)
            return position, info.energy_change

        position, change = jax.lax.scan(step, state.position, keys)
        new = state._replace(position=position, step=state.step + 1)
        new = jax.tree.map(lambda fresh, old: jnp.asarray(fresh, old.dtype), new, state)
        stats = {
            "lp": position.logdensity,
            "energy_change": change[-1],
            "step_size": state.step_size,
            "n_steps": jnp.asarray(self.steps_per_draw, jnp.int32),
            "diverging": ~jnp.all(jnp.isfinite(change)),
        }
        return new, position.position, stats


def _flat(target: Target) -> Any:
    return lambda position: target.log_density(target.unravel(position))
