r"""The generalised Gaussian law of a TD error: its moments, its score, and its fit.

With scale $a$ and shape $b$ the density is $\frac{b}{2 a \Gamma(1/b)} \exp(-|\delta / a|^b)$.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln
from jaxtyping import Float

from bayeskit._typing import Array, ArrayLike
from bayeskit.errors import DataError
from bayeskit.models.td_error.checks import finite, positive

__all__ = ["Noise", "excess_kurtosis", "fit_noise", "maximum_likelihood", "response", "variance"]

SHAPES = (0.5, 10.0)
"""Between which shapes are fitted: below ½ the Fisher information of the location is infinite, and beyond 10 the law
can hardly be told from a uniform one."""
RESPONSE_SHAPES = (1.2, 2.0)
"""Below one the score is unbounded at zero, and at one it jumps there, which costs more in small samples than 1.2 does
in large ones (5%, for Laplace's law). Above two it grows faster than the error, and no step size is stable."""
_SECTIONS = 22


class Noise(NamedTuple):
    """Scale and shape of a generalised Gaussian."""

    scale: Float[Array, ""]
    shape: Float[Array, ""]


def variance(scale: ArrayLike, shape: ArrayLike) -> Array:
    r"""The variance, $a^2\, \Gamma(3/b) / \Gamma(1/b)$.

    Args:
        scale: $a > 0$.
        shape: $b > 0$.

    Raises:
        DataError: numbers that are not positive.

    Example:
        >>> from bayeskit.models import td_error
        >>> round(float(td_error.variance(3.0, 2.0)), 4), round(float(td_error.variance(1.0, 1.0)), 4)
        (4.5, 2.0)
    """
    return spread(positive(scale, "scale"), positive(shape, "shape"))


def excess_kurtosis(shape: ArrayLike) -> Array:
    r"""The excess kurtosis, $\Gamma(5/b)\, \Gamma(1/b) / \Gamma(3/b)^2 - 3$; the scale does not matter.

    Args:
        shape: $b > 0$.

    Raises:
        DataError: numbers that are not positive.

    Example:
        >>> from bayeskit.models import td_error
        >>> round(float(td_error.excess_kurtosis(1.0)), 4)
        3.0
    """
    inverse = 1 / positive(shape, "shape")
    return jnp.exp(gammaln(5 * inverse) + gammaln(inverse) - 2 * gammaln(3 * inverse)) - 3


def fit_noise(errors: ArrayLike) -> Noise:
    r"""The scale and the shape of greatest likelihood, with the location at zero.

    Given the shape, $a^b = b\, \overline{|\delta|^b}$; the shape is found by golden sections between ½ and 10.

    Args:
        errors: TD errors, of any shape.

    Raises:
        DataError: fewer than two errors, errors that are not finite, or none that is not zero.

    Example:
        >>> import jax
        >>> from bayeskit.models import td_error
        >>> found = td_error.fit_noise(2.0 * jax.random.laplace(jax.random.key(0), (20_000,)))
        >>> bool(abs(found.shape - 1) < 0.05 and abs(found.scale - 2) < 0.1)
        True
    """
    given = finite(errors, "errors").ravel()
    if given.size < 2:
        raise DataError(f"errors must be at least two to have a scale and a shape, got {given.size}")
    if not isinstance(given, jax.core.Tracer) and not bool(given.any()):
        raise DataError("errors are all zero, so that they have no scale")
    return maximum_likelihood(given)


def maximum_likelihood(errors: Float[Array, " n"]) -> Noise:
    """As `fit_noise`, unchecked; errors that are all zero have the smallest scale that there is."""
    largest = jnp.maximum(jnp.max(jnp.abs(errors)), jnp.finfo(errors.dtype).tiny)
    # at zero |d|^b is zero whatever the shape: a logarithm that is very low says so without a special case
    logs = jnp.log(jnp.maximum(jnp.abs(errors) / largest, jnp.finfo(errors.dtype).tiny))

    def log_scale(shape: Array) -> Array:
        return (jnp.log(shape) + jax.nn.logsumexp(shape * logs) - jnp.log(errors.size)) / shape

    def loss(log_shape: Array) -> Array:
        shape = jnp.exp(log_shape)
        return log_scale(shape) - log_shape + gammaln(1 / shape) + 1 / shape

    low, high = (jnp.log(jnp.asarray(end, errors.dtype)) for end in SHAPES)
    shape = jnp.exp(_golden_section(loss, low, high))
    return Noise(largest * jnp.exp(log_scale(shape)), shape)


def _golden_section(loss, low: Array, high: Array) -> Array:  # type: ignore[no-untyped-def]
    ratio = (5**0.5 - 1) / 2

    def shorten(_: int, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        one, other = high - ratio * (high - low), low + ratio * (high - low)
        left = loss(one) < loss(other)
        return jnp.where(left, low, one), jnp.where(left, other, high)

    low, high = jax.lax.fori_loop(0, _SECTIONS, shorten, (low, high))
    return (low + high) / 2


def response(errors: Array, noise: Noise) -> Array:
    r"""$\psi(\delta)$: the score of the location, divided by its mean slope, so that it is $\delta$ for normal errors.

    The shape $q$ of the response is that of the law within 1.2 and 2, and otherwise the nearest of these. With
    $m_p = \mathbb E |\delta / a|^p = \Gamma((p + 1) / b) / \Gamma(1 / b)$ the mean slope of
    $\operatorname{sign}(\delta) |\delta / a|^{q - 1}$ is, integrated by parts, $\frac ba m_{q + b - 2}$ for $q \ge 1$.
    """
    scale, shape = noise
    power = jnp.clip(shape, *RESPONSE_SHAPES)
    size = jnp.abs(errors) / scale
    away = size > 0
    score = jnp.sign(errors) * jnp.where(away, jnp.where(away, size, 1.0) ** (power - 1), 0.0)
    slope = shape * jnp.exp(gammaln((power + shape - 1) / shape) - gammaln(1 / shape))
    return score * scale / slope


def spread(scale: Array, shape: Array) -> Array:
    """As `variance`, unchecked."""
    return scale**2 * jnp.exp(gammaln(3 / shape) - gammaln(1 / shape))
