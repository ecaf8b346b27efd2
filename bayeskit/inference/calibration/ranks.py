r"""The rank of the truth among draws, and where that lies on the unit interval."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["Ranks", "equally_spaced", "rank"]


class Ranks(NamedTuple):
    """Of every element of a site.

    Attributes:
        rank: how many draws lie below the truth, those that equal it in random order; 0 to the number of draws.
        pit: a uniform draw from the share of the unit interval that the rank stands for.
        tied: whether all draws equal the truth.
    """

    rank: np.ndarray
    pit: np.ndarray
    tied: np.ndarray


def rank(truth: np.ndarray, draws: np.ndarray, uniform: np.random.Generator) -> Ranks:
    r"""The rank :math:`r` of `truth` among :math:`L` draws, and :math:`u = (r + v) / (L + 1)` with :math:`v` uniform.

    Where truth and draws are independent draws of one distribution, discrete or not, :math:`r` is uniform on
    :math:`0, \dots, L` and :math:`u` on (0, 1), whatever :math:`L` is, so that fits of which more or fewer draws were
    kept can be put together. Of the draws that equal the truth, a random number counts as below it.

    Args:
        truth: shape ``event``.
        draws: shape ``(draw, *event)``.
        uniform: where random numbers come from.

    Example:
        >>> import numpy as np
        >>> from bayeskit.inference.calibration.ranks import rank
        >>> int(rank(np.array(0.5), np.array([0.1, 0.4, 0.7]), np.random.default_rng(0)).rank)
        2

    Reference: Talts, Betancourt, Simpson, Vehtari and Gelman (2018), arXiv:1804.06788, theorem 1; Modrák, Moon, Kim,
    Bürkner, Huurre, Faltejsková, Gelman and Vehtari (2023), Bayesian Analysis, section 2 (ties).
    """
    below, equal = (draws < truth).sum(axis=0), (draws == truth).sum(axis=0)
    ranks = below + uniform.integers(0, equal, endpoint=True)
    pit = (ranks + uniform.uniform(size=np.shape(truth))) / (len(draws) + 1.0)
    return Ranks(ranks, pit, equal == len(draws))


def equally_spaced(total: int, kept: int) -> np.ndarray:
    """Indices of that many draws out of all, as far apart as they can be."""
    return ((np.arange(kept) + 0.5) * total / kept).astype(int)
