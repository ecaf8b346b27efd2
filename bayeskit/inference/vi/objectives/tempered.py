"""The ELBO with its entropy scaled."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import jax.numpy as jnp

from bayeskit._settings import is_number, require
from bayeskit._typing import Array
from bayeskit.inference.vi.objectives.objective import Number, Objective, check_count, known
from bayeskit.program import Runnable, average, draw, log_density

__all__ = ["Annealing", "TemperedELBO"]


@dataclass(frozen=True)
class TemperedELBO(Objective):
    r"""The ELBO with its entropy scaled, :math:`\mathrm E_q[\log p(y, z) - T \log q(z)]`.

    A bound for :math:`T = 1` only.

    Args:
        temperature: :math:`T`; above 1 the guide is wider, which helps at the start.
        num_particles: how many draws are averaged.
        annealed: the share of the steps of :class:`bayeskit.VI` in which :math:`T` falls linearly to 1, after which the
            objective is the ELBO (deterministic annealing); 0 keeps :math:`T` as it is.

    Raises:
        MethodError: an impossible setting.

    Reference: Mandt, McInerney, Abrol, Ranganath and Blei (2016), "Variational tempering".
    """

    kind: ClassVar[str] = "tempered_elbo"
    fits_model: ClassVar[bool] = True

    temperature: float
    num_particles: int = 1
    annealed: float = field(default=0.0, kw_only=True)

    def __post_init__(self) -> None:
        check_count(self.num_particles)
        require(is_number(self.temperature) and self.temperature > 0, "temperature", self.temperature, "positive")
        require(is_number(self.annealed) and 0 <= self.annealed <= 1, "annealed", self.annealed, "in [0, 1]")

    @property
    def is_affine(self) -> bool:
        return True

    def at(self, progress: Array) -> Objective:
        return Annealing(self, jnp.asarray(progress)) if self.annealed else self

    def __call__(self, model: Runnable, guide: Runnable) -> Number:
        return self.tempered(float(self.temperature), model, guide)

    def tempered(self, temperature: float | Array, model: Runnable, guide: Runnable) -> Number:
        """At a temperature; where that is an array, the density of the guide must be known."""

        def one() -> Number:
            choices, log_q = draw(guide)
            if not isinstance(temperature, float):
                return log_density(model, choices) - temperature * known(log_q, "an annealed bound", "a constant one")
            return log_density(model, choices) - log_q * temperature

        return one() if self.num_particles == 1 else average(self.num_particles, one)


@dataclass(frozen=True)
class Annealing(Objective):
    """A tempered bound at some point of a fit."""

    tempered: TemperedELBO
    progress: Array

    def __call__(self, model: Runnable, guide: Runnable) -> Number:
        left = jnp.maximum(0.0, 1.0 - self.progress / self.tempered.annealed)
        return self.tempered.tempered(1.0 + (self.tempered.temperature - 1.0) * left, model, guide)
