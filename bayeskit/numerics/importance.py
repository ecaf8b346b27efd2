r"""Importance weights: how far they can be trusted, and draws in proportion to them.

References: Vehtari, Simpson, Gelman, Yao and Gabry (2024), "Pareto smoothed importance sampling"; Rubin (1988), "Using
the SIR algorithm to simulate posterior distributions".
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import jax
import numpy as np

from bayeskit._typing import Array
from bayeskit.numerics.tails import nearly_equal, tail_length

__all__ = ["FEWEST", "MAX_K", "MIN_ESS", "Fit", "pareto_k", "systematic"]

MAX_K = 0.7
MIN_ESS = 10.0
EQUAL = 0.01
"""Where all log weights are within this of each other, the shape of their tail is of rounding, and means nothing."""
ROUNDING = 1e-12
"""Of their size: log weights that differ by less are the same."""
FEWEST = 25
"""Draws of which the largest fifth is a tail of five, the fewest that a shape is fitted to."""


class Fit(NamedTuple):
    """`k`: Pareto k-hat, infinite where it cannot be fitted, NaN where there are too few draws to tell, zero where the
    weights are nearly equal, or the largest are the same. `ess`: effective number of draws. `weights`: smoothed, with
    sum one.
    """

    k: float
    ess: float
    weights: np.ndarray


def pareto_k(log_weights: np.ndarray) -> Fit:
    """Pareto k-hat of one fit, and its smoothed weights."""
    log_weights = np.asarray(log_weights, float).ravel()
    size = log_weights.size
    if not np.isfinite(log_weights).all():
        return Fit(np.inf, 0.0, np.full(size, 1.0 / size))
    normalised = np.exp(log_weights - log_weights.max())
    ess = float(normalised.sum() ** 2 / (normalised**2).sum())
    plain = Fit(0.0, ess, normalised / normalised.sum())
    if np.ptp(log_weights) < EQUAL:
        return plain
    if size < FEWEST:  # weights whose variance is above the square of their mean are known to be bad all the same
        return plain._replace(k=np.nan if ess > size / 2 else np.inf)
    if ess < MIN_ESS:
        return plain._replace(k=np.inf)
    if np.ptp(np.sort(log_weights)[-tail_length(size) :]) <= ROUNDING * max(1.0, np.abs(log_weights).max()):
        return plain  # the largest weights are the same: a bound, and no tail
    from arviz_stats.base import array_stats

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        smoothed, k = array_stats.psislw(-log_weights)  # it takes log likelihoods, and negates them
    if not k <= MAX_K and nearly_equal(log_weights):
        return plain
    if not np.isfinite(k) or not np.isfinite(smoothed).all():
        return plain._replace(k=np.inf)
    weights = np.exp(smoothed - smoothed.max())
    return Fit(float(k), ess, weights / weights.sum())


def systematic(weights: np.ndarray, num_draws: int, key: Array) -> np.ndarray:
    """Indices drawn in proportion to weights with little noise, in random order.

    The weights are shuffled first: of equal ones, equal steps would take every n-th, and where draws of several
    approximations alternate, those of one alone.
    """
    offset_key, order_key, shuffle_key = jax.random.split(key, 3)
    shuffled = np.asarray(jax.random.permutation(shuffle_key, len(weights)))
    points = (np.arange(num_draws) + float(jax.random.uniform(offset_key))) / num_draws
    index = np.minimum(np.searchsorted(np.cumsum(weights[shuffled]), points), len(weights) - 1)
    return shuffled[index[np.asarray(jax.random.permutation(order_key, num_draws))]]
