"""Ctrl-C and SIGTERM end a run between chunks, so that nothing is lost."""

from __future__ import annotations

import signal
import threading
from types import FrameType

from bayeskit._progress import ProgressBar

__all__ = ["Stopping", "Terminated"]


class Terminated(KeyboardInterrupt):
    """The process was asked to end (SIGTERM), as a cluster asks when the time of a job is up."""


class Stopping:
    """While a run is under way, notes the signal that asks it to stop; a second one ends it at once.

    Python may raise `KeyboardInterrupt` within a callback of the garbage collector, where it is lost. So in the main
    thread, the only one that signals reach, the signal is noted, and obeyed after the chunk. What handled it before
    does so again afterwards.
    """

    def __init__(self, bar: ProgressBar):
        self._bar = bar
        self._asked: int | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> Stopping:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                before = signal.getsignal(number)
                if callable(before) or (number == signal.SIGTERM and before == signal.SIG_DFL):
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)  # type: ignore[arg-type]

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        again, self._asked = self._asked is not None, number
        if again:
            self.obey()
        self._bar.say("stopping after this chunk; Ctrl-C again to stop at once")

    def obey(self) -> None:
        """Raise the interrupt that was asked for."""
        if self._asked is not None:
            raise Terminated if self._asked == signal.SIGTERM else KeyboardInterrupt
