r"""Expectations of the softmax of independent normal variables, by quadrature.

For $f_c \sim N(m_c, v_c)$ independent, let $G_c$ be independent Gumbel variables. The largest of $f_c + G_c$ is at $c$
with probability $E\, \mathrm{softmax}_c(f)$, and its mean is $E \log \sum_c e^{f_c}$ plus Euler's constant. So

$$E \log \sum_c e^{f_c} = b - \gamma - \int_{-\infty}^b \prod_c \varphi_c(s)\, ds
    + \int_b^\infty \Bigl(1 - \prod_c \varphi_c(s)\Bigr) ds, \qquad \varphi_c(s) = E \exp(-e^{f_c - s}),$$

whose derivative with respect to $m_c$ is $E\, \mathrm{softmax}_c(f)$: the cost is linear in the number of classes.

Both expectations are taken by the trapezoidal rule. In $s$ with step $h$, its relative error is at most about
$2 |\Gamma(1 + 2 \pi i / h)|$, whatever the normal variables are: $2 \cdot 10^{-8}$ for $h = 1/2$. In $f_c$ with step
$h \sqrt{v_c}$ it is about $2 \exp(-2 \pi^2 / (h \sqrt{v_c}))$, and the number of nodes follows the largest $v_c$. What
comes out are probabilities, to the same relative error where they are small.
"""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from bayeskit._typing import Array
from bayeskit.numerics.miscompilation import safe_options

__all__ = ["expected_log_sum_exp", "expected_softmax"]

REACH = 6.0
"""Standard deviations on either side."""
STEP = 0.5
"""Of the rule in $s$."""
WIDEST = 1.3
r"""The step in $f_c$, at most: the error is then below $10^{-6}$."""
ELEMENTS = 2**22
"""Numbers in memory at a time."""


def expected_log_sum_exp(mean: Float[np.ndarray, "n c"], variance: Float[np.ndarray, "n c"]) -> Float[np.ndarray, " n"]:
    r"""$E \log \sum_c e^{f_c}$ of each row, in float64."""
    return _by_blocks(mean, variance)[0]


def expected_softmax(mean: Float[np.ndarray, "n c"], variance: Float[np.ndarray, "n c"]) -> Float[np.ndarray, "n c"]:
    r"""$E\, \mathrm{softmax}(f)$ of each row, in float64; rows sum to one."""
    return _by_blocks(mean, variance)[1]


def _by_blocks(mean: np.ndarray, variance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of similar spread together, so that each block has the nodes that it needs."""
    mean, variance = np.asarray(mean, np.float64), np.asarray(variance, np.float64)
    value, probabilities = np.empty(len(mean)), np.empty(mean.shape)
    order = np.argsort(variance.max(axis=1))
    spread = np.sqrt(variance.max(axis=1))[order]
    start = 0
    with jax.enable_x64(True):
        while start < len(order):
            normals = [_normal_nodes(width) for width in spread[start : start + 64]]
            length = np.array([_gumbel_nodes(width, mean.shape[1]) for width in spread[start : start + 64]])
            rows = max(1, ELEMENTS // (normals[-1] * int(length[-1]) * mean.shape[1]))
            size = 2 ** min(int(math.log2(rows)), 6)
            block = order[start : start + size]
            chosen = np.resize(block, size)  # filled up, so that shapes recur
            last = len(block) - 1
            run = _compiled(normals[last], int(length[last]))
            found = run(jnp.asarray(mean[chosen]), jnp.asarray(variance[chosen]))
            value[block], probabilities[block] = (np.asarray(part)[: len(block)] for part in found)
            start += size
    return value, probabilities


def _normal_nodes(spread: float) -> int:
    """Of the rule in $f_c$; odd, and few different numbers."""
    needed = max(2 * REACH / STEP, 2 * REACH * spread / WIDEST)
    return 2 * 2 ** math.ceil(math.log2(needed / 2)) + 1


def _gumbel_nodes(spread: float, classes: int) -> int:
    """Of the rule in $s$."""
    return 2 ** math.ceil(math.log2((2 * REACH * spread + 24.0 + math.log(classes)) / STEP))


@functools.cache
def _compiled(normal_nodes: int, gumbel_nodes: int):  # type: ignore[no-untyped-def]
    rule = functools.partial(_rule, normal_nodes, gumbel_nodes)

    def both(mean: Array, variance: Array) -> tuple[Array, Array]:
        value, back = jax.vjp(lambda mean: rule(mean, variance), mean)
        share = back(jnp.ones_like(value))[0]
        return value, share / share.sum(axis=1, keepdims=True)

    return jax.jit(both, compiler_options=safe_options())


def _rule(normal_nodes: int, gumbel_nodes: int, mean: Float[Array, "n c"], variance: Float[Array, "n c"]) -> Array:
    z = jnp.linspace(-REACH, REACH, normal_nodes)
    log_weights = jax.nn.log_softmax(-0.5 * z**2)
    f = mean[..., None] + jnp.sqrt(variance)[..., None] * z
    width = REACH * jnp.sqrt(variance)
    low = jax.lax.stop_gradient(jnp.max(mean - width, axis=1)) - 4.0  # exp(-exp(4)) is nothing
    high = jax.lax.stop_gradient(jnp.max(mean + width, axis=1)) + 18.0 + math.log(mean.shape[1])
    s = low[:, None] + (high - low)[:, None] * (jnp.arange(gumbel_nodes) + 0.5) / gumbel_nodes
    exponent = jnp.minimum(f[:, :, None, :] - s[:, None, :, None], 40.0)  # beyond, the product is zero
    log_product = jnp.sum(jax.nn.logsumexp(log_weights - jnp.exp(exponent), axis=-1), axis=1)
    return high - np.euler_gamma - jnp.exp(log_product).sum(axis=1) * (high - low) / gumbel_nodes
