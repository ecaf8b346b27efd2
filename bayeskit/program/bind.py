"""Bind data to a NumPyro function, and refuse data that would give a wrong number in silence."""

from __future__ import annotations

import copy
import dataclasses
import inspect
from argparse import Namespace
from collections.abc import Iterable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import equinox as eqx
from numpyro import handlers
from numpyro.primitives import Messenger

from bayeskit._spelling import did_you_mean
from bayeskit._typing import Data, Model
from bayeskit.errors import DataError, ModelError
from bayeskit.program.arguments import Static, as_constant, columns, inputs, join, split
from bayeskit.program.padding import check_nan
from bayeskit.program.surroundings import surroundings
from bayeskit.program.tables import given as given_table


class Program(eqx.Module):
    """A NumPyro function with its arguments bound; made by :func:`bind`.

    A pytree: the arrays among the arguments are its leaves; ints, bools, strings, ``None`` and functions are static
    and part of every compile key. Calling it runs the function.

    Attributes:
        model: the NumPyro function.
        arrays: the array arguments by name; of a container, the arrays in it.
        settings: the static arguments, as sorted ``(name, value)`` pairs; of a container, the rest of it.
        around: what the function reads besides its arguments, as far as it can be compared.
    """

    model: Model = eqx.field(static=True)
    arrays: dict[str, Any]
    settings: tuple[tuple[str, Static], ...] = eqx.field(static=True)
    around: tuple[tuple[str, Any], ...] = eqx.field(static=True, default=())

    def __call__(self) -> object:
        """Run the function on its arguments."""
        return self.model(**self.data)

    @property
    def name(self) -> str:
        """The function's name, for messages."""
        return str(getattr(self.model, "__name__", type(self.model).__name__))

    @property
    def origin(self) -> str:
        """Module and name of the function, for records."""
        return f"{getattr(self.model, '__module__', '')}.{self.name}"

    @property
    def data(self) -> dict[str, Any]:
        """All arguments by name, as the function gets them."""
        return {name: join(arrays, static) for name, arrays, static in self._parts()}

    @property
    def inputs(self) -> dict[str, Any]:
        """The numbers and strings among the arguments by name, those inside containers as ``name.key``."""
        return {k: v for name, arrays, static in self._parts() for k, v in inputs(name, arrays, static).items()}

    def with_constants(self, names: Iterable[str]) -> Program:
        """The program with these arguments static, as NumPy arrays."""
        fixed = {name: as_constant(arrays, static) for name, arrays, static in self._parts() if name in set(names)}
        kept = {name: value for name, value in self.arrays.items() if name not in fixed}
        settings = tuple(sorted({**dict(self.settings), **fixed}.items()))
        return dataclasses.replace(self, arrays=kept, settings=settings)

    def _parts(self) -> Iterator[tuple[str, Any, Static]]:
        static = dict(self.settings)
        for name in dict.fromkeys([*static, *self.arrays]):
            yield name, self.arrays.get(name), static.get(name)


def bind(model: Model, data: Data | None = None) -> Program:
    """Bind a mapping of argument names to the arguments of a NumPyro function.

    Lists, NumPy, JAX, pandas and xarray arrays and Python floats become JAX arrays in the user's current precision.
    Whole numbers of any width become signed integers of that precision: narrow ones wrap around silently, and an age
    of 25 years as `uint8`, less 40, is 241. Ints, bools, strings, ``None``, functions and tuples of these stay as they
    are (sizes, shapes and switches). Containers (mappings, tuples, dataclasses, namespaces, data frames, Equinox
    modules) arrive as such, with the arrays and floats in them as JAX arrays. NaN is accepted where the program's own
    mask takes it out.

    Args:
        model: a NumPyro function; handlers such as ``numpyro.handlers.reparam`` around it are fine.
        data: values by argument name: a mapping or a namespace; or a table, as for :func:`bayeskit.columns`.

    Raises:
        DataError: a name that the function does not take or that it needs and did not get; an empty array; NaN that
            counts; masked values; strings or objects in an array; numbers that do not fit the current precision.
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
    table = given_table(_without_seed(model), data)
    model, given = table.model, named(table.data)
    _check_names(model, given)
    arrays: dict[str, Any] = {}
    settings: dict[str, Static] = {}
    for name, value in given.items():
        traced, static = split(name, value)
        if traced is not None:
            arrays[name] = traced
        if traced is None or static is not None:
            settings[name] = static
    program = Program(model, arrays, tuple(sorted(settings.items())), surroundings(model))
    check_nan(program)
    return program


def _without_seed(model: Model) -> Model:
    """The model without `handlers.seed` around it: keys are the business of whoever runs it."""
    if isinstance(model, handlers.seed) and model.fn is not None:
        return _without_seed(model.fn)
    if not isinstance(model, Messenger) or model.fn is None:
        return model
    inner = _without_seed(model.fn)
    if inner is model.fn:
        return model
    outer = copy.copy(model)
    outer.fn = inner
    return outer


def named(data: object) -> dict[str, object]:
    """Data by name: a mapping, the columns of a table (pandas, polars), or the attributes of a namespace."""
    if data is None:
        return {}
    if isinstance(data, Mapping):
        return dict(data)
    if (names := columns(data)) is not None:
        return {name: data[name] for name in names}  # type: ignore[index]
    if isinstance(data, Namespace | SimpleNamespace):
        return dict(vars(data))
    raise DataError(f"data must map argument names to values, or be a table of columns, got {type(data).__name__}")


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
