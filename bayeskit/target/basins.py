r"""Which starts lead to modes with mass: ascents from all of them, compared.

From the start of each chain an ascent goes to a mode $z^*$ (:func:`bayeskit.numerics.ascent.ascend`). By Laplace's
approximation the mass around it is

$$\log m = \log \pi(z^*) + \tfrac12 \log |2 \pi A^{-1}|, \qquad A = -\nabla^2 \log \pi(z^*).$$

A chain is *left behind* where both its density and its mass lie more than $10 + d/2$ below those of one other chain;
it gets another start. Density alone does not tell: in the neck of a funnel it is as high as one likes, and the mass is
nothing. Mass alone is Laplace's word. Where the two disagree, nothing is done.

A chain starts where its ascent came within $d/2$ of its end, about where a draw of a normal density lies. Where the
highest ascent has not arrived, as in a density without bound, chains start where they would have without ascents.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bayeskit.numerics.ascent import Ascent, Evaluate, ascend, log_volume

if TYPE_CHECKING:
    from bayeskit.target.start import Points, Search

LARGEST = 100_000
"""Chains times coordinates up to which there are ascents, which remember their paths."""
VOLUMES = 300
"""Coordinates up to which curvatures are computed; there are no new starts beyond."""
TOLERANCE = 0.1
EVALUATIONS = 200
HALVINGS = 5
ROUNDS = 4
MARGIN = 10.0

Path = list[tuple[np.ndarray, np.ndarray]]
"""Positions and log densities of all chains, one evaluation after the other."""


class Climb(NamedTuple):
    """Ascents of all chains.

    Attributes:
        starts: where to start, shape ``(chain, size)``.
        modes: where the ascents have ended.
        values: the log density there, shape ``(chain,)``.
        arrived: whether they have arrived.
    """

    starts: np.ndarray
    modes: np.ndarray
    values: np.ndarray
    arrived: np.ndarray


def heavy_basins(search: Search, points: Points) -> tuple[Points, Climb]:
    """Starts in basins with mass, for all chains, with the ascents; `points` themselves where ascents do not tell.

    Args:
        search: finds other starts, and evaluates.
        points: where the chains would start, with finite densities.
    """
    climb = _climb(search, points)
    for _ in range(ROUNDS):
        if not climb.arrived[np.argmax(climb.values)]:
            return points, climb
        behind = _left_behind(search, climb)
        if not behind.any():
            break
        other = search.next()
        moved = behind & np.isfinite(other.density)
        again = _climb(search, other._replace(density=np.where(moved, other.density, -np.inf)))
        climb = Climb(*(np.where(_column(moved, new), new, old) for new, old in zip(again, climb, strict=True)))
    reached = search.at(climb.starts)
    return (reached if np.isfinite(reached.density).all() else points), climb


def _climb(search: Search, points: Points) -> Climb:
    """Ascents from the points whose density is finite; the others stay where they are."""
    end, path = ascent(search, points)
    starts = _within(search, path, end.values - search.target.size / 2.0)
    return Climb(starts, end.positions, end.values, end.arrived)


def ascent(search: Search, points: Points, tolerance: float = TOLERANCE) -> tuple[Ascent, Path]:
    """Ascents from points until no more than a tolerance is to be gained, and what they came by."""
    path = [(np.asarray(points.positions, float), np.asarray(points.density, float))]

    def evaluate(positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        values, gradients = evaluator(search)(positions)
        path.append((positions, values))
        return values, gradients

    # in single precision, and far from zero, a density is known to no better than this
    finite = path[0][1][np.isfinite(path[0][1])]
    noise = 10.0 * np.finfo(search.dtype).eps * np.abs(finite).max(initial=0.0)
    tolerance = max(tolerance, noise)
    return ascend(evaluate, *path[0], points.gradient, tolerance=tolerance, max_evaluations=EVALUATIONS), path


def _within(search: Search, path: Path, level: np.ndarray) -> np.ndarray:
    """Where the paths come up to a level, shape ``(chain, size)``.

    A step may go from far below right to the top, from wherever it came; so the crossing is looked for between its
    ends. Thus chains start at different places.
    """
    first = np.argmax(np.stack([values for _, values in path]) >= level, axis=0)
    above = np.stack([path[step][0][chain] for chain, step in enumerate(first)])
    below = np.stack([path[max(step - 1, 0)][0][chain] for chain, step in enumerate(first)])
    for _ in range(HALVINGS):
        middle = (above + below) / 2.0
        reached = (evaluator(search)(middle)[0] >= level)[:, None]
        above, below = np.where(reached, middle, above), np.where(reached, below, middle)
    return above


def _left_behind(search: Search, climb: Climb) -> np.ndarray:
    """Chains that lie far below one other in density and in mass, shape ``(chain,)``."""
    size = search.target.size
    margin = MARGIN + size / 2.0
    none = np.zeros(climb.values.size, bool)
    if size > VOLUMES or np.ptp(climb.values) <= margin:
        return none
    spacing = np.finfo(search.dtype).eps ** (1 / 3)
    mass = climb.values + log_volume(evaluator(search), climb.modes, spacing)
    lower = [number[:, None] + margin < number[None] for number in (climb.values, mass)]
    return (lower[0] & lower[1] & climb.arrived[None]).any(axis=1)


def evaluator(search: Search) -> Evaluate:
    """Log densities and gradients at as many positions as there are chains."""

    def evaluate(positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        density, gradient = search.evaluate(positions)
        return np.asarray(density, float), np.asarray(gradient, float)

    return evaluate


def _column(mask: np.ndarray, like: np.ndarray) -> np.ndarray:
    return mask.reshape(-1, *[1] * (like.ndim - 1))
