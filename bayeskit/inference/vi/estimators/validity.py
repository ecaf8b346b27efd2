"""What an estimator needs of a distribution for its gradient to be right."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from numpyro.distributions import Distribution, constraints

from bayeskit.errors import ModelError
from bayeskit.program.sites import describe, elements, innermost, is_everywhere

__all__ = ["as_mixture", "check_enumerable", "check_fixed_support", "is_reparameterised"]


def is_reparameterised(distribution: Distribution) -> bool:
    """Whether values are differentiable functions of the parameters, perhaps implicitly."""
    single = elements(distribution)
    return (bool(distribution.has_rsample) and not single.is_discrete) or as_mixture(distribution) is not None


_IMPLICIT = (dist.Normal, dist.LogNormal, dist.Laplace, dist.Logistic, dist.Cauchy, dist.Gumbel, dist.Exponential)


def as_mixture(distribution: Distribution) -> Any:
    """A mixture of univariate distributions whose distribution function has a derivative, or `None`.

    Reference: Figurnov, Mohamed and Mnih (2018), "Implicit reparameterization gradients".
    """
    single = elements(distribution)
    if not isinstance(single, dist.MixtureSameFamily) or single.event_dim:
        return None
    return single if isinstance(innermost(single.component_distribution), _IMPLICIT) else None


def check_fixed_support(site: str, distribution: Distribution, what: str) -> None:
    """Refuse a continuous distribution whose support may depend on what is differentiated."""
    for leaf in _bounds(distribution):
        if isinstance(leaf, jax.core.Tracer) and jnp.issubdtype(leaf.dtype, jnp.floating):
            raise ModelError(
                f"site {site!r}: the support of {describe(distribution)} has a bound that is computed, and "
                f"{what} gradients are wrong where it depends on a parameter; use bayeskit.estimators.Pathwise(), or a "
                "plain number for the bound"
            )


def _bounds(distribution: Distribution) -> list[object]:
    """What the support of a distribution is made of, or of those that it is made of."""
    single = innermost(distribution)
    bounds = list(jax.tree.leaves(single.support)) if isinstance(single.support, constraints.Constraint) else []
    if isinstance(single, dist.Delta):
        bounds.append(single.v)
    if isinstance(single, dist.TransformedDistribution):
        bounds += _bounds(single.base_dist)
        if not is_everywhere(single.base_dist.support):
            bounds += jax.tree.leaves(single.transforms)
    if isinstance(single, dist.MixtureSameFamily):
        bounds += _bounds(single.component_distribution)
    if isinstance(single, dist.MixtureGeneral):
        for component in single.component_distributions:
            bounds += _bounds(component)
    return bounds


def check_enumerable(site: str, distribution: Distribution, what: str) -> None:
    """Refuse a distribution without a finite support."""
    if not distribution.has_enumerate_support:
        raise ModelError(
            f"site {site!r}: {what} needs a finite support, and {describe(distribution)} has none; use "
            "bayeskit.estimators.Score()"
            + (" or bayeskit.estimators.Pathwise()" if is_reparameterised(distribution) else "")
        )
    if elements(distribution).event_dim > 0:
        raise ModelError(
            f"site {site!r}: {what} over events of {describe(distribution)} is not supported; use "
            "bayeskit.estimators.Score()"
        )
