r"""The Gaussian likelihood as a function of the scale $\sigma^2$, from one factorisation."""

# ruff: noqa: D102, ARG002  (methods are described by the abstract class)

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float

from bayeskit._keepable import keepable
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

    has_data: ClassVar[bool] = True

    @property
    def factored(self) -> FactoredLikelihood | None:
        """Itself, where the scale multiplies all of the covariance."""
        return None

    @abstractmethod
    def log_likelihood(self, scales: Float[Array, " m"]) -> Float[Array, " m"]:
        r"""$\log p(y \mid \sigma^2)$ at each of the scales."""

    @abstractmethod
    def is_definite(self, scale: Float[Array, ""]) -> Bool[Array, ""]:
        """Whether the covariance is positive definite at a scale."""


class DataLikelihood(Likelihood):
    """The likelihood of responses, with what predictions from them need.

    In its methods `cross` is the kernel between the new inputs and those of the data, and `added` the variance of the
    noise in what is predicted: zero for the function itself.
    """

    @abstractmethod
    def joint(
        self, cross: Float[Array, "new n"], before: Float[Array, "new new"], added: Array, scales: Float[Array, " m"]
    ) -> tuple[Float[Array, "m new"], Float[Array, "m new new"]]:
        """Given each scale the mean at new inputs and a Cholesky factor of the covariance."""

    @abstractmethod
    def each(
        self, cross: Float[Array, "new n"], before: Float[Array, " new"], added: Array, scales: Float[Array, " m"]
    ) -> tuple[Float[Array, "new m"], Float[Array, "new m"]]:
        """Given each scale the mean and the variance at each new input.

        A variance that is known to be zero (without noise, at the inputs of the data) is known to rounding only, so it
        is at least the rounding of the variance before data.
        """


@keepable("nngp.FactoredLikelihood")
class FactoredLikelihood(DataLikelihood):
    r"""$y \mid \sigma^2 \sim N(0, \sigma^2 C)$: $C = L L^\top$ is factored once, a scale costs $O(1)$."""

    root: Float[Array, "n n"]
    whitened: Float[Array, " n"]

    @property
    def factored(self) -> FactoredLikelihood:
        return self

    @property
    def size(self) -> int:
        """$n$."""
        return len(self.whitened)

    @property
    def quadratic(self) -> Float[Array, ""]:
        r"""$q = y^\top C^{-1} y$."""
        return jnp.sum(self.whitened**2)

    @property
    def log_determinant(self) -> Float[Array, ""]:
        r"""$\log |C|$."""
        return log_determinant(self.root)

    def log_likelihood(self, scales: Float[Array, " m"]) -> Float[Array, " m"]:
        r"""$\log N(y; 0, \sigma^2 C)$ at each $\sigma^2$."""
        return -0.5 * (self.size * (LOG_2PI + jnp.log(scales)) + self.log_determinant + self.quadratic / scales)

    def is_definite(self, scale: Float[Array, ""]) -> Bool[Array, ""]:
        """Whether the factorisation succeeded."""
        return jnp.isfinite(self.root[-1, -1])

    def joint(self, cross: Array, before: Array, added: Array, scales: Array) -> tuple[Array, Array]:
        half = whiten(self.root, cross.T)
        root = factor(before - half.T @ half + added * jnp.eye(len(before)))
        mean = half.T @ self.whitened  # the same at every scale
        return jnp.broadcast_to(mean, (len(scales), len(mean))), jnp.sqrt(scales)[:, None, None] * root

    def each(self, cross: Array, before: Array, added: Array, scales: Array) -> tuple[Array, Array]:
        half = whiten(self.root, cross.T)
        mean = half.T @ self.whitened
        left = _above_rounding(before - jnp.sum(half**2, axis=0), before)
        return jnp.broadcast_to(mean[:, None], (len(mean), len(scales))), scales * (left + added)[:, None]


@keepable("nngp.NoData")
class NoData(Likelihood):
    """Nothing observed: the likelihood is one."""

    has_data = False

    def log_likelihood(self, scales: Float[Array, " m"]) -> Float[Array, " m"]:
        """Zero at every scale: there is nothing to explain."""
        return jnp.zeros_like(scales)

    def is_definite(self, scale: Float[Array, ""]) -> Bool[Array, ""]:
        """True at every finite scale: an empty covariance has no pivot that could fail."""
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


@keepable("nngp.SpectralLikelihood")
class SpectralLikelihood(DataLikelihood):
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

    def joint(self, cross: Array, before: Array, added: Array, scales: Array) -> tuple[Array, Array]:
        rotated, inverse = cross @ self.vectors, self._inverse(scales)
        mean = (inverse * scales[:, None] * self.projected) @ rotated.T
        noise = added * jnp.eye(len(before))
        root = jax.lax.map(
            lambda pair: factor(pair[0] * before - pair[0] ** 2 * (rotated * pair[1]) @ rotated.T + noise),
            (scales, inverse),
        )
        return mean, root

    def each(self, cross: Array, before: Array, added: Array, scales: Array) -> tuple[Array, Array]:
        rotated, inverse = cross @ self.vectors, self._inverse(scales)
        mean = rotated @ (inverse * scales[:, None] * self.projected).T
        left = _above_rounding(before[:, None] - rotated**2 @ (scales[:, None] * inverse).T, before[:, None])
        return mean, scales * left + added

    def _inverse(self, scales: Float[Array, " m"]) -> Float[Array, "m n"]:
        return 1 / (scales[:, None] * self.values + self.noise_variance)


def _above_rounding(left: Array, before: Array) -> Array:
    return jnp.maximum(left, jnp.finfo(before.dtype).eps * before)


def factored(covariance: Float[Array, "n n"], noise_variance: Array, y: Float[Array, " n"]) -> FactoredLikelihood:
    r"""With noise inside the scale: $C = K + \tau^2 I$."""
    root = factor(covariance + noise_variance * jnp.eye(len(y)))
    return FactoredLikelihood(root, whiten(root, y))


def spectral(covariance: Float[Array, "n n"], noise_variance: Array, y: Float[Array, " n"]) -> SpectralLikelihood:
    r"""With noise outside the scale.

    An eigenvalue that is negative by rounding is zero; one that is negative by more makes the spectrum NaN.
    """
    values, vectors = jnp.linalg.eigh(covariance)
    rounding = len(y) * jnp.finfo(values.dtype).eps * jnp.max(jnp.abs(values))
    values = jnp.where(values >= -rounding, jnp.maximum(values, 0.0), jnp.nan)
    return SpectralLikelihood(covariance, y, noise_variance, values, vectors)


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
