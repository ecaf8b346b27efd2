"""What integrates hidden choices out, or normalises: the contract."""

from __future__ import annotations

import math

import jax

from bayeskit._settings import is_whole
from bayeskit._typing import Array
from bayeskit.errors import ModelError
from bayeskit.program.runnable import Runnable, WeightedProgram

__all__ = ["Integrator", "check_count", "log_mean_exp"]


class Integrator:
    """How :func:`bayeskit.marginal` and :func:`bayeskit.normalize` find a density; one of the two at least."""

    def marginal(self, program: Runnable, keep: tuple[str, ...]) -> WeightedProgram:
        """The program with only the choices `keep`."""
        del program, keep
        raise ModelError(
            f"{type(self).__name__} cannot integrate choices out; use bayeskit.integrators.ImportanceSampling(...), "
            "LaplaceProposal() or Exact()"
        )

    def normalize(self, program: Runnable) -> WeightedProgram:
        """The program conditioned on its observations."""
        del program
        raise ModelError(
            f"{type(self).__name__} cannot normalise; use bayeskit.integrators.SIR(...) or LaplaceProposal()"
        )


def check_count(num_particles: object) -> None:
    """Refuse an impossible number of particles."""
    if not is_whole(num_particles) or num_particles < 1:
        raise ModelError(f"num_particles must be a positive integer, got {num_particles!r}")


def log_mean_exp(values: Array) -> Array:
    """The log of the mean of the exponentials."""
    return jax.nn.logsumexp(values) - math.log(values.shape[0])
