"""The progress bar of long work: in a terminal by rich, in a notebook as HTML that is replaced in place."""

from __future__ import annotations

import html
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.progress import Progress


__all__ = ["ProgressBar"]

BETWEEN = 0.2
"""Seconds between two pictures of the bar in a notebook, which go through the browser."""


class ProgressBar:
    """A bar over the steps of a run; says nothing when ``show`` is false.

    Args:
        total: number of steps.
        show: whether to show anything.
    """

    def __init__(self, total: int, show: bool):
        self.total = total
        self._bar: _Bar | None = None
        if show:
            self._bar = _NotebookBar(total) if _in_notebook() else _TerminalBar(total)

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
            self._bar.show(phase, min(done, self.total), note)

    def say(self, note: str) -> None:
        """Show a note beside the bar."""
        if self._bar is not None:
            self._bar.show(None, None, note)


class _Bar(Protocol):
    """A way to show a bar; ``None`` leaves phase or steps as they were."""

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def show(self, phase: str | None, done: int | None, note: str) -> None: ...


class _TerminalBar:
    def __init__(self, total: int):
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        self._bar: Progress = Progress(
            TextColumn("{task.description:<10}"),
            BarColumn(bar_width=None),
            TextColumn("{task.completed}/{task.total}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        self._task = self._bar.add_task("compiling", total=total, note="")

    def start(self) -> None:
        self._bar.start()

    def stop(self) -> None:
        self._bar.stop()

    def show(self, phase: str | None, done: int | None, note: str) -> None:
        self._bar.update(self._task, description=phase, completed=done, note=note)


class _NotebookBar:
    """Plain HTML, shown once and replaced: it needs IPython, which a notebook has, and no widgets."""

    def __init__(self, total: int):
        self._total, self._phase, self._done, self._note = total, "compiling", 0, ""
        self._began = self._last = time.monotonic()
        self._handle: object | None = None

    def start(self) -> None:
        from IPython.display import display

        self._began = time.monotonic()
        self._handle = display(self._content(), raw=True, display_id=True)

    def stop(self) -> None:
        self._draw()

    def show(self, phase: str | None, done: int | None, note: str) -> None:
        self._phase = self._phase if phase is None else phase
        self._done = self._done if done is None else done
        self._note = note
        if time.monotonic() - self._last >= BETWEEN:
            self._draw()

    def _draw(self) -> None:
        self._last = time.monotonic()
        if self._handle is not None:
            self._handle.update(self._content(), raw=True)  # type: ignore[attr-defined]

    def _content(self) -> dict[str, str]:
        passed = time.monotonic() - self._began
        parts = [f"{self._done}/{self._total}", _clock(passed)]
        if 0 < self._done < self._total:
            parts.append(f"{_clock(passed * (self._total - self._done) / self._done)} left")
        if self._note:
            parts.append(self._note)
        text = f"{self._phase}  {', '.join(parts)}"
        style = "width: 20em; vertical-align: middle"
        bar = f'<progress value="{self._done}" max="{self._total}" style="{style}"></progress>'
        return {
            "text/plain": text,
            "text/html": f"<div>{html.escape(self._phase)} {bar} {html.escape(', '.join(parts))}</div>",
        }


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"


def _in_notebook() -> bool:
    """Whether a kernel of IPython runs this, whose output a browser shows."""
    module = sys.modules.get("IPython")
    shell = getattr(module, "get_ipython", lambda: None)()
    return shell is not None and getattr(shell, "kernel", None) is not None
