"""Early stop: the best by a held-out loss, and when to look for no better."""

from __future__ import annotations

import math
from typing import Generic, TypeVar

__all__ = ["EarlyStop"]

T = TypeVar("T")


class EarlyStop(Generic[T]):
    """What had the lowest held-out loss so far.

    Attributes:
        best: that.
        losses: the held-out losses so far.
        steps: the steps that had been taken at each of them.

    Args:
        start: before the first step.
        loss: its held-out loss.
        patience: looks without a new best after which to stop.
    """

    def __init__(self, start: T, loss: float, patience: int):
        self.best, self.losses, self.steps = start, [loss], [0]
        self._lowest, self._since, self._patience = loss if loss == loss else math.inf, 0, patience

    def look(self, candidate: T, loss: float, step: int) -> None:
        """Take a candidate into account."""
        self.losses.append(loss)
        self.steps.append(step)
        self._since += 1
        if loss < self._lowest:  # not where it is NaN
            self.best, self._lowest, self._since = candidate, loss, 0

    @property
    def over(self) -> bool:
        """Whether patience has run out."""
        return self._since >= self._patience
