"""One step of gradient descent, guarded and averaged, for all that is learned by it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from bayeskit._typing import Array

__all__ = ["Descent", "take_step"]


class Descent(NamedTuple):
    """`parameters`; `optimizer`: its state; `average`: of the last parameters, or ``None`` where none is kept."""

    parameters: Any
    optimizer: Any
    average: Any = None


class Step(NamedTuple):
    """`descent`: after a step; `loss` before it, and `gradient_norm`: not finite where the step was not taken."""

    descent: Descent
    loss: Array
    gradient_norm: Array


def take_step(
    loss: Callable[[Any], Array], now: Descent, update: Callable[..., Any], share: Array | float = 1.0
) -> Step:
    """A step; traced.

    Args:
        loss: of the parameters.
        now: before it.
        update: of an optax optimiser.
        share: of the new parameters in the average.
    """
    value, gradient = jax.value_and_grad(loss)(now.parameters)
    norm = optax.tree.norm(gradient)
    updates, state = update(gradient, now.optimizer, now.parameters)
    moved = optax.apply_updates(now.parameters, updates), state
    # a gradient that is not finite would stay in the state of the optimiser for ever: that step is left out
    fine = jnp.isfinite(value) & jnp.isfinite(norm)
    parameters, state = jax.tree.map(
        lambda new, old: jnp.where(fine, new, old).astype(old.dtype), moved, (now.parameters, now.optimizer)
    )
    if now.average is None:
        return Step(Descent(parameters, state), value, norm)
    average = jax.tree.map(lambda old, new: (old + (new - old) * share).astype(old.dtype), now.average, parameters)
    return Step(Descent(parameters, state, average), value, norm)
