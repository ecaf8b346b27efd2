"""A table given as data: the model gets the columns that it names, and what they are called goes into the result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from bayeskit._typing import Data, Model
from bayeskit.errors import DataError, MethodError
from bayeskit.storage.tables import Columns, Encoding, argument_of, columns, encoded, is_table

__all__ = ["Given", "MadeForTables", "as_columns", "given"]


@dataclass(frozen=True)
class Given:
    """A model with its data by name, and what is known of these.

    Attributes:
        model: the NumPyro function, or a program or target with its data bound.
        data: its arguments.
        coords: the levels of columns, labels for a dimension of that name and size.
        known: of these, how many the fit knows, where there are more now.
        attrs: what the record of a run says of the table.
    """

    model: Any
    data: Data | None
    coords: Mapping[str, Sequence[object]] = field(default_factory=dict)
    known: Mapping[str, int] = field(default_factory=dict)
    attrs: Mapping[str, str] = field(default_factory=dict)

    @property
    def coded(self) -> tuple[str, ...]:
        """Arguments that are codes of levels."""
        return tuple(name for column in self.coords for name in (column, argument_of(column)))

    def labels(self, sizes: Mapping[str, int]) -> dict[str, Sequence[object]]:
        """Those of the coordinates that fit the dimensions of a model."""
        found = {dim: labels for name, labels in self.coords.items() for dim in (name, f"{name}_plate")}
        return {dim: labels for dim, labels in found.items() if sizes.get(dim) == len(labels)}


class MadeForTables(Protocol):
    """A model whose function and arguments depend on a table, such as a formula."""

    def for_table(self, data: object, record: Mapping[str, object] | None, new_levels: str) -> Given:
        """The function and its arguments; with the record of a fit, as that was."""


def given(
    model: Model, data: Data | None, record: Mapping[str, object] | None = None, *, new_levels: str = "error"
) -> Given:
    """A model and its data, whether these are values by name or a table.

    Args:
        model: a NumPyro function, or what is made for tables.
        data: values by name, :func:`bayeskit.columns`, a frame, or the path of a file.
        record: attributes of a fit whose encoding is that of the table.
        new_levels: ``"error"`` or ``"prior"``.
    """
    made: MadeForTables | None = model if hasattr(model, "for_table") else None
    if made is not None:
        return made.for_table(data, record, new_levels)
    if not (isinstance(data, Columns) or is_table(data)):
        if new_levels != "error":
            raise MethodError(f"new_levels={new_levels!r} is for tables; these data are already numbers")
        return Given(model, data)
    table = as_columns(data, record, new_levels)
    chosen = table.for_model(model) if callable(model) else table
    used = [name for name in table.levels if name in chosen.used]
    return Given(
        model,
        dict(chosen),
        {name: table.levels[name] for name in used},
        {name: len(table.encoding.levels[name]) for name in used if name in table.new_levels},
        chosen.record(),
    )


def as_columns(data: object, record: Mapping[str, object] | None = None, new_levels: str = "error") -> Columns:
    """The columns of a table, by the encoding that a fit has recorded, if it has.

    Raises:
        DataError: as of :func:`bayeskit.columns`; a level that the fit does not know.
    """
    if record is None or "encoding" not in record:
        if new_levels != "error":
            raise DataError("new_levels='prior' needs a fit to a table, whose record says which levels it knows")
        return data if isinstance(data, Columns) else columns(data)  # type: ignore[arg-type]
    allowed = "prior" if isinstance(data, Columns) and data.new_levels else new_levels
    return encoded(data, Encoding.from_json(str(record["encoding"])), new_levels=allowed)
