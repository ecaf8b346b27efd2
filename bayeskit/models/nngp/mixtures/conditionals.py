r"""Means and covariances of a Gaussian process at new inputs, given responses and each of several scales."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from bayeskit._typing import Array
from bayeskit.models.nngp.mixtures.likelihood import DataLikelihood, FactoredLikelihood, SpectralLikelihood
from bayeskit.models.nngp.mixtures.status import trouble_of
from bayeskit.numerics.positive_definite import factor, whiten
from bayeskit.xla.precision import in_double

__all__ = ["each_moments", "in_blocks", "joint_moments"]

BLOCK = 1024


@in_double
def joint_moments(
    kernel: Callable[..., Array],
    likelihood: DataLikelihood,
    noise_variance: Array,
    x: Array,
    x_new: Array,
    scales: Float[Array, " m"],
    *,
    noise: str,
    include_noise: bool,
) -> tuple[Float[Array, "m new"], Float[Array, "m new new"], Int[Array, ""]]:
    """At each scale the mean and a Cholesky factor of the covariance, and whether that failed."""
    cross, between = kernel(x_new, x), kernel(x_new, x_new)
    identity = jnp.eye(len(between))
    added = noise_variance * identity if include_noise else jnp.zeros_like(identity)
    if isinstance(likelihood, FactoredLikelihood):
        half = whiten(likelihood.root, cross.T)
        mean = jnp.broadcast_to(half.T @ likelihood.whitened, (len(scales), len(between)))
        covariance = between - half.T @ half
        # the factorisation of a fixed scale puts noise that is outside of it inside, divided by it
        one = factor(covariance + (added if noise == "inside" else added / scales[0]))
        root = jnp.sqrt(scales)[:, None, None] * one
    else:
        rotated, inverse = cross @ likelihood.vectors, _inverse(likelihood, scales)
        mean = (inverse * scales[:, None] * likelihood.projected) @ rotated.T
        root = jax.lax.map(
            lambda pair: factor(pair[0] * between - pair[0] ** 2 * (rotated * pair[1]) @ rotated.T + added),
            (scales, inverse),
        )
    return mean, root, trouble_of(jnp.all(jnp.isfinite(root)))


@in_double
def each_moments(
    kernel: Callable[..., Array],
    likelihood: DataLikelihood,
    noise_variance: Array,
    x: Array,
    x_new: Array,
    scales: Float[Array, " m"],
    *,
    noise: str,
    include_noise: bool,
) -> tuple[Float[Array, "new m"], Float[Array, "new m"]]:
    """At each new input and scale the mean and the standard deviation, from blocks of the new inputs.

    A variance that is known to be zero (without noise, at the inputs of the data) is known to rounding only, so it is
    at least the rounding of the variance before data.
    """
    added = noise_variance if include_noise else jnp.zeros(())
    inside = noise == "inside"

    def of_block(block: Array) -> tuple[Array, Array]:
        cross, before = kernel(block, x), kernel(block)[:, None]
        floor = jnp.finfo(before.dtype).eps * before
        if isinstance(likelihood, FactoredLikelihood):
            half = whiten(likelihood.root, cross.T)
            mean = jnp.broadcast_to((half.T @ likelihood.whitened)[:, None], (len(block), len(scales)))
            left = jnp.maximum(before - jnp.sum(half**2, axis=0)[:, None], floor)
            return mean, scales * (left + (added if inside else added / scales[0]))
        rotated, inverse = cross @ likelihood.vectors, _inverse(likelihood, scales)
        mean = rotated @ (inverse * scales[:, None] * likelihood.projected).T
        left = jnp.maximum(before - rotated**2 @ (scales[:, None] * inverse).T, floor)
        return mean, scales * left + added

    mean, variance = in_blocks(of_block, x_new)
    return mean, jnp.sqrt(variance)


def _inverse(likelihood: SpectralLikelihood, scales: Float[Array, " m"]) -> Float[Array, "m n"]:
    return 1 / (scales[:, None] * likelihood.values + likelihood.noise_variance)


def in_blocks(of_block: Callable[[Array], tuple[Array, Array]], x_new: Array) -> tuple[Array, Array]:
    """The same as `of_block(x_new)`, a pair of arrays with a row a point, with one block in memory."""
    size = len(x_new)
    if size <= BLOCK:
        return of_block(x_new)
    num = -(-size // BLOCK)
    filled = jnp.concatenate([x_new, jnp.repeat(x_new[:1], num * BLOCK - size, axis=0)])
    first, second = jax.lax.map(of_block, filled.reshape(num, BLOCK, *x_new.shape[1:]))
    return _rows(first)[:size], _rows(second)[:size]


def _rows(blocks: Array) -> Array:
    return blocks.reshape(-1, *blocks.shape[2:])
