r"""How much of the posterior lies beyond the draws of a guide, by the tail of its importance weights.

$\hat k$ is the *shape* of the tail, and takes no notice of its size: weights that differ by a thousandth, because the
optimisation has stopped a little short of an exact fit, have some shape too, often a heavy one. And where a guide has
several parts, the weights are nearly constant over most of the draws and differ over few: the largest weights are then
some of the many and all of the few together, no generalised Pareto distribution describes these, and $\hat k$ of them
means nothing. Here the tail is taken where the distribution fits, and its size is asked.

References: Pickands (1975), "Statistical inference using extreme order statistics"; Zhang and Stephens (2009), "A new
and efficient estimation method for the generalized Pareto distribution", Technometrics 51(3); Vehtari, Simpson,
Gelman, Yao and Gabry (2024), "Pareto smoothed importance sampling", for the prior on the shape.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

MAX_SHIFT = 0.25
"""Standard deviations by which a mean may be wrong."""
MAX_RATIO = 1.15
"""Factor by which a standard deviation may be wrong."""
LEAST_TAIL = 5
FARTHEST = 1.0
"""Kolmogorov-Smirnov distance, times the root of the number, from which on a fitted tail is not believed. 99% of
samples of the distribution stay below it when shape and scale have been fitted to them: 0.92 to 1.05, by simulation,
for 5 to 425 numbers and shapes from 0.2 to 2 (1.63 if both were known).
"""


class Tail(NamedTuple):
    r"""What the weights above a threshold $u$ look like: $w - u$ has the distribution function
    $1 - (1 + k x / \sigma)^{-1/k}$.

    Attributes:
        threshold: $u$.
        share: of the draws that lie above it.
        shape: $k$.
        scale: $\sigma$.
    """

    threshold: float
    share: float
    shape: float
    scale: float

    def excess(self, rarest: float, rare: float) -> float:
        r"""The mean of $w - 1$ over the draws whose weight is exceeded with a probability between the two,
        $\int_{\mathrm{rarest}}^{\mathrm{rare}} (w(p) - 1) \, dp$ with $w(p) = u + \frac{\sigma}{k} ((s/p)^k - 1)$ and
        $s$ the share.
        """
        k = self.shape if abs(self.shape - 1.0) > 1e-6 and abs(self.shape) > 1e-6 else self.shape + 2e-6

        def integral(p: float) -> float:
            return self.scale / k * (self.share**k * p ** (1.0 - k) / (1.0 - k) - p)

        return (self.threshold - 1.0) * (rare - rarest) + integral(rare) - integral(rarest)


def nearly_equal(log_weights: np.ndarray) -> bool:
    r"""Whether importance weights are so equal that draws of the guide are as good as draws of the posterior.

    With $w$ the weights over their mean, and any function $h$ of a draw, $E_p h - E_q h = \mathrm{Cov}_q(w, h)$, which
    is at most $\mathrm{sd}_q(w) \, \mathrm{sd}_q(h)$: what the draws show is good where $\mathrm{sd}_q(w)$ is below
    `MAX_SHIFT` (with $h$ a parameter) and below $(\mathtt{MAX\_RATIO}^2 - 1) / \sqrt 2$ (with $h$ its squared
    deviation, whose standard deviation is $\sqrt 2$ variances where it is normal).

    What they do not show is taken from their tail (`largest_tail`), followed as far beyond the $S$ draws as they reach,
    to what is found once in $S^2$. Such a draw may lie $D = \sqrt{2 \log S^2}$ standard deviations from the mean,
    so that an excess of posterior mass $U$ there moves the mean by $U D$ and the variance by $U D^2$.

    A tail that nothing fits is no evidence of equal weights; one that has no length, for the largest weights are the
    same, is.
    """
    size = log_weights.size
    weights = np.exp(log_weights - log_weights.max())
    weights /= weights.mean()
    if not np.std(weights) <= min(MAX_SHIFT, (MAX_RATIO**2 - 1.0) / np.sqrt(2.0)):
        return False
    ordered = np.sort(weights)
    if ordered[-1] == ordered[-LEAST_TAIL - 1]:
        return True
    tail = largest_tail(ordered)
    if tail is None:
        return False
    distance = np.sqrt(4.0 * np.log(size))
    beyond = tail.excess(1.0 / size**2, 1.0 / size)
    return bool(beyond * distance <= MAX_SHIFT and beyond * distance**2 <= MAX_RATIO**2 - 1.0)


def tail_length(size: int) -> int:
    """How many of that many weights are the tail of which k-hat is the shape."""
    return int(min(size / 5, 3.0 * np.sqrt(size)))


def largest_tail(ordered: np.ndarray) -> Tail | None:
    r"""The tail of ascending weights that a generalised Pareto distribution describes: of $3 \sqrt S$ of them, as for
    $\hat k$, or of half as many, or of a quarter, and so on. The shape is drawn towards 0.5 as by ten more draws.
    """
    size, count = ordered.size, tail_length(ordered.size)
    while count >= LEAST_TAIL:
        threshold = ordered[-count - 1]
        excess = ordered[-count:] - threshold
        found = fit_pareto(excess)
        if found is not None and np.sqrt(count) * _distance(excess, *found) <= FARTHEST:
            shape, scale = found
            return Tail(float(threshold), count / size, (count * shape + 5.0) / (count + 10.0), scale)
        count //= 2
    return None


def _distance(excess: np.ndarray, shape: float, scale: float) -> float:
    """The Kolmogorov-Smirnov distance of ascending numbers to a generalised Pareto distribution."""
    from scipy.stats import genpareto

    below = genpareto.cdf(excess, shape, scale=scale)
    steps = np.arange(excess.size + 1) / excess.size
    return float(max(np.max(steps[1:] - below), np.max(below - steps[:-1])))


def fit_pareto(excess: np.ndarray) -> tuple[float, float] | None:
    r"""Shape and scale of a generalised Pareto distribution, from ascending numbers of which none is negative.

    With $\theta = -k / \sigma$ the likelihood is maximal at $k(\theta) = \mathrm{mean} \log(1 - \theta x)$, and
    $\theta$ is the mean of its posterior under the prior of Zhang and Stephens, on a grid of quantiles of that. None
    where a quarter of the numbers are zero, or nothing comes out.
    """
    size = excess.size
    quartile = excess[int(size / 4 + 0.5) - 1]
    if not quartile > 0:
        return None
    points = 20 + int(np.sqrt(size))
    theta = 1.0 / excess[-1] + (1.0 - np.sqrt(points / (np.arange(points) + 0.5))) / (3.0 * quartile)
    with np.errstate(all="ignore"):
        shapes = np.log1p(-theta[:, None] * excess).mean(axis=1)
        profile = size * (np.log(-theta / shapes) - shapes - 1.0)
        weights = np.exp(profile - np.nanmax(profile))
        best = np.nansum(weights * theta) / np.nansum(weights)
        shape = float(np.log1p(-best * excess).mean())
        scale = float(-shape / best)
    return (shape, scale) if np.isfinite(shape) and np.isfinite(scale) and scale > 0 else None
