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

from jax.extend import core

__all__ = ["Label", "Labels", "dependence", "join"]

Label = dict[int, int]
"""Axes of a choice, and the axes of an array that they are aligned with; those that are missing are mixed."""

Labels = dict[int, Label]
"""By the number of the choice; choices that are missing have no influence."""

K = TypeVar("K")
Rule = Callable[[Any, list[Labels]], list[Labels]]

_ARITHMETIC = """abs add add_any atan2 ceil clamp conj convert_element_type copy copy_p div exp exp2 expm1 floor imag
integer_pow is_finite log log1p logistic max min mul neg nextafter pow real reduce_precision rem round rsqrt select_n
sign sqrt square stop_gradient sub"""
_COMPARISONS = """and eq ge gt le lt ne not or population_count shift_left shift_right_arithmetic shift_right_logical
xor"""
_SPECIAL = """acos acosh asin asinh atan atanh bessel_i0e bessel_i1e cbrt cos cosh digamma erf erf_inv erfc igamma
igamma_grad_a igammac lgamma polygamma random_gamma random_gamma_grad regularized_incomplete_beta sin sinh tan tanh
zeta"""
_ELEMENTWISE = frozenset(f"{_ARITHMETIC} {_COMPARISONS} {_SPECIAL}".split())
_REDUCTIONS = frozenset(f"reduce_{name}" for name in ("sum", "max", "min", "prod", "and", "or", "xor"))
_REDUCTIONS |= {"argmax", "argmin"}
_ALONG = frozenset({"cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp"})
_CALLS = frozenset({"jit", "pjit", "closed_call", "core_call", "custom_jvp_call", "custom_vjp_call"})
_CALLS |= {"custom_vjp_call_jaxpr", "remat", "remat2", "checkpoint"}


def dependence(jaxpr: Any, inputs: Sequence[Labels]) -> dict[Any, Labels]:
    """The labels of every variable of a jaxpr.

    Args:
        jaxpr: a ``Jaxpr``; its constants depend on no choice.
        inputs: labels of its arguments.
    """
    known: dict[Any, Labels] = dict(zip(jaxpr.invars, inputs, strict=True))
    for equation in jaxpr.eqns:
        labels = [_look(known, atom) for atom in equation.invars]
        outs = _through(equation, labels) if any(labels) else [{} for _ in equation.outvars]
        known.update(zip(equation.outvars, outs, strict=True))
    return known


def _look(known: Mapping[Any, Labels], atom: Any) -> Labels:
    return {} if isinstance(atom, core.Literal) else known.get(atom, {})


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


def _through(equation: Any, labels: list[Labels]) -> list[Labels]:
    """Labels of what an operation returns."""
    name, number = equation.primitive.name, len(equation.outvars)
    if name in _ELEMENTWISE:
        return [_elementwise(equation, labels)] * number
    if name in _REDUCTIONS:
        axes = equation.params["axes"]
        return [_moved(labels[0], lambda at: None if at in axes else at - sum(axis < at for axis in axes))] * number
    if name in _ALONG:
        axis = equation.params["axis"]
        return [_moved(labels[0], lambda at: None if at == axis else at)] * number
    if name in _CALLS:
        return _call(equation, labels)
    rule = _RULES.get(name)
    return [_mixed(labels)] * number if rule is None else rule(equation, labels)


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


def _call(equation: Any, labels: list[Labels]) -> list[Labels]:
    inner = next((p for p in equation.params.values() if isinstance(p, core.ClosedJaxpr | core.Jaxpr)), None)
    jaxpr = inner.jaxpr if isinstance(inner, core.ClosedJaxpr) else inner
    if jaxpr is None or len(jaxpr.invars) != len(labels):
        return [_mixed(labels)] * len(equation.outvars)
    known = dependence(jaxpr, labels)
    return [_look(known, atom) for atom in jaxpr.outvars]


def _branches(equation: Any, labels: list[Labels]) -> list[Labels]:
    outs = []
    for branch in equation.params["branches"]:
        known = dependence(branch.jaxpr, labels[1:])
        outs.append([_look(known, atom) for atom in branch.jaxpr.outvars])
    return [join([*each, _mixed(labels[:1])]) for each in zip(*outs, strict=True)]


def _loop(equation: Any, labels: list[Labels]) -> list[Labels]:
    """A scan: what is carried is looked at again until nothing changes."""
    jaxpr = equation.params["jaxpr"].jaxpr
    constants, carries = equation.params["num_consts"], equation.params["num_carry"]
    fixed, carry = labels[:constants], list(labels[constants : constants + carries])
    each = [_moved(label, lambda at: at - 1 if at > 0 else None) for label in labels[constants + carries :]]
    while True:
        known = dependence(jaxpr, [*fixed, *carry, *each])
        outs = [_look(known, atom) for atom in jaxpr.outvars]
        after = [join([old, new]) for old, new in zip(carry, outs[:carries], strict=True)]
        if after == carry:
            return [*carry, *(_moved(label, lambda at: at + 1) for label in outs[carries:])]
        carry = after


_RULES: dict[str, Rule] = {
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
    "cond": _branches,
    "scan": _loop,
}
