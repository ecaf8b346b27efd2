r"""A Gaussian mixture from points: weighted moments, k-means++ and Lloyd's steps, expectation-maximisation.

Sources: Arthur and Vassilvitskii (2007), "k-means++"; Dempster, Laird and Rubin (1977).
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from bayeskit._typing import Array
from bayeskit.errors import DataError
from bayeskit.numerics.gaussian_mixture import GaussianMixture
from bayeskit.numerics.gaussian_mixture_covariance import CovarianceKind, Diagonal, full_covariance
from bayeskit.xla.miscompilation import safe_jit

__all__ = ["Moments", "em", "k_means", "k_means_plus_plus", "moment_sums", "moments_of", "weighted_moments"]


class Moments(NamedTuple):
    """Weight, mean and covariance of each group.

    Attributes:
        total: shape `(k,)`.
        mean: shape `(k, d)`.
        covariance: shape `(k, d, d)`, or `(k, d)` when only the variances were asked for.
    """

    total: Array
    mean: Array
    covariance: Array


def k_means_plus_plus(key: Array, x: Float[Array, "n d"], num: int) -> Float[Array, "k d"]:
    """Starting centres: each next one is a point drawn with probability as its squared distance to the nearest before.

    Args:
        key: a JAX key.
        x: points.
        num: number of centres.

    Returns:
        Centres.
    """
    first, rest = jax.random.split(key)
    start = x[jax.random.randint(first, (), 0, x.shape[0])]

    def add(nearest: Array, key: Array) -> tuple[Array, Array]:
        centre = x[jax.random.categorical(key, jnp.log(nearest))]
        return jnp.minimum(nearest, jnp.sum((x - centre) ** 2, axis=-1)), centre

    nearest = jnp.sum((x - start) ** 2, axis=-1)
    _, more = jax.lax.scan(add, nearest, jax.random.split(rest, num)[: num - 1])
    return jnp.concatenate([start[None], more])


def k_means(
    key: Array, x: Float[Array, "n d"], num: int, num_steps: int = 20
) -> tuple[Float[Array, "k d"], Int[Array, " n"]]:
    """Centres after some of Lloyd's steps from k-means++, and the group of each point.

    A group that has lost all of its points keeps its centre.
    """

    def assign(centres: Array) -> Array:
        return jnp.argmin(jnp.sum(centres**2, axis=-1) - 2 * x @ centres.T, axis=-1)

    def step(centres: Array, _: None) -> tuple[Array, None]:
        member = jax.nn.one_hot(assign(centres), num, dtype=x.dtype)
        count = jnp.sum(member, axis=0)[:, None]
        return jnp.where(count > 0, member.T @ x / jnp.maximum(count, 1), centres), None

    centres = jax.lax.scan(step, k_means_plus_plus(key, x, num), None, length=num_steps)[0]
    return centres, assign(centres)


def moment_sums(
    weights: Float[Array, "n k"], centred: Float[Array, "n d"], *, diagonal: bool = False
) -> tuple[Float[Array, " k"], Float[Array, "k d"], Float[Array, "k ..."]]:
    r"""$\sum_n w_{nk}$, $\sum_n w_{nk} x_n$ and $\sum_n w_{nk} x_n x_n^\top$, which add up over batches of points."""
    if diagonal:
        second = weights.T @ centred**2
    else:
        second = jnp.einsum("nkd,ne->kde", weights[..., None] * centred[:, None], centred)
    return jnp.sum(weights, axis=0), weights.T @ centred, second


def moments_of(
    sums: tuple[Array, Array, Array],
    centre: Float[Array, " d"],
    prior: Moments | None = None,
    count: Array | float = 0.0,
) -> Moments:
    r"""Moments of $k$ groups with soft memberships, from the sums of :func:`moment_sums` about ``centre``.

    With a ``prior`` (moments of one group) the covariance is
    $(\sum_n w_{nk} (x_n - m_k)(x_n - m_k)^\top + \nu C_0) / (\sum_n w_{nk} + \nu)$: the mode under an inverse Wishart
    prior worth ``count`` $= \nu$ points, which a group with fewer points than dimensions needs.
    """
    total, first, second = sums
    shift = first / jnp.maximum(total, jnp.finfo(first.dtype).tiny)[:, None]
    if second.ndim == 2:
        square, divisor = first * shift, total[:, None]
    else:
        square, divisor = first[:, :, None] * shift[:, None], total[:, None, None]
    spread = second - square
    if prior is not None:
        spread, divisor = spread + count * prior.covariance, divisor + count
    return Moments(total, centre + shift, spread / divisor)


def weighted_moments(
    weights: Float[Array, "n k"],
    x: Float[Array, "n d"],
    *,
    diagonal: bool = False,
    prior: Moments | None = None,
    count: Array | float = 0.0,
) -> Moments:
    """Moments of groups with soft memberships: :func:`moment_sums` about the mean of all points, so that float32 does
    not lose the variance of points far from the origin, then :func:`moments_of`.
    """
    centre = jnp.mean(x, axis=0)
    return moments_of(moment_sums(weights, x - centre, diagonal=diagonal), centre, prior, count)


def em(
    key: Array,
    x: Float[Array, "n d"],
    num: int,
    *,
    kind: CovarianceKind = "full",
    num_steps: int = 100,
    prior_count: float = 1.0,
) -> tuple[GaussianMixture, Float[Array, " step"]]:
    r"""A mixture fitted by expectation-maximisation from k-means.

    Covariances are shrunk to that of all points by a prior worth ``prior_count`` points (see :func:`moments_of`); with
    zero the steps are maximum likelihood and the log likelihood never falls.

    Args:
        key: a JAX key.
        x: points.
        num: number of components.
        kind: ``"full"`` or ``"diagonal"``.
        num_steps: steps after k-means.
        prior_count: $\nu$.

    Returns:
        The mixture, with weights that sum to one, and the mean log density before each step.

    Raises:
        DataError: fewer points than components, or a form of covariance that has no closed step.

    Example:
        >>> import jax
        >>> from bayeskit.numerics.gaussian_mixture_fit import em
        >>> x = jax.random.normal(jax.random.key(0), (500, 2))
        >>> mixture, trace = em(jax.random.key(1), x, 2, num_steps=10)
        >>> mixture.means.shape, trace.shape
        ((2, 2), (10,))
    """
    if x.shape[0] < num:
        raise DataError(f"{x.shape[0]} points cannot have {num} components; give more points or fewer components")
    if kind == "low_rank":
        raise DataError("expectation-maximisation has closed steps for kind='full' and kind='diagonal' only")
    return _em(key, x, jnp.asarray(prior_count, x.dtype), num, kind == "diagonal", num_steps)


@partial(safe_jit, static_argnums=(3, 4, 5))
def _em(
    key: Array, x: Array, prior_count: Array, num: int, diagonal: bool, num_steps: int
) -> tuple[GaussianMixture, Array]:
    prior = weighted_moments(jnp.ones((x.shape[0], 1), x.dtype), x, diagonal=diagonal)

    def mixture(weights: Array) -> GaussianMixture:
        moments = weighted_moments(weights, x, diagonal=diagonal, prior=prior, count=prior_count)
        covariance = Diagonal(moments.covariance) if diagonal else full_covariance(moments.covariance)
        return GaussianMixture(jnp.log(moments.total / x.shape[0]), moments.mean, covariance)

    def step(weights: Array, _: None) -> tuple[Array, Array]:
        terms = mixture(weights).log_terms(x)
        return jax.nn.softmax(terms, axis=-1), jnp.mean(jax.nn.logsumexp(terms, axis=-1))

    start = jax.nn.one_hot(k_means(key, x, num)[1], num, dtype=x.dtype)
    weights, trace = jax.lax.scan(step, start, None, length=num_steps)
    return mixture(weights), trace
