"""What was fitted, as a DataTree that the formats of results can hold, and made again from it to the last bit.

An object is taken apart (`bayeskit.storage.forms`) into arrays and a structure, which is JSON:

==================================================== ==============================================================
JSON                                                 what it stands for
==================================================== ==============================================================
``null``, ``true``, a number, a string               itself
``{"tuple": [...]}``, ``{"list": [...]}``            itself; ``{"dict": {...}}`` with strings as keys
``{"array": "r", "on": "jax", "dtype": "<f8"}``      an array of the group ``arrays``; ``on`` is ``jax``, ``numpy`` or
                                                     ``scalar`` (a NumPy scalar); ``weak``: JAX's weak type;
                                                     ``order``: ``"F"`` for columns first
``{"bytes": "9a..3f", "on": "jax", "dtype": "<f8"}`` an array without dimensions, or of strings, in hexadecimal digits
``{"kind": "nngp.Dense", "fields": {...}}``          an object of a class that `bayeskit._keepable` names
``{"function": "jax.numpy.tanh"}``                   a function; with a hash of its ``source`` if it is the user's own
``{"absent": true}``                                 a field that the object does not have
==================================================== ==============================================================
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from bayeskit._keepable import KEPT, computes_in_double, find, is_of_library, keepable, kind_of
from bayeskit._settings import source_hash
from bayeskit.errors import StorageError
from bayeskit.storage.forms import ABSENT, form_of
from bayeskit.storage.provenance import provenance

__all__ = ["as_tree", "keepable", "made_again"]

FORMAT = 1
_STRUCTURE, _ARRAYS = "structure", "arrays"


def as_tree(thing: object, path: Path) -> xr.DataTree:
    """What was fitted as a tree that a file can hold.

    Args:
        thing: an object of a class that can be kept.
        path: where it will go, for messages.

    Raises:
        StorageError: the class is none that can be kept, or the object holds what cannot be written; with the field.
    """
    kind = kind_of(type(thing))
    if kind is None or form_of(type(thing)) is None:
        raise StorageError(
            f"cannot write {path}: {_described(thing)} is neither a result (a DataTree) nor anything that was fitted; "
            "a class of your own can be kept when it is named with @bayeskit.storage.keepable"
        )
    writer = _Writer(path)
    structure = json.dumps(writer.value(thing, "")).encode()
    attrs = {**provenance(), KEPT: FORMAT, "kind": kind, "checksum": _checksum(structure, writer.arrays)}
    groups = {"/": xr.Dataset(attrs=attrs)}
    groups[f"/{_STRUCTURE}"] = xr.Dataset({"json": ("byte", np.frombuffer(structure, np.uint8))})
    if writer.arrays:
        groups[f"/{_ARRAYS}"] = xr.Dataset({name: _variable(name, array) for name, array in writer.arrays.items()})
    return xr.DataTree.from_dict(groups)


def made_again(tree: xr.DataTree, path: Path) -> Any:
    """The object that `as_tree` has taken apart.

    Raises:
        StorageError: another version of the format, damage, a class or function that is not known here, fields that
            the class does not have, or float64 where it would be cut.
    """
    if tree.attrs[KEPT] != FORMAT:
        raise StorageError(
            f"{path} holds what was fitted in format {tree.attrs[KEPT]!r}; this version of bayeskit reads format "
            f"{FORMAT}"
        )
    groups = {name: node.to_dataset() for name, node in tree.children.items()}
    if "json" not in groups.get(_STRUCTURE, {}):
        raise StorageError(f"{path} is incomplete: {_STRUCTURE}/json is missing")
    structure = np.asarray(groups[_STRUCTURE]["json"].values).tobytes()
    arrays = {str(name): array.values for name, array in groups.get(_ARRAYS, xr.Dataset()).data_vars.items()}
    if _checksum(structure, arrays) != tree.attrs.get("checksum"):
        raise StorageError(f"{path} is damaged: its content is not what was saved")
    return _Reader(path, arrays, str(tree.attrs.get("bayeskit_version"))).value(json.loads(structure), "", False)


def _checksum(structure: bytes, arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256(structure)
    for name, array in sorted(arrays.items()):
        digest.update(f"{name}{array.dtype.str}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _variable(name: str, array: np.ndarray) -> xr.Variable:
    return xr.Variable([f"{name}_dim_{i}" for i in range(array.ndim)], array)


def _described(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")


class _Writer:
    """Takes things apart; `where` is the place of a value in the whole, for messages and for the names of arrays."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.arrays: dict[str, np.ndarray] = {}
        self._names: dict[str, str] = {}  # by content

    def value(self, value: Any, where: str) -> object:
        if value is None or type(value) in (bool, int, float, str):
            return value
        if value is ABSENT:
            return {"absent": True}
        if isinstance(value, jax.Array | np.ndarray | np.generic):
            return self._array(value, where)
        if type(value) in (tuple, list):
            return {type(value).__name__: [self.value(each, f"{where}[{i}]") for i, each in enumerate(value)]}
        if type(value) is dict and all(type(name) is str for name in value):
            return {"dict": {name: self.value(each, f"{where}[{name!r}]") for name, each in value.items()}}
        return self._object(value, where)

    def _object(self, value: Any, where: str) -> object:
        kind, form = kind_of(type(value)), form_of(type(value))
        if kind is not None and form is not None:
            fields = form.fields(value).items()
            inside = {name: self.value(each, f"{where}.{name}" if where else name) for name, each in fields}
            return {"kind": kind, "fields": inside}
        name = kind_of(value)
        if name is not None:
            return {"function": name} | ({} if is_of_library(name) else {"source": source_hash(value)})
        if callable(value) and hasattr(value, "__qualname__"):
            what = f"the function {value.__module__}.{value.__qualname__}, of which a file can hold no more than a name"
            remedy = "take a function of jax.numpy or jax.nn"
        else:
            what = f"a {_described(value)}, a class that no file can hold"
            remedy = "take a class of bayeskit, NumPyro or tinygp"
        return self._refuse(where, what, f"{remedy}, or name yours with @bayeskit.storage.keepable")

    def _array(self, value: jax.Array | np.ndarray | np.generic, where: str) -> object:
        if isinstance(value, jax.core.Tracer):
            self._refuse(where, "a traced value", "save outside of jit, grad and vmap")
        if jnp.issubdtype(value.dtype, jax.dtypes.extended) or value.dtype.kind not in "biufU":
            self._refuse(where, f"an array of dtype {value.dtype}", "a file can hold numbers, booleans and strings")
        array = np.asarray(value)
        on = "jax" if isinstance(value, jax.Array) else "numpy" if isinstance(value, np.ndarray) else "scalar"
        little = array.dtype.newbyteorder("<")
        note = {"on": on, "dtype": little.str} | ({"weak": True} if getattr(value, "weak_type", False) else {})
        if array.ndim == 0 or array.dtype.kind == "U":
            shape = {"shape": list(array.shape)} if array.ndim else {}
            return {"bytes": array.astype(little).tobytes().hex(), **shape, **note}
        if array.flags.f_contiguous and not array.flags.c_contiguous:
            note["order"] = "F"  # sums may be rounded differently in another order
        return {"array": self._name_of(np.ascontiguousarray(array, array.dtype.newbyteorder("=")), where), **note}

    def _name_of(self, array: np.ndarray, where: str) -> str:
        """Under which the array is written, once: what a posterior holds twice can be large."""
        content = f"{array.dtype}{array.shape}{hashlib.sha256(array.tobytes()).hexdigest()}"
        if content not in self._names:
            name = re.sub(r"[^A-Za-z0-9_]+", ".", where).strip(".")
            while name in self.arrays:
                name += "_"
            self.arrays[name], self._names[content] = array, name
        return self._names[content]

    def _refuse(self, where: str, what: str, remedy: str) -> NoReturn:
        raise StorageError(f"cannot write {self.path}: {where} is {what}; {remedy}")


class _Reader:
    """Makes things again; in what computes in float64 by itself, arrays stay as they are."""

    def __init__(self, path: Path, arrays: Mapping[str, np.ndarray], version: str) -> None:
        self.path, self.arrays, self.version = path, arrays, version

    def value(self, node: Any, where: str, in_double: bool) -> Any:
        if not isinstance(node, dict):
            return node
        if "kind" in node:
            return self._object(node["kind"], node["fields"], where, in_double)
        if "array" in node or "bytes" in node:
            return self._array(node, where, in_double)
        if "function" in node:
            return self._function(node)
        if "dict" in node:
            return {name: self.value(each, f"{where}[{name!r}]", in_double) for name, each in node["dict"].items()}
        if "absent" in node:
            return ABSENT
        ((form, items),) = node.items()
        return {"tuple": tuple, "list": list}[form](
            self.value(each, f"{where}[{i}]", in_double) for i, each in enumerate(items)
        )

    def _object(self, kind: str, nodes: Mapping[str, Any], where: str, in_double: bool) -> object:
        cls = find(kind)
        form = form_of(cls) if isinstance(cls, type) else None
        if form is None:
            self._refuse(
                f"holds a {kind!r}, which is not known here", f"if it is yours, import it first; {self._since}"
            )
        names = None if form.names is None else form.names(cls)
        if names is not None and names != nodes.keys():
            differ = ", ".join(sorted(names ^ nodes.keys()))
            self._refuse(f"holds a {kind!r} with other fields than it has here ({differ})", self._since)
        inside = in_double or computes_in_double(kind)
        fields = {n: self.value(node, f"{where}.{n}" if where else n, inside) for n, node in nodes.items()}
        return form.make(cls, fields)

    def _function(self, node: Mapping[str, str]) -> object:
        name, function = node["function"], find(node["function"])
        if function is None:
            self._refuse(
                f"holds the function {name!r}, which is not known here",
                f"if it is yours, import it first; {self._since}",
            )
        if "source" in node and node["source"] != source_hash(function):
            self._refuse(
                f"holds the function {name!r} with another source than it has now",
                "load it with the code that it was saved with, or fit again",
            )
        return function

    def _array(self, node: Mapping[str, Any], where: str, in_double: bool) -> object:
        dtype = np.dtype(node["dtype"])
        if "bytes" in node:
            content = np.frombuffer(bytes.fromhex(node["bytes"]), dtype)
            array = content.reshape(node.get("shape", ())).astype(dtype.newbyteorder("="))
        else:
            array = np.array(self.arrays[node["array"]], dtype.newbyteorder("="), order=node.get("order", "C"))
        if node["on"] == "scalar":
            return array[()]
        return array if node["on"] == "numpy" else self._on_jax(array, bool(node.get("weak")), where, in_double)

    def _on_jax(self, array: np.ndarray, weak: bool, where: str, in_double: bool) -> jax.Array:
        wide = array.dtype.kind in "iuf" and array.dtype.itemsize == 8
        if wide and not in_double and jax.dtypes.canonicalize_dtype(float) != jnp.float64:
            self._refuse(
                f"holds {where} in {array.dtype}, and JAX is set to numbers of 32 bits",
                "call jax.config.update('jax_enable_x64', True) at the start of the program",
            )
        with jax.enable_x64(wide or not weak):
            if not weak:
                return jnp.asarray(array)
            return jnp.full(array.shape, array.dtype.type(0).item()).at[...].set(array)

    @property
    def _since(self) -> str:
        return f"it was written by bayeskit {self.version}"

    def _refuse(self, what: str, remedy: str) -> NoReturn:
        raise StorageError(f"{self.path} {what}; {remedy}")
