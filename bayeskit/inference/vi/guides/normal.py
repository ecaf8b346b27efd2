"""Normal distributions over the unconstrained vector."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import jax.numpy as jnp
import numpyro.distributions as dist
from numpyro.distributions import Distribution

from bayeskit._typing import Array
from bayeskit.inference.method import is_whole, require
from bayeskit.inference.vi.guides.guide import DistributionProgram, Parameters, VectorGuide, check_scale
from bayeskit.program.runnable import WeightedProgram
from bayeskit.target import Target

__all__ = ["FullRank", "LowRank", "MeanField", "NormalGuide", "full_rank", "low_rank", "mean_field"]


class NormalGuide(VectorGuide):
    """A guide that is a normal distribution."""

    @abstractmethod
    def distribution(self, parameters: Parameters) -> Distribution:
        """The distribution, with events of shape `(d,)`."""

    def program(self, parameters: Parameters, target: Target) -> WeightedProgram:
        del target
        return DistributionProgram(self.distribution(parameters))


@dataclass(frozen=True)
class MeanField(NormalGuide):
    """See :func:`mean_field`."""

    init_scale: float = 0.1

    def __post_init__(self) -> None:
        check_scale(self.init_scale)

    def init(self, key: Array, target: Target, position: Array) -> Parameters:
        del key, target
        return {"loc": position, "log_scale": jnp.full_like(position, jnp.log(self.init_scale))}

    def distribution(self, parameters: Parameters) -> Distribution:
        return dist.Normal(parameters["loc"], jnp.exp(parameters["log_scale"])).to_event(1)


@dataclass(frozen=True)
class FullRank(NormalGuide):
    """See :func:`full_rank`."""

    init_scale: float = 0.1

    def __post_init__(self) -> None:
        check_scale(self.init_scale)

    def init(self, key: Array, target: Target, position: Array) -> Parameters:
        del key, target
        size = position.shape[0]
        lower = jnp.zeros((size * (size - 1) // 2,), position.dtype)
        return {"loc": position, "log_scale": jnp.full_like(position, jnp.log(self.init_scale)), "lower": lower}

    def distribution(self, parameters: Parameters) -> Distribution:
        scale = jnp.exp(parameters["log_scale"])
        unit = jnp.eye(scale.shape[0], dtype=scale.dtype)
        unit = unit.at[jnp.tril_indices(scale.shape[0], -1)].set(parameters["lower"])
        return dist.MultivariateNormal(parameters["loc"], scale_tril=scale[:, None] * unit)


@dataclass(frozen=True)
class LowRank(NormalGuide):
    """See :func:`low_rank`."""

    rank: int = 5
    init_scale: float = 0.1

    def __post_init__(self) -> None:
        check_scale(self.init_scale)
        require(is_whole(self.rank) and self.rank >= 1, "rank", self.rank, "a positive integer")

    def init(self, key: Array, target: Target, position: Array) -> Parameters:
        del key, target
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
