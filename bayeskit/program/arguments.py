"""One argument of a program in two parts: the arrays in it, which JAX traces, and the rest, which is static."""

from __future__ import annotations

import dataclasses
import hashlib
from argparse import Namespace
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping
from functools import cached_property
from types import SimpleNamespace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from bayeskit._typing import Array
from bayeskit.errors import DataError
from bayeskit.xla.devices import is_spread

__all__ = ["Rest", "Static", "as_constant", "columns", "inputs", "join", "place_of", "split"]

NARROW = tuple(map(np.dtype, ("int8", "uint8", "int16", "uint16")))
"""Integers that wrap around within the range of ordinary data. Keys are wider, and stay as they are."""
Static = int | bool | str | None | Hashable


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Rest:
    """What is static in an argument that is not a plain number, string or function: compared by content.

    Attributes:
        tree: the argument, with `None` in place of the arrays that are traced; NumPy arrays in it are constants.
    """

    tree: Any

    @cached_property
    def _content(self) -> tuple[Any, ...]:
        leaves, structure = jax.tree.flatten(self.tree)
        return (structure, *map(_content_of, leaves))

    @cached_property
    def _hash(self) -> int:
        return hash(self._content)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Rest):
            return NotImplemented
        return self is other or self._content == other._content

    def __repr__(self) -> str:
        return f"Rest{self._content}"


def _content_of(leaf: Any) -> Any:
    if isinstance(leaf, np.ndarray):
        return leaf.dtype.str, leaf.shape, hashlib.sha256(np.ascontiguousarray(leaf).tobytes()).hexdigest()
    return type(leaf).__name__, leaf


@jax.tree_util.register_pytree_with_keys_class
@dataclasses.dataclass(frozen=True)
class _Attributes:
    """An object that JAX cannot take apart, or a mapping whose order counts, by name; made again for the model."""

    make: Callable[[dict[Any, Any]], object]
    values: dict[Any, Any]

    def tree_flatten_with_keys(self) -> tuple[list[tuple[Any, Any]], Any]:
        """JAX's hook."""
        key = jax.tree_util.GetAttrKey if isinstance(self.make, _Dataclass | _Namespace) else jax.tree_util.DictKey
        return [(key(n), v) for n, v in self.values.items()], (self.make, tuple(self.values))

    @classmethod
    def tree_unflatten(cls, kept: Any, children: Any) -> _Attributes:
        """JAX's hook."""
        make, names = kept
        return cls(make, dict(zip(names, children, strict=True)))


@dataclasses.dataclass(frozen=True)
class _Dataclass:
    """Makes an instance of a dataclass from its fields, without calling its constructor again."""

    kind: type

    def __call__(self, values: dict[Any, Any]) -> object:
        made: object = object.__new__(self.kind)
        for name, value in values.items():
            object.__setattr__(made, name, value)
        return made


@dataclasses.dataclass(frozen=True)
class _Namespace:
    """Makes a namespace from its attributes."""

    kind: type

    def __call__(self, values: dict[Any, Any]) -> object:
        return self.kind(**values)


class Table:
    """The columns of a data frame as arrays: ``table["x"]``, ``table.x``, ``len(table)`` rows, ``table.columns``."""

    def __init__(self, values: dict[Any, Any]):
        self._values = values

    def __getitem__(self, name: Any) -> Any:
        if isinstance(name, list):
            return Table({one: self._values[one] for one in name})
        return self._values[name]

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["_values"][name]
        except KeyError:
            known = ", ".join(map(str, self.columns))
            raise AttributeError(f"the table has no column {name!r}; it has {known}") from None

    def __iter__(self) -> Iterator[Any]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(next(iter(self._values.values())))

    def keys(self) -> list[Any]:
        """Names of the columns, so that ``**table`` passes them on."""
        return list(self._values)

    @property
    def columns(self) -> list[Any]:
        """Names of the columns."""
        return self.keys()

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return len(self), len(self._values)

    @property
    def values(self) -> Array:
        """All columns as one array of shape ``(rows, columns)``, as of a data frame."""
        return jnp.stack([jnp.asarray(column) for column in self._values.values()], axis=1)

    def to_numpy(self) -> Array:
        """The same."""
        return self.values

    __jax_array__ = to_numpy

    def __matmul__(self, other: Any) -> Array:
        return jnp.asarray(self.values @ other)


def columns(table: object) -> list[str] | None:
    """Names of the columns of a data frame (pandas, polars, ...), and `None` for anything else."""
    is_table = hasattr(table, "columns") and hasattr(table, "__getitem__") and not isinstance(table, Mapping)
    return list(table.columns) if is_table else None  # type: ignore[attr-defined]


def split(name: str, value: object) -> tuple[Any, Static]:
    """The arrays in an argument (`None` if there are none), and what of it is static (a `Rest`, where it is mixed).

    Raises:
        DataError: naming the argument, and the place in it.
    """
    if is_static(value):
        return None, value.item() if isinstance(value, np.generic) else value
    if _is_container(value):
        tree = _tree(repr(name), value)
        arrays, rest = eqx.partition(tree, lambda leaf: isinstance(leaf, jax.Array))
        return (arrays, Rest(rest)) if jax.tree.leaves(arrays) else (None, Rest(tree))
    return as_array(repr(name), value), None


def join(arrays: Any, static: Static) -> Any:
    """The argument as the model gets it."""
    if not isinstance(static, Rest):
        return static if arrays is None else arrays
    return _made(static.tree if arrays is None else eqx.combine(arrays, static.tree))


def as_constant(arrays: Any, static: Static) -> Rest:
    """The argument as a constant, with NumPy arrays in place of those that were traced."""
    rest = static.tree if isinstance(static, Rest) else None
    fixed = jax.tree.map(lambda leaf: leaf.item() if leaf.ndim == 0 else np.asarray(leaf), arrays)
    return Rest(fixed if rest is None else eqx.combine(fixed, rest))


def inputs(name: str, arrays: Any, static: Static) -> dict[str, Any]:
    """The numbers and strings of an argument by name; those inside a container as ``name.key``."""
    if not isinstance(static, Rest):
        return {name: static if arrays is None else arrays}
    tree = static.tree if arrays is None else eqx.combine(arrays, static.tree)
    return {name + "".join(map(_dotted, path)): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _dotted(key: Any) -> str:
    return f".{getattr(key, 'key', getattr(key, 'name', getattr(key, 'idx', '')))}"


def place_of(path: tuple[Any, ...]) -> str:
    """Where a leaf of the arrays of a program stands: ``'group'``, inside a container ``'groups'['county']``."""
    first, *rest = path
    return repr(first.key) + jax.tree_util.keystr(tuple(rest))


def _made(tree: Any) -> Any:
    """A tree with the objects that JAX cannot take apart made again."""

    def make(node: Any) -> Any:
        return node.make({n: _made(v) for n, v in node.values.items()}) if isinstance(node, _Attributes) else node

    return jax.tree.map(make, tree, is_leaf=lambda node: isinstance(node, _Attributes))


def is_static(value: object) -> bool:
    """Whether an argument is a size, a switch or a function; so is a tuple of such, say a shape."""
    if type(value) is tuple:
        return all(map(is_static, value))
    return (
        value is None
        or isinstance(value, bool | int | str | np.bool_ | np.integer)
        or (callable(value) and not hasattr(value, "__array__") and not isinstance(value, eqx.Module))
    )


def _is_container(value: object) -> bool:
    if isinstance(value, list | tuple):
        # numbers, however nested, are an array; so are several arrays of one shape in a list
        numbers = not hasattr(value, "_fields") and _is_numbers(value)
        return not numbers and (isinstance(value, tuple) or any(map(_is_container, value)))
    return (
        isinstance(value, Mapping | eqx.Module | Namespace | SimpleNamespace)
        or (dataclasses.is_dataclass(value) and not isinstance(value, type))
        or columns(value) is not None
        or not (hasattr(value, "__array__") or jax.tree_util.all_leaves([value]))
    )


def _is_numbers(value: object) -> bool:
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return all(map(_is_numbers, value))
    return isinstance(value, bool | int | float | complex | str | np.generic) or value is None


def _tree(path: str, value: Any) -> Any:
    """A container with its arrays as JAX arrays, and what JAX cannot take apart as its attributes."""
    if isinstance(value, eqx.Module):
        return jax.tree.map(_as_parameter, value)
    if not _is_container(value):
        return _as_leaf(path, value)
    if (names := columns(value)) is not None:
        return _Attributes(Table, {n: _column(f"{path}[{n!r}]", value[n]) for n in names})
    if isinstance(value, Mapping):
        pairs = {key: _tree(f"{path}[{key!r}]", item) for key, item in value.items()}
        if isinstance(value, OrderedDict):
            return OrderedDict(pairs)
        # JAX sorts the keys of a dictionary, and a model may count on their order
        return pairs if _is_sorted(list(pairs)) else _Attributes(dict, pairs)
    if isinstance(value, list | tuple):
        items = [_tree(f"{path}[{i}]", item) for i, item in enumerate(value)]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if jax.tree_util.all_leaves([value]):
        return _attributes(path, value)
    leaves, structure = jax.tree_util.tree_flatten_with_path(value)
    return jax.tree.unflatten(structure, [_as_leaf(path + jax.tree_util.keystr(at), leaf) for at, leaf in leaves])


def _is_sorted(keys: list[Any]) -> bool:
    try:
        return sorted(keys) == keys
    except TypeError:  # keys of several kinds
        return False


def _attributes(path: str, value: Any) -> _Attributes:
    if isinstance(value, Namespace | SimpleNamespace):
        make: Callable[[dict[Any, Any]], object] = _Namespace(type(value))
        names = list(vars(value))
    else:
        make = _Dataclass(type(value))
        fields = [field.name for field in dataclasses.fields(value) if hasattr(value, field.name)]
        names = list(dict.fromkeys([*fields, *getattr(value, "__dict__", {})]))
    return _Attributes(make, {n: _tree(f"{path}.{n}", getattr(value, n)) for n in names})


def _column(path: str, column: object) -> object:
    """A column of a table; one of strings is a constant, which the model may leave alone."""
    array = np.asarray(column)
    if array.dtype.kind in "OUS" and all(isinstance(item, str) for item in array.flat):
        return array
    return as_array(path, column)


def _as_leaf(path: str, value: object) -> object:
    if is_static(value):
        return value.item() if isinstance(value, np.generic) else value
    if isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        return value
    if isinstance(value, np.ndarray | jax.Array):
        # raw keys, which a program may carry among its parameters, and blocks of parameters without entries
        is_key = value.dtype == np.uint32 and value.shape[-1:] == (2,)
        if is_key or value.size == 0:
            return jnp.asarray(value)
    return as_array(path, value)


def _as_parameter(leaf: object) -> object:
    if isinstance(leaf, np.ndarray | jax.Array) and leaf.dtype in NARROW:
        return jnp.asarray(leaf, int)
    return jnp.asarray(leaf) if isinstance(leaf, float | np.ndarray) else leaf


def as_array(path: str, value: object) -> Array:
    """An array of numbers in the current precision; what lies on several devices stays there.

    Raises:
        DataError: naming `path`.
    """
    if isinstance(value, jax.core.Tracer) or (isinstance(value, jax.Array) and is_spread(value)):
        return jnp.asarray(value, int if value.dtype in NARROW else None)
    return _on_device(as_host_array(path, value))


def as_host_array(path: str, value: object) -> np.ndarray:
    """A NumPy array of numbers in JAX's current precision, which nothing else refers to.

    Raises:
        DataError: naming `path`.
    """
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise DataError(
            f"data {path} holds masked values, which an array would turn into numbers; pass the observed rows"
        )
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise DataError(f"data {path} is not a rectangular array: {error}") from None
    if array.dtype.kind in "OUSMm":
        raise DataError(_not_numbers(path, array))
    if array.size == 0:
        raise DataError(f"data {path} is empty (shape {array.shape})")
    return _fit_precision(path, array)


def _not_numbers(path: str, array: np.ndarray) -> str:
    from bayeskit.storage.formats.cells import first_odd, mostly_numbers

    if array.dtype.kind not in "US" and not any(isinstance(item, str) for item in array.flat):
        return f"data {path} of dtype {array.dtype} is not an array of numbers (ragged lists or None become objects)"
    cells = [str(item) for item in array.flat]
    if (odd := first_odd(cells)) is not None:
        where = [int(i) for i in np.unravel_index(odd, array.shape)]
        return f"data {path} holds strings, most of them numbers, but {cells[odd]!r} at {where} is not a number"
    if mostly_numbers(cells):
        return f"data {path} holds numbers as strings, the first {cells[0]!r}; pass numbers"
    return f"data {path} holds strings; encode them as integers, e.g. with numpy.unique(..., return_inverse=True)"


def _fit_precision(path: str, array: np.ndarray) -> np.ndarray:
    """Convert to JAX's current precision, and raise where a number would wrap around or become infinite."""
    dtype = jax.dtypes.canonicalize_dtype(np.int64 if array.dtype.kind in "iu" else array.dtype)
    if dtype == array.dtype:
        return array.copy()  # which may become the memory of the JAX array
    if array.dtype.kind in "iu":
        limits = np.iinfo(dtype)
        if int(array.max()) > limits.max or int(array.min()) < limits.min:
            cure = "enable 64-bit numbers in JAX (jax_enable_x64)" if dtype.itemsize < 8 else "pass them as floats"
            raise DataError(f"data {path} holds integers that do not fit {dtype}; {cure}")
    with np.errstate(over="ignore"):
        narrow = array.astype(dtype)
    if array.dtype.kind == "f" and (np.isfinite(array) & ~np.isfinite(narrow)).any():
        raise DataError(
            f"data {path} holds numbers that overflow {dtype}; rescale them, or enable 64-bit numbers in JAX"
        )
    return narrow


def _on_device(array: np.ndarray) -> Array:
    """As `jnp.asarray`, which compiles a program for each shape."""
    return jax.device_put(array)
