"""A formula with its table: the function, and the arguments that a table gives it."""

from __future__ import annotations

import hashlib
import linecache
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bayeskit._settings import check_choice
from bayeskit.errors import DataError
from bayeskit.models.regression.design import Design, Varying, response_in, with_categories
from bayeskit.models.regression.families import Family
from bayeskit.models.regression.source import arguments_of, multipliers
from bayeskit.program.tables import Given
from bayeskit.storage.tables import Columns, encoded
from bayeskit.storage.tables.encoding import levels_of, unseen

__all__ = ["Built", "executed", "with_levels"]


@dataclass(frozen=True, eq=False)
class Built:
    """What a formula is for one table.

    Attributes:
        design: the terms.
        family: of the response.
        source: of the function.
        function: made by executing it.
    """

    design: Design
    family: Family
    source: str
    function: Callable[..., object]

    @property
    def digest(self) -> str:
        """What says in the record of a fit which function it was, and of which table."""
        parts = [self.source, self.design.table.encoding.to_json(), repr([term.groups for term in self.design.varying])]
        found = hashlib.sha256("\0".join(parts).encode())
        for name, value in sorted(self.arguments(self.design.table).items()):
            found.update(name.encode() + np.ascontiguousarray(value).tobytes())
        return found.hexdigest()[:16]

    def encode(self, data: object, new_levels: str) -> Columns:
        """Another table as that of the formula, after a check that it has what is needed.

        Raises:
            DataError: a missing column or cell, or a level that the fit does not know.
        """
        check_choice("new_levels", new_levels, ("error", "prior"))
        table = encoded(data, self.design.table.encoding.only([*self.design.named]), new_levels="prior")
        drawn = new_levels == "prior" or (isinstance(data, Columns) and bool(data.new_levels))
        for name in sorted(self.design.needed):
            if name not in table.frame:
                raise DataError(f"{table.source} has no column {name!r}, which the formula uses")
            if missing := int(table.frame[name].isna().sum()):
                raise DataError(f"column {name!r} of {table.source} has {missing} missing values; leave their rows out")
            if reason := table.reasons.get(name):
                raise DataError(f"column {name!r} of {table.source} is part of the formula; {reason}")
        for name in table.new_levels:
            groups = name not in self.design.predictors
            if not (groups and drawn):
                raise unseen(table.frame[name], table.encoding.levels[name], name, table.source, drawable=groups)
        for term in self.design.varying:
            labels = [] if drawn else term.labels_in(table)
            if new := [i for i, label in enumerate(labels) if label not in term.groups]:
                raise DataError(
                    f"{table.source}: {term.factor!r} is {labels[new[0]]!r} in row {table.frame.index[new[0]]!r}, of "
                    "which the fit has no row; new_levels='prior' draws what is not known of it from its prior"
                )
        return table

    def given(self, table: Columns, record: Mapping[str, str]) -> Given:
        """Function, arguments and labels for a table that is encoded as that of the formula."""
        coords: dict[str, list[object]] = {}
        known = {}
        for each in self.design.common:
            coords[f"{each.name}_dim"] = list(each.labels)
        for term in self.design.varying:
            if term.what is not None:
                coords[f"{term.what.name}__expr_dim"] = list(term.what.labels)
            groups, dim = self.groups(term, table), f"{term.factor}__factor_dim"
            coords[dim] = list(groups)
            if len(groups) > len(term.groups):
                known[dim] = len(term.groups)
        used = replace(table, chosen=tuple(sorted(name for name in self.design.named if name in table)))
        return Given(self.function, self.arguments(table), coords, known, {**used.record(), **record})

    def arguments(self, table: Columns) -> dict[str, Any]:
        """The arguments for a table that is encoded as that of the formula."""
        names, frame = arguments_of(self.design), with_categories(table)
        own = table is self.design.table
        found: dict[str, Any] = {}
        for each in multipliers(self.design):
            found[names.names[each.key]] = each.values if own else each.at(frame, table.source)
        for term in self.design.varying:
            groups, index = self.groups(term, table), names.index[term.factor]
            found[index] = np.array([groups[label] for label in term.labels_in(table)])
            found[f"num_{index}"] = len(groups)
        if not found:
            found["num_rows"] = table.num_rows
        if names.trials:
            if self.design.trials not in table.frame:
                raise DataError(f"{table.source} has no column {self.design.trials!r}, the number of trials")
            found[names.trials] = table.frame[self.design.trials].to_numpy(np.int64)
        observed = self.design.observed if own else response_in(self.design, frame, self.family.name)
        if observed is None:
            return found
        if not self.design.levels and (reason := self.family.allowed(observed)):
            raise DataError(f"{table.source}: the response {self.design.response!r} does not fit: {reason}")
        observed = observed[:, 0] if observed.ndim == 2 else observed
        return {**found, names.response: observed if self.family.scaled else observed.astype(np.int64)}

    def groups(self, term: Varying, table: Columns) -> dict[str, int]:
        """The index of each group; after those of the formula's table, the others."""
        known = {group: i for i, group in enumerate(term.groups)}
        new = [label for label in dict.fromkeys(term.labels_in(table)) if label not in known]
        return known | {label: len(known) + i for i, label in enumerate(new)}


def with_levels(table: Columns, names: frozenset[str]) -> Columns:
    """A table whose columns that name groups have levels, numbers as well."""
    more = {name: levels_of(table.frame[name]) for name in sorted(names - table.encoding.levels.keys())}
    return replace(table, encoding=replace(table.encoding, levels={**table.encoding.levels, **more}))


def executed(source: str) -> Callable[..., object]:
    """The function that a source defines; tracebacks and `inspect` find its lines."""
    name = f"<formula {hashlib.sha256(source.encode()).hexdigest()[:12]}>"
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    module: dict[str, Any] = {"__name__": "formula"}
    exec(compile(source, name, "exec"), module)
    function: Callable[..., object] = module["model"]
    return function
