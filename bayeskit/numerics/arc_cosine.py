r"""The arc-cosine function of two Gaussian vectors, in a form that keeps its digits and derivatives when they meet.

For $(u, v)$ Gaussian with variances $a$, $b$ and covariance $c = \sqrt{ab} \cos\theta$, the first-order arc-cosine kernel
(Cho and Saul 2009) is $E[\max(u, 0) \max(v, 0)] = (\pi c + Q) / 2\pi - \ldots$ in terms of one function,

$$Q = \sqrt{ab}\, (\sin\theta - \theta \cos\theta), \qquad E[\max(u, 0) \max(v, 0)] = \tfrac12 c + \tfrac1{2\pi} Q.$$
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from bayeskit._typing import Array

__all__ = ["angle_and_sine", "arc_cosine"]

SMALL = 0.3
"""Angles below which sin θ - θ cos θ is summed as a series: there its terms cancel."""


@jax.custom_jvp
def angle_and_sine(u: Array) -> tuple[Array, Array]:
    r"""$\theta$ and $\sin\theta$ from $u = 1 - \cos\theta$ in $[0, 2]$.

    $\theta = 2 \arcsin \sqrt{u/2}$ and $\sin\theta = \sqrt{u (2 - u)}$ keep their relative precision for small angles.
    At $u = 0$ and $u = 2$, where $d\theta / du$ is infinite, both derivatives are set to zero: a smooth path through
    such a point has an angle that turns back there.
    """
    root = jnp.sqrt(u * (2 - u))
    return 2 * jnp.arctan2(jnp.sqrt(u), jnp.sqrt(2 - u)), root


@angle_and_sine.defjvp
def _angle_and_sine_jvp(
    primals: tuple[Array], tangents: tuple[Array]
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    (u,), (du,) = primals, tangents
    theta, sine = angle_and_sine(u)
    inside = sine > 0
    d_theta = jnp.where(inside, du / jnp.where(inside, sine, 1), 0)
    return (theta, sine), (d_theta, (1 - u) * d_theta)


def _opening(a: Array, b: Array, delta: Array) -> tuple[Array, Array, Array]:
    r"""$\sqrt{ab}$ and the angle and its sine; a right angle where a variance is zero."""
    product = a * b
    empty = product <= 0
    scale = jnp.sqrt(jnp.where(empty, 1, product))
    # (√a - √b)², whose derivative in terms of the square roots is infinite at zero
    total = jnp.sqrt(jnp.where(empty, 1, a)) + jnp.sqrt(jnp.where(empty, 1, b))
    apart = (a - b) / total
    u = jnp.where(empty, 1, (delta - apart * apart) / (2 * scale))
    u = u + jax.lax.stop_gradient(jnp.clip(u, 0, 2) - u)
    theta, sine = angle_and_sine(u)
    return jnp.where(empty, 0, scale), theta, sine


@jax.custom_jvp
def arc_cosine(a: Array, b: Array, delta: Array) -> Array:
    r"""$Q = \sqrt{ab}\, (\sin\theta - \theta \cos\theta)$ from variances and the squared distance $\delta = a + b - 2c$.

    The derivative is $dQ = -\theta\, dc + \frac12 \sin\theta\, (\sqrt{b/a}\, da + \sqrt{a/b}\, db)$ with
    $dc = \frac12 (da + db - d\delta)$. Where a variance is zero, $Q$ is zero and its derivative the one along changes that
    keep that variance zero. The arguments broadcast.

    Source: Cho and Saul (2009), "Kernel Methods for Deep Learning", equations 3 to 6.

    Example:
        >>> import jax
        >>> float(arc_cosine(1.0, 1.0, 2.0)), float(jax.grad(arc_cosine, 2)(1.0, 1.0, 0.0))
        (1.0, 0.0)
    """
    scale, theta, sine = _opening(a, b, delta)
    square = theta * theta
    series = theta * square * (1 / 3 - square * (1 / 30 - square * (1 / 840 - square * (1 / 45360 - square / 3991680))))
    return scale * jnp.where(theta < SMALL, series, sine - theta * jnp.cos(theta))


@arc_cosine.defjvp
def _arc_cosine_jvp(primals: tuple[Array, Array, Array], tangents: tuple[Array, Array, Array]) -> tuple[Array, Array]:
    a, b, delta = primals
    da, db, d_delta = tangents
    _, theta, sine = _opening(a, b, delta)
    empty = a * b <= 0
    ratio = jnp.sqrt(jnp.where(empty, 1, b) / jnp.where(empty, 1, a))
    sine = jnp.where(empty, 0, sine)
    dc = (da + db - d_delta) / 2
    return arc_cosine(a, b, delta), sine / 2 * (ratio * da + db / ratio) - theta * dc
