r"""Differences of $\log \Gamma$ that do not cancel."""

from __future__ import annotations

import jax.numpy as jnp
from jax.scipy.special import gammaln

from bayeskit._typing import Array, ArrayLike

__all__ = ["log_gamma_ratio"]

LARGE = 10.0
"""Above it Stirling's series with eight terms is exact to float64."""

COEFFICIENTS = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156, -3617 / 122400)


def log_gamma_ratio(z: ArrayLike, h: ArrayLike) -> Array:
    r"""$\log \Gamma(z + h) - \log \Gamma(z)$ for $z > 0$, $h \ge 0$, broadcast.

    For large $z$ both terms grow like $z \log z$ while the difference is about $h \log z$: at $z = 10^{12}$ subtracting
    them loses all digits. With Stirling's series $\log \Gamma(z) = (z - \tfrac12) \log z - z + \tfrac12 \log 2\pi +
    S(z)$ it is

    $$(z - \tfrac12)\, \mathrm{log1p}(h / z) + h \log(z + h) - h + S(z + h) - S(z),$$

    and below `LARGE` the two terms are subtracted, as nothing is lost there.

    Source: Abramowitz and Stegun (1964), 6.1.40.

    Example:
        >>> import jax, math
        >>> with jax.enable_x64(True):
        ...     ratio = float(log_gamma_ratio(1e12, 0.5))
        >>> abs(ratio - 0.5 * math.log(1e12)) < 1e-11
        True
    """
    z, h = jnp.broadcast_arrays(*(jnp.asarray(item, float) for item in (z, h)))
    large = z > LARGE
    far, near = jnp.where(large, z, LARGE), jnp.where(large, LARGE, z)
    by_series = (far - 0.5) * jnp.log1p(h / far) + h * jnp.log(far + h) - h + _series(far + h) - _series(far)
    return jnp.where(large, by_series, gammaln(near + h) - gammaln(near))


def _series(z: Array) -> Array:
    inverse = 1 / z
    square = inverse**2
    total = jnp.zeros_like(z)
    for coefficient in reversed(COEFFICIENTS):
        total = total * square + coefficient
    return total * inverse
