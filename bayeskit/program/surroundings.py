"""What a function reads besides its arguments: globals, and the variables of the functions around it.

A compiled program is found again by the function that it was made of. A constant beside that function may have changed
since, as constants in notebooks do, so what can be compared of them is part of what a program is found by.
"""

from __future__ import annotations

import functools
import inspect
import re
import sys
import sysconfig
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.distributions import Distribution
from numpyro.primitives import Messenger

from bayeskit.program.arguments import Rest

__all__ = ["surroundings"]

LIBRARIES = frozenset({"numpyro", "jax", "jaxlib", "numpy", "scipy", "bayeskit", "builtins", "functools", "math"})


def surroundings(model: Callable[..., object]) -> tuple[tuple[str, Any], ...]:
    """Names and values that a function reads, and those that functions called by it read: numbers, strings, arrays,
    distributions and containers of these by content, functions by identity; of modules and of other objects the
    attributes that it names, those of ``self`` included.
    """
    found: dict[str, Any] = {}
    for function in _functions(model):
        _visit(function, found)
        for name, value in _bound(model).items():
            _note(f"{function.__module__}.{function.__qualname__}: {name}", value, _names(function), found)
    return tuple(sorted(found.items(), key=lambda item: item[0]))


def _bound(model: Any) -> dict[str, Any]:
    """What a model brings along: the object that it is a method of, or the arguments of a `functools.partial`."""
    if isinstance(model, Messenger):
        return _bound(model.fn)
    if isinstance(model, functools.partial):
        own = {f"argument {number}": value for number, value in enumerate(model.args)}
        return {**_bound(model.func), **own, **{f"argument {name}": value for name, value in model.keywords.items()}}
    if isinstance(model, types.MethodType):
        return {"self": model.__self__}
    return {} if isinstance(model, types.FunctionType | type) else {"self": model}


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
    if place in found or (function.__module__ or "").partition(".")[0] in LIBRARIES:
        return
    found[place] = function
    names = _names(function)
    values = {name: function.__globals__[name] for name in names if name in function.__globals__}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            values[name] = cell.cell_contents
        except ValueError:  # not yet assigned
            continue
    values |= {f"default {number}": value for number, value in enumerate(function.__defaults__ or ())}
    for name, value in values.items():
        _note(f"{place}: {name}", value, names, found)


def _note(place: str, value: Any, names: frozenset[str], found: dict[str, Any], above: tuple[Any, ...] = ()) -> None:
    """Write down a value that a function reads; `names` are all that the function names, attributes included."""
    if isinstance(value, types.FunctionType | functools.partial | types.MethodType):
        for inner in _functions(value):
            found[place] = inner
            _visit(inner, found)
    elif (content := _content(value)) is not None:
        found[place] = content
    elif not any(value is other for other in above):
        names = _with_methods(value, names)
        for name, inner in _attributes(value, names).items():
            _note(f"{place}.{name}", inner, names, found, (*above, value))


def _with_methods(value: Any, names: frozenset[str]) -> frozenset[str]:
    """The names, and those in the methods and properties of an object that are named: these read attributes too."""
    while not isinstance(value, types.ModuleType):
        methods = [f for f in _attributes(value, names).values() if isinstance(f, types.FunctionType)]
        more = names.union(*map(_names, methods))
        if more == names:
            break
        names = more
    return names


def _attributes(value: Any, names: frozenset[str]) -> Mapping[str, Any]:
    """Of an object, or a module of the user's own, the attributes that are named; a property as its function."""
    if isinstance(value, types.ModuleType):
        known = value.__name__.partition(".")[0] in LIBRARIES or _is_installed(value)
        return {} if known else {name: vars(value)[name] for name in sorted(names) if name in vars(value)}
    if isinstance(value, type | Messenger) or type(value).__module__.partition(".")[0] in LIBRARIES - {"builtins"}:
        return {}
    found, foreign = {}, _is_installed(sys.modules.get(type(value).__module__))
    for name in sorted(names):
        attribute = inspect.getattr_static(value, name, None)
        if foreign and isinstance(attribute, property | types.FunctionType):
            continue  # what a library computes is not followed
        if attribute is not None and not isinstance(attribute, types.MemberDescriptorType):
            found[name] = attribute.fget if isinstance(attribute, property) else attribute
        elif attribute is not None and hasattr(value, name):  # a slot
            found[name] = getattr(value, name)
    return found


def _is_installed(module: types.ModuleType | None) -> bool:
    """Whether a module comes from a folder of installed packages; one made in Python does not."""
    return (getattr(module, "__file__", None) or "").startswith(_INSTALLED)


_INSTALLED = tuple(sysconfig.get_paths()[kind] for kind in ("stdlib", "platstdlib", "purelib", "platlib"))


def _names(function: types.FunctionType) -> frozenset[str]:
    """All names in a function that are not its own variables: globals and attributes."""
    return frozenset(name for code in _codes(function.__code__) for name in code.co_names)


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """A function's code, and that of the functions written inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)


def _content(value: Any) -> Rest | None:
    """A value compared by content; `None` where that is not possible."""
    if isinstance(value, Distribution):
        leaves, structure = jax.tree.flatten(value)
        # not every structure of a distribution has a hash; where its parts are in memory says nothing about them
        return _content((re.sub("0x[0-9a-f]+", "", f"{type(value)} {structure}"), leaves))
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
    content = Rest(jax.tree.unflatten(structure, kept))
    try:
        hash(content)  # at once: an array may be changed in place later on
    except TypeError:
        return None
    return content
