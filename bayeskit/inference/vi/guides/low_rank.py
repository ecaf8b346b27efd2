"""A multivariate normal distribution whose covariance is a diagonal and a low rank."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
import numpyro.distributions as dist
from numpyro.distributions import Distribution

from bayeskit._settings import is_whole, require
from bayeskit._typing import Array
from bayeskit.inference.vi.guides.guide import NormalGuide, Parameters, check_scale
from bayeskit.target import Target

__all__ = ["LowRank"]


@dataclass(frozen=True)
class LowRank(NormalGuide):
    r"""A multivariate normal distribution with covariance :math:`D + B B^\top`, for many dimensions.

    Args:
        rank: columns of :math:`B`.
        init_scale: standard deviation at the start.

    Reference: Ong, Nott and Smith (2018), "Gaussian variational approximation with a factor covariance structure".
    """

    kind: ClassVar[str] = "low_rank"
    can_be_part: ClassVar[bool] = True

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
