"""Weights of particles, on the host in double precision: temperatures, resampling, and the variance of the evidence.

Arrays are of one run, shape ``(particle,)``.
"""

from __future__ import annotations

import numpy as np

BISECTIONS = 100


def log_mean_exp(values: np.ndarray) -> float:
    r""":math:`\log \frac{1}{N} \sum_i e^{v_i}`."""
    return float(np.logaddexp.reduce(values) - np.log(len(values)))


def normalised(log_weights: np.ndarray) -> np.ndarray:
    """Weights of sum one."""
    weights = np.exp(log_weights - log_weights.max())
    return weights / weights.sum()


def effective_size(weights: np.ndarray) -> float:
    r""":math:`1 / \sum_i W_i^2` of weights of sum one."""
    return float(1.0 / np.square(weights).sum())


def incremental(log_likelihood: np.ndarray, step: float) -> np.ndarray:
    """Log weights of a step of temperature; a likelihood that is NaN counts as zero."""
    return np.where(np.isnan(log_likelihood), -np.inf, step * log_likelihood)


def next_temperature(log_likelihood: np.ndarray, temperature: float, target_ess: float) -> float:
    r"""The largest temperature up to one at which the weights :math:`p(y \mid z_i)^{\beta' - \beta}` are worth
    `target_ess` of the particles whose likelihood is not zero, by bisection.

    Reference: Jasra, Stephens, Doucet and Tsagaris (2011), "Inference for Lévy-driven stochastic volatility models via
    adaptive sequential Monte Carlo".
    """
    alive = log_likelihood[np.isfinite(log_likelihood)]
    wanted = target_ess * len(alive)

    def worth(step: float) -> float:
        return effective_size(normalised(step * alive))

    low, high = 0.0, 1.0 - temperature
    if worth(high) >= wanted:
        return 1.0
    for _ in range(BISECTIONS):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if worth(middle) >= wanted else (low, middle)
    return temperature + high


def systematic(weights: np.ndarray, uniform: float) -> np.ndarray:
    """Indices of the particles drawn in proportion to their weights, in order, so that offspring stand side by side."""
    size = len(weights)
    cumulative = np.cumsum(weights)
    points = (np.arange(size) + uniform) / size * cumulative[-1]
    return np.minimum(np.searchsorted(cumulative, points, side="right"), size - 1)


def families(eve: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The weight of each family, by its ancestor among the first particles."""
    return np.bincount(eve, weights, minlength=len(eve))


def rounding(eve: np.ndarray, weights: np.ndarray) -> float:
    r"""Variance that systematic resampling adds to the sizes of families, :math:`N^{-2} \sum_i F_i (1 - F_i)`.

    A family that stands side by side has :math:`\lfloor m \rfloor` or one more offspring, where :math:`m` is :math:`N`
    times its weight and :math:`F` the fraction of :math:`m`.
    """
    fraction = np.mod(len(eve) * families(eve, weights), 1.0)
    return float((fraction * (1.0 - fraction)).sum() / len(eve) ** 2)


def evidence_variance(eve: np.ndarray, weights: np.ndarray, rounded: float) -> float:
    r"""Relative variance of the estimate of the evidence, from the families of the particles:
    :math:`\sum_i S_i^2 - 1 / N` with :math:`S_i` the weight of family :math:`i`, less what resampling has added.

    With multinomial resampling, which adds :math:`1/N` a step, this is to first order in :math:`1/N` the estimate of
    Lee and Whiteley (2018), "Variance estimation in the particle filter", equation 9; systematic resampling adds
    `rounding`.
    """
    return float(np.square(families(eve, weights)).sum() - 1.0 / len(eve) - rounded)
