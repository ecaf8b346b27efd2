r"""Matérn's kernel of smoothness 5/2 and its derivatives, for lengths in units of $\ell / \sqrt{5}$."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from bayeskit._typing import Array

__all__ = ["matern"]


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def matern(order: int, z: Array) -> Array:
    r"""The derivative of $(1 + |z| + z^2 / 3) e^{-|z|}$ of an order up to 4.

    Its automatic derivatives are the next orders, also at zero, where those of $|z|$ would lose the second derivative.
    The fifth jumps at zero, and is taken to be zero there: the mean of both sides.
    """
    return _derivative(order, z)


@matern.defjvp
def _jvp(order: int, primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    z, slope = primals[0], _derivative(5, primals[0]) if order == 4 else matern(order + 1, primals[0])
    return matern(order, z), slope * tangents[0]


def _derivative(order: int, z: Array) -> Array:
    a = jnp.abs(z)
    polynomial = (
        lambda: 1 + a + a**2 / 3,
        lambda: -z * (1 + a) / 3,
        lambda: (a**2 - a - 1) / 3,
        lambda: z * (3 - a) / 3,
        lambda: (a**2 - 5 * a + 3) / 3,
        lambda: -jnp.sign(z) * (a**2 - 7 * a + 8) / 3,
    )[order]
    return polynomial() * jnp.exp(-a)
