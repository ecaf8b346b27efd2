"""What a function reads besides its arguments: globals, and the variables of the functions around it.

A compiled program is found again by the function that it was made of. A constant beside that function may have changed
since, as constants in notebooks do, so what can be compared of them is part of what a program is found by.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.primitives import Messenger

from bayeskit.program.arguments import Rest

__all__ = ["surroundings"]

LIBRARIES = frozenset({"numpyro", "jax", "jaxlib", "numpy", "scipy", "bayeskit", "builtins", "functools", "math"})


def surroundings(model: Callable[..., object]) -> tuple[tuple[str, Any], ...]:
    """Names and values that a function reads, and those that functions called by it read: numbers, strings, arrays and
    containers of these by content, functions by identity. Of other objects nothing is known.
    """
    found: dict[str, Any] = {}
    for function in _functions(model):
        _visit(function, found)
    return tuple(sorted(found.items(), key=lambda item: item[0]))


def _functions(model: Any) -> Iterator[types.FunctionType]:
    """The functions that a model is made of."""
    if isinstance(model, Messenger):
        yield from _functions(model.fn)
    elif isinstance(model, functools.partial):
        yield from _functions(model.func)
    elif isinstance(model, types.MethodType):
        yield from _functions(model.__func__)
    elif isinstance(model, types.FunctionType):
        yield model
        if hasattr(model, "__wrapped__"):
            yield from _functions(model.__wrapped__)
    elif callable(model) and not isinstance(model, type):
        yield from _functions(type(model).__call__)


def _visit(function: types.FunctionType, found: dict[str, Any]) -> None:
    place = f"{function.__module__}.{function.__qualname__}"
    if place in found or function.__module__.partition(".")[0] in LIBRARIES:
        return
    found[place] = function
    values: dict[str, Any] = {}
    for code in _codes(function.__code__):
        values |= {name: function.__globals__[name] for name in code.co_names if name in function.__globals__}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            values[name] = cell.cell_contents
        except ValueError:  # not yet assigned
            continue
    values |= {f"default {number}": value for number, value in enumerate(function.__defaults__ or ())}
    for name, value in values.items():
        if isinstance(value, types.FunctionType | functools.partial | types.MethodType):
            for inner in _functions(value):
                found[f"{place}: {name}"] = inner
                _visit(inner, found)
        elif (content := _content(value)) is not None:
            found[f"{place}: {name}"] = content


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """A function's code, and that of the functions written inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)


def _content(value: Any) -> Rest | None:
    """A value compared by content; `None` where that is not possible."""
    if callable(value) and not isinstance(value, np.ndarray | jax.Array):
        return None
    leaves, structure = jax.tree.flatten(value)
    kept = []
    for leaf in leaves:
        if isinstance(leaf, jax.core.Tracer) or not isinstance(
            leaf, np.ndarray | np.generic | jax.Array | bool | int | float | complex | str
        ):
            return None
        if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        kept.append(np.asarray(leaf) if hasattr(leaf, "dtype") else leaf)
    return Rest(jax.tree.unflatten(structure, kept))
