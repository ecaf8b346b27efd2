"""What every inference method promises to the driver."""

from __future__ import annotations

import importlib
import importlib.metadata
from abc import ABC, abstractmethod
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeVar

import numpy as np

from bayeskit._settings import Settings, is_number, is_whole, require
from bayeskit._typing import Array, Values
from bayeskit.errors import ModelError
from bayeskit.program import Program
from bayeskit.target import Target

if TYPE_CHECKING:
    import xarray as xr

S = TypeVar("S", bound="Method")

LATE = ("bayeskit.inference.laplace", "bayeskit.inference.vi.fit.method")
"""Modules with methods that `bayeskit.inference` loads when they are used."""


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


OWN_START = "own"
"""The strategy of a method that draws its own points from the prior, wherever these have a density."""


class Method(Settings, ABC):
    """Settings of an inference method (a frozen dataclass) and its pure functions over explicit state.

    A state is a pytree of arrays with a leading chain axis which holds everything that resuming needs, keys included
    (as raw data).
    """

    room: ClassVar[str] = "method"
    extends: ClassVar[bool] = True
    """Whether a run can go on after its last draw, as that of a longer one; not where the draws are made together."""
    starts_from: ClassVar[str] = "likeliest"
    """What ``init="auto"`` stands for: a strategy of `bayeskit.target.find_start`, or `OWN_START`."""

    num_chains: int
    num_warmup: int
    num_draws: int

    @classmethod
    def kinds(cls: type[S]) -> dict[str, type[S]]:
        """The classes of this room by their kind, in alphabetical order."""
        for module in LATE:
            importlib.import_module(module)
        return super().kinds()

    @property
    def library(self) -> str:
        """The library whose algorithm runs: by default the one that the class is part of."""
        return type(self).__module__.partition(".")[0]

    def library_version(self) -> str:
        """The installed version of `library`; empty for code that is not installed as a package."""
        try:
            return importlib.metadata.version(self.library)
        except importlib.metadata.PackageNotFoundError:
            return ""

    def attributes(self, target: Target) -> dict[str, str | int]:
        """What the attributes of a result say of the run besides its settings."""
        del target
        return {}

    @property
    def num_starts_of_chains(self) -> int:
        """In how many places the chains start; where these are fewer than chains, neighbours share one."""
        return self.num_chains

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

    def stages(self, state: object, target: Target) -> Generator[tuple[object, str], None, None]:
        """`warmup` in stages whose number is not known before: the state after each, and a word on how far it is.

        From the state after any of them but the last, `stages` goes on to the same end.
        """
        yield self.warmup(state, target), ""

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

    def found(self, state: Any) -> dict[str, float]:
        """Numbers that a run has found besides its draws, such as the evidence; become attributes of the result."""
        del state
        return {}

    def lift(self, program: Program) -> Program:
        """The program as the method wants it: one that fits ``numpyro.param`` statements makes data of them."""
        return program

    def chosen(self, target: Target) -> tuple[Method, str]:
        """The method that runs, and why it was chosen: itself, without a word, but for `auto`."""
        del target
        return self, ""

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


class DirectMethod(Settings, ABC):
    """A method that answers at once: there is no chain to be advanced, and so nothing to keep, thin or resume."""

    room: ClassVar[str] = "method"
    calibrated_by: ClassVar[str] = ""
    """What checks its calibration, where it draws no latent sites to be ranked by `bayeskit.sbc`."""

    @abstractmethod
    def answer(self, model: Any, data: Any, *, key: Any) -> xr.DataTree:
        """The result for a model and data."""


def check_counts(method: Method) -> None:
    """Numbers of chains and steps are positive integers (no warmup is allowed)."""
    for name, least in (("num_chains", 1), ("num_warmup", 0), ("num_draws", 1)):
        value = getattr(method, name)
        require(is_whole(value) and value >= least, name, value, f"an integer of at least {least}")


MOST_SUPERCHAINS = 16
LEAST_IN_SUPERCHAIN = 4


def check_superchains(method: Method, groups: int | str | None) -> None:
    """Superchains are two or more, of two or more chains each."""
    chains = method.num_chains
    ok = groups in (None, "auto") or (is_whole(groups) and groups >= 2 and chains % groups == 0 and chains > groups)
    must = f"'auto', None, or an integer from 2 on of which num_chains = {chains} is a multiple (twice as many or more)"
    require(ok, "num_superchains", groups, must)


def superchains(num_chains: int, groups: int | str | None) -> int:
    """In how many groups chains start; by themselves in up to 16, of four chains or more, where they are so many."""
    if groups == "auto":
        fitting = [k for k in range(2, MOST_SUPERCHAINS + 1) if num_chains % k == 0]
        fitting = [k for k in fitting if num_chains // k >= LEAST_IN_SUPERCHAIN]
        return max(fitting) if num_chains >= 2 * MOST_SUPERCHAINS and fitting else num_chains
    return int(groups or num_chains)


def check_accept(value: object) -> None:
    """An acceptance rate that is aimed at lies between 0 and 1."""
    require(is_number(value) and 0 < value < 1, "target_accept", value, "between 0 and 1")
