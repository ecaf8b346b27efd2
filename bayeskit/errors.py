"""The exceptions of bayeskit: each says what is wrong, where, and what to do."""

from __future__ import annotations

from typing import Any


class BayeskitError(Exception):
    """Base class of every error that bayeskit raises on purpose."""


class DataError(BayeskitError, ValueError):
    """The data are missing, unexpected, empty, not finite, or cannot be read."""


class ModelError(BayeskitError, ValueError):
    """The model cannot be used as written; the message names the site."""


class InitError(BayeskitError, ValueError):
    """No starting point with a finite log density was found."""


class MethodError(BayeskitError, ValueError):
    """An unknown method, or a setting that is unknown or impossible."""


class StorageError(BayeskitError, OSError):
    """A result could not be read or written."""


class SamplingError(BayeskitError, RuntimeError):
    """The sampler left the region of finite density and cannot go on."""


class TrainingError(BayeskitError, RuntimeError):
    """An optimisation reached a loss that is not finite."""


class Interrupted(BayeskitError):
    """The run was stopped by hand.

    Attributes:
        post: DataTree of the draws made so far, or ``None`` when the run was still in warmup.
        store: where the partial run was kept for ``bayeskit.resume``, or ``None``.
        signal: the number of the signal that stopped it: that of Ctrl-C, or of SIGTERM.
    """

    def __init__(self, message: str, post: Any = None, store: str | None = None, signal: int = 2):
        super().__init__(message)
        self.post = post
        self.store = store
        self.signal = signal
