r"""Statistics of angles, which have no lowest and no highest value.

With $C$ and $S$ the means of cosine and sine, the mean direction is $m = \mathrm{atan2}(S, C)$, the mean resultant
length $R = \sqrt{C^2 + S^2}$, which is one where all angles are the same and zero where they point nowhere, and the
circular standard deviation $\sqrt{-2 \log R}$, which is that of the angles where they are close together. Quantiles are
those of the angles counted from the mean, $m + \delta$ with $-\pi < \delta \le \pi$, and so may lie beyond $\pm \pi$.

References: Mardia and Jupp (2000), "Directional statistics", sections 2.2 to 2.4.
"""

from __future__ import annotations

import numpy as np

from bayeskit.diagnostics.elements import Site, mapped


def mean_direction(draws: np.ndarray) -> np.ndarray:
    """The mean direction of each element, from draws of shape ``(chain, draw, element)``."""
    return np.asarray(np.arctan2(np.sin(draws).mean(axis=(0, 1)), np.cos(draws).mean(axis=(0, 1))))


def from_mean(draws: np.ndarray) -> np.ndarray:
    """Angles as differences to their mean direction, between -pi and pi."""
    difference = draws - mean_direction(draws)
    return np.asarray(np.arctan2(np.sin(difference), np.cos(difference)))


def unrolled(site: Site) -> Site:
    """Angles counted from their mean direction, so that they are cut where fewest of them are; other sites as given."""
    if not site.circular:
        return site

    def read(elements: slice) -> np.ndarray:
        draws = site.part(elements)
        return mean_direction(draws) + from_mean(draws)

    return mapped(site, read, site.shape)


def circular_summary(
    draws: np.ndarray, tail: tuple[float, float], quantiles: tuple[float, float] | None = None
) -> dict[str, np.ndarray]:
    r"""The columns of the summary table, each of shape ``(element,)``.

    By the delta method the standard errors of $m$ and of $\sqrt{-2 \log R}$ are those of the means of
    $\sin \delta$ and $\cos \delta$, over $R$ and over $R \sqrt{-2 \log R}$. Of the effective sample sizes and of
    $\hat R$, the worse of sine and cosine is given.

    Args:
        draws: shape ``(chain, draw, element)``.
        tail: probabilities of the quantiles whose effective sample size is ``ess_tail``.
        quantiles: probabilities of the two quantiles, by default those of the tails.
    """
    from arviz_stats.base import array_stats

    axes = {"chain_axis": 0, "draw_axis": 1}
    delta = from_mean(draws)
    # one minus R, without the cancellation where the angles are close together
    short = 2.0 * np.mean(np.sin(delta / 2.0) ** 2, axis=(0, 1))
    sd = np.sqrt(-2.0 * np.log1p(-short))
    low, high = np.quantile(delta, quantiles or tail, axis=(0, 1)) + mean_direction(draws)
    across, along = np.sin(delta), np.cos(delta)
    both = np.sin(draws), np.cos(draws)
    columns = {
        "mean": mean_direction(draws),
        "sd": sd,
        "q5": low,
        "q95": high,
        "mcse_mean": array_stats.mcse(across, method="mean", **axes) / (1.0 - short),
        "mcse_sd": array_stats.mcse(along, method="mean", **axes) / ((1.0 - short) * sd),
        "ess_bulk": np.fmin(*(array_stats.ess(part, method="bulk", **axes) for part in both)),
        "ess_tail": np.fmin(*(array_stats.ess(part, method="tail", prob=tail, **axes) for part in both)),
        "r_hat": np.fmax(*(array_stats.rhat(part, **axes) for part in both)),
    }
    return {name: np.atleast_1d(values) for name, values in columns.items()}
