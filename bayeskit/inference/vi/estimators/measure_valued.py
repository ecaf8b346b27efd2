"""Measure-valued gradients: weak derivatives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from numpyro.distributions import Distribution

from bayeskit._typing import Array
from bayeskit.errors import ModelError
from bayeskit.inference.vi.estimators.validity import (
    check_enumerable,
    check_fixed_support,
    is_reparameterised,
    name_of,
)
from bayeskit.inference.vi.estimators.weak_derivatives import find_weak_derivative
from bayeskit.program.execution import Estimator, Record
from bayeskit.program.sites import elements

__all__ = ["MeasureValued"]


@dataclass(frozen=True)
class MeasureValued(Estimator):
    r"""Weak derivatives: the program runs again with the choice (one element at a time) at other values.

    For finite supports (Bernoulli, categorical, ...) and the Poisson, normal and gamma distributions.

    Reference: Pflug (1989); Mohamed, Rosca, Figurnov and Mnih (2020), "Monte Carlo gradient estimation in machine
    learning", section 6.
    """

    kind: ClassVar[str] = "measure_valued"
    takes_discrete: ClassVar[bool] = True

    needs_support: ClassVar[bool] = True

    def check(self, site: str, distribution: Distribution) -> None:
        check_fixed_support(site, distribution, "measure-valued")
        if not distribution.has_enumerate_support and find_weak_derivative(elements(distribution)) is None:
            raise ModelError(
                f"site {site!r}: no weak derivative of {name_of(distribution)} is known; use "
                "bayeskit.estimators.Score()"
                + (" or bayeskit.estimators.Pathwise()" if is_reparameterised(distribution) else "")
            )
        if distribution.has_enumerate_support:
            check_enumerable(site, distribution, "measure-valued gradients")

    def sample(self, key: Array, distribution: Distribution) -> Array:
        return jax.lax.stop_gradient(distribution.sample(key))

    def record(self, key: Array, distribution: Distribution, value: Array) -> Record:
        single = elements(distribution)
        if distribution.has_enumerate_support:
            support = jnp.asarray(single.enumerate_support(expand=True))
            return {"value": value, "probabilities": jnp.exp(jax.vmap(single.log_prob)(support))}
        weak = find_weak_derivative(single)
        if weak is None:
            raise TypeError("checked before")
        return {"value": value, **weak(key, single, value)}
