"""`minimise`: a stochastic loss, an optax optimiser, steps compiled in blocks, early stop on held-out loss."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from bayeskit._typing import Array
from bayeskit.errors import TrainingError
from bayeskit.xla.miscompilation import safe_jit

__all__ = ["Trained", "minimise"]

Parameters = TypeVar("Parameters")


@dataclasses.dataclass(frozen=True)
class Trained(Generic[Parameters]):
    """What came of an optimisation.

    Attributes:
        parameters: those with the lowest held-out loss; without one, the last.
        losses: the loss at every step taken, shape `(step,)`.
        held_out: the held-out loss after every block of steps, shape `(block,)`; empty without one.
        stopped_early: whether the held-out loss had stopped falling before the last step.
    """

    parameters: Parameters
    losses: np.ndarray
    held_out: np.ndarray
    stopped_early: bool


def minimise(
    loss: Callable[..., Array],
    parameters: Parameters,
    *,
    key: Array,
    optimizer: optax.GradientTransformation,
    num_steps: int,
    data: Any = None,
    held_out: Callable[[Parameters], Array] | None = None,
    block: int = 100,
    patience: int = 5,
    report: Callable[[int, float], None] | None = None,
) -> Trained[Parameters]:
    """Minimise an expected loss by stochastic gradients.

    Blocks of steps run as one compiled `lax.scan`; between blocks the held-out loss is looked at and progress reported.

    Args:
        loss: of the parameters and a fresh key, from which it draws its minibatch; its gradient should be unbiased.
        parameters: start, a pytree; leaves that are not arrays of floating-point numbers stay as they are.
        key: a JAX key.
        optimizer: from optax.
        num_steps: at most this many steps.
        data: a pytree of arrays that the loss takes as its third argument. They are arguments of the compiled program,
            and not constants in it; the program is kept for the next call with an equal loss and the same optimiser.
        held_out: a loss on data of its own. The best parameters by it are returned.
        block: steps between two looks at it.
        patience: looks without a new best after which the optimisation stops.
        report: called after each block with the steps done and the mean loss of the block.

    Raises:
        TrainingError: the loss became NaN or infinite; the message says at which step.

    Example:
        >>> import jax, jax.numpy as jnp, optax
        >>> from bayeskit.train import minimise
        >>> def loss(mean, key):
        ...     return jnp.mean((3.0 + jax.random.normal(key, (100,)) - mean) ** 2)
        >>> schedule = optax.cosine_decay_schedule(0.1, 500)
        >>> done = minimise(loss, jnp.array(0.0), key=jax.random.key(0), optimizer=optax.adam(schedule), num_steps=500)
        >>> bool(abs(done.parameters - 3.0) < 0.05)
        True
    """
    free, fixed = eqx.partition(parameters, eqx.is_inexact_array)
    compiled = _compiled.__wrapped__ if data is None else _compiled
    advance = compiled(loss, optimizer.update)
    judge = None if held_out is None else safe_jit(lambda free: held_out(eqx.combine(free, fixed)))
    carry, losses, looks = (
        (free, optimizer.init(free)),
        [np.zeros(0)],
        [math.inf if judge is None else float(judge(free))],
    )
    best, since, done = free, 0, 0
    while done < num_steps and since < patience:
        keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(done, min(done + block, num_steps)))
        carry, values = advance(carry, keys, fixed, data)
        losses.append(np.asarray(values))
        _check(losses[-1], done)
        done += len(keys)
        if judge is not None:
            looks.append(float(judge(carry[0])))
            better = looks[-1] < min(looks[:-1])
            best, since = (carry[0], 0) if better else (best, since + 1)
        if report is not None:
            report(done, float(losses[-1].mean()))
    found = carry[0] if judge is None else best
    return Trained(
        eqx.combine(found, fixed), np.concatenate(losses), np.array(looks if judge else []), done < num_steps
    )


@functools.lru_cache(maxsize=16)
def _compiled(loss: Callable[..., Array], update: Callable[..., Any]) -> Callable[..., Any]:
    """A block of steps as one program."""

    def block(carry: Any, keys: Array, fixed: Any, data: Any) -> Any:
        given = () if data is None else (data,)

        def step(carry: Any, key: Array) -> Any:
            free, state = carry
            value, gradient = jax.value_and_grad(lambda free: loss(eqx.combine(free, fixed), key, *given))(free)
            updates, state = update(gradient, state, free)
            return (optax.apply_updates(free, updates), state), value

        return jax.lax.scan(step, carry, keys)

    return safe_jit(block, compile=eqx.filter_jit)


def _check(losses: np.ndarray, done: int) -> None:
    bad = np.flatnonzero(~np.isfinite(losses))
    if bad.size:
        raise TrainingError(
            f"the loss is {losses[bad[0]]} at step {done + bad[0]}; "
            "try a smaller learning rate, another start, or float64"
        )
