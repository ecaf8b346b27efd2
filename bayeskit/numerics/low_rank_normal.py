r"""Normal distributions whose covariance is a diagonal matrix and one of low rank."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from bayeskit._typing import Array

__all__ = ["LowRankNormal", "low_rank_normal"]


class LowRankNormal(NamedTuple):
    r"""$N(\mu, D (I + Q (L L^\top - I) Q^\top) D)$ with $D$ diagonal and $Q^\top Q = I$.

    Attributes:
        mean: $\mu$, shape `(d,)`.
        scale: the diagonal of $D$.
        basis: $Q$, shape `(d, m)`.
        root: $L$, lower triangular, shape `(m, m)`.
    """

    mean: Array
    scale: Array
    basis: Array
    root: Array

    def at(self, noise: Array) -> tuple[Array, Array]:
        r"""The points $\mu + D (u + Q (L - I) Q^\top u)$ and their log densities, for standard normal numbers
        $u$ of shape `(n, d)`.
        """
        inside = noise @ self.basis
        points = self.mean + self.scale * (noise + (inside @ self.root.T - inside) @ self.basis.T)
        return points, -0.5 * jnp.sum(noise**2, axis=-1) - self._log_volume

    def log_prob(self, points: Array) -> Array:
        """Log densities of points of shape `(n, d)`."""
        white = (points - self.mean) / self.scale
        inside = white @ self.basis
        solved = jax.scipy.linalg.solve_triangular(self.root, inside.T, lower=True).T
        return -0.5 * jnp.sum((white + (solved - inside) @ self.basis.T) ** 2, axis=-1) - self._log_volume

    @property
    def _log_volume(self) -> Array:
        log_det = jnp.sum(jnp.log(self.scale)) + jnp.sum(jnp.log(jnp.diag(self.root)))
        return log_det + 0.5 * self.mean.shape[0] * math.log(2.0 * math.pi)


def low_rank_normal(mean: Array, diagonal: Array, left: Array, middle: Array) -> LowRankNormal:
    r"""The normal distribution with covariance $\mathrm{diag}(a) + B \Gamma B^\top$; NaN where that is not positive
    definite.

    With $\mathrm{diag}(a)^{-1/2} B = Q R$, it is $D (I + Q R \Gamma R^\top Q^\top) D$ with $D = \mathrm{diag}(a)^{1/2}$
    (Zhang, Carpenter, Gelman and Vehtari 2022, algorithm 4).

    Args:
        mean: shape `(d,)`.
        diagonal: $a$, shape `(d,)`.
        left: $B$, shape `(d, n)`.
        middle: $\Gamma$, symmetric, shape `(n, n)`.
    """
    scale = jnp.sqrt(diagonal)
    basis, triangle = jnp.linalg.qr(left / scale[:, None])
    inside = triangle @ middle @ triangle.T
    return LowRankNormal(mean, scale, basis, jnp.linalg.cholesky(jnp.eye(inside.shape[0], dtype=mean.dtype) + inside))
