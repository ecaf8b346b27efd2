r"""Means and covariances of a Gaussian process at new inputs, given responses and each of several scales."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from bayeskit._typing import Array
from bayeskit.models.nngp.mixtures.likelihood import DataLikelihood
from bayeskit.models.nngp.mixtures.status import status_of
from bayeskit.xla.precision import in_double

__all__ = ["each_conditional", "in_blocks", "joint_conditional"]

BLOCK = 1024


@in_double
def joint_conditional(
    kernel: Callable[..., Array],
    likelihood: DataLikelihood,
    x: Array,
    x_new: Array,
    added: Array,
    scales: Float[Array, " m"],
) -> tuple[Float[Array, "m new"], Float[Array, "m new new"], Int[Array, ""]]:
    """At each scale the mean and a Cholesky factor of the covariance, and how the computation went."""
    mean, root = likelihood.joint(kernel(x_new, x), kernel(x_new, x_new), added, scales)
    return mean, root, status_of(jnp.all(jnp.isfinite(root)))


@in_double
def each_conditional(
    kernel: Callable[..., Array],
    likelihood: DataLikelihood,
    x: Array,
    x_new: Array,
    added: Array,
    scales: Float[Array, " m"],
) -> tuple[Float[Array, "new m"], Float[Array, "new m"]]:
    """At each new input and scale the mean and the standard deviation, from blocks of the new inputs."""
    mean, variance = in_blocks(lambda part: likelihood.each(kernel(part, x), kernel(part), added, scales), x_new)
    return mean, jnp.sqrt(variance)


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
