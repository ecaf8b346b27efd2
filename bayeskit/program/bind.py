"""Bind data to a NumPyro function, and refuse data that would give a wrong number in silence."""

from __future__ import annotations

import dataclasses
import inspect
from argparse import Namespace
from collections.abc import Hashable, Mapping
from types import SimpleNamespace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from bayeskit._spelling import did_you_mean
from bayeskit._typing import Array, Data, Model
from bayeskit.errors import DataError, ModelError

NARROW = tuple(map(np.dtype, ("int8", "uint8", "int16", "uint16")))
"""Integers that wrap around within the range of ordinary data. Keys are wider, and stay as they are."""
Static = int | bool | str | None | Hashable


class Program(eqx.Module):
    """A NumPyro function with its arguments bound; made by :func:`bind`.

    A pytree: the arrays among the arguments are its leaves; ints, bools, strings, ``None`` and functions are static
    and part of every compile key. Calling it runs the function.

    Attributes:
        model: the NumPyro function.
        arrays: the array arguments by name; of a parameter (a mapping or Equinox module), the arrays in it.
        settings: the static arguments, as sorted ``(name, value)`` pairs; of a parameter, the rest of it.
    """

    model: Model = eqx.field(static=True)
    arrays: dict[str, Any]
    settings: tuple[tuple[str, Static], ...] = eqx.field(static=True)

    def __call__(self) -> object:
        """Run the function on its arguments."""
        given = dict(self.settings)
        for name, value in self.arrays.items():
            rest = given.get(name)
            given[name] = eqx.combine(value, rest.tree) if isinstance(rest, _Rest) else value
        return self.model(**given)

    @property
    def name(self) -> str:
        """The function's name, for messages."""
        return str(getattr(self.model, "__name__", type(self.model).__name__))

    @property
    def origin(self) -> str:
        """Module and name of the function, for records."""
        return f"{getattr(self.model, '__module__', '')}.{self.name}"

    @property
    def data(self) -> dict[str, object]:
        """All arguments, arrays and static ones, by name."""
        return {**{name: value for name, value in self.settings if not isinstance(value, _Rest)}, **self.arrays}


@dataclasses.dataclass(frozen=True)
class _Rest:
    """The leaves of a parameter that are not arrays; hashable, so that they can be static."""

    tree: Any

    def __hash__(self) -> int:
        leaves, structure = jax.tree.flatten(self.tree)
        return hash((structure, tuple(leaves)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Rest):
            return NotImplemented
        return bool(jax.tree.flatten(self.tree)[::-1] == jax.tree.flatten(other.tree)[::-1])


def bind(model: Model, data: Data | None = None) -> Program:
    """Bind a mapping of argument names to the arguments of a NumPyro function.

    Lists, NumPy, JAX, pandas and xarray arrays and Python floats become JAX arrays in the user's current precision.
    Whole numbers of any width become signed integers of that precision: narrow ones wrap around silently, and an age
    of 25 years as `uint8`, less 40, is 241. Ints, bools, strings, ``None`` and functions stay as they are (sizes and
    switches). A mapping or an Equinox module holds parameters, say of a guide, and arrives as it is, with integers of 8
    and 16 bits widened.

    Args:
        model: a NumPyro function; handlers such as ``numpyro.handlers.reparam`` around it are fine.
        data: values by argument name: a mapping, a pandas or polars table (its columns), or a namespace.

    Raises:
        DataError: a name that the function does not take or that it needs and did not get; an empty array; NaN; masked
            values; strings or objects in an array; numbers that do not fit the current precision.
        ModelError: ``model`` is not a function.

    Example:
        >>> import bayeskit as bk
        >>> program = bk.bind(lambda y, J: None, {"y": [1.0, 2.0], "J": 2})
        >>> program.arrays["y"].shape, program.settings
        ((2,), (('J', 2),))
    """
    if isinstance(model, Program):
        if named(data):
            raise DataError(
                "the model is a Program with its data already bound; bind new data to `program.model` instead"
            )
        return model
    if not callable(model):
        raise ModelError(f"the model must be a NumPyro function, got {type(model).__name__}")
    given = named(data)
    _check_names(model, given)
    arrays: dict[str, Any] = {}
    settings: dict[str, Static] = {}
    for name, value in given.items():
        if isinstance(value, Mapping | eqx.Module):
            arrays[name], rest = eqx.partition(jax.tree.map(_as_parameter, value), eqx.is_array)
            settings[name] = _Rest(rest)
        elif _is_static(value):
            settings[name] = value.item() if isinstance(value, np.generic) else value
        else:
            arrays[name] = _as_array(name, value)
    return Program(model, arrays, tuple(sorted(settings.items())))


def named(data: object) -> dict[str, object]:
    """Data by name: a mapping, the columns of a table (pandas, polars), or the attributes of a namespace."""
    if data is None:
        return {}
    if isinstance(data, Mapping):
        return dict(data)
    if hasattr(data, "columns") and hasattr(data, "__getitem__"):
        return {name: data[name] for name in data.columns}
    if isinstance(data, Namespace | SimpleNamespace):
        return dict(vars(data))
    raise DataError(f"data must map argument names to values, or be a table of columns, got {type(data).__name__}")


def _as_parameter(leaf: object) -> object:
    if isinstance(leaf, np.ndarray | jax.Array) and leaf.dtype in NARROW:
        return jnp.asarray(leaf, int)
    return jnp.asarray(leaf) if isinstance(leaf, float | np.ndarray) else leaf


def _is_static(value: object) -> bool:
    return (
        value is None
        or isinstance(value, bool | int | str | np.bool_ | np.integer)
        or (callable(value) and not hasattr(value, "__array__"))
    )


def _check_names(model: Model, given: Mapping[str, object]) -> None:
    bad = [name for name in given if not isinstance(name, str)]
    if bad:
        raise DataError(f"data names must be strings, got {bad[0]!r}")
    try:
        parameters = inspect.signature(model).parameters
    except (TypeError, ValueError):
        return
    positional = [p.name for p in parameters.values() if p.kind is p.POSITIONAL_ONLY]
    if positional:
        raise ModelError(f"argument {positional[0]!r} of the model is positional-only; bayeskit passes data by name")
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    named = [p.name for p in parameters.values() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    required = [n for n in named if parameters[n].default is inspect.Parameter.empty]
    missing = [name for name in required if name not in given]
    unexpected = [] if takes_any else [name for name in given if name not in named]
    if unexpected:
        hint = did_you_mean(unexpected[0], named)
        raise DataError(
            f"data name {unexpected[0]!r} is not an argument of the model, which takes {_listing(named)}{hint}"
        )
    if missing:
        raise DataError(f"data lack {_listing(missing)}, which the model needs (given: {_listing(list(given))})")


def _listing(names: list[str]) -> str:
    return ", ".join(repr(n) for n in names) or "nothing"


def _as_array(name: str, value: object) -> Array:
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise DataError(
            f"data {name!r} holds masked values, which an array would turn into numbers; pass the observed rows"
        )
    if isinstance(value, jax.core.Tracer):
        return jnp.asarray(value, int if value.dtype in NARROW else None)
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise DataError(f"data {name!r} is not a rectangular array: {error}") from None
    if array.dtype.kind in "OUSMm":
        raise DataError(_not_numbers(name, array))
    if array.size == 0:
        raise DataError(f"data {name!r} is empty (shape {array.shape})")
    if array.dtype.kind in "fc" and np.isnan(array).any():
        count, where = int(np.isnan(array).sum()), tuple(int(i) for i in np.argwhere(np.isnan(array))[0])
        raise DataError(
            f"data {name!r} holds {count} NaN, the first at {list(where)}; drop those rows, or pass a finite "
            "placeholder with `obs_mask` to have NumPyro impute them"
        )
    return _fit_precision(name, array)


def _not_numbers(name: str, array: np.ndarray) -> str:
    from bayeskit.storage.formats.cells import first_odd, mostly_numbers

    if array.dtype.kind not in "US" and not any(isinstance(item, str) for item in array.flat):
        return f"data {name!r} of dtype {array.dtype} is not an array of numbers (ragged lists or None become objects)"
    cells = [str(item) for item in array.flat]
    if (odd := first_odd(cells)) is not None:
        where = [int(i) for i in np.unravel_index(odd, array.shape)]
        return f"data {name!r} holds strings, most of them numbers, but {cells[odd]!r} at {where} is not a number"
    if mostly_numbers(cells):
        return f"data {name!r} holds numbers as strings, the first {cells[0]!r}; pass numbers"
    return f"data {name!r} holds strings; encode them as integers, e.g. with numpy.unique(..., return_inverse=True)"


def _fit_precision(name: str, array: np.ndarray) -> Array:
    """Convert to JAX's current precision, and raise where a number would wrap around or become infinite."""
    dtype = jax.dtypes.canonicalize_dtype(np.int64 if array.dtype.kind in "iu" else array.dtype)
    if dtype == array.dtype:
        return jnp.asarray(array)
    if array.dtype.kind in "iu":
        limits = np.iinfo(dtype)
        if int(array.max()) > limits.max or int(array.min()) < limits.min:
            cure = "enable 64-bit numbers in JAX (jax_enable_x64)" if dtype.itemsize < 8 else "pass them as floats"
            raise DataError(f"data {name!r} holds integers that do not fit {dtype}; {cure}")
    with np.errstate(over="ignore"):
        narrow = array.astype(dtype)
    if array.dtype.kind == "f" and (np.isfinite(array) & ~np.isfinite(narrow)).any():
        raise DataError(
            f"data {name!r} holds numbers that overflow {dtype}; rescale them, or enable 64-bit numbers in JAX"
        )
    return jnp.asarray(narrow)
