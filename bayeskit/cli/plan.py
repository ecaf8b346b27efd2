"""A run as the command line and the run file describe it: which model, data, method and output.

What is read (``model``, ``data``) is looked for beside the run file; what is written (``out``, ``report``) lands in the
current folder. An option of the command line wins over the run file, and its paths are relative to the current folder.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from bayeskit._spelling import did_you_mean
from bayeskit.cli.errors import UsageError


@dataclass(frozen=True)
class Plan:
    """One run. The fields are the keys of a run file; ``settings`` holds its ``[method]`` table without the name, and
    ``out`` is by default named after the file (`result_of`).
    """

    model: str = ""
    data: tuple[str, ...] | dict[str, object] | None = None
    columns: dict[str, object] = field(default_factory=dict)
    method: str = "nuts"
    settings: dict[str, object] = field(default_factory=dict)
    key: int = 0
    out: str = ""
    report: str | None = None
    log_likelihood: bool = False
    discrete: str | None = None
    predictive: tuple[str, ...] = ()
    keep: tuple[str, ...] | None = None
    thin: int = 1
    precision: str | None = None


_TYPES: dict[str, tuple[type, ...]] = {
    "model": (str,),
    "data": (str, list, dict),
    "columns": (dict,),
    "method": (str, dict),
    "key": (int,),
    "out": (str,),
    "report": (str,),
    "log_likelihood": (bool,),
    "discrete": (str,),
    "predictive": (str, list),
    "keep": (str, list),
    "thin": (int,),
    "precision": (str,),
}
_WORDS = {str: "a string", dict: "a table", int: "a whole number", bool: "true or false", list: "a list of names"}


def read_run_file(path: Path) -> Plan:
    """Read a run file.

    Args:
        path: a TOML file; see the module for how its paths are read.

    Raises:
        UsageError: the file is missing, is not TOML (with the line), lacks ``model``, or has a key that is unknown or
            of the wrong type; the message names the file and the key.
    """
    content = read_toml(path)
    for name, value in content.items():
        _check(path, name, value)
    if "model" not in content:
        raise UsageError(f"{path}: the key 'model' is missing")
    method, settings = _method(path, content.pop("method", {}))
    content["model"] = os.path.normpath(path.parent / content["model"])
    for name in ("predictive", "keep", "data"):
        if isinstance(content.get(name), str | list):
            content[name] = _names(path, name, content[name])
    if isinstance(content.get("data"), tuple):
        content["data"] = tuple(os.path.normpath(path.parent / file) for file in content["data"])
    return Plan(**{"out": result_of(path), **content}, method=method, settings=settings)


def read_toml(path: Path) -> dict[str, Any]:
    """What a run file says.

    Raises:
        UsageError: the file is missing, cannot be read, or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"there is no run file {path}") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: {error}") from error


def result_of(path: Path) -> str:
    """Where the result of a model file or run file goes if nothing is said: its name, in the current folder."""
    return f"{path.stem}.zarr"


def override(plan: Plan, options: Mapping[str, object], settings: Mapping[str, object]) -> Plan:
    """The plan with what the command line says; ``None`` means that the option was not given.

    Settings of the file are dropped when the command line names another method: they were meant for that method.
    """
    given = {name: value for name, value in options.items() if value is not None}
    known = {item.name for item in fields(Plan)}
    if unknown := set(given) - known:
        raise UsageError(f"unknown options: {sorted(unknown)}")
    kept = plan.settings if given.get("method", plan.method) == plan.method else {}
    return replace(plan, **given, settings={**kept, **settings})  # type: ignore[arg-type]


def parse_settings(pairs: list[str]) -> dict[str, object]:
    """Settings from ``name=value`` options. A value is written as in TOML; a bare word is a string.

    Args:
        pairs: such as ``["max_tree_depth=12", "chain_method=threads"]``.

    Raises:
        UsageError: no ``=``, or a name given twice.

    Example:
        >>> from bayeskit.cli.plan import parse_settings
        >>> parse_settings(["max_tree_depth=12", "target_accept=0.9", "chain_method=threads", "dense_mass=true"])
        {'max_tree_depth': 12, 'target_accept': 0.9, 'chain_method': 'threads', 'dense_mass': True}
    """
    settings: dict[str, object] = {}
    for pair in pairs:
        name, equals, text = (part.strip() for part in pair.partition("="))
        if not (name and equals and text):
            raise UsageError(f"--set takes name=value, not {pair!r}")
        if name in settings:
            raise UsageError(f"--set gives {name!r} twice")
        try:
            settings[name] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            settings[name] = text
    return settings


def _method(path: Path, given: str | dict[str, object]) -> tuple[str, dict[str, object]]:
    if isinstance(given, str):
        return given, {}
    settings = dict(given)
    name = settings.pop("name", "nuts")
    if not isinstance(name, str):
        raise UsageError(f"{path}: method.name must be a string, not {name!r}")
    return name, settings


def _check(path: Path, name: str, value: object) -> None:
    if name not in _TYPES:
        raise UsageError(f"{path}: unknown key {name!r}{did_you_mean(name, list(_TYPES), 'known:')}")
    allowed = _TYPES[name]
    if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
        words = " or ".join(_WORDS[kind] for kind in allowed)
        raise UsageError(f"{path}: {name!r} must be {words}, not {value!r}")
    if name == "precision" and value not in ("float32", "float64"):
        raise UsageError(f'{path}: \'precision\' must be "float32" or "float64", not {value!r}')


def _names(path: Path, name: str, value: str | list[object]) -> tuple[str, ...]:
    names = [value] if isinstance(value, str) else value
    for item in names:
        if not isinstance(item, str):
            raise UsageError(f"{path}: {name!r} must be a list of names, and {item!r} is not one")
    return tuple(str(item) for item in names)
