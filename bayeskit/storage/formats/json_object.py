"""JSON, as Stan reads it, and somewhat more."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import TypeAlias

import numpy as np

from bayeskit.errors import DataError
from bayeskit.storage.formats.format import Format, Value

__all__ = ["JSON_OBJECT"]

Json: TypeAlias = list["Json"] | dict[str, "Json"] | int | float | bool | str | None

# JSON has no such numbers. Stan takes the strings NaN, Inf and Infinity; its manual and CmdStanPy write +inf and -inf.
NOT_FINITE = {"NaN": math.nan}
NOT_FINITE |= {f"{sign}{word}": math.inf for sign in ("", "+") for word in ("Inf", "inf", "Infinity")}
NOT_FINITE |= {f"-{word}": -math.inf for word in ("Inf", "inf", "Infinity")}
NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")


def _read_json(path: Path) -> dict[str, Value]:
    def no_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
        content = dict(pairs)
        if len(content) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise DataError(f"{path}: the name {twice!r} appears twice")
        return content

    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=no_duplicates)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}, line {error.lineno}, column {error.colno}: {error.msg}") from error
    except (RecursionError, ValueError) as error:
        if isinstance(error, DataError | UnicodeDecodeError):
            raise
        raise DataError(f"{path}: {error}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: a JSON data file is one object {{name: value}}, this is a {type(content).__name__}")
    return {name: _value(path, name, value) for name, value in content.items()}


def _value(path: Path, name: str, value: Json) -> Value:
    if isinstance(value, list):
        return _array(path, name, value)
    if isinstance(value, dict):
        raise DataError(f"{path}: {name!r} is an object; data are flat, so move what is in it to the top of the file")
    if isinstance(value, str):
        if NUMBER.fullmatch(value):
            raise DataError(f'{path}: {name!r} is the string "{value}"; a number has no quotes, write {value}')
        return NOT_FINITE.get(value, value)
    if isinstance(value, int) and abs(value) >= 2**63:
        raise DataError(f"{path}: {name!r} is a whole number beyond 64 bits")
    return _size(value) if isinstance(value, float) else value


def _size(value: float) -> int | float:
    """A whole number as an int: 3, 3.0 and 3e0 are one number in JSON, R writes 100000 as 1e+05, and it may be a size.

    A zero with a sign, and what is larger than any size and does not fit JAX's narrower integers, stay floats.
    """
    return int(value) if value.is_integer() and abs(value) < 2**31 and str(value) != "-0.0" else value


def _array(path: Path, name: str, value: list[Json]) -> np.ndarray:
    leaves: list[Json] = []
    try:
        shape = _shape(path, name, value, leaves)
        array = np.array(_of_one_kind(path, name, leaves, shape)).reshape(shape)
    except DataError:
        raise
    except (ValueError, OverflowError, RecursionError) as error:
        raise DataError(f"{path}: {name!r}: {error}") from error
    if array.dtype.kind not in "bifU":
        raise DataError(f"{path}: {name!r} holds whole numbers beyond 64 bits")
    return array


def _shape(
    path: Path, name: str, value: list[Json], leaves: list[Json], where: tuple[int, ...] = ()
) -> tuple[int, ...]:
    """Shape of nested lists, after a check that they are rectangular; what they hold is added to the leaves."""
    shape: tuple[int, ...] | None = None
    for i, item in enumerate(value):
        inner: tuple[int, ...] = ()
        if isinstance(item, list):
            inner = _shape(path, name, item, leaves, (*where, i))
        elif item is None or isinstance(item, dict):
            found = "null" if item is None else "an object"
            raise DataError(f"{path}: {_place(name, (*where, i))} is {found}; arrays hold numbers")
        else:
            leaves.append(item)
        if shape is None:
            shape = inner
        if inner != shape:
            raise DataError(f"{path}: {name!r} is ragged: {_place(name, (*where, i))} has shape {inner}, not {shape}")
    return (len(value), *(shape or ()))


def _of_one_kind(path: Path, name: str, leaves: list[Json], shape: tuple[int, ...]) -> list[Json]:
    """What an array holds: numbers, among them strings that spell one that is not finite; booleans; or strings."""
    kinds = {type(leaf) for leaf in leaves}
    if str in kinds:
        odd = next((i for i, leaf in enumerate(leaves) if isinstance(leaf, str) and leaf not in NOT_FINITE), None)
        if odd is None:
            leaves = [NOT_FINITE[leaf] if isinstance(leaf, str) else leaf for leaf in leaves]
        elif kinds & {int, float}:
            place = _place(name, tuple(int(i) for i in np.unravel_index(odd, shape)))
            raise DataError(f"{path}: {place} is the string {json.dumps(leaves[odd])} among numbers")
    names = {int: "numbers", float: "numbers", bool: "booleans", str: "strings"}
    mixed = sorted({names[type(leaf)] for leaf in leaves})
    if len(mixed) > 1:
        raise DataError(f"{path}: {name!r} mixes {' and '.join(mixed)}")
    return leaves


def _place(name: str, where: tuple[int, ...]) -> str:
    return name + "".join(f"[{i}]" for i in where)


JSON_OBJECT = Format(
    (".json",),
    'one flat object of numbers, strings, booleans, null and nested arrays, as Stan reads it; `"NaN"`, `"Inf"`, '
    '`"-Infinity"` and their like are numbers',
    _read_json,
)
