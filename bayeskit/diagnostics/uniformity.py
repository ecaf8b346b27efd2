r"""Whether numbers on the unit interval are uniform: simultaneous bands of their cumulative distribution, exactly."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy import stats

__all__ = ["MOST_POINTS", "bands", "chi_square_p_value", "grid_of", "uniformity_p_values"]

MOST_POINTS = 99
"""Points at which the cumulative distribution is looked at."""
SMALL = 1e-8
"""Tail probabilities that differences of sums near one do not resolve."""


def grid_of(num_draws: int) -> np.ndarray:
    """Points between the ranks, so that ranks of that many draws fall between them."""
    points = num_draws + 1 if num_draws < MOST_POINTS else MOST_POINTS + 1
    return np.arange(1, points) / points


def uniformity_p_values(numbers: np.ndarray, points: np.ndarray) -> np.ndarray:
    r"""The p-value of each element under uniformity, from the most extreme point of its cumulative distribution.

    At each point :math:`z_i` the count :math:`N F(z_i)` is binomial. The statistic is the smallest of its two-sided
    tail probabilities,

    .. math:: \gamma = 2 \min_i \min\{P(B_i \le N F(z_i)),\; P(B_i \ge N F(z_i))\}, \qquad
              B_i \sim \mathrm{Binomial}(N, z_i),

    and the p-value is the probability that it is as small for uniform numbers, computed exactly by the recursion over
    points of which the counts are a Markov chain.

    Args:
        numbers: shape ``(number, element)``, in (0, 1).
        points: :math:`z_1 < z_2 < \dots`, in (0, 1).

    Returns:
        Shape ``(element,)``.

    Example:
        >>> import numpy as np
        >>> from bayeskit.diagnostics.uniformity import grid_of, uniformity_p_values
        >>> u = np.random.default_rng(0).uniform(size=(300, 1))
        >>> even, skew = uniformity_p_values(np.hstack([u, u**2]), grid_of(99))
        >>> bool(even > 0.01), bool(skew < 1e-6)
        (True, True)

    Reference: Säilynoja, Bürkner and Vehtari (2022), Statistics and Computing 32, sections 2.2 and 2.3.
    """
    total = len(numbers)
    ordered = np.sort(numbers, axis=0)
    counts = np.stack([np.searchsorted(column, points, side="right") for column in ordered.T], axis=1)
    tails = np.minimum(
        stats.binom.cdf(counts, total, points[:, None]), stats.binom.sf(counts - 1, total, points[:, None])
    )
    levels = np.minimum(1.0, 2.0 * tails.min(axis=0))
    return np.array([_p_value(float(level), total, tuple(points)) for level in levels])


def bands(total: int, points: np.ndarray, probability: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    r"""Lower and upper ends of a band that holds the whole cumulative distribution with that probability or more.

    Args:
        total: how many numbers, :math:`N`.
        points: as for `uniformity_p_values`.
        probability: of all points together.
    """
    low, high = np.log(1e-12), 0.0
    for _ in range(30):  # the level as a function of the p-value is a staircase: bisection
        middle = (low + high) / 2
        if _p_value(float(np.exp(middle)), total, tuple(points)) <= 1.0 - probability:
            low = middle
        else:
            high = middle
    lower, upper = _within(float(np.exp(low)), total, tuple(points))
    return lower / total, upper / total


def chi_square_p_value(numbers: np.ndarray, most_bins: int = 20) -> np.ndarray:
    """The p-value of Pearson's test with equal bins, at least five numbers expected in each; shape ``(element,)``."""
    bins = int(np.clip(len(numbers) // 5, 2, most_bins))
    counts = np.stack([np.histogram(column, bins, (0.0, 1.0))[0] for column in numbers.T], axis=1)
    return np.asarray(stats.chisquare(counts, axis=0).pvalue)


@lru_cache(maxsize=16)
def _tails(total: int, points: tuple[float, ...]) -> np.ndarray:
    """The smaller tail probability of every count at every point, shape ``(count, point)``."""
    counts, grid = np.arange(total + 1)[:, None], np.array(points)
    return np.minimum(stats.binom.cdf(counts, total, grid), stats.binom.sf(counts - 1, total, grid))


def _within(level: float, total: int, points: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The least and the greatest count at each point whose tail probabilities exceed half the level."""
    # a count whose tail is half the level itself is as extreme as the one that was observed
    inside = _tails(total, points) > 0.5 * level * (1.0 + 1e-9)
    return inside.argmax(axis=0), total - inside[::-1].argmax(axis=0)


@lru_cache(maxsize=4096)
def _p_value(level: float, total: int, points: tuple[float, ...]) -> float:
    """The probability that a count of uniform numbers leaves its limits at one point or more."""
    lower, upper = _within(level, total, points)
    if not _tails(total, points).max(axis=0).min() > 0.5 * level * (1.0 + 1e-9):
        return 1.0
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, total + 1)))])
    state, before, first, outside = np.ones(1), 0.0, 0, 0.0
    for point, low, high in zip(points, lower, upper, strict=True):
        # of the numbers above the point before, each lies below this one with the same probability
        share = (point - before) / (1.0 - before)
        start = np.arange(first, first + len(state))[:, None]
        step = np.arange(low, high + 1)[None, :] - start
        left = total - start
        taken = np.clip(step, 0, left)
        log_p = log_factorial[left] - log_factorial[taken] - log_factorial[left - taken]
        log_p += taken * np.log(share) + (left - taken) * np.log1p(-share)
        moved = state @ np.where(step == taken, np.exp(log_p), 0.0)
        if level > SMALL:
            outside += float(state.sum() - moved.sum())
        else:  # what leaves is summed by itself, so that small probabilities keep their digits
            below, above = (
                stats.binom.cdf(step[:, 0] - 1, left[:, 0], share),
                stats.binom.sf(step[:, -1], left[:, 0], share),
            )
            outside += float(state @ (below + above))
        state, before, first = moved, point, low
    return min(1.0, outside)
