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
from bayeskit.inference.vi.tracing.decomposition import Decomposition, Execution, Overrides, Part
from bayeskit.inference.vi.tracing.dependence import Label
from bayeskit.program.execution import Choice, Override, Record

__all__ = ["Lane", "spread_over"]


class Lane:
    """One execution, at given values of the enumerated choices.

    Attributes:
        decomposition: of the program.
        overrides: the values that are given.
        execution: what it has brought.
    """

    def __init__(self, decomposition: Decomposition, overrides: Overrides, execution: Execution | None = None):
        self.decomposition, self.overrides = decomposition, overrides
        self.execution = decomposition.execute(overrides) if execution is None else execution

    def elsewhere(self, address: str, mask: Array, value: Array) -> Lane:
        """The same with a choice at another value where `mask` is true, detached (see `Decomposition`)."""
        overrides = {**self.overrides, address: Override(mask, value)}
        return Lane(self.decomposition, overrides, self.decomposition.execute_detached(overrides))

    def own(self, address: str) -> Any:
        """What a choice has left for its estimator."""
        return self.execution.records[address].own

    def total(self) -> Any:
        """The result, weighted; its derivative has the terms of the score-function choices."""
        # For a score-function choice, exp(zero) is one and has the derivative of its log density.
        zeros = {
            address: _zero(log_q, self.execution.records[address])
            for address in self.decomposition.choices
            if (log_q := self.decomposition.estimator(address).log_q(self.own(address))) is not None
        }
        numbers = []
        for parts, shape in zip(self.execution.leaves, self.decomposition.shapes, strict=True):
            number: Array | float = 0.0
            for part in parts:
                elements = part.array
                scores = [place(zero, part.labels[a], elements.ndim) for a, zero in zeros.items() if a in part.labels]
                if scores:
                    elements = elements * jnp.exp(sum(scores[1:], start=scores[0]))
                elements = elements * self.weight(part.labels, elements.ndim)
                number = number + part.scale * (elements if shape else jnp.sum(elements))
            for address, zero in zeros.items():
                if any(address in part.labels for part in parts):
                    number = number - self.decomposition.estimator(address).control(self, address, zero, parts)
            numbers.append(number)
        return jax.tree.unflatten(self.decomposition.tree, numbers)

    def cost(self, parts: Iterable[Part], address: str, axes: tuple[int, ...]) -> Array:
        """What depends on each element of a choice along `axes`, summed; its other axes have length one."""
        choice = self.decomposition.choices[address]
        number = len(choice.stack) + len(choice.shape)
        out: Array = jnp.zeros((1,) * number)
        for part in parts:
            if address not in part.labels:
                continue
            label = {a: v for a, v in part.labels[address].items() if a in axes}
            elements = self.weighted(part)
            kept = sorted(label, key=lambda a: label[a])
            summed = jnp.sum(elements, axis=tuple(v for v in range(elements.ndim) if v not in label.values()))
            ordered = jnp.transpose(summed, [kept.index(a) for a in sorted(label)])
            sizes = dict(zip(sorted(label), ordered.shape, strict=True))
            out = out + part.scale * ordered.reshape([sizes.get(axis, 1) for axis in range(number)])
        return out

    def depending(self, parts: Iterable[Part], address: str, shape: tuple[int, ...]) -> Array:
        """Of a leaf that is not a scalar, what depends on a choice."""
        found = [self.weighted(part) for part in parts if address in part.labels]
        return sum(found, start=jnp.zeros(shape))

    def weighted(self, part: Part) -> Array:
        """The elements of a term in this lane, with the probability of its enumerated choices."""
        return part.array * self.weight(part.labels, part.array.ndim)

    def weight(self, labels: Mapping[str, Label], rank: int) -> Array | float:
        """The probability of the enumerated choices; what does not depend on one has a share of each of its lanes."""
        weight: Array | float = 1.0
        for address, choice in self.decomposition.choices.items():
            if not self.decomposition.estimator(address).is_enumerated:
                continue
            if address not in labels:
                weight = weight / self.decomposition.lanes(address)
                continue
            parallel = self.decomposition.parallel(address)
            label = {axis: at for axis, at in labels[address].items() if axis in parallel}
            share = _share(self.own(address).log_q, self.execution.records[address], choice)
            weight = weight * jnp.exp(place(share, label, rank))
        return weight


def _zero(log_q: Array, record: Record) -> Array:
    """A log density less its own value, of the choices that are taken."""
    zero = log_q - jax.lax.stop_gradient(log_q)
    return zero if record.taken is None else jnp.where(spread_over(record.taken, zero.ndim), zero, 0.0)


def _share(log_q: Array, record: Record, choice: Choice) -> Array:
    """Log probability of the elements of an enumerated choice; all values alike where a branch is not taken."""
    if record.taken is None:
        return log_q
    return jnp.where(spread_over(record.taken, log_q.ndim), log_q, -math.log(len(choice.support or ())))


def spread_over(array: Array, rank: int) -> Array:
    """With axes of length one behind its own, for what holds of whole executions of a loop or branch."""
    return array.reshape(*array.shape, *[1] * (rank - array.ndim))


def place(array: Array, label: Label, rank: int) -> Array:
    """Sum over the axes that are not aligned, and put the others where they belong in an array of `rank` axes."""
    aligned = sorted((a for a in label if a < array.ndim), key=lambda a: label[a])
    summed = jnp.sum(array, axis=tuple(a for a in range(array.ndim) if a not in aligned))
    ordered = jnp.transpose(summed, [sorted(aligned).index(a) for a in aligned])
    sizes = dict(zip((label[a] for a in aligned), ordered.shape, strict=True))
    return ordered.reshape([sizes.get(axis, 1) for axis in range(rank)])
