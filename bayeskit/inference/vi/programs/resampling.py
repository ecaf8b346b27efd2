"""Posteriors by sampling importance resampling."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpyro.distributions as dist

from bayeskit._typing import Array, Values
from bayeskit.inference.vi.programs.integrator import Integrator, check_count, log_mean_exp
from bayeskit.program.control_flow import replicate
from bayeskit.program.density import log_density
from bayeskit.program.draw import choose, draw
from bayeskit.program.execution import Estimator, current_level
from bayeskit.program.runnable import Runnable, WeightedProgram, detach, name_of_program
from bayeskit.program.weights import LogWeight, number_of

__all__ = ["SIR", "Normalized"]


@dataclass(frozen=True)
class SIR(Integrator):
    r"""Normalise by sampling importance resampling.

    Args:
        num_particles: :math:`K`.
        proposal: a program that draws the latent sites.
        estimator: how gradients pass the choice among the particles; by default the score function.
    """

    num_particles: int
    proposal: Runnable
    estimator: Estimator | None = None

    def __post_init__(self) -> None:
        check_count(self.num_particles)

    def normalize(self, program: Runnable) -> WeightedProgram:
        return Normalized(program, self)


class Normalized(WeightedProgram):
    """A posterior by sampling importance resampling."""

    def __init__(self, program: Runnable, using: SIR):
        self.program, self.using = program, using
        self.__name__ = f"normalised {name_of_program(program)}"

    def draw(self) -> tuple[Values, LogWeight]:
        particles, log_joint, log_weights = replicate(self.using.num_particles, self._particle)
        level = current_level("bayeskit.normalize")
        index = choose(level, "index of the particle", dist.Categorical(logits=log_weights), self.using.estimator)
        chosen = jax.tree.map(lambda values: values[index], particles)
        return chosen, LogWeight(log_joint[index] - log_mean_exp(log_weights), "upper")

    def log_density(self, choices: Values) -> LogWeight:
        log_joint = number_of(log_density(self.program, choices))
        first = log_joint - number_of(log_density(self.using.proposal, choices))
        num = self.using.num_particles - 1
        rest = replicate(num, self._particle)[2] if num else jnp.zeros((0,))
        return LogWeight(log_joint - log_mean_exp(jnp.append(rest, first)), "lower")

    def detached(self) -> Normalized:
        using = self.using
        return Normalized(detach(self.program), SIR(using.num_particles, detach(using.proposal), using.estimator))

    def _particle(self) -> tuple[Values, Array, Array]:
        choices, log_r = draw(self.using.proposal)
        log_joint = number_of(log_density(self.program, choices))
        return choices, log_joint, log_joint - number_of(log_r)
