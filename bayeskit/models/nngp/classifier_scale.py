"""What the law of the scale of a classifier may be."""

from __future__ import annotations

import jax
import numpy as np
import numpyro.distributions as dist
from numpyro.distributions import constraints

from bayeskit._errors import MethodError
from bayeskit.inference.method import is_number, require

__all__ = ["check_scale", "typical_scale"]


def check_scale(prior: object) -> None:
    """A distribution of one positive number, or a positive number.

    Raises:
        MethodError: neither.
    """
    if not isinstance(prior, dist.Distribution):
        positive = is_number(prior) and prior > 0
        return require(positive, "scale_prior", prior, "a NumPyro distribution on the positive numbers, or such a number")
    if prior.batch_shape or prior.event_shape:
        raise MethodError(
            f"scale_prior must be the law of one number, got batch shape {prior.batch_shape} and event shape "
            f"{prior.event_shape}"
        )
    support = prior.support
    above_zero = getattr(support, "lower_bound", None) is not None and getattr(support, "upper_bound", None) is None
    if support not in (constraints.positive, constraints.nonnegative) and not (
        above_zero and bool(np.all(np.asarray(support.lower_bound) == 0))
    ):
        raise MethodError(
            f"scale_prior must have all positive numbers as support, got {type(prior).__name__} with {support}: the "
            "guide of the scale is log-normal"
        )
    return None


def typical_scale(prior: dist.Distribution | float) -> float:
    """A scale to start from: the median, of a thousand draws."""
    if not isinstance(prior, dist.Distribution):
        return float(prior)
    return float(np.median(np.asarray(prior.sample(jax.random.key(0), (1001,)))))
