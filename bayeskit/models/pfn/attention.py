r"""What both networks are made of: products with weights, normalisation, attention with one more key that is learned.

With queries $q_t$, keys $k_s$ and values $v_s$ of a head of width $h$, and the learned key $k_0$ and value $v_0$, which
stand for "nothing known" and are all there is where no row exists,

.. math:: a_t = \frac{\sum_s w_{ts} v_s}{\sum_s w_{ts}}, \qquad w_{ts} = \exp(q_t^\top k_s / \sqrt h),\; s = 0, \dots
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from bayeskit._typing import Array

__all__ = ["attend", "root_mean_square", "times"]


@jax.custom_vjp
def times(rows: Array, weights: Array) -> Array:
    """Rows `(..., width)` times weights `(width, others)`, with a gradient that is made for processors.

    That of the weights is a sum over all rows. With the rows along the last axis of the first factor it takes half the
    time, and XLA does not find that out itself. Rows must not be mapped over by `jax.vmap`, which would make a gradient
    of the weights for each.
    """
    return rows @ weights


def _forward(rows: Array, weights: Array) -> tuple[Array, tuple[Array, Array]]:
    return rows @ weights, (rows, weights)


def _backward(kept: tuple[Array, Array], slope: Array) -> tuple[Array, Array]:
    rows, weights = kept
    # the barrier keeps XLA from taking the transposition back into the product
    columns = jax.lax.optimization_barrier(rows.reshape(-1, rows.shape[-1]).T)
    return slope @ weights.T, columns @ slope.reshape(-1, slope.shape[-1])


times.defvjp(_forward, _backward)


def root_mean_square(x: Array) -> Array:
    """Normalise the last axis; the gains belong to the weights that follow, so that their slopes cost nothing."""
    size = jnp.mean(jnp.square(x.astype(jnp.float32)), axis=-1, keepdims=True)
    return x * jax.lax.rsqrt(size + 1e-6).astype(x.dtype)


def attend(
    query: Array, keys: Array, values: Array, nothing: tuple[Array, Array], exists: Array, num_heads: int
) -> Array:
    """The average of values that a query sees.

    Args:
        query: shape `(..., t, width)`.
        keys: shape `(..., s, width)`.
        values: likewise.
        nothing: the learned key and value, shape `(width,)`.
        exists: which keys there are, shape `(..., s)`.
        num_heads: heads, which divide `width`.
    """

    def heads(x: Array) -> Array:
        return jnp.swapaxes(x.reshape(*x.shape[:-1], num_heads, -1), -3, -2)

    scale = 1 / math.sqrt(query.shape[-1] // num_heads)
    query, keys, values = heads(query * scale), heads(keys), heads(values)
    nothing_key, nothing_value = (one.reshape(num_heads, 1, -1) for one in nothing)
    logits = jnp.einsum("...td,...sd->...ts", query, keys).astype(jnp.float32)
    logits = logits + jnp.where(exists, 0.0, -jnp.inf)[..., None, None, :]
    rest = jnp.sum(query * nothing_key, axis=-1, keepdims=True).astype(jnp.float32)
    highest = jax.lax.stop_gradient(jnp.maximum(logits.max(axis=-1, keepdims=True), rest))
    weights, rest = jnp.exp(logits - highest), jnp.exp(rest - highest)
    total = weights.sum(axis=-1, keepdims=True) + rest
    seen = jnp.einsum("...ts,...sd->...td", weights.astype(values.dtype), values)
    # divided after the product, of which there are fewer numbers
    seen = ((seen + rest * nothing_value) / total).astype(values.dtype)
    seen = jnp.swapaxes(seen, -3, -2)
    return seen.reshape(*seen.shape[:-2], -1)
