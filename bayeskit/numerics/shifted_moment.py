"""Absolute moments of a generalized normal variable about a point that is not its mode."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln

from bayeskit._typing import Array

__all__ = ["log_shifted_moment"]

NUM_NODES = 256
"""Of each piece."""

_STEEP = np.linspace(-4.5, 6.0, NUM_NODES)
_OUTWARDS = np.exp(_STEEP - np.exp(-_STEEP))
_OUTWARDS_WEIGHTS = _OUTWARDS * (1 + np.exp(-_STEEP)) * (_STEEP[1] - _STEEP[0])
"""On $(0, \\infty)$, for integrands that decay there."""

_FLAT = np.linspace(-3.2, 3.2, NUM_NODES)
_SHARES, _OTHER_SHARES = (1 / (1 + np.exp(sign * np.pi * np.sinh(_FLAT))) for sign in (-1, 1))
_SHARE_WEIGHTS = _SHARES * _OTHER_SHARES * np.pi * np.cosh(_FLAT) * (_FLAT[1] - _FLAT[0])
"""On $(0, 1)$, whatever happens at the ends."""


def log_shifted_moment(power: Array, order: Array, shift: Array) -> Array:
    r"""$\log E |Y + c|^r$ for $Y$ with density $e^{-|y|^p} / (2\, \Gamma(1 + 1 / p))$.

    Closed for $c = 0$. Otherwise an integral over $t = \log |y|$ in four pieces, by double exponential quadrature: cut
    at $t = \log |c|$, where $|y - c|^r$ has a kink, and at the maxima of $y\, e^{-y^p}$ and $y^{1 + r} e^{-y^p}$, at
    which $e^{-y^p}$ falls steeply if $p$ is large. The nodes are dense at the cuts on any scale.

    For powers and orders in $[0.1, 20]$ it has 12 digits in float64. At $c = 0$ the first derivative by $c$ is right
    and the second is not: it is taken for zero.

    Args:
        power: $p > 0$.
        order: $r > 0$.
        shift: $c$; the three are broadcast.

    Source: Takahasi and Mori (1974), "Double exponential formulas for numerical integration".

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(jnp.exp(log_shifted_moment(2.0, 2.0, 3.0))), 4)
        9.5
    """
    power, order, shift = jnp.broadcast_arrays(*(jnp.asarray(item, float) for item in (power, order, shift)))
    is_shifted = jnp.abs(shift) > 1e-35
    closed = gammaln(jnp.where(is_shifted, 1.0, order + 1) / power) - gammaln(1 / power)
    log_shift = jnp.log(jnp.where(is_shifted, jnp.abs(shift), 1.0))
    return jnp.where(is_shifted, _by_quadrature(power, order, log_shift), closed)


def _by_quadrature(power: Array, order: Array, log_shift: Array) -> Array:
    maxima = (jnp.log(jnp.maximum(degree / power, 1.0)) / power for degree in (jnp.ones_like(order), order + 1))
    cuts = jnp.sort(jnp.stack([log_shift, *map(jax.lax.stop_gradient, maxima)], axis=-1), axis=-1)[..., None]
    kink = log_shift[..., None, None]
    inner = cuts[..., 1:, :] - cuts[..., :-1, :]

    # each node by its distance from the cuts beside it, so that the one from the kink keeps its digits
    from_left = jnp.where(
        cuts[..., :-1, :] >= kink,
        cuts[..., :-1, :] - kink + inner * jnp.asarray(_SHARES, cuts.dtype),
        cuts[..., 1:, :] - kink - inner * jnp.asarray(_OTHER_SHARES, cuts.dtype),
    )
    outwards = jnp.asarray(_OUTWARDS, cuts.dtype)
    below, above = cuts[..., :1, :] - kink - outwards, cuts[..., -1:, :] - kink + outwards
    beyond_kink = jnp.concatenate([below, from_left, above], axis=-2)
    ends = jnp.broadcast_to(jnp.asarray(_OUTWARDS_WEIGHTS, cuts.dtype), below.shape)
    weights = jnp.concatenate([ends, inner * jnp.asarray(_SHARE_WEIGHTS, cuts.dtype), ends], axis=-2)

    power, order = power[..., None, None], order[..., None, None]
    log_y = kink + beyond_kink
    apart = jnp.maximum(jnp.abs(beyond_kink), jnp.finfo(cuts.dtype).tiny)
    log_difference = jnp.maximum(log_y, kink) + jnp.log(-jnp.expm1(-apart))
    log_sum = jnp.logaddexp(order * jnp.logaddexp(log_y, kink), order * log_difference)
    largest = 0.9 * float(np.log(jnp.finfo(cuts.dtype).max))
    terms = log_y - jnp.exp(jnp.minimum(power * log_y, largest)) + log_sum
    highest = jax.lax.stop_gradient(jnp.max(terms, axis=(-1, -2), keepdims=True))
    total = jnp.sum(weights * jnp.exp(terms - highest), axis=(-1, -2))
    return jnp.log(total) + highest[..., 0, 0] - jnp.log(2.0) - gammaln(1 + 1 / power[..., 0, 0])
