r"""What a guide is: a family of distributions over a target's unconstrained vector $z \in \mathbb R^d$."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from numpyro.distributions import Distribution

from bayeskit._settings import Settings, is_number, require
from bayeskit._typing import Array, Values
from bayeskit.program.draw import choose
from bayeskit.program.execution import current_level
from bayeskit.program.runnable import Runnable, WeightedProgram
from bayeskit.target import Target

__all__ = [
    "SITE",
    "DistributionProgram",
    "Guide",
    "NormalGuide",
    "Parameters",
    "VectorGuide",
    "check_scale",
    "shortened",
]

Parameters = dict[str, Any]
SITE = "unconstrained"


class Guide(Settings, ABC):
    """Settings of a family of distributions over the latent sites of a target; a frozen dataclass.

    Attributes:
        is_normal: whether it is a normal distribution over the unconstrained vector (a `NormalGuide`).
        can_be_part: whether it can be the guide of some coordinates only, or a component of a mixture.
        has_natural_gradient: whether `natural_step` is known.
        prepares: whether it looks at the density (for a mode, say) before the first step. The density must then be the
            same at every step: no rows that change, no parameters of the model that are fitted along.
    """

    room: ClassVar[str] = "guide"
    such_as: ClassVar[str] = "a guide such as bayeskit.guides.FullRank(), or a NumPyro function"
    is_normal: ClassVar[bool] = False
    can_be_part: ClassVar[bool] = False
    has_natural_gradient: ClassVar[bool] = False
    prepares: ClassVar[bool] = False

    def ready(self, target: Target, size: int) -> None:
        """What cannot wait until a fit is traced: checks against the model, and building; `size` is that of the vector.

        Raises:
            ModelError: the guide does not fit the model.
        """
        del target, size

    @abstractmethod
    def init(self, key: Array, target: Target, position: Array) -> Parameters:
        """Parameters to start from; `position` is an unconstrained vector, shape `(d,)`."""

    def prepare(self, parameters: Parameters, target: Target) -> tuple[Parameters, Any]:
        """The parameters from which the first step is taken, and what `check_prepared` will judge; traced."""
        del target
        return parameters, None

    def check_prepared(self, found: Any, target: Target) -> None:
        """Refuse what `prepare` has found, which has a leading axis of fits.

        Raises:
            ModelError: a search has failed, for example.
        """
        del found, target

    def natural_step(self, parameters: Parameters, gradient: Parameters, rate: Array | float) -> Parameters:
        """The parameters after a step along the natural gradient of a loss, for guides that have one."""
        raise NotImplementedError(f"{type(self).__name__} has no natural gradient")

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


class NormalGuide(VectorGuide):
    """A guide that is a normal distribution."""

    is_normal: ClassVar[bool] = True

    @abstractmethod
    def distribution(self, parameters: Parameters) -> Distribution:
        """The distribution, with events of shape `(d,)`."""

    def program(self, parameters: Parameters, target: Target) -> WeightedProgram:
        del target
        return DistributionProgram(self.distribution(parameters))


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


LONGEST = 0.5
"""Length of the longest natural step, in the Fisher metric and for each root of a coordinate."""


def shortened(rate: Array | float, square: Array, size: int) -> Array:
    """The rate of a natural step, smaller where the step, of this squared length at rate one, would be too long."""
    return jnp.minimum(rate, LONGEST * size**0.5 / jnp.sqrt(jnp.maximum(square, jnp.finfo(square.dtype).tiny)))
