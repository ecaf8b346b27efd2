r"""Algebra of Gaussian mixtures $\sum_k \alpha_k N(m_k, C_k)$: densities, conditioning, products, moments, draws.

Everything is closed form and works on logarithms, so that float32 suffices far into the tails.

Sources: Bishop (2006), "Pattern Recognition and Machine Learning", sections 2.3.1 to 2.3.3 (conditioning, products);
Robbins (1956), Efron (2011) (Tweedie's formula: score and posterior mean under noise).
"""

from __future__ import annotations

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from bayeskit._keepable import keepable
from bayeskit._typing import Array
from bayeskit.errors import DataError
from bayeskit.numerics.gaussian_mixture_covariance import Covariance, Full, full_covariance

__all__ = ["GaussianMixture", "mixture_moments"]


@keepable("numerics.gaussian_mixture.GaussianMixture")
class GaussianMixture(eqx.Module):
    r"""A mixture $p(x) = \sum_k \alpha_k N(x \mid m_k, C_k)$; the weights need not sum to one.

    Attributes:
        log_weights: $\log \alpha_k$, shape `(k,)`.
        means: $m_k$, shape `(k, d)`.
        covariance: $C_k$: ``Full``, ``Diagonal`` or ``LowRank`` of
            :mod:`bayeskit.numerics.gaussian_mixture_covariance`.

    Example:
        >>> import jax.numpy as jnp
        >>> from bayeskit.numerics.gaussian_mixture import GaussianMixture
        >>> from bayeskit.numerics.gaussian_mixture_covariance import Diagonal
        >>> mixture = GaussianMixture(
        ...     jnp.log(jnp.array([0.5, 0.5])), jnp.array([[-1.0], [1.0]]), Diagonal(jnp.ones((2, 1)))
        ... )
        >>> float(mixture.mean()[0]), float(mixture.second_moments()[0, 0])
        (0.0, 2.0)
    """

    log_weights: Float[Array, " k"]
    means: Float[Array, "k d"]
    covariance: Covariance

    @property
    def log_mass(self) -> Float[Array, ""]:
        r"""$\log \sum_k \alpha_k$."""
        return jax.nn.logsumexp(self.log_weights)

    def normalised(self) -> GaussianMixture:
        """The same mixture with total mass one."""
        return GaussianMixture(jax.nn.log_softmax(self.log_weights), self.means, self.covariance)

    def log_terms(self, x: Float[Array, "n d"]) -> Float[Array, "n k"]:
        r"""$\log \alpha_k N(x \mid m_k, C_k)$."""
        constant = self.covariance.log_det() + x.shape[-1] * jnp.log(2 * jnp.pi)
        return self.log_weights - (self.covariance.mahalanobis(x, self.means) + constant) / 2

    def log_density(self, x: Float[Array, "n d"]) -> Float[Array, " n"]:
        r"""$\log p(x)$."""
        return jax.nn.logsumexp(self.log_terms(x), axis=-1)

    def responsibilities(self, x: Float[Array, "n d"]) -> Float[Array, "n k"]:
        r"""$P(k \mid x)$."""
        return jax.nn.softmax(self.log_terms(x), axis=-1)

    def score(self, x: Float[Array, "n d"]) -> Float[Array, "n d"]:
        r"""$\nabla_x \log p(x) = \sum_k P(k \mid x)\, C_k^{-1} (m_k - x)$."""
        pull = self.covariance.solve(self.means - x[:, None])
        return jnp.einsum("nk,nkd->nd", self.responsibilities(x), pull)

    def mean(self) -> Float[Array, " d"]:
        """The mean of the normalised mixture."""
        return jax.nn.softmax(self.log_weights) @ self.means

    def second_moments(self) -> Float[Array, "d d"]:
        """The covariance matrix of the normalised mixture."""
        return mixture_moments(jax.nn.softmax(self.log_weights)[None], self.means[None], self.covariance.dense())[1][0]

    def sample(self, key: Array, num: int) -> Float[Array, "n d"]:
        """``num`` independent draws of the normalised mixture."""
        choose, colour = jax.random.split(key)
        component = jax.random.categorical(choose, self.log_weights, shape=(num,))
        return self.means[component] + self.covariance.noise(colour, component)

    def marginal(self, coordinates: Sequence[int]) -> GaussianMixture:
        r"""The law of some coordinates, in the order given."""
        index = _coordinates(coordinates, self.means.shape[-1])
        block = self.covariance.dense()[:, index[:, None], index]
        return GaussianMixture(self.log_weights, self.means[:, index], full_covariance(block))

    def condition(self, coordinates: Sequence[int], values: Float[Array, " c"]) -> GaussianMixture:
        r"""The law of the other coordinates given ``x[coordinates] = values``.

        The weights become $\alpha_k N(\mathrm{values} \mid \ldots)$, so that their sum is the density of the values.

        Raises:
            DataError: a coordinate that does not exist or is named twice.
        """
        given = _coordinates(coordinates, self.means.shape[-1])
        rest = np.setdiff1d(np.arange(self.means.shape[-1]), given)
        dense = self.covariance.dense()
        root = jnp.linalg.cholesky(dense[:, given[:, None], given])
        cross = jax.scipy.linalg.solve_triangular(root, dense[:, given[:, None], rest], lower=True)
        white = jax.scipy.linalg.solve_triangular(root, (values - self.means[:, given])[..., None], lower=True)
        means = self.means[:, rest] + jnp.einsum("kcr,kc->kr", cross, white[..., 0])
        remaining = dense[:, rest[:, None], rest] - jnp.einsum("kcr,kcs->krs", cross, cross)
        weights = self.marginal(coordinates).log_terms(values[None])[0]
        return GaussianMixture(weights, means, full_covariance(remaining))

    def product(self, other: GaussianMixture) -> GaussianMixture:
        r"""$p(x) q(x)$ as a mixture of all pairs of components; its mass is $\int p q$.

        $N(m_1, C_1) N(m_2, C_2) = N(m_1 \mid m_2, C_1 + C_2)\, N(m, C)$ with
        $C = C_1 (C_1 + C_2)^{-1} C_2$ and $m = m_1 + C_1 (C_1 + C_2)^{-1} (m_2 - m_1)$.
        """
        first, second = self.covariance.dense()[:, None], other.covariance.dense()[None]
        total = first + second
        gain = jnp.swapaxes(jnp.linalg.solve(total, jnp.broadcast_to(first, total.shape)), -1, -2)
        means = self.means[:, None] + jnp.einsum("abij,abj->abi", gain, other.means - self.means[:, None])
        size = means.shape[-1]
        # Joseph's form: a sum of two positive matrices, where the difference C_1 - gain C_1 could lose its sign
        rest = jnp.eye(size, dtype=gain.dtype) - gain
        spread = rest @ first @ jnp.swapaxes(rest, -1, -2) + gain @ second @ jnp.swapaxes(gain, -1, -2)
        weights = self.log_weights[:, None] + other.log_weights + self._log_overlaps(other)
        return GaussianMixture(
            weights.ravel(), means.reshape(-1, size), full_covariance(spread.reshape(-1, size, size))
        )

    def log_inner(self, other: GaussianMixture) -> Float[Array, ""]:
        r"""$\log \int p(x) q(x)\, dx = \log \sum_{jk} \alpha_j \beta_k N(m_j \mid n_k, C_j + D_k)$."""
        return jax.nn.logsumexp(self.log_weights[:, None] + other.log_weights + self._log_overlaps(other))

    def noised(self, scale: Array | float, variance: Array | float) -> GaussianMixture:
        r"""The law of $a x + \sqrt{v}\, z$ with $z \sim N(0, I)$."""
        moved = self.covariance.affine(jnp.square(scale), variance)
        return GaussianMixture(self.log_weights, scale * self.means, moved)

    def denoised(
        self, y: Float[Array, "n d"], scale: Array | float, variance: Array | float
    ) -> tuple[Float[Array, "n d"], Float[Array, "n d d"]]:
        r"""Mean and covariance of $x$ given $a x + \sqrt{v}\, z = y$.

        By component $m_k + a\, C_k (a^2 C_k + vI)^{-1} (y - a m_k)$ and $v\, C_k (a^2 C_k + vI)^{-1}$; then mixed with
        the responsibilities of the noised mixture.
        """
        noised = self.noised(scale, variance)
        pull = noised.covariance.solve(y[:, None] - noised.means)
        dense = self.covariance.dense()
        by_component = self.means + scale * jnp.einsum("kde,nke->nkd", dense, pull)
        spread = variance * jnp.linalg.solve(noised.covariance.dense(), dense)
        return mixture_moments(noised.responsibilities(y), by_component, spread)

    def _log_overlaps(self, other: GaussianMixture) -> Array:
        total = self.covariance.dense()[:, None] + other.covariance.dense()[None]
        gap = (self.means[:, None] - other.means)[:, :, None]

        def overlap(gap: Array, total: Array) -> Array:
            zero = jnp.zeros((1,), gap.dtype)
            return GaussianMixture(zero, jnp.zeros_like(gap), Full(jnp.linalg.cholesky(total)[None])).log_density(gap)[
                0
            ]

        return jax.vmap(jax.vmap(overlap))(gap, total)


def mixture_moments(
    weights: Float[Array, "n k"], means: Float[Array, "n k d"], covariances: Float[Array, "k d d"]
) -> tuple[Float[Array, "n d"], Float[Array, "n d d"]]:
    r"""Mean and covariance of mixtures with weights $w_{nk}$ (each row sums to one).

    $m = \sum_k w_k m_k$ and $\sum_k w_k C_k + \sum_k w_k (m_k - m)(m_k - m)^\top$.
    """
    mean = jnp.einsum("nk,nkd->nd", weights, means)
    gap = means - mean[:, None]
    between = jnp.einsum("nk,nkd,nke->nde", weights, gap, gap)
    return mean, between + jnp.einsum("nk,kde->nde", weights, covariances)


def _coordinates(coordinates: Sequence[int], size: int) -> np.ndarray:
    index = np.asarray(coordinates, dtype=int)
    if index.size == 0 or len(set(index.tolist())) < index.size or index.min() < 0 or index.max() >= size:
        raise DataError(f"coordinates must be distinct integers from 0 to {size - 1}, got {list(coordinates)}")
    return index
