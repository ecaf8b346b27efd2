"""A Gaussian process with a random scale given responses: one factorisation, then the scale."""

from __future__ import annotations

from collections.abc import Callable

from jaxtyping import Float, Int

from bayeskit._typing import Array
from bayeskit.models.nngp.mixtures.likelihood import DataLikelihood
from bayeskit.models.nngp.mixtures.noise import Noise
from bayeskit.models.nngp.mixtures.scale import Scale, ScaleGivenData
from bayeskit.xla.precision import in_double

__all__ = ["condition", "log_evidence"]


@in_double
def condition(
    kernel: Callable[..., Array], scale: Scale, noise: Noise, x: Array, y: Array
) -> tuple[Noise, DataLikelihood, ScaleGivenData]:
    """The noise in the form that the likelihood has it, the likelihood, and the scale; all in float64."""
    noise = noise.simplified(scale)
    likelihood = noise.likelihood(kernel(x, x), y)
    return noise, likelihood, scale.given(likelihood)


@in_double
def log_evidence(
    kernel: Callable[..., Array], scale: Scale, noise: Noise, x: Array, y: Array
) -> tuple[Float[Array, ""], Int[Array, ""]]:
    """The log density of responses, NaN where it cannot be had, and how the computation went."""
    given = scale.given(noise.simplified(scale).likelihood(kernel(x, x), y))
    return given.log_evidence, given.status
