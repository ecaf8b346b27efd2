"""Independent normal distributions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
import numpyro.distributions as dist
from numpyro.distributions import Distribution

from bayeskit._typing import Array
from bayeskit.inference.vi.guides.guide import NormalGuide, Parameters, check_scale, shortened
from bayeskit.target import Target

__all__ = ["MeanField"]


@dataclass(frozen=True)
class MeanField(NormalGuide):
    r"""Independent normal distributions: :math:`z_i \sim N(m_i, s_i^2)`.

    Marginal standard deviations come out too small where the posterior is correlated.

    Args:
        init_scale: standard deviation at the start.

    Reference: Kucukelbir, Tran, Ranganath, Gelman and Blei (2017), "Automatic differentiation variational inference".
    """

    kind: ClassVar[str] = "mean_field"
    can_be_part: ClassVar[bool] = True
    has_natural_gradient: ClassVar[bool] = True

    init_scale: float = 0.1

    def __post_init__(self) -> None:
        check_scale(self.init_scale)

    def init(self, key: Array, target: Target, position: Array) -> Parameters:
        del key, target
        return {"loc": position, "log_scale": jnp.full_like(position, jnp.log(self.init_scale))}

    def distribution(self, parameters: Parameters) -> Distribution:
        return dist.Normal(parameters["loc"], jnp.exp(parameters["log_scale"])).to_event(1)

    def natural_step(self, parameters: Parameters, gradient: Parameters, rate: Array | float) -> Parameters:
        scale = jnp.exp(parameters["log_scale"])
        shift, widening = -scale * gradient["loc"], -gradient["log_scale"] / 2
        rate = shortened(rate, jnp.sum(shift**2) + 2 * jnp.sum(widening**2), scale.shape[0])
        return {"loc": parameters["loc"] + rate * scale * shift, "log_scale": parameters["log_scale"] + rate * widening}
