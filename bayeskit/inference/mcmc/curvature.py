"""The curvature of a log density at its mode, from products with its Hessian."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from bayeskit._typing import Array

__all__ = ["scales", "stiffness"]

POWERS = 30  # of the Hessian, for its largest eigenvalue
PROBES = 64
"""Random vectors that the diagonal of the Hessian is found by; up to so many coordinates, the unit vectors."""

Gradient = Callable[[Array], Array]


def scales(gradient: Gradient, mode: Array, key: Array) -> Array:
    """One over the root of the absolute curvature along each coordinate: the chain is right with any scale."""
    size = mode.shape[0]
    few = size <= PROBES
    probes = jnp.eye(size) if few else jax.random.rademacher(key, (PROBES, size)).astype(mode.dtype)
    products = jax.lax.map(lambda probe: probe * jax.jvp(gradient, (mode,), (probe,))[1], probes.astype(mode.dtype))
    curvature = jnp.abs(jnp.sum(products, axis=0) if few else jnp.mean(products, axis=0))
    return 1.0 / jnp.sqrt(jnp.maximum(curvature, 1e-6 * jnp.max(curvature)))


def stiffness(gradient: Gradient, mode: Array, scale: Array, key: Array) -> Array:
    """The largest curvature in units of the scales, by power iteration."""

    def power(direction: Array, _: None) -> tuple[Array, Array]:
        product = scale * jax.jvp(gradient, (mode,), (scale * direction,))[1]
        length = jnp.linalg.norm(product)
        return product / jnp.maximum(length, jnp.finfo(length.dtype).tiny), length

    first = jax.random.normal(key, mode.shape, mode.dtype)
    return jax.lax.scan(power, first / jnp.linalg.norm(first), None, length=POWERS)[1][-1]
