"""What `gpu.py` times: a call, and what it is counted by.

A contestant is a function without arguments that makes what is timed, so that its imports and set-up are apart; what it
returns is called once to compile it and once under the clock. Those of peers run no code of bayeskit while they are
timed.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax


class Missing(Exception):
    """A library or a method that is not there."""


class Work(NamedTuple):
    """One call.

    Attributes:
        seconds: what it took, without what `found` takes.
        found: how much was done, in the unit of the row, and what else there is to say.
        compile_seconds: where the contestant tells them apart itself, and is not called again.
    """

    seconds: float
    found: Callable[[], tuple[float, str]]
    compile_seconds: float | None = None


Contestant = Callable[[], Callable[[], Work]]


def timed(run: Callable[[], Any], found: Callable[[Any], tuple[float, str]]) -> Work:
    """A call under the clock, and what is made of its result when the clock has stopped."""
    start = time.perf_counter()
    result = jax.block_until_ready(run())
    return Work(time.perf_counter() - start, lambda: found(result))


def need(*libraries: str) -> None:
    """The libraries are installed.

    Raises:
        Missing: one is not.
    """
    for library in libraries:
        if importlib.util.find_spec(library) is None:
            raise Missing(f"{library} is not installed")
