"""What every inference method promises to the driver."""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping
from typing import Any, NamedTuple, TypeGuard, TypeVar

import numpy as np

from bayeskit._errors import MethodError, ModelError
from bayeskit._typing import Array, Values
from bayeskit.program import Program
from bayeskit.target import Target

State = TypeVar("State")


class Draws(NamedTuple):
    """What one `advance` brings; all arrays have leading axes ``(chain, step)``.

    Attributes:
        values: latent and deterministic sites in the model's coordinates.
        stats: sample statistics under ArviZ's names.
        positions: the unconstrained values, shape ``(chain, step, size)``.
    """

    values: Values
    stats: dict[str, Array]
    positions: Array


class Method(ABC):
    """Settings of an inference method (a frozen dataclass) and its pure functions over explicit state.

    A state is a pytree of arrays with a leading chain axis which holds everything that resuming needs, keys included
    (as raw data).
    """

    num_chains: int
    num_warmup: int
    num_draws: int

    @property
    def warmup_steps(self) -> int:
        """How many of the first steps of `advance` are warmup; zero where `warmup` does all of it."""
        return self.num_warmup

    @abstractmethod
    def init(self, key: Array, target: Target, positions: Values) -> object:
        """The state before the first step; ``positions`` are unconstrained values with a leading chain axis."""

    def warmup(self, state: object, target: Target) -> object:
        """Adaptation that has no step form, as one atomic call."""
        del target
        return state

    @abstractmethod
    def advance(self, state: object, target: Target, num_steps: int) -> tuple[object, Draws]:
        """Take ``num_steps`` steps in all chains."""

    def stream(
        self, state: object, target: Target, num_steps: int, num_chunks: int
    ) -> Generator[tuple[object, Draws], None, None]:
        """``num_chunks`` times `advance`, with each state; a method may work ahead while a chunk is being used."""
        for _ in range(num_chunks):
            state, draws = self.advance(state, target, num_steps)
            yield state, draws

    def traces(self, state: Any) -> dict[str, np.ndarray]:
        """What the state has kept of every warmup step, shape ``(chain, step)``; becomes ``warmup_sample_stats``."""
        del state
        return {}

    def learned(self, state: Any, target: Target) -> dict[str, np.ndarray]:
        """Parameters of the model that were fitted, shape ``(chain, ...)``; becomes ``model_parameters``."""
        del state, target
        return {}

    def lift(self, program: Program) -> Program:
        """The program as the method wants it: one that fits ``numpyro.param`` statements makes data of them."""
        return program

    def check_target(self, target: Target) -> None:
        """Refuse what the method cannot handle, naming the site.

        Raises:
            ModelError: a plate that subsamples its data.
        """
        if target.structure.subsampled:
            plate = target.structure.subsampled[0]
            raise ModelError(
                f"plate {plate!r} subsamples its data, so the density changes at random between evaluations and "
                f"{type(self).__name__} would target the wrong posterior; use the full data (no subsample_size)"
            )

    def settings(self) -> dict[str, object]:
        """The settings by name, for the record of the run."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}  # type: ignore[arg-type]

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Method:
        """The inverse of :meth:`settings`, after these have been through JSON."""
        return cls(**settings)


def require(ok: bool, name: str, value: object, must: str) -> None:
    """Refuse an impossible setting.

    Raises:
        MethodError: ``ok`` is false.
    """
    if not ok:
        raise MethodError(f"{name} must be {must}, got {value!r}")


def check_counts(method: Method) -> None:
    """Numbers of chains and steps are positive integers (no warmup is allowed)."""
    for name, least in (("num_chains", 1), ("num_warmup", 0), ("num_draws", 1)):
        value = getattr(method, name)
        require(is_whole(value) and value >= least, name, value, f"an integer of at least {least}")


def is_whole(value: object) -> TypeGuard[int]:
    """Whether a setting is an integer (``True`` is none)."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: object) -> TypeGuard[float]:
    """Whether a setting is a finite real number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """A setting with a fixed set of values."""
    require(value in choices, name, value, "one of " + ", ".join(map(repr, choices)))
