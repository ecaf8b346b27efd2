"""Marginals by importance sampling."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import jax.numpy as jnp

from bayeskit._typing import Array, Values
from bayeskit.inference.vi.programs.integrator import Integrator, check_count, log_mean_exp
from bayeskit.inference.vi.programs.kept import check_kept, split
from bayeskit.program.control_flow import replicate
from bayeskit.program.density import log_density
from bayeskit.program.draw import draw
from bayeskit.program.runnable import Runnable, WeightedProgram, detach, name_of_program
from bayeskit.program.weights import LogWeight, number_of

__all__ = ["EstimatedMarginal", "ImportanceSampling", "Proposal"]

Proposal = Callable[[Values], Runnable]


@dataclass(frozen=True)
class ImportanceSampling(Integrator):
    r"""Estimate a marginal by importance sampling.

    Args:
        num_particles: :math:`K`.
        proposal: a function of the kept choices (a mapping) that returns a program which draws the hidden ones: the
            reverse kernel :math:`r(u \mid z)`. It may itself be a marginal or a normalised program.
    """

    num_particles: int
    proposal: Proposal

    def __post_init__(self) -> None:
        check_count(self.num_particles)

    def marginal(self, program: Runnable, keep: tuple[str, ...]) -> WeightedProgram:
        return EstimatedMarginal(program, keep, self)


class EstimatedMarginal(WeightedProgram):
    """A marginal by importance sampling."""

    def __init__(self, program: Runnable, keep: tuple[str, ...], using: ImportanceSampling):
        self.program, self.keep, self.using = program, keep, using
        self.__name__ = f"marginal of {name_of_program(program)}"

    def draw(self) -> tuple[Values, LogWeight]:
        choices, log_joint = draw(self.program)
        kept, hidden = split(self.program, self.keep, choices)
        proposal = self.using.proposal(kept)
        first = number_of(log_joint) - number_of(log_density(proposal, hidden))
        rest = self._weights(kept, self.using.num_particles - 1)
        return kept, LogWeight(log_mean_exp(jnp.append(rest, first)), "upper")

    def log_density(self, choices: Values) -> LogWeight:
        check_kept(self.__name__, self.keep, choices)
        return LogWeight(log_mean_exp(self._weights(choices, self.using.num_particles)), "lower")

    def detached(self) -> EstimatedMarginal:
        proposal = self.using.proposal
        using = ImportanceSampling(self.using.num_particles, lambda kept: detach(proposal(kept)))
        return EstimatedMarginal(detach(self.program), self.keep, using)

    def _weights(self, kept: Values, num: int) -> Array:
        if num == 0:
            return jnp.zeros((0,))

        def one() -> Array:
            hidden, log_r = draw(self.using.proposal(kept))
            return number_of(log_density(self.program, {**kept, **hidden})) - number_of(log_r)

        return replicate(num, one)
