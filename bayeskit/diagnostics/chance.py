"""Whether chains differ by more than chance, where R-hat alone cannot tell."""

from __future__ import annotations

import numpy as np

LEVEL = 0.01  # of one false alarm, over all elements


def chance_explains(draws: np.ndarray, num_elements: int) -> bool:
    r"""Whether the halves of the chains differ by no more than their autocorrelation makes them.

    With :math:`\bar z_k, s_k^2, S_k` the mean, variance and effective sample size of the normal scores of half-chain
    :math:`k = 1, \dots, K`, and :math:`w_k = S_k / s_k^2`,

    .. math:: Q = \sum_k w_k (\bar z_k - \bar z_w)^2, \qquad \bar z_w = \sum_k w_k \bar z_k / \sum_k w_k,

    is about :math:`\chi^2_{K-1}` where all halves are of one distribution. So for the values and for their distances
    from the median, as for R-hat. Of slow halves :math:`S_k` is known badly, which makes :math:`Q` larger, not smaller.

    Args:
        draws: of one element, shape ``(chain, draw)``.
        num_elements: that were looked at, among which this one stands out.

    References:
        Cochran (1954), "The combination of estimates from different experiments", Biometrics 10(1).
    """
    from scipy.special import ndtri
    from scipy.stats import chi2, rankdata

    half = draws.shape[1] // 2
    halves = np.concatenate([draws[:, :half], draws[:, -half:]])
    limit = chi2.isf(LEVEL / (2 * num_elements), len(halves) - 1)
    for quantity in (halves, np.abs(halves - np.median(halves))):
        scores = ndtri((rankdata(quantity, axis=None) - 3 / 8) / (quantity.size + 1 / 4)).reshape(halves.shape)
        if not _disagreement(scores) <= limit:
            return False
    return True


def _disagreement(scores: np.ndarray) -> float:
    """Cochran's Q of the rows; NaN where a row stands still."""
    from arviz_stats.base import array_stats

    with np.errstate(all="ignore"):
        sizes = [float(array_stats.ess(row[None], chain_axis=0, draw_axis=1, method="identity")) for row in scores]
        weights = np.array(sizes) / scores.var(axis=1, ddof=1)
        means = scores.mean(axis=1)
        return float(np.sum(weights * (means - np.average(means, weights=weights)) ** 2))
