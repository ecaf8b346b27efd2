"""`minimise`: a stochastic loss, an optax optimiser, steps compiled in blocks, and rules for stopping early."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from bayeskit._keepable import keepable
from bayeskit._progress import ProgressBar
from bayeskit._typing import Array
from bayeskit.errors import TrainingError
from bayeskit.train.descent import Descent, take_step
from bayeskit.train.early_stop import EarlyStop
from bayeskit.train.settling import settled, window
from bayeskit.train.training import Stopped, Training
from bayeskit.xla.miscompilation import safe_jit

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Trained", "minimise"]

Parameters = TypeVar("Parameters")


@keepable("train.Trained")
@dataclasses.dataclass(frozen=True)
class Trained(Generic[Parameters]):
    """What came of an optimisation.

    Attributes:
        parameters: those with the lowest held-out loss; without one, the last.
        training: how it went.
    """

    parameters: Parameters
    training: Training

    @property
    def losses(self) -> np.ndarray:
        """The loss at every step, shape `(step,)`."""
        return self.training.losses

    @property
    def tree(self) -> xr.DataTree:
        """The record, which :func:`bayeskit.check` judges."""
        return self.training.tree("minimise", {})


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
    tolerance: float | None = None,
    progress: bool = False,
    report: Callable[[int, float], None] | None = None,
) -> Trained[Parameters]:
    """Minimise an expected loss by stochastic gradients.

    Blocks of steps run as one compiled `lax.scan`; between blocks the held-out loss is looked at and progress reported.
    A step whose loss or gradient is not finite is not taken, and shows in the record.

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
        tolerance: stop where the mean loss of a block is certainly not lower by this than that of the block before, two
            standard errors of the difference allowed for.
        progress: show a progress bar.
        report: called after each block with the steps done and the mean loss of the block.

    Raises:
        TrainingError: the loss or its gradient is not finite at most steps of a block; the message says since which.

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
    begin = time.perf_counter()
    free, fixed = eqx.partition(parameters, eqx.is_inexact_array)
    compiled = _compiled.__wrapped__ if data is None else _compiled
    advance = compiled(loss, optimizer.update)
    judge = None if held_out is None else safe_jit(lambda free: held_out(eqx.combine(free, fixed)))
    best = None if judge is None else EarlyStop(free, float(judge(free)), patience)
    now, losses, norms, done = Descent(free, optimizer.init(free)), [np.zeros(0)], [np.zeros(0)], 0
    stopped = Stopped.USED_UP if num_steps else Stopped.NO_STEP
    with ProgressBar(num_steps, progress) as bar:
        while done < num_steps and stopped == Stopped.USED_UP:
            keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(done, min(done + block, num_steps)))
            now, values, of_gradient = advance(now, keys, fixed, data)
            losses.append(np.asarray(values))
            norms.append(np.asarray(of_gradient))
            _check(losses[-1], norms[-1], done)
            done += len(keys)
            if tolerance is not None and len(losses) > 2 and settled(window(losses[-2]), window(losses[-1]), tolerance):
                stopped = Stopped.SETTLED
            if judge is not None and best is not None:
                best.look(now.parameters, float(judge(now.parameters)), done)
                stopped = Stopped.HELD_OUT if best.over else stopped
            bar.update("training", done)
            if report is not None:
                report(done, float(np.nanmean(losses[-1])))
    found = now.parameters if best is None else best.best
    training = Training(
        losses=np.concatenate(losses),
        gradient_norms=np.concatenate(norms),
        held_out=np.array([] if best is None else best.losses),
        looks=np.array([] if best is None else best.steps, int),
        stopped=stopped,
        has_rule=best is not None or tolerance is not None,
        seconds=time.perf_counter() - begin,
        phases=(("gradient", done),),
    )
    return Trained(eqx.combine(found, fixed), training)


@functools.lru_cache(maxsize=16)
def _compiled(loss: Callable[..., Array], update: Callable[..., Any]) -> Callable[..., Any]:
    """A block of steps as one program."""

    def block(now: Descent, keys: Array, fixed: Any, data: Any) -> tuple[Descent, Array, Array]:
        given = () if data is None else (data,)

        def step(now: Descent, key: Array) -> tuple[Descent, tuple[Array, Array]]:
            now, value, norm = take_step(lambda free: loss(eqx.combine(free, fixed), key, *given), now, update)
            return now, (value, norm)

        now, traces = jax.lax.scan(step, now, keys)
        return now, *traces

    return safe_jit(block, compile=eqx.filter_jit)


def _check(losses: np.ndarray, norms: np.ndarray, done: int) -> None:
    bad = np.flatnonzero(~(np.isfinite(losses) & np.isfinite(norms)))
    if 2 * bad.size <= losses.size:
        return
    first = bad[0]
    what = "the gradient of the loss is not finite" if np.isfinite(losses[first]) else f"the loss is {losses[first]}"
    raise TrainingError(
        f"{what} at step {done + first}, and at {bad.size} of the {losses.size} steps from {done} on; "
        "try a smaller learning rate, another start, or float64"
    )
