r"""The arc-cosine function of two Gaussian variables, in a form that keeps its digits and derivatives where they meet.

For $(u, v)$ Gaussian with variances $a$, $b$ and covariance $c = \sqrt{ab} \cos\theta$ all moments of piecewise linear
functions come from one function of them,

$$Q = \sqrt{ab}\, (\sin\theta - \theta \cos\theta), \qquad E[\max(u, 0) \max(v, 0)] = \tfrac12 c + \tfrac1{2\pi} Q.$$

With $t = \sin^2 \frac\theta2$ the angle is $2 \arcsin \sqrt t$, and
$\sin\theta - \theta \cos\theta = 4 \int_0^t \arcsin\sqrt\tau\, d\tau$. Both are a half-integer power of $t$ times a
function that is analytic on $[0, \frac12]$, here a polynomial of that precision; the other half follows from $\theta
\to \pi - \theta$. This is exact for small angles, where differences of trigonometric functions are not, and many
times faster than them.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from math import comb, pi
from typing import Any

import jax
import jax.numpy as jnp

from bayeskit._typing import Array
from bayeskit.numerics.products import outer

__all__ = ["arc_cosine"]

TERMS = 60
"""Of the power series, whose terms fall like 2⁻ᵏ where they are summed."""

DEGREE = {16: 4, 32: 8, 64: 18}
"""Of the polynomial, by bits: its error falls like 5.8⁻ᵏ."""


@cache
def _coefficients(bits: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    r"""Polynomials for $\arcsin\sqrt t / \sqrt t$ and $4 \int_0^t \arcsin\sqrt\tau\, d\tau / t^{3/2}$ on
    $[0, \frac12]$.

    They are $\sum_k c_k t^k$ and $\sum_k \frac{8 c_k}{2k + 3} t^k$ with $c_k = \binom{2k}k 4^{-k} / (2k + 1)$.
    """
    series: list[Fraction] = [Fraction(comb(2 * k, k), 4**k * (2 * k + 1)) for k in range(TERMS)]
    integral = [Fraction(8, 2 * k + 3) * term for k, term in enumerate(series)]
    return _economised(series, DEGREE[bits]), _economised(integral, DEGREE[bits])


def _economised(series: list[Fraction], degree: int) -> tuple[float, ...]:
    """A polynomial of lower degree on [0, 1/2]: the highest power gives way to its Chebyshev polynomial, one by one.

    In exact arithmetic: the step from Chebyshev polynomials to powers of t loses digits.
    """
    chebyshev = [[Fraction(1)], [Fraction(-1), Fraction(4)]]  # T_n(4t - 1)
    while len(chebyshev) < len(series):
        last, before = chebyshev[-1], chebyshev[-2]
        shifted, own, padded = [Fraction(0), *last], [*last, Fraction(0)], [*before, Fraction(0), Fraction(0)]
        chebyshev.append([8 * up - 2 * at - old for up, at, old in zip(shifted, own, padded, strict=True)])
    while len(series) > degree + 1:
        basis = chebyshev[len(series) - 1]
        factor = series[-1] / basis[-1]
        series = [term - factor * part for term, part in zip(series[:-1], basis[:-1], strict=True)]
    return tuple(map(float, series))


def _polynomial(coefficients: tuple[float, ...], x: Array) -> Array:
    """By Horner's rule; the first terms are by far the largest, so that nothing cancels."""
    value = jnp.full_like(x, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        value = value * x + coefficient
    return value


def _bits(t: Array) -> int:
    return max(16, min(64, jnp.finfo(t.dtype).bits))


def _wedge(t: Array) -> Array:
    r"""$\sin\theta - \theta \cos\theta$; beyond [0, 1], where only rounding leads, as at the ends."""
    s = jnp.maximum(jnp.minimum(t, 1 - t), 0)
    return s * jnp.sqrt(s) * _polynomial(_coefficients(_bits(t))[1], s) + jnp.maximum(2 * pi * t - pi, 0)


@jax.custom_jvp
def _angle(t: Array) -> Array:
    r"""$\theta$; its derivative, infinite at both ends, is set to zero there: a smooth path has a turning point."""
    s = jnp.minimum(t, 1 - t)
    # the root last: XLA repeats cheap operations in each of their uses, but not a root
    angle = jnp.sqrt(4 * s * _polynomial(_coefficients(_bits(t))[0], s) ** 2)
    return jnp.where(t > 0.5, pi - angle, angle)


@_angle.defjvp
def _angle_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (t,), (dt,) = primals, tangents
    sine = _sine(t)
    return _angle(t), jnp.where(sine > 0, 2 * dt / jnp.where(sine > 0, sine, 1), 0)


@jax.custom_jvp
def _sine(t: Array) -> Array:
    r"""$\sin\theta$, with the same convention."""
    return 2 * jnp.sqrt(t * (1 - t))


@_sine.defjvp
def _sine_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (t,), (dt,) = primals, tangents
    sine = _sine(t)
    return sine, jnp.where(sine > 0, 2 * (1 - 2 * t) * dt / jnp.where(sine > 0, sine, 1), 0)


def _roots(variance: Array) -> tuple[Array, Array, Array]:
    """The square root, its inverse (zero for zero), and one half where the variance is zero."""
    positive = variance > 0
    safe = jnp.where(positive, variance, 1)
    root = jnp.sqrt(safe)
    return (
        jnp.where(positive, root, 0),
        jnp.where(positive, 1 / root, 0),
        jnp.where(positive, 0, 0.5).astype(root.dtype),
    )


def _opening(a: Array, b: Array, delta: Array) -> tuple[Array, Array]:
    r"""$\sqrt{ab}$ and $t = \frac{\delta - (\sqrt a - \sqrt b)^2}{4 \sqrt{ab}}$, but for rounding; 0 if $ab = 0$."""
    (root_a, inverse_a, _), (root_b, inverse_b, _) = _roots(a), _roots(b)
    return root_a * root_b, (delta - (root_a - root_b) ** 2) * (inverse_a / 4) * inverse_b


@jax.custom_jvp
def arc_cosine(a: Array, b: Array, delta: Array) -> Array:
    r"""$Q = \sqrt{ab}\, (\sin\theta - \theta \cos\theta)$ from variances and $\delta = a + b - 2c$.

    The derivative is $dQ = -\theta\, dc + \frac12 \sin\theta\, (\sqrt{b/a}\, da + \sqrt{a/b}\, db)$ with
    $dc = \frac12 (da + db - d\delta)$. Where a variance is zero, $Q$ is zero, the angle is taken as a right one, and
    the derivative is that along changes that keep the variance zero. The arguments broadcast.

    Source: Cho and Saul (2009), "Kernel Methods for Deep Learning", equations 3 to 6.

    Example:
        >>> import jax
        >>> Q = arc_cosine(jnp.array(1.0), jnp.array(1.0), jnp.array(2.0))
        >>> print(f"{Q:.6f}")
        1.000000
        >>> float(jax.jit(jax.grad(arc_cosine, 2))(1.0, 1.0, 0.0))
        0.0
    """
    scale, t = _opening(a, b, delta)
    return scale * _wedge(t)


def _arc_cosine_jvp(primals: tuple[Array, ...], tangents: tuple[Any, ...]) -> tuple[Any, Any]:
    a, b, delta = primals
    da, db, d_delta = (None if isinstance(t, jax.custom_derivatives.SymbolicZero) else t for t in tangents)
    (root_a, inverse_a, empty_a), (root_b, inverse_b, empty_b) = _roots(a), _roots(b)
    t = jnp.clip(_opening(a, b, delta)[1] + jnp.maximum(empty_a, empty_b), 0, 1)
    shift, stretch = jnp.zeros_like(t), jnp.zeros_like(t)
    if d_delta is not None:
        shift = shift + d_delta
    if da is not None:
        shift = shift - outer(da, jnp.ones_like(b))
        stretch = stretch + outer(da * inverse_a, root_b)
    if db is not None:
        shift = shift - outer(jnp.ones_like(a), db)
        stretch = stretch + outer(root_a, db * inverse_b)
    return arc_cosine(a, b, delta), (_angle(t) * shift + _sine(t) * stretch) / 2


arc_cosine.defjvp(_arc_cosine_jvp, symbolic_zeros=True)
