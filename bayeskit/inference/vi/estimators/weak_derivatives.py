r"""Weak derivatives: $\partial_\theta q_\theta = c_\theta (q^+ - q^-)$ with densities $q^+$ and $q^-$.

Then $\partial_\theta \mathrm E\, k(x) = c_\theta (\mathrm E\, k(x^+) - \mathrm E\, k(x^-))$: Mohamed, Rosca, Figurnov
and Mnih (2020), "Monte Carlo gradient estimation in machine learning", table 1. The two draws are coupled, so that the
difference has little variance.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from numpyro.distributions import Distribution

from bayeskit._typing import Array, ArrayLike
from bayeskit.program.sites import innermost

__all__ = ["WeakDerivative", "find_weak_derivative"]


class WeakDerivative(NamedTuple):
    r"""The two halves, for every parameter.

    Attributes:
        parameters: shape `(parameters, *batch)`, as are the next three.
        constants: $c_\theta$.
        plus: values in place of each element.
        minus: likewise.
        log_q: for parameters without a weak derivative, which take the score instead.
    """

    parameters: Array
    constants: Array
    plus: Array
    minus: Array
    log_q: Array | None = None


Rule = Callable[[Array, Any, Array], WeakDerivative]


def find_weak_derivative(distribution: Distribution) -> Rule | None:
    """The weak derivative of a distribution, expanded or not; `None` where there is none here."""
    rule = _RULES.get(type(innermost(distribution)))
    return None if rule is None else lambda key, expanded, value: rule(key, innermost(expanded), value)


def _normal(key: Array, q: dist.Normal, value: Array) -> WeakDerivative:
    r"""Mean: $c = 1 / (\sigma \sqrt{2\pi})$, $x^\pm = \mu \pm \sigma w$ with $w$ of Rayleigh's law. Scale:
    $c = 1 / \sigma$, $x^+$ of the double-sided Maxwell law, and a uniform part of it, which is normal.
    """
    loc, scale = _like(value, q.loc), _like(value, q.scale)
    fixed_loc, fixed_scale = jax.lax.stop_gradient((loc, scale))
    first, second, third, fourth = jax.random.split(key, 4)
    rayleigh = jnp.sqrt(2.0 * jax.random.exponential(first, value.shape, value.dtype))
    length = jnp.sqrt(2.0 * jax.random.gamma(second, 1.5, value.shape, value.dtype))
    maxwell = length * jax.random.rademacher(third, value.shape, value.dtype)
    part = jax.random.uniform(fourth, value.shape, value.dtype)
    return WeakDerivative(
        parameters=jnp.stack([loc, scale]),
        constants=jnp.stack([1.0 / (fixed_scale * jnp.sqrt(2.0 * jnp.pi)), 1.0 / fixed_scale]),
        plus=jnp.stack([fixed_loc + fixed_scale * rayleigh, fixed_loc + fixed_scale * maxwell]),
        minus=jnp.stack([fixed_loc - fixed_scale * rayleigh, fixed_loc + fixed_scale * maxwell * part]),
    )


def _poisson(key: Array, q: dist.Poisson, value: Array) -> WeakDerivative:
    r"""$c = 1$, $x^+ = x + 1$, $x^- = x$."""
    del key
    rate = _like(jnp.asarray(value, jnp.result_type(float)), q.rate)
    return WeakDerivative(
        parameters=rate[None],
        constants=jnp.ones_like(rate)[None],
        plus=value[None] + 1,
        minus=value[None],
    )


def _gamma(key: Array, q: dist.Gamma, value: Array) -> WeakDerivative:
    r"""Rate: $c = \alpha / \beta$, $x^+ \sim \mathrm{Ga}(\alpha, \beta)$, $x^- = x^+ + \mathrm{Exp}(\beta)$. The shape
    has no weak derivative that is easily drawn from; it takes the score.
    """
    shape, rate = _like(value, q.concentration), _like(value, q.rate)
    fixed = jax.lax.stop_gradient(rate)
    more = jax.random.exponential(key, value.shape, value.dtype) / fixed
    return WeakDerivative(
        parameters=rate[None],
        constants=jax.lax.stop_gradient(shape / rate)[None],
        plus=value[None],
        minus=value[None] + more[None],
        log_q=dist.Gamma(shape, fixed).log_prob(value),
    )


_RULES: dict[type, Rule] = {dist.Normal: _normal, dist.Poisson: _poisson, dist.Gamma: _gamma}


def _like(value: Array, parameter: ArrayLike) -> Array:
    return jnp.broadcast_to(jnp.asarray(parameter, value.dtype), value.shape)
