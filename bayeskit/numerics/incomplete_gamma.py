r"""The incomplete gamma functions by their logarithms, with derivatives in both arguments, and their inverse.

`jax.scipy.special.gammainc` and `gammaincc` underflow far out, and the derivative of the latter in $a$ is lost there.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import digamma, gammaln

from bayeskit._typing import Array

__all__ = ["MOST", "GammaTails", "gamma_tails", "log_gamma_quantile"]

MOST = 100.0
"""The largest $a$ for which the numbers of terms below are enough."""

_STEPS = 9
"""Newton steps of the inverse: the slowest corner of the range needs 8 in float64."""


class GammaTails(NamedTuple):
    r"""$\log P(a, z)$ and $\log Q(a, z)$, and their derivatives.

    Attributes:
        log_p: $\log P$, of the mass below $z$.
        log_q: $\log Q$, of the mass above.
        p_by_log_z: the derivative of `log_p` by $\log z$.
        q_by_log_z: that of `log_q`; where it is beyond float's range, the cube root of the largest number squared.
        p_by_a: the derivative of `log_p` by $a$.
        q_by_a: that of `log_q`.
        is_near: whether $z < 1 + a$.
    """

    log_p: Array
    log_q: Array
    p_by_log_z: Array
    q_by_log_z: Array
    p_by_a: Array
    q_by_a: Array
    is_near: Array


@jax.jit
def gamma_tails(a: Array, log_z: Array) -> GammaTails:
    r"""The two tails of a gamma variable of shape $a$ at $z$, to float's precision and however small.

    For $z < 1 + a$ by the series of positive terms, otherwise by the continued fraction of Legendre,

    $$P = \frac{z^a e^{-z}}{\Gamma(1 + a)} \sum_{k \ge 0} \frac{z^k}{(a + 1) \cdots (a + k)}, \qquad
      Q = \frac{z^{a - 1} e^{-z}}{\Gamma(a)}\,
          \cfrac{1}{1 + (1 - a) w - \cfrac{1 (1 - a) w^2}{1 + (3 - a) w - \cdots}}, \quad w = \frac 1z,$$

    each with a fixed number of terms; the other tail is one minus it. $z$ comes as its logarithm, so that neither $z$
    nor $P$ has to be a floating-point number.

    Args:
        a: positive; above `MOST` everything is NaN.
        log_z: of the same shape and type.

    Source: DLMF, 8.7.1 and 8.9.2.

    Example:
        >>> import jax.numpy as jnp
        >>> gamma_tails(jnp.array(1.0), jnp.log(jnp.array(1000.0))).log_q.round(2)
        Array(-1000., dtype=...)
    """
    bound = jax.lax.stop_gradient(jnp.log1p(a))
    is_near = log_z < bound
    z = jnp.exp(log_z)
    near_z, inverse = jnp.exp(jnp.minimum(log_z, bound)), jnp.exp(-jnp.maximum(log_z, bound))
    (series, fraction), (series_by_a, fraction_by_a) = jax.jvp(
        lambda a: _series_and_fraction(a, near_z, inverse), (a,), (jnp.ones_like(a),)
    )

    common = a * log_z - z - gammaln(1 + a)
    own = common + jnp.where(is_near, jnp.log(series), jnp.log(a) + jnp.log(fraction) - log_z)
    steepest = jnp.finfo(z.dtype).max ** (2 / 3)
    own_by_log_z = jnp.where(is_near, a / series, -jnp.minimum(z, steepest) / fraction)
    own_by_a = log_z - digamma(1 + a) + jnp.where(is_near, series_by_a / series, 1 / a + fraction_by_a / fraction)

    own = jnp.where(a > MOST, jnp.nan, own)
    other = _log_one_minus_exp(own)
    to_other = -jnp.exp(own - other)
    by_log_z, by_a = to_other * own_by_log_z, to_other * own_by_a
    return GammaTails(
        jnp.where(is_near, own, other),
        jnp.where(is_near, other, own),
        jnp.where(is_near, own_by_log_z, by_log_z),
        jnp.where(is_near, by_log_z, own_by_log_z),
        jnp.where(is_near, own_by_a, by_a),
        jnp.where(is_near, by_a, own_by_a),
        is_near,
    )


@jax.jit
def log_gamma_quantile(a: Array, log_p: Array, log_q: Array) -> Array:
    r"""$\log z$ where $P(a, z) = p$ and $Q(a, z) = q$; not differentiated.

    By Newton's rule on $\log P$ as a function of $\log z$ where $p < q$, and on $\log(-\log Q)$ elsewhere. The first is
    concave and starts from below, so that no step passes the solution; the second is nearly a line far out.

    Args:
        a: positive; above `MOST` the result is NaN.
        log_p: of the same shape and type.
        log_q: likewise; $p + q = 1$, and the smaller one is used.

    Example:
        >>> import jax.numpy as jnp
        >>> half = jnp.log(jnp.array(0.5))
        >>> bool(abs(jnp.exp(log_gamma_quantile(jnp.array(1.0), half, half)) - jnp.log(2.0)) < 1e-6)
        True
    """
    a, log_p, log_q = (jax.lax.stop_gradient(item) for item in (a, log_p, log_q))
    is_lower = log_p < log_q
    log_p, log_q = jnp.where(is_lower, log_p, -1.0), jnp.where(is_lower, -1.0, log_q)
    # Chernoff's bound: there is less than q above it
    highest = jnp.log(2 * -log_q + 4 * a + 4)
    lowest = (log_p + gammaln(1 + a)) / a

    def step(_: Array, log_z: Array) -> Array:
        tails = gamma_tails(a, log_z)
        lower = (log_p - tails.log_p) / tails.p_by_log_z
        upper = (jnp.log(-log_q) - jnp.log(-tails.log_q)) * tails.log_q / tails.q_by_log_z
        return jnp.where(is_lower, log_z + lower, jnp.minimum(log_z + upper, highest))

    return jax.lax.fori_loop(0, _STEPS, step, jnp.where(is_lower, lowest, highest))


def _series_and_fraction(a: Array, z: Array, w: Array) -> tuple[Array, Array]:
    """Both from the last term inwards, in one loop."""
    num = 96 if z.dtype == jnp.float64 else 64

    def step(index: Array, inner: tuple[Array, Array]) -> tuple[Array, Array]:
        k = (num - index).astype(z.dtype)
        series, below = inner
        return 1 + z / (a + k) * series, 1 + (2 * k - 1 - a) * w - k * (k - a) * w**2 / below

    last = jnp.ones_like(z * a), 1 + (2 * num + 1 - a) * w
    series, below = jax.lax.fori_loop(0, num, step, last)
    return series, 1 / below


def _log_one_minus_exp(x: Array) -> Array:
    """Of a number that is not positive."""
    high = x > -0.6931471805599453
    return jnp.where(high, jnp.log(-jnp.expm1(jnp.where(high, x, -1.0))), jnp.log1p(-jnp.exp(jnp.where(high, -1.0, x))))
