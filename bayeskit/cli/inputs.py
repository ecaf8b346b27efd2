"""What goes into a run: the model file of a plan, and its data as the arguments of the model."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from bayeskit._spelling import did_you_mean
from bayeskit.cli.errors import UsageError
from bayeskit.cli.modelfile import ModelFile, load_model
from bayeskit.cli.plan import Plan
from bayeskit.errors import DataError


class Inputs(NamedTuple):
    """A model file with its data."""

    file: ModelFile
    columns: dict[str, object]
    source: str
    arguments: dict[str, object]

    def labels(self, name: str) -> dict[str, Any] | None:
        """``dims`` or ``coords`` of the model file."""
        return self.file.labels(name, self.columns, self.source)


def read_inputs(plan: Plan) -> Inputs:
    """The model file of a plan, with its data as arguments.

    Raises:
        UsageError: a name to predict that is no argument.
        DataError: a name that stands in two data files, or what reading them and the model file raise.
    """
    file = load_model(plan.model)
    columns, source = _columns(plan.data)
    arguments = file.arguments(columns, source)
    for name in plan.predictive:
        if name not in arguments:
            raise UsageError(
                f"predictive: the model is given no argument {name!r}{did_you_mean(name, list(arguments), 'known:')}"
            )
    return Inputs(file, columns, source, arguments)


def _columns(data: tuple[str, ...] | dict[str, object] | None) -> tuple[dict[str, object], str]:
    """The raw data by name, and what to call them in a message."""
    if data is None:
        return {}, "no data were given, so the table"
    if isinstance(data, dict):
        return {name: _inline(name, value) for name, value in data.items()}, "the [data] table"
    from bayeskit.storage import read_data

    columns: dict[str, object] = {}
    home: dict[str, str] = {}
    for path in data:
        for name, value in read_data(path).items():
            if name in home:
                raise DataError(f"{name!r} stands in {home[name]} and in {path}: rename it in one of them")
            columns[name], home[name] = value, path
    return columns, " and ".join(data)


def _inline(name: str, value: object) -> object:
    if not isinstance(value, list):
        return value
    try:
        return np.array(value)
    except ValueError as error:
        raise DataError(f"data.{name} is not a rectangular array: {error}") from error
