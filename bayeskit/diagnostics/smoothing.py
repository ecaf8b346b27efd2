"""Pareto-smoothed importance weights."""

from __future__ import annotations

import warnings

import numpy as np

from bayeskit.diagnostics.importance import pareto_k

__all__ = ["smoothed_weights"]


def smoothed_weights(log_ratios: np.ndarray) -> tuple[np.ndarray, float]:
    r"""Normalised weights, the largest replaced by quantiles of the generalised Pareto distribution fitted to them, and
    its shape :math:`\hat k`, which counts as zero where weights are so nearly equal that no moment can be wrong by much.

    Args:
        log_ratios: finite, of any shape.

    Reference: Vehtari, Simpson, Gelman, Yao and Gabry (2024), Journal of Machine Learning Research 25(72), algorithm 1.
    """
    from arviz_stats.base import array_stats

    flat = np.asarray(log_ratios, float).ravel()
    judged = pareto_k(flat)
    if np.ptp(flat) == 0:
        return judged.weights.reshape(log_ratios.shape), judged.k
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        smoothed, _ = array_stats.psislw(-flat)  # it takes log likelihoods, and negates them
    weights = np.exp(smoothed - smoothed.max())
    return (weights / weights.sum()).reshape(log_ratios.shape), judged.k
