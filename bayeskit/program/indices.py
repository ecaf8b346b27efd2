"""Refuse data that index past the end of an array: JAX takes the nearest element, and says nothing."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import numpy as np

from bayeskit._typing import ArrayLike, Values
from bayeskit.errors import DataError, ModelError
from bayeskit.program.arguments import place_of
from bayeskit.program.bind import Program
from bayeskit.program.failure import named_failures
from bayeskit.xla.indexing import QUICKLY, Range, Use, indexes, ranges

__all__ = ["IndexCheck"]

Points = Mapping[str, ArrayLike]


class IndexCheck:
    r"""Compares the indices that a program uses with the sizes of what they index.

    Group ids that start at one, or exceed the number of groups, and -1 for a missing category: in NumPy the first two
    are an error and the last the final group. JAX clamps all of them, and drops their gradients, so that a posterior is
    wrong and looks fine.

    What is compiled for it serves all programs that differ in their arrays only.

    Args:
        program: a program with its data.
        run: executes it at some values, ``run(program, *static, values)``; what it returns is not looked at.
        values: latent values at which it can be executed.
        static: what else it needs, hashable.
    """

    def __init__(self, program: Program, run: Callable[..., object], values: Points, *static: Hashable):
        self._program, self._run, self._static = program, run, static
        with named_failures(program, []):
            found: _Found = _find.eval_shape(run, static, program, values)
        self._uses = found.uses

    @property
    def depends_on_values(self) -> bool:
        """Whether there is an index that latent values decide."""
        return any(use.from_rest for use in self._uses)

    def _ranges(self, program: Program, values: Points) -> list[Range]:
        return _find(self._run, self._static, program, values).ranges

    def of_data(self, values: Points) -> None:
        """Check the indices that the data, and constants of the model, decide; the values are not used.

        Raises:
            DataError: naming the argument, the number, where it stands and what is allowed there.
            ModelError: a constant, such as a value of a discrete site, is out of range.
        """
        self._check(values, lambda use: not use.from_rest, "")

    def at(self, values: Points, place: str) -> None:
        """Check the indices that depend on values, at these.

        Args:
            values: latent values.
            place: what they are, for the message.

        Raises:
            DataError: as `of_data`.
            ModelError: an index that comes from the values is out of range.
        """
        self._check(values, lambda use: use.from_rest, place)

    def _check(self, values: Points, chosen: Callable[[Use], bool], place: str) -> None:
        if not any(map(chosen, self._uses)):
            return
        for number, (use, reached) in enumerate(zip(self._uses, self._ranges(self._program, values), strict=True)):
            if not chosen(use):
                continue
            lowest, highest = np.asarray(reached.lowest), np.asarray(reached.highest)
            for axis, size in enumerate(use.sizes):
                if lowest[axis] > highest[axis] or (lowest[axis] >= 0 and highest[axis] < size):
                    continue
                bad = _Bad(number, axis, size, int(lowest[axis]), int(highest[axis]))
                self._refuse(use, bad, values, place)

    def _refuse(self, use: Use, bad: _Bad, values: Points, place: str) -> None:
        line = f" ({use.where})" if use.where else ""
        if use.from_data:
            leaves = jax.tree_util.tree_leaves_with_path(self._program.arrays)
            for which, (path, leaf) in enumerate(leaves):
                array = np.asarray(leaf)
                if array.dtype.kind in "iuf" and not np.isnan(array).any() and self._cures(which, array, bad, values):
                    raise DataError(_message(place_of(path), array, bad, line))
        index = bad.lowest if bad.lowest < 0 else bad.highest
        cause = f"an index that is made of latent values is {index} at {place}" if place else f"the index {index}"
        cause += "" if place else self._among_constants(index)
        raise (DataError if use.from_data and not place else ModelError)(
            f"model {self._program.name!r}: {cause}, where an axis has {bad.size} elements{line}; JAX would take the "
            "nearest element in silence, without a gradient"
        )

    def _among_constants(self, index: int) -> str:
        """The arguments read as Python values that hold a number."""
        constants = {n: np.asarray(v) for n, v in self._program.inputs.items() if isinstance(v, np.ndarray)}
        names = [n for n, v in constants.items() if v.dtype.kind in "iu" and (v == index).any()]
        return f" (which {', '.join(map(repr, names))} holds)" if names else ""

    def _cures(self, which: int, array: np.ndarray, bad: _Bad, values: Points) -> bool:
        """Whether the fault goes if the extreme numbers of an array do."""
        mended = np.minimum(array, array.max() - bad.above) if bad.above else np.maximum(array, array.min() + bad.below)
        leaves, structure = jax.tree.flatten(self._program)
        leaves[which] = mended.astype(array.dtype)
        reached = self._ranges(jax.tree.unflatten(structure, leaves), values)[bad.number]
        lowest, highest = int(reached.lowest[bad.axis]), int(reached.highest[bad.axis])
        return highest < bad.size if bad.above else lowest >= 0


class _Found(eqx.Module):
    """Where a program indexes, which is known once it is traced, and the ranges of the indices there."""

    uses: tuple[Use, ...] = eqx.field(static=True)
    ranges: list[Range]


@partial(jax.jit, static_argnums=(0, 1), compiler_options=QUICKLY)
def _find(run: Callable[..., object], static: tuple[Hashable, ...], program: Program, values: Values) -> _Found:
    def execute(program: Program, values: Values) -> None:
        run(program, *static, values)

    traced = jax.make_jaxpr(execute)(program, values)
    if not indexes(traced.jaxpr):
        return _Found((), [])
    arguments = jax.tree.leaves((program, values))
    from_data = len(arguments) - len(jax.tree.leaves(values))
    uses, reached = ranges(traced, [number < from_data for number in range(len(arguments))])
    return _Found(tuple(uses), reached(*arguments))


class _Bad(NamedTuple):
    """An axis of one use whose indices are out of range."""

    number: int
    axis: int
    size: int
    lowest: int
    highest: int

    @property
    def above(self) -> int:
        """By how much the highest index is too high."""
        return max(self.highest - self.size + 1, 0)

    @property
    def below(self) -> int:
        """By how much the lowest is below zero."""
        return max(-self.lowest, 0)


def _message(name: str, array: np.ndarray, bad: _Bad, line: str) -> str:
    first = int(array.max()) - bad.highest if bad.above else int(array.min()) - bad.lowest
    last = first + bad.size - 1
    wrong = (array < first) | (array > last)
    where = [int(i) for i in np.argwhere(wrong)[0]]
    number = int(array[tuple(where)])
    others = f" (and {wrong.sum() - 1} more)" if wrong.sum() > 1 else ""
    at = f" at {where}" if where else ""
    advice = ""
    if bad.above and int(array.min()) == first + 1 and int(array.max()) == last + 1:
        advice = "; do the ids start at one? Subtract 1"
    elif number == -1 and first == 0:
        advice = "; is it the code of a missing category, as of pandas? Leave these rows out, or give them a group"
    elif number < first:
        advice = "; it would count from the end"
    return (
        f"data {name} holds {number}{at}{others}, and indexes an axis of {bad.size} elements{line}: it may hold "
        f"{first} to {last}{advice}"
    )
