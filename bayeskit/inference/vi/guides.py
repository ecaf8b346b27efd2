r"""Automatic guides: distributions over a target's unconstrained vector $z \in \mathbb R^d$."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from numpyro import handlers
from numpyro.distributions import Distribution, biject_to, constraints, transforms

from bayeskit._errors import ModelError
from bayeskit._typing import Array, Values
from bayeskit.inference.method import is_number, is_whole, require
from bayeskit.program.draw import choose
from bayeskit.program.execution import current_level
from bayeskit.program.runnable import Runnable, WeightedProgram
from bayeskit.target import Target
from bayeskit.target.start import pull_back

__all__ = ["FullRank", "FunctionGuide", "Guide", "LowRank", "MeanField", "full_rank", "low_rank", "mean_field"]

Parameters = dict[str, Any]
SITE = "unconstrained"


class Guide(ABC):
    """Settings of a family of distributions over the latent sites of a target; a frozen dataclass."""

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
    """A guide over the unconstrained vector."""

    @abstractmethod
    def start(self, position: Array) -> Parameters:
        """Parameters of a narrow distribution around a position, shape `(d,)`."""

    @abstractmethod
    def distribution(self, parameters: Parameters) -> Distribution:
        """The distribution, with events of shape `(d,)`."""

    def init(self, key: Array, target: Target, position: Array) -> Parameters:
        del key, target
        return self.start(position)

    def programs(self, parameters: Parameters, target: Target) -> tuple[Runnable, Runnable]:
        return UnconstrainedModel(target), UnconstrainedGuide(self.distribution(parameters))

    def position(self, choices: Values, target: Target) -> Array:
        del target
        return choices[SITE]


@dataclass(frozen=True)
class FunctionGuide(Guide):
    """A hand-written guide: a NumPyro function of (some of) the model's arguments, with ``numpyro.param`` statements.

    It draws the latent sites of the model in the model's own coordinates.
    """

    function: Callable[..., object]

    def init(self, key: Array, target: Target, position: Array) -> Parameters:
        del position
        trace = handlers.trace(handlers.seed(self._bound(target), key)).get_trace()
        parameters: Parameters = {
            name: jax.tree.map(lambda leaf: jnp.asarray(leaf, float), _transform(site).inv(site["value"]))
            for name, site in trace.items()
            if site["type"] == "param"
        }
        if not parameters:
            raise ModelError(f"the guide {self._name!r} has no numpyro.param, so there is nothing to fit")
        return parameters

    def programs(self, parameters: Parameters, target: Target) -> tuple[Runnable, Runnable]:
        bound = self._bound(target)

        def place(site: dict[str, Any]) -> Any:
            if site["type"] != "param" or site["name"] not in parameters:
                return None
            return _transform(site)(parameters[site["name"]])

        def guide() -> object:
            return handlers.substitute(bound, substitute_fn=place)()

        guide.__name__ = self._name
        return target.program, guide

    def position(self, choices: Values, target: Target) -> Array:
        latent = {name: choices[name] for name in target.latent_names}
        return target.ravel(pull_back(target.program, {}, latent)[0])

    @property
    def _name(self) -> str:
        return str(getattr(self.function, "__name__", type(self.function).__name__))

    def _bound(self, target: Target) -> Callable[[], object]:
        """The function on those of the model's arguments that it takes."""
        given = target.program.data
        parameters = inspect.signature(self.function).parameters.values()
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
            missing = [p.name for p in named if p.default is p.empty and p.name not in given]
            if missing:
                raise ModelError(f"the guide {self._name!r} takes {missing[0]!r}, which is not among the data")
            given = {p.name: given[p.name] for p in named if p.name in given}
        return lambda: self.function(**given)


@dataclass(frozen=True)
class MeanField(VectorGuide):
    """See :func:`mean_field`."""

    init_scale: float = 0.1

    def __post_init__(self) -> None:
        _check_scale(self.init_scale)

    def start(self, position: Array) -> Parameters:
        return {"loc": position, "log_scale": jnp.full_like(position, jnp.log(self.init_scale))}

    def distribution(self, parameters: Parameters) -> Distribution:
        return dist.Normal(parameters["loc"], jnp.exp(parameters["log_scale"])).to_event(1)


@dataclass(frozen=True)
class FullRank(VectorGuide):
    """See :func:`full_rank`."""

    init_scale: float = 0.1

    def __post_init__(self) -> None:
        _check_scale(self.init_scale)

    def start(self, position: Array) -> Parameters:
        size = position.shape[0]
        lower = jnp.zeros((size * (size - 1) // 2,), position.dtype)
        return {"loc": position, "log_scale": jnp.full_like(position, jnp.log(self.init_scale)), "lower": lower}

    def distribution(self, parameters: Parameters) -> Distribution:
        scale = jnp.exp(parameters["log_scale"])
        unit = jnp.eye(scale.shape[0], dtype=scale.dtype)
        unit = unit.at[jnp.tril_indices(scale.shape[0], -1)].set(parameters["lower"])
        return dist.MultivariateNormal(parameters["loc"], scale_tril=scale[:, None] * unit)


@dataclass(frozen=True)
class LowRank(VectorGuide):
    """See :func:`low_rank`."""

    rank: int = 5
    init_scale: float = 0.1

    def __post_init__(self) -> None:
        _check_scale(self.init_scale)
        require(is_whole(self.rank) and self.rank >= 1, "rank", self.rank, "a positive integer")

    def start(self, position: Array) -> Parameters:
        rank = min(self.rank, position.shape[0])
        factor = jnp.zeros((position.shape[0], rank), position.dtype)
        spread = jnp.arange(position.shape[0]) % rank  # a zero factor would be a saddle point
        factor = factor.at[jnp.arange(position.shape[0]), spread].set(0.1 * self.init_scale)
        return {"loc": position, "log_scale": jnp.full_like(position, jnp.log(self.init_scale)), "factor": factor}

    def distribution(self, parameters: Parameters) -> Distribution:
        diagonal = jnp.exp(2.0 * parameters["log_scale"])
        return dist.LowRankMultivariateNormal(parameters["loc"], parameters["factor"], diagonal)


def mean_field(init_scale: float = 0.1) -> MeanField:
    r"""Independent normal distributions: :math:`z_i \sim N(m_i, s_i^2)`.

    Marginal standard deviations come out too small where the posterior is correlated.

    Args:
        init_scale: standard deviation at the start.

    Reference: Kucukelbir, Tran, Ranganath, Gelman and Blei (2017), "Automatic differentiation variational inference".
    """
    return MeanField(init_scale)


def full_rank(init_scale: float = 0.1) -> FullRank:
    r"""A multivariate normal distribution, :math:`z \sim N(m, S L L^\top S)` with :math:`L` unit lower triangular.

    Args:
        init_scale: standard deviation at the start.

    Reference: Kucukelbir et al. (2017).
    """
    return FullRank(init_scale)


def low_rank(rank: int = 5, init_scale: float = 0.1) -> LowRank:
    r"""A multivariate normal distribution with covariance :math:`D + B B^\top`, for many dimensions.

    Args:
        rank: columns of :math:`B`.
        init_scale: standard deviation at the start.

    Reference: Ong, Nott and Smith (2018), "Gaussian variational approximation with a factor covariance structure".
    """
    return LowRank(rank, init_scale)


class UnconstrainedGuide(WeightedProgram):
    """A guide at its parameters, as a program with one site."""

    def __init__(self, distribution: Distribution):
        self._distribution = distribution
        self.__name__ = "guide"

    def draw(self) -> tuple[Values, Array]:
        value = choose(current_level("the guide"), SITE, self._distribution, None)
        return {SITE: value}, jnp.asarray(self._distribution.log_prob(value))

    def log_density(self, choices: Values) -> Array:
        return jnp.asarray(self._distribution.log_prob(choices[SITE]))

    def detached(self) -> UnconstrainedGuide:
        return UnconstrainedGuide(jax.tree.map(jax.lax.stop_gradient, self._distribution))


class UnconstrainedModel(WeightedProgram):
    """A target as a program with one site, its unconstrained vector."""

    def __init__(self, target: Target):
        self._target = target
        self.__name__ = target.program.name

    def draw(self) -> tuple[Values, Any]:
        raise NotImplementedError("a target is not drawn from")

    def log_density(self, choices: Values) -> Array:
        return self._target.log_density(self._target.unravel(choices[SITE]))


def _transform(site: dict[str, Any]) -> Any:
    """From the real line to a parameter's constraint; a network's parameters are a pytree without one."""
    constraint = site["kwargs"].get("constraint", constraints.real)
    return transforms.IdentityTransform() if constraint is constraints.real else biject_to(constraint)


def _check_scale(scale: object) -> None:
    require(is_number(scale) and float(scale) > 0, "init_scale", scale, "a positive number")
