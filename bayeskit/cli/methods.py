"""Methods by name, with the settings that their constructors take."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

from bayeskit._spelling import did_you_mean
from bayeskit.errors import MethodError

if TYPE_CHECKING:
    from bayeskit.inference import Method


def make_method(name: str, settings: Mapping[str, object]) -> Method:
    """The method called `name` with these settings.

    Args:
        name: as `bayeskit methods` lists it, in any case.
        settings: by the names of the constructor's arguments.

    Raises:
        MethodError: no such method; a setting that it does not have, or a value that it refuses.
    """
    methods = all_methods()
    cls = methods.get(name.lower())
    if cls is None:
        raise MethodError(f"unknown method {name!r}{did_you_mean(name.lower(), sorted(methods), 'known:')}")
    known = [item.name for item in settings_of(cls)]
    for setting in settings:
        if setting not in known:
            raise MethodError(f"{name.lower()} has no setting {setting!r}{did_you_mean(setting, known, 'known:')}")
    try:
        given = {name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()}
        return cls.from_settings(given)
    except (TypeError, ValueError) as error:
        if isinstance(error, MethodError):
            raise
        raise MethodError(f"{name.lower()}: {error}") from error


def all_methods() -> dict[str, type[Method]]:
    """The methods by name."""
    from bayeskit.inference import Method

    return Method.kinds()


def settings_of(cls: type) -> list[dataclasses.Field]:
    """The settings of a method, in the order of its constructor."""
    return [item for item in dataclasses.fields(cls) if item.init]


def default_of(item: dataclasses.Field) -> str:
    """A setting's default as it would be written in a run file; empty where there is none."""
    value = item.default
    if value is dataclasses.MISSING:
        if item.default_factory is dataclasses.MISSING:
            return ""
        value = item.default_factory()
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)
