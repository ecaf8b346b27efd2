r"""What a guide is: a family of distributions over a target's unconstrained vector $z \in \mathbb R^d$."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import jax
import jax.numpy as jnp
from numpyro.distributions import Distribution

from bayeskit._typing import Array, Values
from bayeskit.inference.method import is_number, require
from bayeskit.program.draw import choose
from bayeskit.program.execution import current_level
from bayeskit.program.runnable import Runnable, WeightedProgram
from bayeskit.target import Target

__all__ = ["SITE", "DistributionProgram", "Guide", "Parameters", "VectorGuide", "check_scale"]

Parameters = dict[str, Any]
SITE = "unconstrained"


class Guide(ABC):
    """Settings of a family of distributions over the latent sites of a target; a frozen dataclass."""

    def ready(self, target: Target, size: int) -> None:
        """What cannot wait until a fit is traced: checks against the model, and building; `size` is that of the vector.

        Raises:
            ModelError: the guide does not fit the model.
        """
        del target, size

    @abstractmethod
    def init(self, key: Array, target: Target, position: Array) -> Parameters:
        """Parameters to start from; `position` is an unconstrained vector, shape `(d,)`."""

    @abstractmethod
    def programs(self, parameters: Parameters, target: Target) -> tuple[Runnable, Runnable]:
        """The model, and the guide at its parameters, in the same coordinates."""

    @abstractmethod
    def position(self, choices: Values, target: Target) -> Array:
        """The unconstrained vector of what the guide has drawn."""


class VectorGuide(Guide):
    """A guide over the unconstrained vector, or a part of it."""

    @abstractmethod
    def program(self, parameters: Parameters, target: Target) -> WeightedProgram:
        """The guide at its parameters, as a program with the one site `SITE`."""

    def programs(self, parameters: Parameters, target: Target) -> tuple[Runnable, Runnable]:
        return UnconstrainedModel(target), self.program(parameters, target)

    def position(self, choices: Values, target: Target) -> Array:
        del target
        return choices[SITE]


class DistributionProgram(WeightedProgram):
    """A distribution over vectors as a program with one site."""

    def __init__(self, distribution: Distribution):
        self._distribution = distribution
        self.__name__ = "guide"

    def draw(self) -> tuple[Values, Array]:
        value = choose(current_level("the guide"), SITE, self._distribution, None)
        return {SITE: value}, jnp.asarray(self._distribution.log_prob(value))

    def log_density(self, choices: Values) -> Array:
        return jnp.asarray(self._distribution.log_prob(choices[SITE]))

    def detached(self) -> DistributionProgram:
        return DistributionProgram(jax.tree.map(jax.lax.stop_gradient, self._distribution))


class UnconstrainedModel(WeightedProgram):
    """A target as a program with one site, its unconstrained vector."""

    def __init__(self, target: Target):
        self._target = target
        self.__name__ = target.program.name

    def draw(self) -> tuple[Values, Any]:
        raise NotImplementedError("a target is not drawn from")

    def log_density(self, choices: Values) -> Array:
        return self._target.log_density(self._target.unravel(choices[SITE]))


def check_scale(scale: object) -> None:
    """The standard deviation at the start is positive."""
    require(is_number(scale) and float(scale) > 0, "init_scale", scale, "a positive number")
