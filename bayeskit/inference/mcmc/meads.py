"""MEADS, by BlackJAX."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import blackjax
import jax
import jax.numpy as jnp
from blackjax.mcmc import ghmc

from bayeskit._settings import is_whole, require
from bayeskit._typing import Array
from bayeskit.inference.chains.ensemble import Ensemble
from bayeskit.inference.method import check_counts, check_superchains, superchains
from bayeskit.target import Target


@dataclasses.dataclass(frozen=True, kw_only=True)
class MEADS(Ensemble):
    """Generalised HMC tuned by the maximum eigenvalue of the ensemble (Hoffman and Sountsov 2022).

    Every step is one leapfrog with a partly refreshed momentum and a non-reversible accept-reject step; step size,
    damping and scale come from the other folds of the ensemble. Draws are strongly correlated, so each draw is
    ``steps_per_draw`` steps.

    Args:
        num_chains: number of chains, a multiple of four; a few dozen at least.
        num_warmup: adaptation steps.
        num_draws: draws a chain.
        steps_per_draw: leapfrogs between draws.
        num_superchains: so many groups of chains start together, each at a place of its own, which tells whether many
            chains have forgotten their starts (nested R-hat, see :func:`bayeskit.check`). ``"auto"``: 16, or the
            largest number below of which the chains are a multiple; none for fewer than 32 chains. ``None``: each
            chain starts by itself.

    Raises:
        MethodError: an impossible setting.
    """

    kind: ClassVar[str] = "meads"
    starts_from: ClassVar[str] = "ascent"

    num_chains: int = 64
    num_warmup: int = 2000
    num_draws: int = 200
    steps_per_draw: int = 32
    num_superchains: int | str | None = "auto"

    @property
    def library(self) -> str:
        return "blackjax"

    @property
    def num_starts_of_chains(self) -> int:
        return superchains(self.num_chains, self.num_superchains)

    def __post_init__(self) -> None:
        check_counts(self)
        check_superchains(self, self.num_superchains)
        require(self.num_chains % 4 == 0, "num_chains", self.num_chains, "a multiple of 4: MEADS adapts in four folds")
        require(self.num_warmup >= 1, "num_warmup", self.num_warmup, "at least 1: the step size must be tuned")
        steps = self.steps_per_draw
        require(is_whole(steps) and steps >= 1, "steps_per_draw", steps, "an integer of at least 1")

    def start(self, key: Array, target: Target, positions: Array) -> tuple[Any, Any]:
        density = _flat(target)
        keys = jax.random.split(key, self.num_chains)
        states = jax.vmap(lambda position, key: ghmc.init(position, density, key))(positions, keys)
        one = jnp.ones((), positions.dtype)
        scale = jnp.ones(positions.shape[1], positions.dtype)
        return states, {"step_size": one, "momentum_inverse_scale": scale, "alpha": one, "delta": one}

    def tune(self, key: Array, target: Target, positions: Array) -> tuple[Any, Any]:
        warmup = blackjax.meads_adaptation(_flat(target), self.num_chains, adaptation_info_fn=lambda *_: None)
        result, _ = warmup.run(key, positions, self.num_warmup)
        return result.state, dict(result.parameters)

    def step(self, key: Array, target: Target, position: Any, tuned: Any) -> tuple[Any, dict[str, Array]]:
        kernel, density = ghmc.build_kernel(), _flat(target)

        def leapfrog(state: Any, key: Array) -> tuple[Any, Any]:
            state, info = kernel(
                key, state, density, tuned["step_size"], tuned["momentum_inverse_scale"], tuned["alpha"], tuned["delta"]
            )
            return state, (info.is_divergent, info.acceptance_rate, info.energy)

        new, (diverging, rate, energy) = jax.lax.scan(leapfrog, position, jax.random.split(key, self.steps_per_draw))
        stats = {
            "diverging": jnp.any(diverging),
            "energy": energy[-1],
            "lp": new.logdensity,
            "acceptance_rate": jnp.mean(rate),
            "step_size": tuned["step_size"],
            "n_steps": jnp.asarray(self.steps_per_draw, jnp.int32),
        }
        return new, stats


def _flat(target: Target) -> Any:
    return lambda position: target.log_density(target.unravel(position))
