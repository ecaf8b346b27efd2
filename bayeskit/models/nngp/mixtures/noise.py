r"""The noise of the responses: inside the scale, $\sigma^2 (K + \tau^2 I)$, or outside, $\sigma^2 K + \tau^2 I$."""

# ruff: noqa: D102, ARG002  (methods are described by the abstract class)

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Bool, Float

from bayeskit._keepable import keepable
from bayeskit._typing import Array
from bayeskit.errors import ModelError
from bayeskit.models.nngp.mixtures.likelihood import DataLikelihood, factored, spectral
from bayeskit.models.nngp.mixtures.predictive import ScaleNodesMixture
from bayeskit.models.nngp.mixtures.scale import Scale
from bayeskit.models.nngp.tracing import is_traced
from bayeskit.numerics.positive_definite import factor
from bayeskit.xla.precision import to_default

__all__ = ["Noise", "NoiseInside", "NoiseOutside", "as_noise_variance", "check_place", "noise_of"]

Conditional = Callable[[Float[Array, " k"]], tuple[Array, Array]]
"""Means and square roots of covariances given each of several scales."""


class Noise(eqx.Module):
    r"""Independent normal noise, and where it enters.

    Attributes:
        variance: $\tau^2$.
        place: where it is, as `ScaleMixture` calls it.
        covariance: the covariance of the responses given the scale, for messages.
    """

    variance: Array
    place: ClassVar[str]
    covariance: ClassVar[str]

    @abstractmethod
    def likelihood(self, covariance: Float[Array, "n n"], y: Float[Array, " n"]) -> DataLikelihood:
        r"""The likelihood of responses as a function of $\sigma^2$, given $K$."""

    @abstractmethod
    def simplified(self, scale: Scale) -> Noise:
        """The same law of the responses, in the form that is cheapest with this scale."""

    @abstractmethod
    def predictive(self, scale: Scale, conditional: Conditional, size: int, axis: int) -> dist.Distribution:
        """What is predicted when the scale is integrated out.

        Args:
            scale: given the data.
            conditional: what is predicted given some scales, which run along `axis`.
            size: the number of responses and of new values.
            axis: of the scales.
        """

    @abstractmethod
    def prior_root(self, covariance: Float[Array, "n n"]) -> tuple[Float[Array, "n n"], Bool[Array, ""]]:
        """A square root of what the scale multiplies, and whether there is one."""

    @abstractmethod
    def added(self, key: Array, scaled: Array) -> Array:
        """Responses from draws of what the scale multiplies."""

    @abstractmethod
    def response_variance(self, scale: Array, diagonal: Array) -> Array:
        r"""The variances of responses whose kernel is $K_{ii}$."""


@keepable("nngp.NoiseInside")
class NoiseInside(Noise):
    r"""$y \mid \sigma^2 \sim N(0, \sigma^2 (K + \tau^2 I))$: one Cholesky factor serves all scales."""

    place = "inside"
    covariance = "K + noise_variance * I"

    def likelihood(self, covariance: Float[Array, "n n"], y: Float[Array, " n"]) -> DataLikelihood:
        return factored(covariance, self.variance, y)

    def simplified(self, scale: Scale) -> Noise:
        return self

    def predictive(self, scale: Scale, conditional: Conditional, size: int, axis: int) -> dist.Distribution:
        mean, root = (jax.lax.index_in_dim(part, 0, axis, keepdims=False) for part in conditional(jnp.ones(1)))
        return scale.normal_mixture(mean, root)

    def prior_root(self, covariance: Float[Array, "n n"]) -> tuple[Float[Array, "n n"], Bool[Array, ""]]:
        root = factor(covariance + self.variance * jnp.eye(len(covariance)))
        return root, jnp.isfinite(root[-1, -1])

    def added(self, key: Array, scaled: Array) -> Array:
        return scaled

    def response_variance(self, scale: Array, diagonal: Array) -> Array:
        return scale * (diagonal + self.variance)


@keepable("nngp.NoiseOutside")
class NoiseOutside(Noise):
    r"""$y \mid \sigma^2 \sim N(0, \sigma^2 K + \tau^2 I)$: one eigendecomposition serves all scales."""

    place = "outside"
    covariance = "σ² K + noise_variance * I"

    def likelihood(self, covariance: Float[Array, "n n"], y: Float[Array, " n"]) -> DataLikelihood:
        return spectral(covariance, self.variance, y)

    def simplified(self, scale: Scale) -> Noise:
        # noise outside one known scale is noise inside it, divided by it, and that needs no eigenvectors
        return self if scale.known is None else NoiseInside(self.variance / scale.known)

    def predictive(self, scale: Scale, conditional: Conditional, size: int, axis: int) -> dist.Distribution:
        # neither the mean nor the shape of the covariance is the same at all scales, so nothing can be taken out of
        # the integral over them: it becomes a sum over nodes
        nodes = scale.nodes(size)
        mean, root = to_default(conditional(nodes.scales))
        return ScaleNodesMixture(to_default(nodes.log_weights), mean, root, jnp.isfinite(scale.law.mean))

    def prior_root(self, covariance: Float[Array, "n n"]) -> tuple[Float[Array, "n n"], Bool[Array, ""]]:
        values, vectors = jnp.linalg.eigh(covariance)  # the noise is added later, so that K itself may be singular
        rounding = len(covariance) * jnp.finfo(values.dtype).eps * values[-1]
        return vectors * jnp.sqrt(jnp.maximum(values, 0.0)), values[0] >= -rounding

    def added(self, key: Array, scaled: Array) -> Array:
        return scaled + jnp.sqrt(self.variance) * jax.random.normal(key, scaled.shape)

    def response_variance(self, scale: Array, diagonal: Array) -> Array:
        return scale * diagonal + self.variance


PLACES: dict[str, type[Noise]] = {kind.place: kind for kind in (NoiseInside, NoiseOutside)}


def check_place(noise: object) -> str:
    """Where the noise is.

    Raises:
        ModelError: nowhere that is known.
    """
    if noise not in PLACES:
        raise ModelError(f"noise must be 'inside' or 'outside' (the scale), got {noise!r}")
    return str(noise)


def noise_of(place: str, variance: Array) -> Noise:
    """The noise; without any, inside and outside are the same, and inside is cheaper."""
    absent = not is_traced(variance) and float(variance) == 0
    return NoiseInside(variance) if absent else PLACES[place](variance)


def as_noise_variance(noise_variance: object) -> Array:
    """A number that is not negative, or NaN where a traced one is.

    Raises:
        ModelError: anything else.
    """
    if not isinstance(noise_variance, float | int | np.ndarray | np.generic | jax.Array):
        raise ModelError(f"noise_variance must be a number, got {type(noise_variance).__name__}")
    number = noise_variance if isinstance(noise_variance, jax.Array) else jnp.asarray(noise_variance, float)
    if number.ndim:
        raise ModelError(f"noise_variance must be one number, got shape {number.shape}")
    if is_traced(number):
        # where the kernel is large a negative one would give a number like any other, and a tracer raises nothing
        return jnp.where(number >= 0, number, jnp.nan)
    if not 0 <= float(number) < np.inf:
        raise ModelError(f"noise_variance must be finite and not negative, got {float(number)}")
    return number
