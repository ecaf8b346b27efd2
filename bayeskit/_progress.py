"""The progress bar of long work."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress


__all__ = ["ProgressBar"]


class ProgressBar:
    """A bar over the steps of a run; says nothing when ``show`` is false.

    Args:
        total: number of steps.
        show: whether to show anything.
    """

    def __init__(self, total: int, show: bool):
        self.total = total
        self._bar: Progress | None = None
        if show:
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

            self._bar = Progress(
                TextColumn("{task.description:<10}"),
                BarColumn(bar_width=None),
                TextColumn("{task.completed}/{task.total}"),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
            )
            self._task = self._bar.add_task("compiling", total=total, note="")

    def __enter__(self) -> ProgressBar:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, phase: str, done: int, divergences: int = 0) -> None:
        """Show the phase, the steps done, and the divergences so far."""
        if self._bar is not None:
            note = f"{divergences} divergences" if divergences else ""
            self._bar.update(self._task, description=phase, completed=min(done, self.total), note=note)

    def say(self, note: str) -> None:
        """Show a note beside the bar."""
        if self._bar is not None:
            self._bar.update(self._task, note=note)
