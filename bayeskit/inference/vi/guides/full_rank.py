"""A multivariate normal distribution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
import numpyro.distributions as dist
from numpyro.distributions import Distribution

from bayeskit._typing import Array
from bayeskit.inference.vi.guides.guide import NormalGuide, Parameters, check_scale, shortened
from bayeskit.target import Target

__all__ = ["FullRank"]


@dataclass(frozen=True)
class FullRank(NormalGuide):
    r"""A multivariate normal distribution, :math:`z \sim N(m, S L L^\top S)` with :math:`L` unit lower triangular.

    Args:
        init_scale: standard deviation at the start.

    Reference: Kucukelbir et al. (2017).
    """

    kind: ClassVar[str] = "full_rank"
    can_be_part: ClassVar[bool] = True
    has_natural_gradient: ClassVar[bool] = True

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

    def natural_step(self, parameters: Parameters, gradient: Parameters, rate: Array | float) -> Parameters:
        return natural_step(parameters, gradient, rate)


def natural_step(parameters: Parameters, gradient: Parameters, rate: Array | float) -> Parameters:
    """One step of a natural gradient, for a root whose diagonal is apart (`bayeskit.inference.vi.fit.natural`)."""
    scale, size = jnp.exp(parameters["log_scale"]), parameters["loc"].shape[0]
    below = jnp.tril_indices(size, -1)
    unit = jnp.eye(size, dtype=scale.dtype).at[below].set(parameters["lower"])
    root = scale[:, None] * unit
    by_unit = jnp.zeros_like(unit).at[below].set(gradient["lower"])
    # the loss sees the diagonal twice: as that of the root, and as the factor of its rows
    diagonal = gradient["log_scale"] - jnp.sum(by_unit * unit, axis=1)
    by_root = (by_unit + jnp.diag(diagonal)) / scale[:, None]
    inner = -jnp.tril(root.T @ by_root)
    strict, widening = jnp.tril(inner, -1), jnp.diag(inner) / 2
    shift = -root.T @ gradient["loc"]
    rate = shortened(rate, jnp.sum(shift**2) + jnp.sum(strict**2) + 2 * jnp.sum(widening**2), size)
    new = root @ (rate * strict + jnp.diag(jnp.exp(rate * widening)))
    log_scale = parameters["log_scale"] + rate * widening
    lower = (new / jnp.diag(new)[:, None])[below]
    return {"loc": parameters["loc"] + root @ (rate * shift), "log_scale": log_scale, "lower": lower}
