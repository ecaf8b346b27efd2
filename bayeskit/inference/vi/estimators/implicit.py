r"""Implicit reparameterisation: a draw moves with its parameters so that its quantile stays the same.

From $F_\theta(x) = u$ follows $\partial_\theta x = -\partial_\theta F_\theta(x) / q_\theta(x)$: Figurnov, Mohamed and
Mnih (2018), "Implicit reparameterization gradients".
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from bayeskit._typing import Array

__all__ = ["implicit"]


@jax.custom_jvp
def implicit(value: Array, distribution: Any) -> Array:
    """A value drawn from a univariate distribution, as a function of its parameters; derivatives of every order."""
    del distribution
    return value


@implicit.defjvp
def _(primals: tuple[Array, Any], tangents: tuple[Array, Any]) -> tuple[Array, Array]:
    value, distribution = primals
    moved = implicit(value, distribution)
    share = jax.jvp(lambda q: q.cdf(jnp.asarray(moved)), (distribution,), (tangents[1],))[1]
    return moved, tangents[0] - share / jnp.exp(distribution.log_prob(moved))
