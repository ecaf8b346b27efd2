r"""Convex functions :math:`f` with which a divergence is made, as functions of :math:`\log u`.

Each has :math:`f(1) = 0` (but ``modified_gan``, :math:`\log 2`), and :math:`f'(1) = 0` wherever a multiple of
:math:`u - 1` can be added for that: this leaves the divergence of two densities as it is, and takes the noise of its
gradient where they are equal. The *dual* is :math:`f^*(u) = u f(1/u)`, which exchanges the densities.

All are finite where their value can be represented: nothing overflows on the way, and none is a difference of large
terms. At :math:`u = 0` they take their limit.

Reference: Csiszár (1963); the list is that of TensorFlow Probability's ``tfp.vi``.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from bayeskit._typing import Array

__all__ = ["FUNCTIONS", "POWERS", "Function", "dual_of"]

Function = Callable[[Array], Array]
LOG_2 = math.log(2.0)


def dual_of(f: Function) -> Function:
    r""":math:`u f(1/u)`, zero where :math:`u` is."""
    return lambda log_u: _times_u(log_u, lambda finite: f(-finite))


def amari_alpha(alpha: float) -> Function:
    r""":math:`((u^\alpha - 1) - \alpha (u - 1)) / (\alpha (\alpha - 1))`, with its limits at 0 and 1."""
    if alpha == 0.0:
        return _kl_reverse
    if alpha == 1.0:
        return _kl_forward
    return lambda log_u: _power(log_u, alpha) / (alpha * (alpha - 1.0))


def t_power(t: float) -> Function:
    r""":math:`\pm (u^t - 1 - t (u - 1))`, with a minus for :math:`0 < t < 1`."""
    sign = -1.0 if 0.0 < t < 1.0 else 1.0
    return lambda log_u: sign * _power(log_u, t)


def _power(log_u: Array, t: float) -> Array:
    """u^t - 1 - t (u - 1); above one as a product, where a difference would be of two infinities."""
    if t < 0.0:
        return jnp.expm1(t * log_u) - t * jnp.expm1(log_u)
    above, below = jnp.where(log_u > 0.0, log_u, 0.0), jnp.where(log_u > 0.0, 0.0, log_u)
    product = jnp.exp(above) * (jnp.exp((t - 1.0) * above) - t) + (t - 1.0)
    return jnp.where(log_u > 0.0, product, jnp.expm1(t * below) - t * jnp.expm1(below))


def _kl_forward(log_u: Array) -> Array:
    return _times_u(log_u, lambda finite: finite - 1.0) + 1.0


def _kl_reverse(log_u: Array) -> Array:
    return jnp.expm1(log_u) - log_u


def _jensen_shannon(log_u: Array) -> Array:
    above = _times_u(log_u, lambda finite: LOG_2 + jax.nn.log_sigmoid(finite))
    return above + LOG_2 - jax.nn.softplus(log_u)


def _arithmetic_geometric(log_u: Array) -> Array:
    return (1.0 + jnp.exp(log_u)) * (jax.nn.softplus(log_u) - 0.5 * log_u - LOG_2)


def _total_variation(log_u: Array) -> Array:
    return 0.5 * jnp.abs(jnp.expm1(log_u))


def _pearson(log_u: Array) -> Array:
    return jnp.expm1(log_u) ** 2


def _neyman(log_u: Array) -> Array:
    return jnp.expm1(log_u) + jnp.expm1(-log_u)


def _squared_hellinger(log_u: Array) -> Array:
    return jnp.expm1(0.5 * log_u) ** 2


def _triangular(log_u: Array) -> Array:
    return jnp.expm1(log_u) - 2.0 * jnp.tanh(0.5 * log_u)


def _log1p_abs(log_u: Array) -> Array:
    return jnp.expm1(jnp.abs(log_u))


def _log1p_abs_dual(log_u: Array) -> Array:
    above = jax.nn.relu(log_u)
    return jnp.exp(above) * jnp.expm1(above) - jnp.expm1(jnp.minimum(log_u, 0.0))


def _jeffreys(log_u: Array) -> Array:
    return 0.5 * jnp.expm1(log_u) * log_u


def _chi_square(log_u: Array) -> Array:
    return jnp.expm1(2.0 * log_u)


def _chi_square_dual(log_u: Array) -> Array:
    return jnp.expm1(-log_u) - jnp.expm1(log_u)


def _modified_gan(log_u: Array) -> Array:
    return jax.nn.softplus(-log_u) + 0.5 * jnp.expm1(log_u)


def _modified_gan_dual(log_u: Array) -> Array:
    return _times_u(log_u, lambda finite: jax.nn.softplus(finite) - 0.5) + 0.5


def _times_u(log_u: Array, g: Function) -> Array:
    """U g(log u), zero where u is."""
    positive = log_u > -jnp.inf
    finite = jnp.where(positive, log_u, 0.0)
    return jnp.where(positive, jnp.exp(finite) * g(finite), 0.0)


FUNCTIONS: dict[str, tuple[Function, Function]] = {  # and their duals
    "kl_forward": (_kl_forward, _kl_reverse),
    "kl_reverse": (_kl_reverse, _kl_forward),
    "jensen_shannon": (_jensen_shannon, _jensen_shannon),
    "arithmetic_geometric": (_arithmetic_geometric, _arithmetic_geometric),
    "total_variation": (_total_variation, _total_variation),
    "pearson": (_pearson, _neyman),
    "squared_hellinger": (_squared_hellinger, _squared_hellinger),
    "triangular": (_triangular, _triangular),
    "log1p_abs": (_log1p_abs, _log1p_abs_dual),
    "jeffreys": (_jeffreys, _jeffreys),
    "chi_square": (_chi_square, _chi_square_dual),
    "modified_gan": (_modified_gan, _modified_gan_dual),
}

POWERS: dict[str, Callable[[float], Function]] = {  # the dual has the power one minus theirs
    "amari_alpha": amari_alpha,
    "t_power": t_power,
}
