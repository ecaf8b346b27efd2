"""Whether a model with its data is the one that a store was made with; and if not, what differs."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from bayeskit.errors import DataError
from bayeskit.program.arguments import Rest
from bayeskit.program.fingerprint import fingerprint, may_be_same
from bayeskit.storage.provenance import provenance
from bayeskit.target import Target
from bayeskit.xla.devices import own_part

__all__ = ["check_same", "description"]

_SHORT = 60  # characters of a value in a message


def description(target: Target) -> dict[str, Any]:
    """What decides about the draws of a model besides method and key, as JSON: hashes of what is large."""
    around = [(name, value) for name, value in target.program.around if not callable(value)]
    parts: dict[str, Any] = {
        "precision": str(jax.numpy.result_type(float)),
        "sites": {
            site.name: {
                "kind": site.kind,
                "distribution": site.distribution,
                "shape": list(site.shape),
                "plates": [f"{plate.name} of {plate.size}" for plate in site.plates],
            }
            for site in target.structure.sites
        },
        "arguments": dict(_arguments(target)),
        "settings": {name: _hashed(value) for name, value in target.program.settings},
        "around": {str(name): _hashed(value) for name, value in around},
    }
    whole = hashlib.sha256(repr((target.structure, parts)).encode()).hexdigest()
    return {**parts, "whole": whole}


def _arguments(target: Target) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, array in jax.tree_util.tree_leaves_with_path(target.program.arrays):
        host = own_part(array)
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        content = hashlib.sha256(np.ascontiguousarray(host).tobytes()).hexdigest()
        yield name, {"dtype": str(host.dtype), "shape": list(np.shape(array)), "content": content}


def _hashed(value: object) -> dict[str, str]:
    text = repr(value)
    if callable(value) and hasattr(value, "__qualname__"):
        text = f"{getattr(value, '__module__', '')}.{value.__qualname__}"  # its repr has an address
    shown = repr(value.tree) if isinstance(value, Rest) else text
    short = shown if len(shown) <= _SHORT else f"{shown[:_SHORT]}..."
    return {"value": short, "hash": hashlib.sha256(text.encode()).hexdigest()}


def check_same(kept: Mapping[str, Any], target: Target, path: str | os.PathLike[str]) -> None:
    """Raise unless the record of a run describes this model and these data; warn where it had other versions.

    Raises:
        DataError: what differs, by its name.
    """
    before, now = kept.get("program"), description(target)
    now = json.loads(json.dumps(now))
    if not isinstance(before, dict):
        raise DataError(f"the record of the run in {os.fspath(path)} does not say what its model and data were")
    if before != now:
        found = "; ".join(_differences(before, now)) or "how the model is written"
        raise DataError(f"the run in {os.fspath(path)} was one of another model or of other data: {found}")
    if not may_be_same(kept["attrs"].get("model_fingerprint"), fingerprint(target.program)):
        raise DataError(
            f"the run in {os.fspath(path)} was one of another model: its functions have been edited since, and draws "
            "of two models are not mixed; undo the edit, or run it anew"
        )
    versions, current = json.loads(kept["attrs"]["versions"]), json.loads(provenance()["versions"])
    changed = [
        f"{name} {versions[name]} (now {current[name]})"
        for name in current
        if name != "python" and versions.get(name, current[name]) != current[name]
    ]
    if changed:
        warnings.warn(
            f"the run in {os.fspath(path)} was begun with {', '.join(changed)}; it goes on, but the last digits of its "
            "draws may not be those that it would have had",
            stacklevel=3,
        )


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    if before["precision"] != now["precision"]:
        yield f"precision was {before['precision']} and is {now['precision']}"
    yield from _named("argument", before["arguments"], now["arguments"], _of_argument)
    yield from _named("setting", before["settings"], now["settings"], _of_value)
    yield from _named("site", before["sites"], now["sites"], _of_site)
    yield from _named("what the model reads around it,", before["around"], now["around"], _of_value)
    if list(before["sites"]) != list(now["sites"]) and set(before["sites"]) == set(now["sites"]):
        yield f"the order of the sites was {', '.join(before['sites'])} and is {', '.join(now['sites'])}"


def _named(what: str, before: Mapping[str, Any], now: Mapping[str, Any], compare: Any) -> Iterator[str]:
    for name in dict.fromkeys([*before, *now]):
        if name not in now:
            yield f"{what} {name!r} is gone"
        elif name not in before:
            yield f"{what} {name!r} is new"
        elif before[name] != now[name]:
            yield f"{what} {name!r} {compare(before[name], now[name])}"


def _of_argument(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    for part in ("shape", "dtype"):
        if before[part] != now[part]:
            return f"had {part} {_plain(before[part])} and has {_plain(now[part])}"
    return "has other values"


def _of_value(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    if before["value"] == now["value"]:
        return "is another value"
    return f"was {before['value']} and is {now['value']}"


def _of_site(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    parts = [part for part in before if before[part] != now[part]]
    return ", ".join(f"had {part} {_plain(before[part])} and has {_plain(now[part])}" for part in parts)


def _plain(value: object) -> str:
    return str(tuple(value)) if isinstance(value, list) else str(value)
