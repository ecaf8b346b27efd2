"""What the law of the scale of a classifier may be."""

from __future__ import annotations

import math

import jax
import numpy as np
import numpyro.distributions as dist
from numpyro.distributions import constraints

from bayeskit.errors import ModelError
from bayeskit.models.nngp.mixtures.scale_integral import as_scale_prior

__all__ = ["as_scale", "start_of_scale"]

WIDEST = 0.4
"""At the start; a wide law of the scale makes the first gradients noisy."""


def as_scale(scale_prior: object) -> dist.Distribution | float:
    """The law of one positive number, which may be any of them; or a positive number.

    Raises:
        ModelError: neither.
    """
    prior = as_scale_prior(scale_prior)
    if not isinstance(prior, dist.Distribution):
        return float(prior)
    support = prior.support
    from_zero = np.all(np.asarray(getattr(support, "lower_bound", 1.0)) == 0) and not hasattr(support, "upper_bound")
    if support not in (constraints.positive, constraints.nonnegative) and not from_zero:
        raise ModelError(
            f"scale_prior must have all positive numbers as its support, which is that of the guide; got "
            f"{type(prior).__name__} with {support}"
        )
    return prior


def start_of_scale(prior: dist.Distribution | float | None) -> tuple[float, float]:
    """Mean and standard deviation of the log of the scale to start from: those of the prior, but no wider than needed.

    The prior's are its median and the spread of its middle half, of a thousand draws.
    """
    if not isinstance(prior, dist.Distribution):
        return 0.0 if prior is None else math.log(prior), WIDEST
    draws = np.log(np.asarray(prior.sample(jax.random.key(0), (1001,)), np.float64))
    low, middle, high = np.quantile(draws, [0.25, 0.5, 0.75])
    return float(middle), float(np.minimum((high - low) / 1.35, WIDEST))
