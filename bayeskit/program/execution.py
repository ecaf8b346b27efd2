r"""Running a program whose random choices have addresses, can be overridden, and leave a record.

A random choice is known by its *address*: which `draw` it belongs to, the loops around it, and its site. The key of a
choice is a hash of its address folded into the key of the execution, so that

* running the same program again with the same key gives the same choices,
* overriding one choice leaves those before it as they were and couples those after it,
* two draws of one program differ.

An estimator of a gradient (`bayeskit.inference.vi`) re-executes a program in this way with a choice overridden.
"""

from __future__ import annotations

import dataclasses
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import get_opaque_trace_state
from numpyro.distributions import Distribution

from bayeskit._settings import Settings
from bayeskit._typing import Array, Values
from bayeskit.errors import ModelError
from bayeskit.xla.marks import mark


class Record(NamedTuple):
    """What a choice leaves behind.

    Attributes:
        own: what its estimator wants to know of it; a `NamedTuple` of the estimator's, or `None`.
        taken: inside a branch, whether that was taken; `None` elsewhere.
    """

    own: Any
    taken: Array | None = None


class Estimator(Settings, ABC):
    """How the gradient of an expectation passes a random choice; a frozen dataclass of settings.

    The `record` of a choice is what the surrogate of the whole expectation needs to know of it; what is done with it is
    said by the same class (see `bayeskit.inference.vi.estimators.estimator`).

    Attributes:
        passes_values: whether gradients pass the values of its choices.
        takes_discrete: whether it can be used for any discrete choice with a finite support.
        needs_support: whether the surrogate runs over that support.
    """

    room: ClassVar[str] = "estimator"
    passes_values: ClassVar[bool] = False
    takes_discrete: ClassVar[bool] = False
    needs_support: ClassVar[bool] = False

    @abstractmethod
    def check(self, site: str, distribution: Distribution) -> None:
        """Refuse a distribution for which the gradient would be wrong.

        Raises:
            ModelError: naming the site and what to use.
        """

    @abstractmethod
    def sample(self, key: Array, distribution: Distribution) -> Array:
        """A value; differentiable only where the estimator is pathwise."""

    def controls(self, record: Any) -> Any:
        """What the control variate of a choice is made of, out of its record; a pytree, empty where there is none."""
        del record

    @abstractmethod
    def record(self, key: Array, distribution: Distribution, value: Array) -> Any:
        """What the surrogate needs, a pytree of arrays."""

    def with_others(self, record: Any, others: Array) -> Any:
        """The record of a choice in every particle of an average, where `others` is that of the other particles.

        Args:
            record: with a leading axis of particles.
            others: a baseline for each particle, shape `(particle,)`.
        """
        del others
        return record


@dataclasses.dataclass(frozen=True)
class Choice:
    """The static facts of a random choice.

    Attributes:
        site: name of the site, for messages.
        estimator: how the gradient passes it.
        shape: shape of the value, without `stack`.
        dtype: of the value.
        stack: lengths of the scans and replications around it, outermost first; arrays of its record lead with these.
        support: the support of one element, where it is finite.
        particles: the axis of `stack` along which it is one of the particles of an average.
    """

    site: str
    estimator: Estimator
    shape: tuple[int, ...]
    dtype: Any
    stack: tuple[int, ...] = ()
    support: tuple[float, ...] | None = None
    particles: int | None = None


class Override(NamedTuple):
    """Where `mask` is true (everywhere, where it is `None`) the choice takes `value`, elsewhere the value it would have
    had.
    """

    mask: Array | None
    value: Array


class Level:
    """One level of an execution: the whole, a draw, the body of a loop, a branch.

    Attributes:
        key: raw or typed key.
        path: prefix of the addresses below.
        overrides: by address.
        choose: the estimator of a site that names none.
        records: what choices have left, by address; arrays.
        choices: their static facts, by address.
        values: values of the sites of the draw under way, by name.
        log_probs: of those, scaled, by address; of the sites in a branch their sum.
        is_draw: whether it is (part of) a draw.
        is_scored: whether it is within `log_density`.
        is_traced: whether choices leave marks, by which they are found in the program as JAX has traced it.
        lane: of the replications around it, a number that differs between them; for marks.
    """

    def __init__(
        self,
        key: Array,
        path: str,
        overrides: Mapping[str, Override],
        choose: Callable[[Distribution], Estimator],
        *,
        is_draw: bool,
    ):
        self.key, self.path, self.overrides, self.choose, self.is_draw = key, path, dict(overrides), choose, is_draw
        self.is_scored = self.is_traced = False
        self.lane: Array | None = None
        self.state = get_opaque_trace_state(convention="nnx")
        self.records: dict[str, Record] = {}
        self.choices: dict[str, Choice] = {}
        self.values: Values = {}
        self.log_probs: dict[str, Array] = {}
        self._ordinals: dict[str, int] = {}
        self._hashes: dict[int, str] = {}

    def next_path(self, kind: str) -> str:
        """The path of the next draw or loop here."""
        ordinal = self._ordinals.get(kind, 0)
        self._ordinals[kind] = ordinal + 1
        return f"{self.path}{kind}{ordinal}/"

    def child(self, path: str, *, is_draw: bool, key: Array | None = None, overrides: Any = None) -> Level:
        """A level below, whose key is this one's unless a loop gives it another."""
        below = self.overrides_below(path) if overrides is None else overrides
        level = Level(self.key if key is None else key, path, below, self.choose, is_draw=is_draw)
        level.is_scored, level.is_traced, level.lane = self.is_scored, self.is_traced, self.lane
        if key is None:
            level._hashes = self._hashes
        return level

    def overrides_below(self, path: str) -> dict[str, Override]:
        """The overrides of a level below."""
        return {address: o for address, o in self.overrides.items() if address.startswith(path)}

    def blank(self, address: str, shape: tuple[int, ...], dtype: Any) -> Override:
        """An override that changes nothing, to be found in the traced program and made an argument of it."""
        # in a replication it must be an array for each lane, so it is made from what differs between these
        zero = jnp.zeros((), int) if self.lane is None else self.lane * 0
        mask = mark(jnp.broadcast_to(zero != 0, shape), f"mask {address}")
        return Override(mask, mark(jnp.broadcast_to(zero, shape).astype(dtype), f"value {address}"))

    def leave_blanks(self, choices: Mapping[str, Choice]) -> None:
        """Blanks for choices inside a loop or branch, which must come in from here."""
        if self.is_traced:
            for address, choice in choices.items():
                if not choice.estimator.passes_values and address not in self.overrides:
                    self.overrides[address] = self.blank(address, (*choice.stack, *choice.shape), choice.dtype)

    def key_of(self, address: str) -> Array:
        """The key of a choice.

        Raises:
            ModelError: the address has been drawn before, or its hash is that of another.
        """
        number = zlib.crc32(address.encode())
        if number in self._hashes:
            other = self._hashes[number]
            if other == address:
                raise ModelError(
                    f"site {address.rsplit('/', 1)[-1]!r} is drawn twice in one draw; give its sites different names"
                )
            raise ModelError(f"sites {other!r} and {address!r} have the same hash; rename one of them")
        self._hashes[number] = address
        return jax.random.fold_in(self.key, np.uint32(number))

    def check_transform(self, site: str) -> None:
        """Refuse to draw inside a transformation of the user's, where one key would serve several draws.

        Raises:
            ModelError: the site is drawn inside `jax.lax.scan`, `vmap`, `jit`, `grad`, ... of the user's.
        """
        if get_opaque_trace_state(convention="nnx") != self.state:
            raise ModelError(
                f"{site} is drawn inside a JAX transformation (jit, vmap, grad, lax.scan, lax.cond, ...) of your own, "
                "where every pass would reuse one key in silence and gradients would lose terms; use bayeskit.scan, "
                "bayeskit.cond or bayeskit.replicate, or a plate, and put jit, grad and vmap around "
                "bayeskit.expectation(...) instead"
            )

    def add(self, records: Mapping[str, Record], choices: Mapping[str, Choice]) -> None:
        """Take over what a level below has brought."""
        self.records.update(records)
        self.choices.update(choices)


_LEVELS: list[Level] = []


def current_level(who: str) -> Level:
    """The level under way.

    Raises:
        ModelError: nothing gives keys to random choices.
    """
    if not _LEVELS:
        raise ModelError(f"{who} needs a key: call it in the function given to bayeskit.expectation, or pass key=")
    return _LEVELS[-1]


def is_executing() -> bool:
    """Whether random choices have keys here."""
    return bool(_LEVELS)


@contextmanager
def at(level: Level) -> Iterator[Level]:
    """Make `level` the one under way."""
    _LEVELS.append(level)
    try:
        yield level
    finally:
        _LEVELS.pop()
