"""Forms of things that are kept: how each is taken apart into fields by name, and made again from them."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import xarray as xr

__all__ = ["ABSENT", "FORMS", "Form", "form_of"]

Fields = dict[str, Any]


class _Absent(enum.Enum):
    ABSENT = "absent"


ABSENT = _Absent.ABSENT
"""In place of a field that an object does not have, though its class has it."""


class Form(NamedTuple):
    """One form.

    Attributes:
        fits: whether a class has it.
        fields: an object, taken apart.
        make: an object of a class from its fields, to the last bit; no constructor of the class is called.
        names: of the fields of a class; ``None`` where each object says them itself.
    """

    fits: Callable[[type], bool]
    fields: Callable[[Any], Fields]
    make: Callable[[Any, Fields], object]
    names: Callable[[Any], set[str]] | None = None


def form_of(cls: type) -> Form | None:
    """The form of a class, or ``None``."""
    return next((form for form in FORMS if form.fits(cls)), None)


def _with_attributes(cls: type, fields: Mapping[str, object]) -> object:
    new: object = object.__new__(cls)
    for name, value in fields.items():
        object.__setattr__(new, name, value)  # past the guard of what is frozen
    return new


ENUMERATION = Form(
    fits=lambda cls: issubclass(cls, enum.Enum),
    fields=lambda value: {"name": value.name},
    make=lambda cls, fields: cls[fields["name"]],
    names=lambda _: {"name"},
)
NAMED_TUPLE = Form(
    fits=lambda cls: issubclass(cls, tuple) and hasattr(cls, "_fields"),
    fields=lambda value: value._asdict(),
    make=lambda cls, fields: cls(**fields),
    names=lambda cls: set(cls._fields),
)
DATACLASS = Form(  # and so of every equinox.Module
    fits=dataclasses.is_dataclass,
    fields=lambda value: {field.name: getattr(value, field.name) for field in dataclasses.fields(value)},
    make=_with_attributes,
    names=lambda cls: {field.name for field in dataclasses.fields(cls)},
)


def _names_of_law(cls: Any) -> set[str]:
    return {*cls.gather_pytree_data_fields(), *cls.gather_pytree_aux_fields()}


def _fields_of_law(law: Any) -> Fields:
    """By name: NumPyro's own `tree_flatten` has them in an order that differs from process to process."""
    return {name: vars(law).get(name, ABSENT) for name in sorted(_names_of_law(type(law)))}


LAW = Form(
    fits=lambda cls: hasattr(cls, "gather_pytree_data_fields"),
    fields=_fields_of_law,
    make=lambda cls, fields: _with_attributes(cls, {n: value for n, value in fields.items() if value is not ABSENT}),
    names=_names_of_law,
)


def _fields_of_part(part: Any) -> Fields:
    values, (names, others) = part.tree_flatten()
    return {**dict(zip(names, values, strict=True)), **others}


PART_OF_LAW = Form(  # transforms and constraints
    fits=lambda cls: hasattr(cls, "tree_flatten") and hasattr(cls, "tree_unflatten"),
    fields=_fields_of_part,
    make=lambda cls, fields: cls.tree_unflatten(((), fields), ()),
)


def _fields_of_tree(tree: xr.DataTree) -> Fields:
    nodes = {node.path: node.to_dataset(inherit=False) for node in tree.subtree}
    return {"nodes": {path: _fields_of_node(node) for path, node in nodes.items()}}


def _fields_of_node(node: xr.Dataset) -> Fields:
    def variables(found: Mapping[Any, xr.DataArray]) -> Fields:
        return {
            name: {"dims": array.dims, "values": array.values, "attrs": array.attrs} for name, array in found.items()
        }

    return {"coords": variables(node.coords), "variables": variables(node.data_vars), "attrs": node.attrs}


def _tree(_: type, fields: Fields) -> xr.DataTree:
    def variables(found: Fields) -> Fields:
        return {name: xr.Variable(each["dims"], each["values"], each["attrs"]) for name, each in found.items()}

    return xr.DataTree.from_dict(
        {
            path: xr.Dataset(variables(node["variables"]), variables(node["coords"]), node["attrs"])
            for path, node in fields["nodes"].items()
        }
    )


TREE = Form(
    fits=lambda cls: issubclass(cls, xr.DataTree), fields=_fields_of_tree, make=_tree, names=lambda _: {"nodes"}
)

FORMS: tuple[Form, ...] = (ENUMERATION, NAMED_TUPLE, DATACLASS, LAW, PART_OF_LAW, TREE)
