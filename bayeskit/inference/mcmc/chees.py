"""ChEES-HMC, by BlackJAX."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import blackjax
import jax
import jax.numpy as jnp
import optax
from blackjax.mcmc import dynamic_hmc

from bayeskit._settings import is_number, is_whole, require
from bayeskit._typing import Array
from bayeskit.inference.chains.ensemble import Ensemble
from bayeskit.inference.method import check_counts, check_superchains, superchains
from bayeskit.target import Target


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChEES(Ensemble):
    """HMC whose trajectory length is tuned by all chains together (Hoffman, Radul and Sountsov 2021).

    The length maximises the change in the expected square of the distance from the mean, by stochastic gradient ascent.
    All chains take equally many leapfrogs a step, so nothing is lost to lockstep: made for many short chains on an
    accelerator.

    Args:
        num_chains: number of chains; a few dozen at least.
        num_warmup: adaptation steps.
        num_draws: draws a chain.
        target_accept: acceptance rate that the step size is tuned for; .651 is optimal for HMC.
        learning_rate: of Adam, for the trajectory length.
        max_leapfrogs: most leapfrogs a step.
        num_superchains: so many groups of chains start together, each at a place of its own, which tells whether many
            chains have forgotten their starts (nested R-hat, see :func:`bayeskit.check`). ``"auto"``: 16, or the
            largest number below of which the chains are a multiple; none for fewer than 32 chains. ``None``: each
            chain starts by itself.

    Raises:
        MethodError: an impossible setting.
    """

    kind: ClassVar[str] = "chees"
    starts_from: ClassVar[str] = "ascent"

    num_chains: int = 64
    num_warmup: int = 1000
    num_draws: int = 200
    target_accept: float = 0.651
    learning_rate: float = 0.025
    max_leapfrogs: int = 1000
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
        require(self.num_chains >= 2, "num_chains", self.num_chains, "at least 2: the chains adapt together")
        require(self.num_warmup >= 1, "num_warmup", self.num_warmup, "at least 1: the trajectory length must be tuned")
        accept, rate, most = self.target_accept, self.learning_rate, self.max_leapfrogs
        require(is_number(accept) and 0 < accept < 1, "target_accept", accept, "between 0 and 1")
        require(is_number(rate) and rate > 0, "learning_rate", rate, "positive and finite")
        require(is_whole(most) and most >= 1, "max_leapfrogs", most, "an integer of at least 1")

    def start(self, key: Array, target: Target, positions: Array) -> tuple[Any, Any]:
        density = _flat(target)
        zero = jnp.zeros((), jnp.int32)
        states = jax.vmap(lambda position: dynamic_hmc.init(position, density, zero))(positions)
        one = jnp.ones((), positions.dtype)
        return states, {"step_size": one, "leapfrogs": one, "scale": jnp.ones(positions.shape[1], positions.dtype)}

    def tune(self, key: Array, target: Target, positions: Array) -> tuple[Any, Any]:
        warmup = blackjax.chees_adaptation(
            _flat(target),
            self.num_chains,
            target_acceptance_rate=self.target_accept,
            max_leapfrog_steps=self.max_leapfrogs,
            mass_matrix_estimation="diagonal",
            adaptation_info_fn=lambda *_: None,
        )
        result, _ = warmup.run(key, positions, 0.1, optax.adam(self.learning_rate), self.num_warmup)
        found = result.parameters
        (leapfrogs,) = found["integration_steps_params"]
        return result.state, {
            "step_size": found["step_size"],
            "leapfrogs": leapfrogs,
            "scale": found["inverse_mass_matrix"],
        }

    def step(self, key: Array, target: Target, position: Any, tuned: Any) -> tuple[Any, dict[str, Array]]:
        kernel = dynamic_hmc.build_kernel(
            next_random_arg_fn=lambda index: index + 1,
            integration_steps_fn=lambda index, mean: _leapfrogs(index, mean, self.max_leapfrogs),
        )
        new, info = kernel(key, position, _flat(target), tuned["step_size"], tuned["scale"], (tuned["leapfrogs"],))
        stats = {
            "diverging": info.is_divergent,
            "energy": info.energy,
            "lp": new.logdensity,
            "acceptance_rate": info.acceptance_rate,
            "step_size": tuned["step_size"],
            "n_steps": info.num_integration_steps,
        }
        return new, stats


def _leapfrogs(index: Array, mean: Array, most: int) -> Array:
    """Trajectories of length uniform on (0, 2 mean), by a low-discrepancy sequence that is the same in all chains."""
    golden = 0.6180339887498949
    jitter = jnp.mod((index + 1) * golden, 1.0)
    return jnp.clip(jnp.ceil(2.0 * mean * jitter), 1, most).astype(jnp.int32)


def _flat(target: Target) -> Any:
    return lambda position: target.log_density(target.unravel(position))
