"""The elements of a distribution, and what values they may take."""

from __future__ import annotations

import jax
import numpy as np
from numpyro.distributions import Distribution, constraints
from numpyro.distributions.distribution import MaskedDistribution

from bayeskit.program.execution import Estimator


def finite_support(distribution: Distribution, estimator: Estimator) -> tuple[float, ...] | None:
    """The support of one element, for the estimators that need it."""
    if not estimator.needs_support or not distribution.has_enumerate_support:
        return None
    with jax.ensure_compile_time_eval():
        support = np.asarray(elements(distribution).enumerate_support(expand=False))
    return tuple(float(v) for v in support.reshape(-1))


def elements(distribution: Distribution) -> Distribution:
    """The distribution with its independent elements as batch dimensions, and without a mask."""
    while True:
        if isinstance(distribution, MaskedDistribution) or type(distribution).__name__ == "Independent":
            distribution = distribution.base_dist
        elif type(distribution).__name__ == "ExpandedDistribution":
            inner = elements(distribution.base_dist)
            if inner is distribution.base_dist:
                return distribution
            shape = (*distribution.batch_shape, *distribution.event_shape)
            return inner.expand(shape[: len(shape) - inner.event_dim])
        else:
            return distribution


def is_everywhere(support: object) -> bool:
    """Whether a support is the whole space."""
    if isinstance(support, constraints.independent):
        return is_everywhere(support.base_constraint)
    return isinstance(support, type(constraints.real))
