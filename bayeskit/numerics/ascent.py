"""Ascent of a log density from several points at once, each evaluation a call for all of them.

On the host, with a function that is compiled already: to compile a loop (`bayeskit.numerics.quasi_newton`) would take
longer than these ascents do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

__all__ = ["Ascent", "Evaluate", "ascend", "curvature", "log_volume"]

Evaluate = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Values ``(point,)`` and gradients ``(point, size)`` at positions ``(point, size)``."""

MEMORY = 10
ARMIJO = 1e-4
SHRINK = (0.1, 0.5)
ROUNDS = 5  # steps in a row that must promise little


class Ascent(NamedTuple):
    """Where the ascents have come to.

    Attributes:
        positions: shape ``(point, size)``; never lower than where they began.
        values: shape ``(point,)``.
        arrived: whether no more than the tolerance was to be gained, shape ``(point,)``.
        evaluations: how often the function was called.
    """

    positions: np.ndarray
    values: np.ndarray
    arrived: np.ndarray
    evaluations: int


def ascend(
    evaluate: Evaluate,
    positions: np.ndarray,
    values: np.ndarray,
    gradients: np.ndarray,
    *,
    tolerance: float,
    max_evaluations: int,
) -> Ascent:
    r"""Limited-memory BFGS in lockstep, until each point expects to gain no more than a tolerance.

    With $H$ the approximation of the inverse of the negative Hessian, a step in the direction $H g$ expects the gain
    $\tfrac12 g^\top H g$. A point has arrived when the last steps each promised and brought less than the tolerance.
    A step that is not finite, or gains less than $10^{-4}$ of its slope, is shortened.

    Args:
        evaluate: the function, for all points in one call.
        positions: where to begin, shape ``(point, size)``.
        values: the function there; a point where it is not finite stays where it is.
        gradients: its gradients there.
        tolerance: in units of the function.
        max_evaluations: calls at most.

    References:
        Nocedal and Wright (2006), "Numerical Optimization", algorithms 7.4 and 7.5.
    """
    x, f, g = (np.array(array, float) for array in (positions, values, gradients))
    memory = _Memory(*x.shape)
    step = 1.0 / np.maximum(np.linalg.norm(g, axis=1), 1.0)
    direction, calm = g.copy(), np.where(np.isfinite(f), 0, ROUNDS)
    blocked = ~np.isfinite(f)
    evaluations = 0
    while evaluations < max_evaluations and (calm < ROUNDS).any():
        moving = calm < ROUNDS
        trial = np.where(moving[:, None], x + step[:, None] * direction, x)
        new_f, new_g = evaluate(trial)
        evaluations += 1
        slope = np.einsum("ij,ij->i", g, direction)
        finite = np.isfinite(new_f) & np.isfinite(new_g).all(axis=1)
        with np.errstate(invalid="ignore"):
            gain = np.where(finite, new_f - f, -np.inf)
        accepted = moving & (gain >= ARMIJO * step * slope)
        memory.learn(trial - x, g - new_g, accepted)
        x, g = np.where(accepted[:, None], trial, x), np.where(accepted[:, None], new_g, g)
        f = np.where(accepted, new_f, f)
        refused = moving & ~accepted
        stuck = refused & (step * np.abs(direction).max(axis=1) < 1e-12 * (1.0 + np.abs(x).max(axis=1)))
        direction = np.where(refused[:, None], direction, memory.times(g))
        promised = 0.5 * np.einsum("ij,ij->i", g, direction)
        quiet = accepted & (gain < tolerance) & (promised < tolerance)
        calm = np.where(quiet, calm + 1, np.where(accepted, 0, calm))
        calm = np.where(stuck | ~(np.abs(g).max(axis=1) > 0), ROUNDS, calm)
        blocked |= stuck & ~(promised < tolerance)
        step = np.where(refused, step * _shorter(gain, step * slope), 1.0)
    return Ascent(x, f, (calm >= ROUNDS) & ~blocked, evaluations)


def _shorter(gain: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """By how much to shorten a step: to the top of the parabola through what it has shown, within limits."""
    with np.errstate(divide="ignore", invalid="ignore"):
        top = expected / (2.0 * (expected - gain))
    return np.clip(np.nan_to_num(top, nan=SHRINK[0]), *SHRINK)


class _Memory:
    """The last steps and changes of the gradient of each point, and what they say of the curvature."""

    def __init__(self, points: int, size: int):
        self._steps = np.zeros((MEMORY, points, size))
        self._changes = np.zeros((MEMORY, points, size))
        self._inverse = np.zeros((MEMORY, points))  # one over their product; zero where there is none
        self._scale = np.ones(points)

    def learn(self, step: np.ndarray, change: np.ndarray, taken: np.ndarray) -> None:
        """Keep what a step has shown of points where the curvature along it is that of a maximum."""
        change = np.where(taken[:, None], change, 0.0)
        product = np.einsum("ij,ij->i", step, change)
        square = np.einsum("ij,ij->i", change, change)
        kept = taken & (product > 1e-10 * square) & (square > 0)
        if not kept.any():
            return
        for array, new in ((self._steps, step), (self._changes, change)):
            array[:, kept] = np.concatenate([array[1:, kept], new[None, kept]])
        newest = 1.0 / product[kept]
        self._inverse[:, kept] = np.concatenate([self._inverse[1:, kept], newest[None]])
        self._scale = np.where(kept, product / np.where(square > 0, square, 1.0), self._scale)

    def times(self, gradient: np.ndarray) -> np.ndarray:
        """The approximate inverse of the negative Hessian times a gradient, for every point."""
        q, weights = gradient.copy(), np.zeros_like(self._inverse)
        for i in reversed(range(MEMORY)):
            weights[i] = self._inverse[i] * np.einsum("ij,ij->i", self._steps[i], q)
            q -= weights[i][:, None] * self._changes[i]
        q *= self._scale[:, None]
        for i in range(MEMORY):
            weight = weights[i] - self._inverse[i] * np.einsum("ij,ij->i", self._changes[i], q)
            q += weight[:, None] * self._steps[i]
        return q


def curvature(evaluate: Evaluate, positions: np.ndarray, spacing: float) -> np.ndarray:
    """The negative Hessian at each position, shape ``(point, size, size)``, by central differences of gradients.

    Takes two calls for each dimension.
    """
    columns = []
    for i in range(positions.shape[1]):
        shift = np.zeros_like(positions)
        shift[:, i] = spacing * np.maximum(np.abs(positions[:, i]), 1.0)
        ahead, behind = evaluate(positions + shift)[1], evaluate(positions - shift)[1]
        columns.append((behind - ahead) / (2.0 * shift[:, i, None]))
    found = np.stack(columns, axis=-1)
    return np.asarray((found + np.swapaxes(found, 1, 2)) / 2.0)


def log_volume(evaluate: Evaluate, positions: np.ndarray, spacing: float) -> np.ndarray:
    r"""The logarithm of $\sqrt{|2 \pi A^{-1}|}$, with $A$ the negative Hessian at each position (`curvature`).

    Eigenvalues count by their size: at a saddle the volume is a guess.
    """
    matrices = curvature(evaluate, positions, spacing)
    found = np.full(len(positions), -np.inf)
    finite = np.isfinite(matrices).all(axis=(1, 2))
    sizes = np.abs(np.linalg.eigvalsh(matrices[finite]))
    found[finite] = -0.5 * np.log(np.maximum(sizes, np.finfo(float).tiny) / (2.0 * np.pi)).sum(axis=1)
    return found
