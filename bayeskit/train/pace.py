"""`Pace`: how far a training is, by its steps or by the seconds that it may take."""

from __future__ import annotations

import math
import time

import numpy as np

__all__ = ["Pace"]


class Pace:
    """Hands out blocks of steps, each step with the share of the training that lies before it.

    With a budget in seconds the number of steps is not known beforehand. After every block the rest of the budget is
    divided by what the last blocks took, and the shares run on evenly to 1 over as many blocks. The first two blocks
    are not counted, since they compile.

    Attributes:
        done: steps handed out.
        share: of the training, up to here.

    Args:
        num_steps: at most so many steps.
        budget: seconds, all told; `None` for no limit.
        block: steps in a block.
        done: steps that an earlier run has taken.
        share: of the training, that it has got to.
        spent: seconds that it took.
    """

    def __init__(
        self, num_steps: int, budget: float | None, block: int, done: int = 0, share: float = 0.0, spent: float = 0.0
    ):
        self.done, self.share = done, share
        self._num_steps, self._budget, self._block = num_steps, budget, block
        self._begin = time.perf_counter() - spent
        self._last = time.perf_counter()
        self._took: list[float] = []

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.perf_counter() - self._begin

    @property
    def over(self) -> bool:
        """Whether no block is left."""
        return self.done >= self._num_steps or self.share >= 1.0

    def next(self) -> np.ndarray:
        """The shares of the steps of the next block; the block is smaller at the end of the steps."""
        size = min(self._block, self._num_steps - self.done)
        if self._budget is None:
            shares = (self.done + np.arange(size)) / self._num_steps
            after = (self.done + size) / self._num_steps
        else:
            left = max(1, round(self._blocks_left(self._budget)))
            after = 1.0 if left == 1 else self.share + (1.0 - self.share) / left
            shares = self.share + (after - self.share) * np.arange(size) / size
        self.done, self.share = self.done + size, after
        return shares

    def tick(self) -> None:
        """A block has been done."""
        now = time.perf_counter()
        self._took.append(now - self._last)
        self._last = now

    def _blocks_left(self, budget: float) -> float:
        left = budget - self.seconds
        if left <= 0:
            return 1
        known = self._took[2:]
        if not known:  # as long as only compilation has been seen: what is left is long
            return max(20.0, left / min(self._took, default=math.inf)) if self._took else 1e6
        return left / float(np.median(known[-5:]))
