"""`minimise`: a stochastic loss, an optax optimiser, steps compiled in blocks, and rules for stopping early."""

from __future__ import annotations

import dataclasses
import functools
import math
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
from bayeskit.errors import MethodError, TrainingError
from bayeskit.train.checkpoint import Checkpoint
from bayeskit.train.descent import Descent, take_step
from bayeskit.train.early_stop import EarlyStop
from bayeskit.train.pace import Pace
from bayeskit.train.settling import settled, window
from bayeskit.train.training import Stopped, Training
from bayeskit.xla.miscompilation import safe_jit

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Block", "Trained", "minimise"]

NO_LIMIT = 10**9

Parameters = TypeVar("Parameters")


@dataclasses.dataclass(frozen=True)
class Block(Generic[Parameters]):
    """Where a training is after a block of steps.

    Attributes:
        parameters: the present ones.
        done: steps.
        share: of the training.
        loss: the mean over the block.
    """

    parameters: Parameters
    done: int
    share: float
    loss: float


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
    num_steps: int | None = None,
    budget: float | None = None,
    schedule: Callable[[Array], Array] | None = None,
    data: Any = None,
    held_out: Callable[[Parameters], Array] | None = None,
    block: int = 100,
    patience: int = 5,
    tolerance: float | None = None,
    progress: bool = False,
    interruptible: bool = False,
    report: Callable[[Block[Parameters]], str | None] | None = None,
    checkpoint: Checkpoint | None = None,
    keep: Callable[[Checkpoint], None] | None = None,
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
        budget: seconds after which to stop, compilation included; a block that is under way is finished.
        schedule: of the share of the training that is done, from 0 to 1: what the updates of the optimiser are
            multiplied by. Unlike a schedule of optax's it knows the end where only a budget is given.
        data: a pytree of arrays that the loss takes as its third argument. They are arguments of the compiled program,
            and not constants in it; the program is kept for the next call with an equal loss and the same optimiser.
        held_out: a loss on data of its own. The best parameters by it are returned.
        block: steps between two looks at it.
        patience: looks without a new best after which the optimisation stops.
        tolerance: stop where the mean loss of a block is certainly not lower by this than that of the block before, two
            standard errors of the difference allowed for.
        progress: show a progress bar.
        interruptible: Ctrl-C ends it with the parameters of the last block, where there is one.
        report: called after each block; what it returns is shown beside the progress bar.
        checkpoint: where an earlier call had got to; it goes on from there as if it had not been interrupted. A
            held-out loss is not part of it.
        keep: called after each block with where it has got to.

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
    if num_steps is None and budget is None:
        raise MethodError("give num_steps, or a budget in seconds")
    if held_out is not None and (checkpoint is not None or keep is not None):
        raise MethodError("a training with a held-out loss cannot be kept and gone on with")
    free, fixed = eqx.partition(parameters, eqx.is_inexact_array)
    compiled = _compiled.__wrapped__ if data is None else _compiled
    advance = compiled(loss, optimizer.update, schedule)
    judge = None if held_out is None else safe_jit(lambda free: held_out(eqx.combine(free, fixed)))
    best = None if judge is None else EarlyStop(free, float(judge(free)), patience)
    now, losses, norms = Descent(free, optimizer.init(free)), [np.zeros(0)], [np.zeros(0)]
    pace = Pace(NO_LIMIT if num_steps is None else num_steps, budget, block)
    if checkpoint is not None:
        now, losses, norms = checkpoint.descent(now), [checkpoint.losses], [checkpoint.gradient_norms]
        pace = checkpoint.pace(NO_LIMIT if num_steps is None else num_steps, budget, block)
    stopped = Stopped.NO_STEP if num_steps == 0 else Stopped.USED_UP if budget is None else Stopped.OUT_OF_TIME
    settles = False
    with ProgressBar(math.ceil(budget or 0) if num_steps is None else num_steps, progress) as bar:
        while not pace.over and not settles:
            first = pace.done
            shares = pace.next()
            keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(first, pace.done))
            try:
                after, *found = advance(now, keys, jnp.asarray(shares, jnp.float32), fixed, data)
                values, of_gradient = map(np.asarray, found)
            except KeyboardInterrupt:
                if not interruptible or len(losses) == 1:
                    raise
                stopped = Stopped.BY_HAND
                break
            now = after
            losses.append(values)
            norms.append(of_gradient)
            pace.tick()
            _check(losses[-1], norms[-1], first)
            if tolerance is not None and len(losses) > 2 and settled(window(losses[-2]), window(losses[-1]), tolerance):
                stopped, settles = Stopped.SETTLED, True
            if judge is not None and best is not None:
                best.look(now.parameters, float(judge(now.parameters)), pace.done)
                stopped, settles = (Stopped.HELD_OUT, True) if best.over else (stopped, settles)
            bar.update("training", pace.done if num_steps is not None else int(pace.seconds))
            if report is not None:
                mean = float(np.nanmean(losses[-1]))
                note = report(Block(eqx.combine(now.parameters, fixed), pace.done, pace.share, mean))
                if note:
                    bar.say(note)
            if keep is not None:
                keep(Checkpoint.of(now, np.concatenate(losses), np.concatenate(norms), pace))
    num_taken = sum(map(len, losses))
    if num_steps is not None and num_taken >= num_steps and stopped == Stopped.OUT_OF_TIME:
        stopped = Stopped.USED_UP
    found = now.parameters if best is None else best.best
    training = Training(
        losses=np.concatenate(losses),
        gradient_norms=np.concatenate(norms),
        held_out=np.array([] if best is None else best.losses),
        looks=np.array([] if best is None else best.steps, int),
        stopped=stopped,
        has_rule=best is not None or tolerance is not None,
        seconds=pace.seconds,
        phases=(("gradient", num_taken),),
    )
    return Trained(eqx.combine(found, fixed), training)


@functools.lru_cache(maxsize=16)
def _compiled(
    loss: Callable[..., Array], update: Callable[..., Any], schedule: Callable[[Array], Array] | None
) -> Callable[..., Any]:
    """A block of steps as one program."""

    def block(now: Descent, keys: Array, shares: Array, fixed: Any, data: Any) -> tuple[Descent, Array, Array]:
        given = () if data is None else (data,)

        def step(now: Descent, at: tuple[Array, Array]) -> tuple[Descent, tuple[Array, Array]]:
            key, share = at

            def scaled(*arguments: Any) -> tuple[Any, Any]:
                updates, state = update(*arguments)
                return jax.tree.map(lambda u: (u * schedule(share)).astype(u.dtype), updates), state  # type: ignore[misc]

            now, value, norm = take_step(
                lambda free: loss(eqx.combine(free, fixed), key, *given), now, update if schedule is None else scaled
            )
            return now, (value, norm)

        now, traces = jax.lax.scan(step, now, (keys, shares))
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
