r"""The number of one execution, with the weights of its choices.

A term $t$ that depends on the score-function choices $R_t$ and on the enumerated choices $E_t$ counts as

$$\sum_e t_e \prod_{i \in E_t} q_i(x_i)_e \; \exp \sum_{j \in R_t} (\ell_j - \bot \ell_j)_e,
\qquad \ell_j = \log q_j(x_j),$$

where a log density is summed over those axes of its choice that are not aligned with an axis of $t$: an element of a
plate is multiplied by the score of its own choices alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from bayeskit._typing import Array
from bayeskit.inference.vi.estimators import Enumeration
from bayeskit.inference.vi.tracing.dependence import Label
from bayeskit.inference.vi.tracing.structure import Execution, Part, Structure
from bayeskit.program.execution import Choice, Record

__all__ = ["cost", "total", "weighted"]


def total(structure: Structure, execution: Execution) -> Any:
    """The result of an execution, weighted; its derivative has the terms of the score-function choices."""
    choices = structure.choices
    zeros = {
        address: _zero(record)
        for address, record in execution.records.items()
        if "log_q" in record and not isinstance(choices[address].estimator, Enumeration)
    }
    numbers = []
    for parts, shape in zip(execution.leaves, structure.shapes, strict=True):
        number: Array | float = 0.0
        for part in parts:
            elements = part.array
            scores = [_place(zero, part.labels[a], elements.ndim) for a, zero in zeros.items() if a in part.labels]
            if scores:
                elements = elements * jnp.exp(sum(scores[1:], start=scores[0]))
            elements = elements * _weight(structure, execution, part.labels, elements.ndim)
            number = number + part.scale * (elements if shape else jnp.sum(elements))
        for address, zero in zeros.items():
            if any(address in part.labels for part in parts):
                number = number - _control(structure, execution, address, zero, parts)
        numbers.append(number)
    return jax.tree.unflatten(structure.tree, numbers)


def cost(
    structure: Structure, execution: Execution, parts: Iterable[Part], address: str, axes: tuple[int, ...]
) -> Array:
    """What depends on each element of a choice along `axes`, summed; its other axes have length one."""
    number = len(structure.choices[address].stack) + len(structure.choices[address].shape)
    out: Array = jnp.zeros((1,) * number)
    for part in parts:
        if address not in part.labels:
            continue
        label = {a: v for a, v in part.labels[address].items() if a in axes}
        elements = weighted(structure, execution, part)
        kept = sorted(label, key=lambda a: label[a])
        summed = jnp.sum(elements, axis=tuple(v for v in range(elements.ndim) if v not in label.values()))
        ordered = jnp.transpose(summed, [kept.index(a) for a in sorted(label)])
        sizes = dict(zip(sorted(label), ordered.shape, strict=True))
        out = out + part.scale * ordered.reshape([sizes.get(axis, 1) for axis in range(number)])
    return out


def weighted(structure: Structure, execution: Execution, part: Part) -> Array:
    """The elements of a term in this lane, with the probability of its enumerated choices."""
    return part.array * _weight(structure, execution, part.labels, part.array.ndim)


def _zero(record: Record) -> Array:
    """A log density less its own value, of the choices that are taken."""
    zero = record["log_q"] - jax.lax.stop_gradient(record["log_q"])
    return jnp.where(_trailing(record["taken"], zero.ndim), zero, 0.0) if "taken" in record else zero


def _control(structure: Structure, execution: Execution, address: str, zero: Array, parts: list[Part]) -> Array | float:
    """A baseline times something whose value is zero, and whose derivatives have mean zero."""
    record, choice = execution.records[address], structure.choices[address]
    if "baseline" in record:
        weight = _weight(structure, execution, structure.scores[address], zero.ndim)
        control = jnp.sum(jax.lax.stop_gradient(record["baseline"] * weight) * jnp.expm1(zero))
        return control + _misfit(structure, execution, address, zero, parts) if "fitted" in record else control
    if "leave_one_out" not in record:
        return 0.0
    particles = choice.particles
    aligned = [part.labels[address] for part in parts if address in part.labels]
    if particles is not None and all(particles in label for label in aligned):
        axes = tuple(range(zero.ndim))
        numbers = jax.lax.stop_gradient(cost(structure, execution, parts, address, axes))
        numbers = numbers.reshape(numbers.shape[: zero.ndim])
        return jnp.sum(_mean_of_others(numbers, particles) * jnp.expm1(zero))
    weight = _weight(structure, execution, structure.scores[address], zero.ndim)
    return jnp.sum(jax.lax.stop_gradient(record["leave_one_out"] * weight) * jnp.expm1(zero))


def _misfit(structure: Structure, execution: Execution, address: str, zero: Array, parts: list[Part]) -> Array:
    """Half the square of what a fitted baseline misses, less its own value: it brings a gradient to the baseline."""
    missed = cost(structure, execution, parts, address, tuple(range(zero.ndim)))
    signed = execution.records[address]["fitted"]
    baseline = execution.records[address]["baseline"]
    weight = _weight(structure, execution, structure.scores[address], zero.ndim)  # what is missed has its own
    error = jax.lax.stop_gradient(baseline * weight - missed.reshape(missed.shape[: zero.ndim]))
    return jnp.sum(error * (signed - jax.lax.stop_gradient(signed)))


def _mean_of_others(values: Array, axis: int) -> Array:
    """Of every value, the mean of the rest; never by a difference, which minus infinity would spoil."""
    number = values.shape[axis]
    moved = jnp.moveaxis(values, axis, 0)
    own = jnp.eye(number, dtype=bool).reshape(number, number, *[1] * (moved.ndim - 1))
    means = jnp.sum(jnp.where(own, 0.0, moved[None]), axis=1) / (number - 1)
    return jnp.moveaxis(jnp.where(jnp.isfinite(means), means, 0.0), 0, axis)


def _weight(structure: Structure, execution: Execution, labels: Mapping[str, Label], rank: int) -> Array | float:
    """The probability of the enumerated choices in this lane; what does not depend on one has a share of each lane."""
    weight: Array | float = 1.0
    for address, record in execution.records.items():
        choice = structure.choices[address]
        if not isinstance(choice.estimator, Enumeration):
            continue
        if address not in labels:
            weight = weight / structure.lanes(address)
            continue
        parallel = structure.parallel(address)
        label = {axis: at for axis, at in labels[address].items() if axis in parallel}
        weight = weight * jnp.exp(_place(_share(record, choice), label, rank))
    return weight


def _share(record: Record, choice: Choice) -> Array:
    """Log probability of the elements of an enumerated choice; all values alike where a branch is not taken."""
    log_q: Array = record["log_q"]
    if "taken" not in record:
        return log_q
    return jnp.where(_trailing(record["taken"], log_q.ndim), log_q, -math.log(len(choice.support or ())))


def _trailing(array: Array, rank: int) -> Array:
    return array.reshape(*array.shape, *[1] * (rank - array.ndim))


def _place(array: Array, label: Label, rank: int) -> Array:
    """Sum over the axes that are not aligned, and put the others where they belong in an array of `rank` axes."""
    aligned = sorted((a for a in label if a < array.ndim), key=lambda a: label[a])
    summed = jnp.sum(array, axis=tuple(a for a in range(array.ndim) if a not in aligned))
    ordered = jnp.transpose(summed, [sorted(aligned).index(a) for a in aligned])
    sizes = dict(zip((label[a] for a in aligned), ordered.shape, strict=True))
    return ordered.reshape([sizes.get(axis, 1) for axis in range(rank)])
