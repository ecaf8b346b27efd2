"""The one loop: chunks, progress, collecting, streaming to disk, interruption."""

from __future__ import annotations

import contextlib
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bayeskit._progress import ProgressBar
from bayeskit._typing import Array
from bayeskit.errors import SamplingError
from bayeskit.inference.discrete import Discrete
from bayeskit.inference.method import Draws, Method
from bayeskit.inference.pointwise import Pointwise
from bayeskit.inference.stopping import Stopping
from bayeskit.storage import RunStore
from bayeskit.target import Target

CHUNKS = 20
MAX_CHUNK = 1000
Arrays = dict[str, np.ndarray]


class Collector:
    """Arrays for all draws of a run, filled chunk by chunk, so that the draws exist once in memory."""

    def __init__(self, num_draws: int):
        self.num_draws = num_draws
        self.filled = 0
        self._arrays: dict[str, Arrays] = {}

    def add(self, groups: Mapping[str, Mapping[str, np.ndarray]]) -> None:
        """Append arrays of shape ``(chain, draw, ...)`` by group and name."""
        length = 0
        for group, arrays in groups.items():
            store = self._arrays.setdefault(group, {})
            for name, array in arrays.items():
                if name not in store:
                    store[name] = np.empty((array.shape[0], self.num_draws, *array.shape[2:]), array.dtype)
                length = array.shape[1]
                store[name][:, self.filled : self.filled + length] = array
        self.filled += length

    def group(self, name: str) -> Arrays:
        """What has been collected of a group."""
        return {
            n: a if self.filled == self.num_draws else a[:, : self.filled]
            for n, a in self._arrays.get(name, {}).items()
        }


class Also(NamedTuple):
    """What is computed from the draws while a run is under way.

    Attributes:
        pointwise: log likelihoods, or `None`.
        discrete: discrete sites, or `None`.
        key: raw, for the latter.
    """

    pointwise: Pointwise | None
    discrete: Discrete | None
    key: Array


class Run:
    """A run under way: the method's state, how far it is, and what it has brought.

    Args:
        method: the method.
        target: the target.
        keep: names of the sites to keep, ``None`` for all.
        thin: keep every ``thin``-th draw.
        also: what is computed from the draws.

    Attributes:
        disk: the store of the run; its draws are then there, and not in memory.
    """

    def __init__(self, method: Method, target: Target, keep: frozenset[str] | None, thin: int, also: Also):
        self.method, self.target, self.keep, self.thin, self.also = method, target, keep, thin, also
        self.state: object = None
        self.done = 0
        self.total = method.warmup_steps + method.num_draws
        self.chunk = min(MAX_CHUNK, max(1, math.ceil(self.total / CHUNKS)))
        self.collected = Collector(method.num_draws // thin)
        self.disk: RunStore | None = None
        self.divergences = 0
        self.warmup_time = self.sampling_time = 0.0
        self._resumable = False  # whether a run can go on from the state: it is at the end of a step that counts

    @property
    def filled(self) -> int:
        """Draws a chain so far."""
        return self.collected.filled if self.disk is None else self.disk.num_draws

    def group(self, name: str) -> Arrays:
        """The draws so far of a group; from a store, they are read when they are used."""
        return self.collected.group(name) if self.disk is None else self.disk.group(name)

    def warm_up(self, bar: ProgressBar, state: object) -> None:
        """The stages of the method's warmup, from its first state or one between; an interrupt is obeyed between them.

        Whether a state is the last is known when the next one is asked for, and `Method.stages` goes on from others
        only: what is kept of a warmup under way is the state before the last one known.
        """
        with Stopping(bar) as stopping:
            before: object = None
            spent = stopwatch()
            for reached, note in self.method.stages(state, self.target):
                if note:
                    bar.say(note)
                if before is not None:
                    self._checkpoint(before, is_warm=False)
                    stopping.obey()
                before = reached
            self.state, self._resumable = before, True
            self.warmup_time = spent()
            self._checkpoint(before)
            stopping.obey()

    def go_on(self, state: object, done: int) -> None:
        """Take up a run whose warmup is done at the state after some steps."""
        self.state, self.done, self._resumable = state, done, True
        diverging = self.group("sample_stats").get("diverging")
        self.divergences = 0 if diverging is None else int(np.asarray(diverging).sum())

    def go(self, bar: ProgressBar) -> None:
        """Advance to the end. After an interrupt or an error the run holds what whole chunks have brought.

        Raises:
            SamplingError: no chain has a finite log density any more.
            StorageError: the store cannot be written.
        """
        with Stopping(bar) as stopping:
            self._loop(bar, stopping)

    def save(self) -> None:
        """Leave a checkpoint, whether one is due or not."""
        if self._resumable:
            self._checkpoint(self.state)

    def _checkpoint(self, state: object, *, is_warm: bool = True) -> None:
        if self.disk is not None:
            leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(state)]
            self.disk.checkpoint(leaves, self.done, is_warm=is_warm)

    def _loop(self, bar: ProgressBar, stopping: Stopping) -> None:
        spent = stopwatch()
        stopping.obey()
        before = self.warmup_time
        num_chunks = math.ceil((self.total - self.done) / self.chunk)
        chunks = self.method.stream(self.state, self.target, self.chunk, num_chunks)
        with contextlib.closing(chunks):
            for state, draws in chunks:
                self._add(state, self._select(draws))
                warm = self.done <= self.method.warmup_steps
                if warm:
                    self.warmup_time = before + spent()
                else:
                    self.sampling_time = before + spent() - self.warmup_time
                self._check_alive(draws)
                bar.update("warmup" if warm else "sampling", self.done, self.divergences)
                if self.done < self.total:
                    stopping.obey()

    def _add(self, state: object, groups: dict[str, Arrays]) -> None:
        """Keep a chunk. The last one may have steps beyond the end, after which a longer run could not go on."""
        end = self.done + self.chunk
        self.state, self.done, self._resumable = state, min(end, self.total), end <= self.total
        if self.disk is None:
            self.collected.add(groups)
            return
        if groups:
            self.disk.append(groups)
        if self._resumable and (self.total - end <= self.chunk or self.disk.is_due()):
            self._checkpoint(state)

    def _select(self, draws: Draws) -> dict[str, Arrays]:
        """The kept draws of a chunk: after warmup, before the end, every ``thin``-th."""
        steps = np.arange(self.done, self.done + self.chunk)
        number = steps - self.method.warmup_steps + 1
        wanted = np.flatnonzero((number >= 1) & (steps < self.total) & (number % self.thin == 0))
        if wanted.size == 0:
            return {}
        index = slice(wanted[0], wanted[-1] + 1, self.thin)
        values = {n: np.asarray(v)[:, index] for n, v in draws.values.items() if self._keeps(n)}
        if self.also.discrete is not None:
            positions = draws.positions[:, index]
            found = self.also.discrete(positions, self._keys(positions.shape[1]))
            # a guide that draws a discrete site by itself has said what it is
            values |= {n: v for n, v in found.items() if n not in values}
        stats = {n: np.asarray(v)[:, index] for n, v in draws.stats.items()}
        if "diverging" in stats:
            self.divergences += int(stats["diverging"].sum())
        groups = {"posterior": values, "sample_stats": stats}
        if self.also.pointwise is not None:
            groups["log_likelihood"] = self.also.pointwise(draws.positions[:, index])
        return groups

    def _keeps(self, name: str) -> bool:
        return self.keep is None or name in self.keep

    def _keys(self, length: int) -> Array:
        """A key for each of the next draws of every chain; the same ones, however the run is cut into chunks."""
        numbers = jnp.arange(self.filled, self.filled + length)
        chains = jnp.arange(self.method.num_chains)
        fold = jax.vmap(jax.random.fold_in, (None, 0))
        return jax.vmap(fold, (0, None))(fold(self.also.key, chains), numbers)

    def _check_alive(self, draws: Draws) -> None:
        lp = np.asarray(draws.stats["lp"])
        if not np.isfinite(lp).any():
            raise SamplingError(
                f"after {self.done} steps the log density is not finite in any chain; check the model's priors and "
                "data with bayeskit.predict(model, data, key=...), start from better values with init=, or use "
                "float64"
            )


class _CompileClock:
    """Adds up the seconds that JAX reports for tracing, lowering and compiling; one within another counts once."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.listening = False
        self._spans: deque[tuple[float, float]] = deque(maxlen=1000)

    def listen(self) -> None:
        if not self.listening:
            jax.monitoring.register_event_duration_secs_listener(self._hear)
            self.listening = True

    def _hear(self, event: str, duration_secs: float, **_: str | int) -> None:
        if event.endswith(("backend_compile_duration", "jaxpr_to_mlir_module_duration", "jaxpr_trace_duration")):
            end = time.perf_counter()
            start = end - duration_secs
            while self._spans and self._spans[-1][0] >= start:
                inner = self._spans.pop()
                self.seconds -= inner[1] - inner[0]
            if self._spans:
                start = max(start, self._spans[-1][1])
            self._spans.append((start, end))
            self.seconds += end - start


_CLOCK = _CompileClock()


@contextlib.contextmanager
def compile_time() -> Iterator[list[float]]:
    """Seconds of compilation within the block, as the one element of a list."""
    _CLOCK.listen()
    start, out = _CLOCK.seconds, [0.0]
    try:
        yield out
    finally:
        out[0] = _CLOCK.seconds - start


def stopwatch() -> Callable[[], float]:
    """Seconds from now on, without those of compiling."""
    start, compiling = time.perf_counter(), _CLOCK.seconds
    return lambda: time.perf_counter() - start - (_CLOCK.seconds - compiling)
