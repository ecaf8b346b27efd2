"""Chains that advance chunk by chunk in threads, so that no chain waits for another between chunks."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from typing import Any

AHEAD = 8
"""A chain may be this many chunks ahead of what has been collected; bounds the memory of chunks that wait."""

Step = Callable[[Any], tuple[Any, Any]]


def run_ahead(
    step: Step, states: Sequence[Any], num_chunks: int, num_threads: int
) -> Generator[list[tuple[Any, Any]], None, None]:
    """For each chunk, the pair ``step(state) -> (state, draws)`` of every chain.

    A free thread takes the chain that is furthest behind. Closing the iterator ends the threads after their chunk.

    Args:
        step: one chunk of one chain.
        states: the state of each chain.
        num_chunks: chunks a chain.
        num_threads: chains that run at once.

    Raises:
        BaseException: whatever ``step`` raised, in the caller's thread.
    """
    board = _Board(step, states, num_chunks)
    threads = [threading.Thread(target=board.work, daemon=True) for _ in range(min(num_threads, len(states)))]
    for thread in threads:
        thread.start()
    try:
        for _ in range(num_chunks):
            yield board.take()
    finally:
        board.stop()
        for thread in threads:
            thread.join()


class _Board:
    """Which chain is where; everything is read and written under one lock."""

    def __init__(self, step: Step, states: Sequence[Any], num_chunks: int):
        self._step, self._num_chunks = step, num_chunks
        self._states = list(states)
        self._started = [0] * len(states)
        self._ready: list[deque[tuple[Any, Any]]] = [deque() for _ in states]
        self._idle = set(range(len(states)))
        self._taken = 0
        self._stopped = False
        self._error: BaseException | None = None
        self._changed = threading.Condition()

    def work(self) -> None:
        """What a thread does: chunk after chunk, of the chain that is furthest behind."""
        while (chain := self._next()) is not None:
            try:
                pair = self._step(self._states[chain])
            except BaseException as error:
                self._fail(error)
                return
            with self._changed:
                self._states[chain] = pair[0]
                self._ready[chain].append(pair)
                self._idle.add(chain)
                self._changed.notify_all()

    def _next(self) -> int | None:
        with self._changed:
            while not self._stopped and min(self._started) < self._num_chunks:
                limit = min(self._num_chunks, self._taken + AHEAD)
                free = [chain for chain in self._idle if self._started[chain] < limit]
                if free:
                    chain = min(free, key=self._started.__getitem__)
                    self._idle.remove(chain)
                    self._started[chain] += 1
                    return chain
                self._changed.wait()
            return None

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            self._error, self._stopped = error, True
            self._changed.notify_all()

    def take(self) -> list[tuple[Any, Any]]:
        """The next chunk of every chain, as soon as all have it."""
        with self._changed:
            while not all(self._ready) and self._error is None:
                self._changed.wait()
            if self._error is not None:
                raise self._error
            self._taken += 1
            self._changed.notify_all()
            return [chunks.popleft() for chunks in self._ready]

    def stop(self) -> None:
        """Threads end after the chunk they are in."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
