r"""The Gaussian likelihood as a function of the scale $\sigma^2$, from one factorisation."""

from __future__ import annotations

from abc import abstractmethod
from typing import TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float

from bayeskit._typing import Array
from bayeskit.numerics.positive_definite import factor, log_determinant, whiten

__all__ = [
    "DataLikelihood",
    "FactoredLikelihood",
    "Likelihood",
    "NoData",
    "SpectralLikelihood",
    "WithValues",
    "factored",
    "spectral",
]

LOG_2PI = 1.8378770664093453


class Likelihood(eqx.Module):
    r"""$\log p(y \mid \sigma^2)$ at many scales, and whether the covariance is positive definite at one."""

    @abstractmethod
    def log_likelihood(self, scales: Float[Array, " m"]) -> Float[Array, " m"]:
        """At each scale."""

    @abstractmethod
    def is_definite(self, scale: Float[Array, ""]) -> Bool[Array, ""]:
        """Whether the covariance is positive definite at a scale."""


class FactoredLikelihood(Likelihood):
    r"""$y \mid \sigma^2 \sim N(0, \sigma^2 C)$: $C = L L^\top$ is factored once, a scale costs $O(1)$."""

    root: Float[Array, "n n"]
    whitened: Float[Array, " n"]

    @property
    def quadratic(self) -> Float[Array, ""]:
        r"""$q = y^\top C^{-1} y$."""
        return jnp.sum(self.whitened**2)

    def log_likelihood(self, scales: Float[Array, " m"]) -> Float[Array, " m"]:
        r"""$\log N(y; 0, \sigma^2 C)$ at each $\sigma^2$."""
        size = len(self.whitened)
        return -0.5 * (size * (LOG_2PI + jnp.log(scales)) + log_determinant(self.root) + self.quadratic / scales)

    def is_definite(self, scale: Float[Array, ""]) -> Bool[Array, ""]:  # noqa: ARG002  (the same at every scale)
        """Whether the factorisation succeeded."""
        return jnp.isfinite(self.root[-1, -1])


class NoData(Likelihood):
    """Nothing observed: the likelihood is one."""

    def log_likelihood(self, scales: Float[Array, " m"]) -> Float[Array, " m"]:
        """Zero."""
        return jnp.zeros_like(scales)

    def is_definite(self, scale: Float[Array, ""]) -> Bool[Array, ""]:
        """Always."""
        return jnp.isfinite(scale)


class WithValues(Likelihood):
    r"""A likelihood and new values, normal with covariance $\sigma^2 \Sigma$ given those before."""

    given: Likelihood
    size: int = eqx.field(static=True)
    log_determinant: Float[Array, ""]
    quadratic: Float[Array, ""]

    def log_likelihood(self, scales: Float[Array, " m"]) -> Float[Array, " m"]:
        """Of the values and of what was given."""
        new = self.size * (LOG_2PI + jnp.log(scales)) + self.log_determinant + self.quadratic / scales
        return self.given.log_likelihood(scales) - 0.5 * new

    def is_definite(self, scale: Float[Array, ""]) -> Bool[Array, ""]:
        """As that of what was given."""
        return self.given.is_definite(scale) & jnp.isfinite(self.log_determinant)


class SpectralLikelihood(Likelihood):
    r"""$y \mid \sigma^2 \sim N(0, \sigma^2 K + \tau^2 I)$: $K = V \Lambda V^\top$ once, a scale costs $O(n)$."""

    covariance: Float[Array, "n n"]
    y: Float[Array, " n"]
    noise_variance: Float[Array, ""]
    values: Float[Array, " n"]
    vectors: Float[Array, "n n"]

    @property
    def projected(self) -> Float[Array, " n"]:
        r"""$V^\top y$."""
        return self.vectors.T @ self.y

    def log_likelihood(self, scales: Float[Array, " m"]) -> Float[Array, " m"]:
        r"""$\log N(y; 0, \sigma^2 K + \tau^2 I)$ at each $\sigma^2$."""
        return _in_eigenbasis(self.covariance, self.y, self.noise_variance, scales, self.values, self.vectors)

    def is_definite(self, scale: Float[Array, ""]) -> Bool[Array, ""]:
        """Whether the smallest variance is above the rounding of the largest."""
        least = scale * self.values[0] + self.noise_variance
        resolution = len(self.y) * jnp.finfo(self.values.dtype).eps
        return least > resolution * scale * self.values[-1]


def factored(covariance: Float[Array, "n n"], noise_variance: Array, y: Float[Array, " n"]) -> FactoredLikelihood:
    r"""With noise inside of the scale: $C = K + \tau^2 I$."""
    root = factor(covariance + noise_variance * jnp.eye(len(y)))
    return FactoredLikelihood(root, whiten(root, y))


def spectral(covariance: Float[Array, "n n"], noise_variance: Array, y: Float[Array, " n"]) -> SpectralLikelihood:
    r"""With noise outside of the scale.

    An eigenvalue that is negative by rounding is zero; one that is negative by more makes the spectrum NaN.
    """
    values, vectors = jnp.linalg.eigh(covariance)
    rounding = len(y) * jnp.finfo(values.dtype).eps * jnp.max(jnp.abs(values))
    values = jnp.where(values >= -rounding, jnp.maximum(values, 0.0), jnp.nan)
    return SpectralLikelihood(covariance, y, noise_variance, values, vectors)


DataLikelihood: TypeAlias = FactoredLikelihood | SpectralLikelihood


@jax.custom_jvp
def _in_eigenbasis(
    covariance: Array, y: Array, noise_variance: Array, scales: Array, values: Array, vectors: Array
) -> Float[Array, " m"]:
    del covariance  # the spectrum stands for it; it is an argument for the derivative
    variances = scales[:, None] * values + noise_variance
    projected = vectors.T @ y
    return -0.5 * jnp.sum(LOG_2PI + jnp.log(variances) + projected**2 / variances, axis=1)


@_in_eigenbasis.defjvp
def _derivative(primals: tuple[Array, ...], tangents: tuple[Array, ...]) -> tuple[Array, Array]:
    r"""$d \log N = \tfrac12 a^\top dC\, a - \tfrac12 \mathrm{tr}(C^{-1} dC) - a^\top dy$ with $a = C^{-1} y$.

    In the eigenbasis this needs no derivative of eigenvectors, which is infinite where eigenvalues are equal. The
    tangents of the spectrum are left out here, as it depends on the covariance alone; they count in second derivatives.
    """
    _, y, noise_variance, scales, values, vectors = primals
    d_covariance, d_y, d_noise, d_scales = tangents[:4]
    inverse = 1 / (scales[:, None] * values + noise_variance)
    weights = inverse * (vectors.T @ y)
    rotated = vectors.T @ d_covariance @ vectors
    of_covariance = jnp.sum(weights * (weights @ rotated), axis=1) - inverse @ jnp.diagonal(rotated)
    of_scale = (weights**2 - inverse) @ values
    of_noise = jnp.sum(weights**2 - inverse, axis=1)
    tangent = 0.5 * (scales * of_covariance + of_scale * d_scales + of_noise * d_noise) - weights @ (vectors.T @ d_y)
    return _in_eigenbasis(*primals), tangent
