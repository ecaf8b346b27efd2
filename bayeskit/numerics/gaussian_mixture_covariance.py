r"""Covariances $C_1, \dots, C_K$ of the components of a mixture: full, diagonal, or diagonal plus low rank.

Points are rows; a batch of $n$ points against $K$ components is one matrix product where the form allows it.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Float

from bayeskit._keepable import keepable
from bayeskit._typing import Array

__all__ = ["Covariance", "CovarianceKind", "Diagonal", "Full", "LowRank", "full_covariance"]

CovarianceKind = Literal["full", "diagonal", "low_rank"]


class Covariance(eqx.Module):
    """One symmetric positive definite matrix a component."""

    @abc.abstractmethod
    def dense(self) -> Float[Array, "k d d"]:
        """The covariances $C_k$ as full matrices, whatever their form."""

    @abc.abstractmethod
    def log_det(self) -> Float[Array, " k"]:
        """Logarithms of the determinants."""

    @abc.abstractmethod
    def quadratic(self, x: Float[Array, "n d"]) -> Float[Array, "n k"]:
        r"""$x^\top C_k x$."""

    @abc.abstractmethod
    def distances_to(self, means: Float[Array, "k d"]) -> Callable[[Float[Array, "n d"]], Float[Array, "n k"]]:
        r"""The function $x \mapsto (x - m_k)^\top C_k^{-1} (x - m_k)$, with all factorisations done once."""

    def mahalanobis(self, x: Float[Array, "n d"], means: Float[Array, "k d"]) -> Float[Array, "n k"]:
        r"""$(x - m_k)^\top C_k^{-1} (x - m_k)$."""
        return self.distances_to(means)(x)

    @abc.abstractmethod
    def times(self, x: Float[Array, "n d"]) -> Float[Array, "n k d"]:
        """$C_k x$."""

    @abc.abstractmethod
    def solve(self, v: Float[Array, "n k d"]) -> Float[Array, "n k d"]:
        r"""$C_k^{-1} v_k$."""

    @abc.abstractmethod
    def affine(self, scale: Array | float, shift: Array | float) -> Covariance:
        r"""$\mathrm{scale} \cdot C_k + \mathrm{shift} \cdot I$, in the same form."""

    @abc.abstractmethod
    def noise(self, key: Array, component: Array) -> Float[Array, "n d"]:
        r"""Draws of $N(0, C_k)$, one for each entry of ``component`` (integers of shape `(n,)`)."""


@keepable("numerics.gaussian_mixture_covariance.Full")
class Full(Covariance):
    """Any positive definite matrices, by their lower Cholesky factors, shape `(k, d, d)`."""

    cholesky: Float[Array, "k d d"]

    def dense(self) -> Array:
        return self.cholesky @ jnp.swapaxes(self.cholesky, 1, 2)

    def log_det(self) -> Array:
        return 2 * jnp.sum(jnp.log(jnp.diagonal(self.cholesky, axis1=1, axis2=2)), axis=-1)

    def quadratic(self, x: Array) -> Array:
        return jnp.sum(jnp.einsum("nd,kde->nke", x, self.cholesky) ** 2, axis=-1)

    def distances_to(self, means: Array) -> Callable[[Array], Array]:
        inverse = self._inverse_factor()
        centre = jnp.einsum("kd,ked->ke", means, inverse)
        return lambda x: jnp.sum((jnp.einsum("nd,ked->nke", x, inverse) - centre) ** 2, axis=-1)

    def times(self, x: Array) -> Array:
        return jnp.einsum("nd,kde->nke", x, self.dense())

    def solve(self, v: Array) -> Array:
        inverse = self._inverse_factor()
        return jnp.einsum("nke,ked->nkd", jnp.einsum("nkd,ked->nke", v, inverse), inverse)

    def affine(self, scale: Array | float, shift: Array | float) -> Full:
        return full_covariance(scale * self.dense() + shift * jnp.eye(self.cholesky.shape[-1]))

    def noise(self, key: Array, component: Array) -> Array:
        z = jax.random.normal(key, (component.shape[0], self.cholesky.shape[-1]), self.cholesky.dtype)

        def colour(out: Array, item: tuple[Array, Array]) -> tuple[Array, None]:
            k, factor = item
            return jnp.where((component == k)[:, None], z @ factor.T, out), None

        index = jnp.arange(self.cholesky.shape[0])
        return jax.lax.scan(colour, jnp.zeros_like(z), (index, self.cholesky))[0]

    def _inverse_factor(self) -> Array:
        eye = jnp.broadcast_to(jnp.eye(self.cholesky.shape[-1], dtype=self.cholesky.dtype), self.cholesky.shape)
        return jax.scipy.linalg.solve_triangular(self.cholesky, eye, lower=True)


@keepable("numerics.gaussian_mixture_covariance.Diagonal")
class Diagonal(Covariance):
    """Independent coordinates, by their variances, shape `(k, d)`."""

    variance: Float[Array, "k d"]

    def dense(self) -> Array:
        return jax.vmap(jnp.diag)(self.variance)

    def log_det(self) -> Array:
        return jnp.sum(jnp.log(self.variance), axis=-1)

    def quadratic(self, x: Array) -> Array:
        return x**2 @ self.variance.T

    def distances_to(self, means: Array) -> Callable[[Array], Array]:
        root = 1 / jnp.sqrt(self.variance)
        return lambda x: jnp.sum((x[:, None] * root - means * root) ** 2, axis=-1)

    def times(self, x: Array) -> Array:
        return x[:, None] * self.variance

    def solve(self, v: Array) -> Array:
        return v / self.variance

    def affine(self, scale: Array | float, shift: Array | float) -> Diagonal:
        return Diagonal(scale * self.variance + shift)

    def noise(self, key: Array, component: Array) -> Array:
        root = jnp.sqrt(self.variance)[component]
        return root * jax.random.normal(key, root.shape, root.dtype)


@keepable("numerics.gaussian_mixture_covariance.LowRank")
class LowRank(Covariance):
    r"""$\mathrm{diag}(v_k) + U_k U_k^\top$; inverses by Woodbury's identity, at a cost linear in the dimension.

    Attributes:
        variance: $v$, shape `(k, d)`.
        factor: $U$, shape `(k, d, rank)`.
    """

    variance: Float[Array, "k d"]
    factor: Float[Array, "k d r"]

    def dense(self) -> Array:
        return jax.vmap(jnp.diag)(self.variance) + self.factor @ jnp.swapaxes(self.factor, 1, 2)

    def log_det(self) -> Array:
        inner = jnp.linalg.cholesky(self._capacitance())
        of_inner = 2 * jnp.sum(jnp.log(jnp.diagonal(inner, axis1=1, axis2=2)), axis=-1)
        return jnp.sum(jnp.log(self.variance), axis=-1) + of_inner

    def quadratic(self, x: Array) -> Array:
        return x**2 @ self.variance.T + jnp.sum(jnp.einsum("nd,kdr->nkr", x, self.factor) ** 2, axis=-1)

    def distances_to(self, means: Array) -> Callable[[Array], Array]:
        solve = self._solver()
        return lambda x: jnp.sum((x[:, None] - means) * solve(x[:, None] - means), axis=-1)

    def times(self, x: Array) -> Array:
        inner = jnp.einsum("nd,kdr->nkr", x, self.factor)
        return x[:, None] * self.variance + jnp.einsum("nkr,kdr->nkd", inner, self.factor)

    def solve(self, v: Array) -> Array:
        return self._solver()(v)

    def _solver(self) -> Callable[[Array], Array]:
        scaled = self.factor / self.variance[..., None]
        root = jnp.linalg.cholesky(self._capacitance())
        half = jnp.swapaxes(jax.scipy.linalg.solve_triangular(root, jnp.swapaxes(scaled, 1, 2), lower=True), 1, 2)
        return lambda v: v / self.variance - jnp.einsum("nkr,kdr->nkd", jnp.einsum("nkd,kdr->nkr", v, half), half)

    def affine(self, scale: Array | float, shift: Array | float) -> LowRank:
        return LowRank(scale * self.variance + shift, jnp.sqrt(scale) * self.factor)

    def noise(self, key: Array, component: Array) -> Array:
        on_diagonal, on_factor = jax.random.split(key)
        rank = self.factor.shape[-1]
        z = jax.random.normal(on_factor, (component.shape[0], rank), self.factor.dtype)
        spread = jnp.einsum("nr,ndr->nd", z, self.factor[component])
        return Diagonal(self.variance).noise(on_diagonal, component) + spread

    def _capacitance(self) -> Array:
        inner = jnp.einsum("kdr,kds->krs", self.factor / self.variance[..., None], self.factor)
        return inner + jnp.eye(self.factor.shape[-1], dtype=self.factor.dtype)


def full_covariance(matrices: Float[Array, "k d d"]) -> Full:
    """The form of given positive definite matrices; one that is not positive definite becomes NaN."""
    return Full(jnp.linalg.cholesky((matrices + jnp.swapaxes(matrices, 1, 2)) / 2))
