r"""When to stop: the loss is compared window by window, by the rule of `bayeskit.train.settling`.

The steps are divided into `WINDOWS` windows of equal length. At the end of each:

* where the loss has not *settled* since the window before, the fit goes on;
* else a plateau is reached. Where the loss has not settled since the plateau before, at the larger step size, or where
  this is the first, the step size is divided by `SHRINK`, and the fit goes on;
* else it stops: neither more steps nor smaller ones improve the bound by the tolerance.

The parameters that are kept are the average over the last window. After Welandawe, Andersen, Vehtari and Huggins
(2022), "Robust, automated, and accurate black-box variational inference", who let the step size fall in the same way,
and average the parameters of each plateau; theirs judges parameters, this the bound, whose unit is the nat.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from bayeskit._typing import Array
from bayeskit.train.settling import Window, settled

__all__ = ["SHRINK", "WINDOWS", "Windows", "first_step", "no_windows", "record", "window_of"]

WINDOWS = 40
SHRINK = 4.0


class Windows(NamedTuple):
    """`number`, `mean`, `squares`: of the losses of this window (Welford); `before`: the window before; `plateau`: the
    last window of the plateau before; `share`: of the step size; `stopped`.
    """

    number: Array
    mean: Array
    squares: Array
    before: Window
    plateau: Window
    share: Array
    stopped: Array


def no_windows(like: Array) -> Windows:
    """Before the first step."""
    zero, none = jnp.zeros((), like.dtype), jnp.full((), jnp.inf, like.dtype)
    return Windows(zero, zero, zero, Window(none, zero), Window(none, zero), zero + 1.0, jnp.asarray(False))


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
    return _where(over, _judge(windows, tolerance), windows)


def _where(condition: Array, yes: Any, no: Any) -> Any:
    return jax.tree.map(lambda yes, no: jnp.where(condition, yes, no), yes, no)


def _judge(windows: Windows, tolerance: float) -> Windows:
    """At the end of a window."""
    zero, none = jnp.zeros_like(windows.mean), jnp.full_like(windows.mean, jnp.inf)
    error = windows.squares / jnp.maximum(windows.number * (windows.number - 1.0), 1.0)
    now = Window(jnp.where(windows.number > 1, windows.mean, none), error)
    plateau = settled(windows.before, now, tolerance)
    return Windows(
        number=zero,
        mean=zero,
        squares=zero,
        before=_where(plateau, Window(none, zero), now),  # the first window at a new step size is on its way
        plateau=_where(plateau, now, windows.plateau),
        share=jnp.where(plateau, windows.share / SHRINK, windows.share),
        stopped=windows.stopped | (plateau & settled(windows.plateau, now, tolerance)),
    )
