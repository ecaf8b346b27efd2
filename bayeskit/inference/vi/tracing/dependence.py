r"""Which elements of a random choice each element of a number depends on, read from the program as JAX has traced it.

For a choice $z$ of shape $(n, \dots)$ and a term $t$ of shape $(m, \dots)$, an axis of $z$ is *aligned* with an axis of
$t$ where $t_{\dots i \dots}$ depends on $z_{\dots i \dots}$ alone, for all $i$. Plates, particles and batches are
aligned where the program treats their elements alike and apart, which is found out here and not assumed: an operation
that is not known, or that mixes an axis, ends the alignment.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from bayeskit.xla.jaxprs import CUMULATIVE, ELEMENTWISE, REDUCTIONS, Reading, Rule, read

__all__ = ["Label", "Labels", "dependence", "join"]

Label = dict[int, int]
"""Axes of a choice, and the axes of an array that they are aligned with; those that are missing are mixed."""

Labels = dict[int, Label]
"""By the number of the choice; choices that are missing have no influence."""

K = TypeVar("K")


def dependence(jaxpr: Any, inputs: Sequence[Labels]) -> dict[Any, Labels]:
    """The labels of every variable of a jaxpr.

    Args:
        jaxpr: a ``Jaxpr``; its constants depend on no choice.
        inputs: labels of its arguments.
    """
    return read(jaxpr, inputs, _Dependence())


class _Dependence(Reading[Labels]):
    @property
    def nothing(self) -> Labels:
        return {}

    def join(self, facts: Sequence[Labels]) -> Labels:
        return join(facts)

    def decides(self, fact: Labels) -> Labels:
        return _mixed([fact])

    def step_of(self, fact: Labels) -> Labels:
        return _moved(fact, lambda at: at - 1 if at > 0 else None)

    def steps_of(self, fact: Labels) -> Labels:
        return _moved(fact, lambda at: at + 1)

    def through(self, equation: Any, facts: list[Labels]) -> list[Labels]:
        name, number = equation.primitive.name, len(equation.outvars)
        if name in ELEMENTWISE:
            return [_elementwise(equation, facts)] * number
        if name in REDUCTIONS:
            axes = equation.params["axes"]
            return [_moved(facts[0], lambda at: None if at in axes else at - sum(axis < at for axis in axes))] * number
        if name in CUMULATIVE:
            axis = equation.params["axis"]
            return [_moved(facts[0], lambda at: None if at == axis else at)] * number
        rule = _RULES.get(name)
        return [_mixed(facts)] * number if rule is None else rule(equation, facts)


def join(labels: Sequence[Mapping[K, Label]]) -> dict[K, Label]:
    """What depends on all of these: an alignment lasts where all that depend on a choice share it."""
    out: dict[K, Label] = {}
    for one in labels:
        for choice, label in one.items():
            have = out.get(choice)
            out[choice] = dict(label) if have is None else {a: v for a, v in have.items() if label.get(a) == v}
    return out


def _mixed(labels: Sequence[Labels]) -> Labels:
    return {choice: {} for one in labels for choice in one}


def _moved(labels: Labels, place: Callable[[int], int | None]) -> Labels:
    """Every axis where `place` puts it, or nowhere."""
    out: Labels = {}
    for choice, label in labels.items():
        moved = {axis: place(at) for axis, at in label.items()}
        out[choice] = {axis: int(at) for axis, at in moved.items() if at is not None}
    return out


def _elementwise(equation: Any, labels: list[Labels]) -> Labels:
    """Operands have the shape of the result, or are scalars, or have axes of length one."""
    shape = equation.outvars[0].aval.shape
    parts = []
    for atom, label in zip(equation.invars, labels, strict=True):
        own = atom.aval.shape
        parts.append(_moved(label, _kept(own, shape) if len(own) == len(shape) else _nowhere))
    return join(parts)


def _kept(own: tuple[int, ...], shape: tuple[int, ...]) -> Callable[[int], int | None]:
    return lambda at: at if own[at] == shape[at] else None


def _nowhere(at: int) -> int | None:
    del at
    return None


def _broadcast(equation: Any, labels: list[Labels]) -> list[Labels]:
    dimensions, own = equation.params["broadcast_dimensions"], equation.invars[0].aval.shape
    shape = equation.params["shape"]
    return [_moved(labels[0], lambda at: dimensions[at] if own[at] == shape[dimensions[at]] else None)]


def _reshape(equation: Any, labels: list[Labels]) -> list[Labels]:
    """An axis stays an axis where as many elements come before it, and it is as long."""
    own, shape = equation.invars[0].aval.shape, equation.outvars[0].aval.shape

    def place(at: int) -> int | None:
        before = math.prod(own[:at])
        fits = [i for i in range(len(shape)) if math.prod(shape[:i]) == before and shape[i] == own[at]]
        return fits[0] if fits else None

    if equation.params.get("dimensions") is not None:
        return [_mixed(labels)]
    return [_moved(labels[0], place)]


def _squeeze(equation: Any, labels: list[Labels]) -> list[Labels]:
    gone = equation.params["dimensions"]
    return [_moved(labels[0], lambda at: None if at in gone else at - sum(axis < at for axis in gone))]


def _transpose(equation: Any, labels: list[Labels]) -> list[Labels]:
    permutation = equation.params["permutation"]
    return [_moved(labels[0], permutation.index)]


def _same_length(equation: Any, labels: list[Labels]) -> list[Labels]:
    """Slices and pads: an axis stays where it keeps its length and is not shifted."""
    own, shape = equation.invars[0].aval.shape, equation.outvars[0].aval.shape
    whole = [a == b for a, b in zip(own, shape, strict=True)]
    if equation.primitive.name == "pad":
        whole = [low == high == inside == 0 for low, high, inside in equation.params["padding_config"]]
    first = _moved(labels[0], lambda at: at if whole[at] else None)
    return [join([first, _mixed(labels[1:])])]


def _concatenate(equation: Any, labels: list[Labels]) -> list[Labels]:
    along = equation.params["dimension"]
    return [join([_moved(label, lambda at: None if at == along else at) for label in labels])]


def _stack(equation: Any, labels: list[Labels]) -> list[Labels]:
    along = equation.params["axis"]
    return [join([_moved(label, lambda at: at if at < along else at + 1) for label in labels])]


def _sort(equation: Any, labels: list[Labels]) -> list[Labels]:
    along = equation.params["dimension"]
    return [join([_moved(label, lambda at: None if at == along else at) for label in labels])] * len(equation.outvars)


def _split(equation: Any, labels: list[Labels]) -> list[Labels]:
    along = equation.params["axis"]
    return [_moved(labels[0], lambda at: None if at == along else at)] * len(equation.outvars)


def _matrices(equation: Any, labels: list[Labels]) -> list[Labels]:
    """The last two axes are mixed, those before them are a batch."""
    batch = len(equation.outvars[0].aval.shape) - 2
    return [join([_moved(label, lambda at: at if at < batch else None) for label in labels])] * len(equation.outvars)


def _dot(equation: Any, labels: list[Labels]) -> list[Labels]:
    (left, right), (batch_left, batch_right) = equation.params["dimension_numbers"]
    ranks = [len(atom.aval.shape) for atom in equation.invars]
    free = [
        [a for a in range(rank) if a not in gone and a not in batch]
        for rank, gone, batch in zip(ranks, (left, right), (batch_left, batch_right), strict=True)
    ]
    orders = [[*batch_left, *free[0]], [*batch_right, *([-1] * len(free[0])), *free[1]]]
    places = [lambda at, order=order: order.index(at) if at in order else None for order in orders]
    return [join([_moved(label, place) for label, place in zip(labels, places, strict=True)])]


def _convolution(equation: Any, labels: list[Labels]) -> list[Labels]:
    numbers = equation.params["dimension_numbers"]
    if equation.params["batch_group_count"] != 1:
        return [_mixed(labels)]
    images = _moved(labels[0], lambda at: numbers.out_spec[0] if at == numbers.lhs_spec[0] else None)
    return [join([images, _mixed(labels[1:])])]


def _gather(equation: Any, labels: list[Labels]) -> list[Labels]:
    """Axes of the indices become those of the result that are no offsets; whole axes of the operand stay."""
    numbers, sizes = equation.params["dimension_numbers"], equation.params["slice_sizes"]
    operand, result = equation.invars[0].aval.shape, equation.outvars[0].aval.shape
    batch = [axis for axis in range(len(result)) if axis not in numbers.offset_dims]
    paired = dict(zip(numbers.operand_batching_dims, numbers.start_indices_batching_dims, strict=True))
    sliced = [a for a in range(len(operand)) if a not in numbers.collapsed_slice_dims and a not in paired]
    offsets = dict(zip(sliced, numbers.offset_dims, strict=True))

    def place(at: int) -> int | None:
        if at in paired:
            return batch[paired[at]]
        return offsets[at] if at in offsets and sizes[at] == operand[at] else None

    indices = _moved(labels[1], lambda at: batch[at] if at < len(batch) else None)
    return [join([_moved(labels[0], place), indices, *map(_as_mixed, labels[2:])])]


def _as_mixed(labels: Labels) -> Labels:
    return _mixed([labels])


_RULES: dict[str, Rule[Labels]] = {
    "broadcast_in_dim": _broadcast,
    "reshape": _reshape,
    "squeeze": _squeeze,
    "transpose": _transpose,
    "slice": _same_length,
    "dynamic_slice": _same_length,
    "pad": _same_length,
    "rev": lambda equation, labels: [_moved(labels[0], lambda at: None if at in equation.params["dimensions"] else at)],
    "concatenate": _concatenate,
    "stack": _stack,
    "sort": _sort,
    "split": _split,
    "cholesky": _matrices,
    "triangular_solve": _matrices,
    "dot_general": _dot,
    "conv_general_dilated": _convolution,
    "gather": _gather,
}
