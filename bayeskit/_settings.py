"""Settings: a frozen dataclass that says its own kind, can be written into the record of a run, and made again from it.

A *room* is an abstract class (`Method`, `Guide`, `Objective`, `Estimator`); what stands below it and declares a `kind`
can be named in a run file, in a record and on the command line. Nothing else lists the kinds.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import math
import operator
from collections.abc import Mapping
from typing import Any, ClassVar, TypeGuard, TypeVar

from bayeskit._spelling import did_you_mean
from bayeskit.errors import MethodError

__all__ = ["Settings", "check_choice", "is_number", "is_whole", "part", "require", "source_hash"]

S = TypeVar("S", bound="Settings")
_PART = "part"


class Settings:
    """Base of all settings; a subclass is a frozen dataclass.

    Attributes:
        kind: the name of this kind within its room, as in a run file. Abstract classes have none.
        room: what the things in this room are called, for messages; declared by the room's abstract class.
        such_as: an example, for messages.
    """

    kind: ClassVar[str]
    room: ClassVar[str]
    such_as: ClassVar[str]

    def __init_subclass__(cls, **options: Any) -> None:
        """Integers of NumPy and JAX become Python's before a class looks at its settings: records are JSON."""
        super().__init_subclass__(**options)
        if "__post_init__" not in vars(cls):
            return
        look: Any = vars(cls)["__post_init__"]

        def __post_init__(self: Settings) -> None:
            for field in dataclasses.fields(self):  # type: ignore[arg-type]
                value = getattr(self, field.name)
                if not isinstance(value, int) and is_whole(value):
                    object.__setattr__(self, field.name, operator.index(value))
            look(self)

        cls.__post_init__ = functools.wraps(look)(__post_init__)  # type: ignore[attr-defined]

    @classmethod
    def kinds(cls: type[S]) -> dict[str, type[S]]:
        """The classes of this room by their kind, in alphabetical order."""
        found: dict[str, type[S]] = {}
        for below in cls.__subclasses__():
            if "kind" in vars(below):
                found[below.kind] = below
            found |= below.kinds()
        return dict(sorted(found.items()))

    @classmethod
    def of(cls: type[S], value: object) -> S:
        """One of this room; a function stands for the kind ``custom`` that is made of it, where there is one.

        Raises:
            MethodError: neither.
        """
        if isinstance(value, cls):
            return value
        custom: Any = cls.kinds().get("custom")
        if custom is None or not callable(value) or isinstance(value, Settings | type):
            raise MethodError(f"{cls.room} must be {cls.such_as}, got {value!r}")
        return custom(value)

    def settings(self) -> dict[str, object]:
        """The settings by name, as plain data (what JSON can hold)."""
        return {field.name: _plain(getattr(self, field.name)) for field in dataclasses.fields(self)}  # type: ignore[arg-type]

    @classmethod
    def from_settings(cls: type[S], settings: Mapping[str, Any]) -> S:
        """The inverse of :meth:`settings`; a part may be named by its kind alone, as in a run file.

        Raises:
            MethodError: a setting that this kind does not have or that is impossible, or a kind that is unknown.
        """
        fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
        for name in settings:
            if name not in fields:
                hint = did_you_mean(name, fields, "it has")
                raise MethodError(f"{cls.room} of kind {cls.kind!r} has no setting {name!r}{hint}")
        given = {name: cls._revived(fields[name], value) for name, value in settings.items()}
        try:
            return cls(**given)
        except TypeError as error:
            raise MethodError(f"{cls.room} of kind {cls.kind!r}: {error}") from error

    def as_record(self) -> dict[str, object]:
        """The kind and the settings, as plain data; of a kind that this package does not know the name of its class."""
        kind = getattr(self, "kind", None)
        return {"kind": kind or f"{type(self).__module__}.{type(self).__qualname__}", **self.settings()}

    @classmethod
    def from_record(cls: type[S], record: object) -> S:
        """One of this room, from its kind, or from a table with a ``kind`` and settings.

        Raises:
            MethodError: an unknown kind, or something that had to be written in Python.
        """
        table = {"kind": record} if isinstance(record, str) else record
        known = cls.kinds()
        if not isinstance(table, Mapping) or table.get("kind") not in known:
            kinds = ", ".join(map(repr, known))
            raise MethodError(
                f"{cls.room} must be one of {kinds}, or a table with such a kind and its settings; got {record}"
            )
        return known[str(table["kind"])].from_settings({n: v for n, v in table.items() if n != "kind"})

    @classmethod
    def _revived(cls, field: dataclasses.Field[Any], value: Any) -> Any:
        if isinstance(value, Mapping) and _OBJECT in value:
            raise MethodError(
                f"{field.name} of the {cls.room} is {value[_OBJECT]}, written in Python, which no record can hold"
            )
        room = field.metadata.get(_PART)
        if room is not None and isinstance(value, str | Mapping):
            return room.from_record(value)
        return value

    @property
    def is_recordable(self) -> bool:
        """Whether a record can hold all of it, so that it can be made again from there."""
        values = [getattr(self, field.name) for field in dataclasses.fields(self)]  # type: ignore[arg-type]
        return hasattr(self, "kind") and all(map(_is_recordable, values))


def part(room: type[Settings]) -> dict[str, type[Settings]]:
    """The metadata of a dataclass field that holds settings of that room."""
    return {_PART: room}


_OBJECT = "object"


def _plain(value: object) -> object:
    if isinstance(value, Settings):
        return value.as_record()
    if isinstance(value, tuple | list):
        return [_plain(element) for element in value]
    return value if isinstance(value, str | int | float | bool | None) else _named(value)


def _named(value: object) -> dict[str, str]:
    """An object of Python, by its name and a hash of its source: equal where the object is the same code."""
    name = f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value).__qualname__)}"
    return {_OBJECT: name, "source": source_hash(value)}


def source_hash(value: object) -> str:
    """Equal where a function or class is the same code."""
    try:
        text = inspect.getsource(value)  # type: ignore[arg-type]
    except (OSError, TypeError):
        code = getattr(value, "__code__", None)
        text = repr((code.co_code, code.co_names, code.co_consts)) if code is not None else repr(value)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _is_recordable(value: object) -> bool:
    if isinstance(value, Settings):
        return value.is_recordable
    if isinstance(value, tuple | list):
        return all(map(_is_recordable, value))
    return isinstance(value, str | int | float | bool | None)


def require(ok: bool, name: str, value: object, must: str) -> None:
    """Refuse an impossible setting.

    Raises:
        MethodError: ``ok`` is false.
    """
    if not ok:
        raise MethodError(f"{name} must be {must}, got {value!r}")


def is_whole(value: object) -> TypeGuard[int]:
    """Whether a setting is an integer, Python's or NumPy's (``True`` is not)."""
    if isinstance(value, bool):
        return False
    try:
        operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return False
    return True


def is_number(value: object) -> TypeGuard[float]:
    """Whether a setting is a finite real number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """A setting with a fixed set of values."""
    require(value in choices, name, value, "one of " + ", ".join(map(repr, choices)))
