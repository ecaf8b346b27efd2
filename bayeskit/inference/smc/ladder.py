"""The ladder of temperatures of parallel tempering, on the host."""

from __future__ import annotations

import numpy as np

FIRST_POWER = 4.0
LEAST = 1e-4


def first_ladder(number: int) -> np.ndarray:
    """Temperatures before any are known: dense beside the prior, where the likelihood changes most."""
    return np.linspace(0.0, 1.0, number) ** FIRST_POWER


def equalised(temperatures: np.ndarray, rejection: np.ndarray) -> np.ndarray:
    r"""Temperatures between which swaps are rejected equally often.

    The rejection rates add up to the communication barrier, :math:`\Lambda(\beta_k) = \sum_{i<k} r_i`, a function that
    hardly depends on the ladder; the new one divides it into equal parts.

    Reference: Syed, Bouchard-Côté, Deligiannidis and Doucet (2022), "Non-reversible parallel tempering: a scalable
    highly parallel MCMC scheme", section 5.
    """
    from scipy.interpolate import PchipInterpolator

    barrier = np.concatenate([[0.0], np.cumsum(np.maximum(rejection, LEAST))])
    new = PchipInterpolator(barrier, temperatures)(np.linspace(0.0, barrier[-1], len(temperatures)))
    new[0], new[-1] = 0.0, 1.0
    return new


def stepping_stones(log_sums: np.ndarray, counts: np.ndarray) -> tuple[float, float]:
    r"""Log evidence and its standard error from blocks of one chain,
    :math:`\log p(y) = \sum_k \log E_{\beta_k} p(y \mid z)^{\beta_{k+1} - \beta_k}`.

    Args:
        log_sums: log of the sum of the powers over a block, shape ``(block, level)``.
        counts: draws in each block.

    Reference: Xie, Lewis, Fan, Kuo and Chen (2011), "Improving marginal likelihood estimation for Bayesian phylogenetic
    model selection".
    """
    used = counts > 0
    log_sums, counts = log_sums[used], counts[used]
    whole = (np.logaddexp.reduce(log_sums, axis=0) - np.log(counts.sum())).sum()
    if len(counts) < 2:
        return float(whole), np.inf
    # leaving out a block at a time: the mean of a few draws of a power is skewed, that of all but a few is not
    without = np.array(
        [
            (np.logaddexp.reduce(np.delete(log_sums, one, 0), axis=0) - np.log(counts.sum() - counts[one])).sum()
            for one in range(len(counts))
        ]
    )
    number = len(counts)
    return float(whole), float(np.sqrt((number - 1) * without.var()))
