r"""Whether a loss still falls: one rule, for losses within a compiled program and for recorded ones.

Losses are noisy, so they are compared window by window. With the means :math:`\bar L_1, \bar L_2` of two windows, one
after the other, and their standard errors :math:`s_1, s_2` from the losses within each, the fall between them is

.. math:: \bar L_1 - \bar L_2 \pm 2 \sqrt{s_1^2 + s_2^2}.

The loss has *settled* where even the upper end is below a tolerance, and still *falls* where even the lower end is
above it; in between the noise is too great to tell.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

__all__ = ["Window", "fall", "falls", "settled", "window"]

STANDARD_ERRORS = 2.0


class Window(NamedTuple):
    """The mean of some losses, and its squared standard error; zero where the losses have no noise."""

    mean: Any
    squared_error: Any = 0.0


def window(losses: np.ndarray) -> Window:
    """That of recorded losses, along the last axis; those that are not finite count for nothing."""
    fine = np.isfinite(losses)
    number = np.maximum(fine.sum(axis=-1), 1)
    mean = np.where(fine, losses, 0.0).sum(axis=-1) / number
    squares = np.where(fine, (losses - mean[..., None]) ** 2, 0.0).sum(axis=-1)
    return Window(mean, squares / np.maximum(number * (number - 1), 1))


def fall(earlier: Window, later: Window) -> tuple[Any, Any]:
    """How much the loss has fallen, at least and at most."""
    middle, error = earlier.mean - later.mean, (earlier.squared_error + later.squared_error) ** 0.5
    return middle - STANDARD_ERRORS * error, middle + STANDARD_ERRORS * error


def settled(earlier: Window, later: Window, tolerance: float) -> Any:
    """Whether the loss has certainly not fallen by the tolerance."""
    return fall(earlier, later)[1] < tolerance


def falls(earlier: Window, later: Window, tolerance: float) -> Any:
    """Whether the loss has certainly fallen by more than the tolerance."""
    return fall(earlier, later)[0] > tolerance
