"""`Checkpoint`: all that a training needs to go on as if nothing had happened."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from bayeskit._keepable import keepable
from bayeskit.errors import StorageError
from bayeskit.train.descent import Descent
from bayeskit.train.pace import Pace

__all__ = ["Checkpoint"]


@keepable("train.Checkpoint")
@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """Where a training has got to.

    Attributes:
        leaves: parameters and the state of the optimiser.
        losses: at every step so far.
        gradient_norms: likewise.
        done: steps.
        share: of the training.
        seconds: spent so far.
    """

    leaves: tuple[np.ndarray, ...]
    losses: np.ndarray
    gradient_norms: np.ndarray
    done: int
    share: float
    seconds: float

    @classmethod
    def of(cls, now: Descent, losses: np.ndarray, norms: np.ndarray, pace: Pace) -> Checkpoint:
        """That of a training."""
        leaves = tuple(np.asarray(leaf) for leaf in jax.tree.leaves(now))
        return cls(leaves, losses, norms, pace.done, float(pace.share), pace.seconds)

    def descent(self, start: Descent) -> Descent:
        """As it was, in the structure of a start.

        Raises:
            StorageError: it is of another training.
        """
        leaves, structure = jax.tree.flatten(start)
        if [(leaf.shape, leaf.dtype) for leaf in leaves] != [(leaf.shape, leaf.dtype) for leaf in self.leaves]:
            raise StorageError("the checkpoint is of a training with other parameters or another optimiser")
        return jax.tree.unflatten(structure, [jnp.asarray(leaf) for leaf in self.leaves])

    def pace(self, num_steps: int, budget: float | None, block: int) -> Pace:
        """How far it is."""
        return Pace(num_steps, budget, block, self.done, self.share, self.seconds)
