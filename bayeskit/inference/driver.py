"""The one loop: chunks, progress, collecting, streaming to disk, interruption."""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
from collections.abc import Iterator, Mapping
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
from bayeskit.storage import RunStore
from bayeskit.storage.run_store import LOG_LIKELIHOOD
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


class _Interruption:
    """Ctrl-C ends a run between chunks; a second one ends it at once.

    Python may raise `KeyboardInterrupt` within a callback of the garbage collector, where it is lost. So while a run is
    under way in the main thread the signal is noted, and obeyed after the chunk.
    """

    def __init__(self, bar: ProgressBar):
        self._bar, self._asked = bar, False
        self._before: object = None

    def __enter__(self) -> _Interruption:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.getsignal(signal.SIGINT)
            if callable(self._before):
                signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        if callable(self._before):
            signal.signal(signal.SIGINT, self._before)

    def _note(self, *_: object) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True
        self._bar.say("stopping after this chunk; Ctrl-C again to stop at once")

    def obey(self) -> None:
        """Raise the interrupt that was asked for."""
        if self._asked:
            raise KeyboardInterrupt


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
    """

    def __init__(self, method: Method, target: Target, keep: frozenset[str] | None, thin: int, also: Also):
        self.method, self.target, self.keep, self.thin, self.also = method, target, keep, thin, also
        self.state: object = None
        self.done = 0
        self.total = method.warmup_steps + method.num_draws
        self.chunk = min(MAX_CHUNK, max(1, math.ceil(self.total / CHUNKS)))
        self.collected = Collector(method.num_draws // thin)
        self.divergences = 0
        self.warmup_time = 0.0

    def warm_up(self, bar: ProgressBar, state: object) -> None:
        """The stages of the method's warmup, from its first state; an interrupt is obeyed between them."""
        with _Interruption(bar) as interruption:
            for reached, note in self.method.stages(state, self.target):
                self.state = reached
                if note:
                    bar.say(note)
                interruption.obey()

    def go(self, bar: ProgressBar, store: RunStore | None) -> None:
        """Advance to the end. After an interrupt or an error the run holds what whole chunks have brought.

        Raises:
            SamplingError: no chain has a finite log density any more.
        """
        with _Interruption(bar) as interruption:
            self._loop(bar, store, interruption)

    def _loop(self, bar: ProgressBar, store: RunStore | None, interruption: _Interruption) -> None:
        start = time.perf_counter()
        interruption.obey()
        num_chunks = math.ceil((self.total - self.done) / self.chunk)
        chunks = self.method.stream(self.state, self.target, self.chunk, num_chunks)
        with contextlib.closing(chunks):
            for state, draws in chunks:
                groups = self._select(draws)
                self.state = state
                self.done = min(self.done + self.chunk, self.total)
                if store is not None:
                    _keep_on_disk(store, groups, state, self.done)
                self.collected.add(groups)
                warm = self.done <= self.method.warmup_steps
                if warm:
                    self.warmup_time = time.perf_counter() - start
                self._check_alive(draws)
                bar.update("warmup" if warm else "sampling", self.done, self.divergences)
                if self.done < self.total:
                    interruption.obey()

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
        numbers = jnp.arange(self.collected.filled, self.collected.filled + length)
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


def _keep_on_disk(store: RunStore, groups: dict[str, Arrays], state: object, done: int) -> None:
    if groups:
        extra = {LOG_LIKELIHOOD + name: array for name, array in groups.get("log_likelihood", {}).items()}
        store.append({**groups["posterior"], **extra}, groups["sample_stats"])
    store.checkpoint([np.asarray(leaf) for leaf in jax.tree.leaves(state)], done)


class _CompileClock:
    """Adds up the seconds that JAX reports for lowering and compiling."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.listening = False

    def listen(self) -> None:
        if not self.listening:
            jax.monitoring.register_event_duration_secs_listener(self._hear)
            self.listening = True

    def _hear(self, event: str, duration_secs: float, **_: str | int) -> None:
        if event.endswith(("backend_compile_duration", "jaxpr_to_mlir_module_duration", "jaxpr_trace_duration")):
            self.seconds += duration_secs


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
