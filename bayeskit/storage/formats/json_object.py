"""JSON, as Stan reads it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from bayeskit.errors import DataError
from bayeskit.storage.formats.format import Format, Value

__all__ = ["JSON_OBJECT"]


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
    return {name: _json_value(path, name, value) for name, value in content.items()}


def _json_value(path: Path, name: str, value: object) -> Value:
    if isinstance(value, int) and abs(value) >= 2**63:
        raise DataError(f"{path}: {name!r} is a whole number beyond 64 bits")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, dict):
        raise DataError(f"{path}: {name!r} is an object; data are flat, so move what is in it to the top of the file")
    _json_shape(path, name, value)
    try:
        array = np.array(value)
    except (ValueError, OverflowError) as error:
        raise DataError(f"{path}: {name!r}: {error}") from error
    if array.dtype.kind not in "bifU":
        raise DataError(f"{path}: {name!r} holds whole numbers beyond 64 bits")
    return array


def _json_shape(path: Path, name: str, value: object) -> tuple[int, ...]:
    """Shape of nested lists, after a check that they are rectangular and hold one kind of thing."""
    kinds: set[str] = set()

    def shape(item: object, where: str) -> tuple[int, ...]:
        if not isinstance(item, list):
            if item is None or isinstance(item, dict):
                raise DataError(
                    f"{path}: {name}{where} is {'null' if item is None else 'an object'}; arrays hold numbers"
                )
            kinds.add("strings" if isinstance(item, str) else "booleans" if isinstance(item, bool) else "numbers")
            return ()
        shapes = [shape(child, f"{where}[{i}]") for i, child in enumerate(item)]
        for i, other in enumerate(shapes):
            if other != shapes[0]:
                raise DataError(f"{path}: {name!r} is ragged: {name}{where}[{i}] has shape {other}, not {shapes[0]}")
        return (len(shapes), *(shapes[0] if shapes else ()))

    found = shape(value, "")
    if len(kinds) > 1:
        raise DataError(f"{path}: {name!r} mixes {' and '.join(sorted(kinds))}")
    return found


JSON_OBJECT = Format(
    (".json",), "one flat object of numbers, strings, booleans, null and nested arrays, as Stan reads it", _read_json
)
