"""Where what a command says goes: text for a reader, one JSON object for a program, or nothing."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from typing import Any

from rich.console import Console

console = Console(highlight=False)

_record: dict[str, Any] | None = None
"""What the command has told a program so far; none where a reader is told."""


def begin(*, quiet: bool, as_json: bool) -> None:
    """Say to whom the command that starts now talks."""
    global _record
    _record = {} if as_json else None
    console.quiet = quiet or as_json


def for_reader() -> bool:
    """Whether anything is printed for people."""
    return not console.quiet


def record(name: str, content: Callable[[], object]) -> None:
    """Tell a program something, under a name; nothing is computed where none listens."""
    if _record is not None:
        _record[name] = content()


def end() -> None:
    """Print what was recorded, as one JSON object. NaN and infinities, which JSON lacks, become null."""
    if _record is not None:
        print(json.dumps(_plain(_record), allow_nan=False, indent=1), flush=True)


def say(message: str) -> None:
    """Write a message to stderr, unwrapped, so that it stays one line in a log."""
    print(message, file=sys.stderr, flush=True)


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "item"):  # a number of NumPy
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
