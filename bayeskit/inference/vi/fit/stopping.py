r"""When to stop: the loss is compared window by window.

The steps are divided into `WINDOWS` windows of equal length. At the end of each, with the mean loss
:math:`\bar L_w` and its standard error :math:`s_w` (from the losses within the window):

* the loss *still falls* where :math:`\bar L_{w-1} - \bar L_w + 2\sqrt{s_{w-1}^2 + s_w^2}` is at least the tolerance;
* else a plateau is reached. Where the plateau before, at the larger step size, was higher by at least the tolerance
  (two standard errors added likewise), or where this is the first, the step size is divided by `SHRINK`, and the fit
  goes on;
* else it stops: neither more steps nor smaller ones improve the bound by the tolerance.

The parameters that are kept are the average over the last window. After Welandawe, Andersen, Vehtari and Huggins
(2022), "Robust, automated, and accurate black-box variational inference", who let the step size fall in the same way,
and average the parameters of each plateau; theirs judges parameters, this the bound, whose unit is the nat.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from bayeskit._typing import Array

__all__ = ["SHRINK", "WINDOWS", "Windows", "first_step", "no_windows", "record", "window_of"]

WINDOWS = 40
SHRINK = 4.0


class Windows(NamedTuple):
    """`number`, `mean`, `squares`: of the losses of this window (Welford); `before`, `before_error`: mean of the window
    before and its squared standard error; `level`, `level_error`: of the plateau before; `share`: of the step size;
    `stopped`.
    """

    number: Array
    mean: Array
    squares: Array
    before: Array
    before_error: Array
    level: Array
    level_error: Array
    share: Array
    stopped: Array


def no_windows(like: Array) -> Windows:
    """Before the first step."""
    zero, none = jnp.zeros((), like.dtype), jnp.full((), jnp.inf, like.dtype)
    return Windows(zero, zero, zero, none, zero, none, zero, zero + 1.0, jnp.asarray(False))


def window_of(step: Array, num_steps: int) -> Array:
    """The window that a step belongs to."""
    return step * WINDOWS // num_steps


def first_step(window: Array, num_steps: int) -> Array:
    """The first step of a window."""
    return -(-window * num_steps // WINDOWS)


def record(windows: Windows, loss: Array, step: Array, num_steps: int, tolerance: float) -> Windows:
    """Take a loss into account; a loss that is not finite counts for nothing."""
    fine = jnp.isfinite(loss)
    loss = jnp.where(fine, loss, windows.mean)
    number = windows.number + fine
    mean = windows.mean + jnp.where(fine, (loss - windows.mean) / jnp.maximum(number, 1.0), 0.0)
    squares = windows.squares + (loss - windows.mean) * (loss - mean)
    windows = windows._replace(number=number, mean=mean, squares=squares)
    over = window_of(step + 1, num_steps) > window_of(step, num_steps)
    judged = _judge(windows, tolerance)
    return Windows(*(jnp.where(over, new, old) for new, old in zip(judged, windows, strict=True)))


def _judge(windows: Windows, tolerance: float) -> Windows:
    """At the end of a window."""
    error = windows.squares / jnp.maximum(windows.number * (windows.number - 1.0), 1.0)
    mean = jnp.where(windows.number > 1, windows.mean, jnp.inf)

    def settled(earlier: Array, earlier_error: Array) -> Array:
        return earlier - mean + 2.0 * jnp.sqrt(earlier_error + error) < tolerance

    plateau = settled(windows.before, windows.before_error)
    stopped = plateau & settled(windows.level, windows.level_error)
    zero, none = jnp.zeros_like(mean), jnp.full_like(mean, jnp.inf)
    return Windows(
        number=zero,
        mean=zero,
        squares=zero,
        before=jnp.where(plateau, none, mean),  # the first window at a new step size is on its way
        before_error=jnp.where(plateau, zero, error),
        level=jnp.where(plateau, mean, windows.level),
        level_error=jnp.where(plateau, error, windows.level_error),
        share=jnp.where(plateau, windows.share / SHRINK, windows.share),
        stopped=windows.stopped | stopped,
    )
