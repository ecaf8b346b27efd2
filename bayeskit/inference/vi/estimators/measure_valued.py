r"""Measure-valued gradients: executions of the program with a choice at other values, which count forwards only.

For a choice $m$ with probabilities $q_m(v)$ the surrogate gains $\sum_v \bot k(v)\,(q_m(v) - \bot q_m(v))$, or that
over the two halves of a weak derivative.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from numpyro.distributions import Distribution

from bayeskit._typing import Array
from bayeskit.errors import ModelError
from bayeskit.inference.vi.estimator import GradientEstimator
from bayeskit.inference.vi.estimators.forward_only import forward_only, law_of
from bayeskit.inference.vi.estimators.validity import (
    check_enumerable,
    check_fixed_support,
    is_reparameterised,
)
from bayeskit.inference.vi.estimators.weak_derivatives import WeakDerivative, find_weak_derivative
from bayeskit.inference.vi.surrogate import Lane, spread_over
from bayeskit.inference.vi.tracing.decomposition import Decomposition, shape_of
from bayeskit.program.execution import Choice
from bayeskit.program.sites import describe, elements

__all__ = ["MeasureValued"]


class FiniteRecord(NamedTuple):
    """Of a choice with a finite support: its `value`, and the `probabilities` of all, shape `(values, *shape)`."""

    value: Array
    probabilities: Array


class WeakRecord(NamedTuple):
    """Of a choice with weak derivatives: its `value`, and what `WeakDerivative` says."""

    value: Array
    weak: WeakDerivative


@dataclass(frozen=True)
class MeasureValued(GradientEstimator):
    r"""Weak derivatives: the program runs again with the choice (one element at a time) at other values.

    For finite supports (Bernoulli, categorical, ...) and the Poisson, normal and gamma distributions.

    Reference: Pflug (1989); Mohamed, Rosca, Figurnov and Mnih (2020), "Monte Carlo gradient estimation in machine
    learning", section 6.
    """

    kind: ClassVar[str] = "measure_valued"
    takes_discrete: ClassVar[bool] = True

    needs_support: ClassVar[bool] = True

    def check(self, site: str, distribution: Distribution) -> None:
        check_fixed_support(site, distribution, "measure-valued")
        if not distribution.has_enumerate_support and find_weak_derivative(elements(distribution)) is None:
            raise ModelError(
                f"site {site!r}: no weak derivative of {describe(distribution)} is known; use "
                "bayeskit.estimators.Score()"
                + (" or bayeskit.estimators.Pathwise()" if is_reparameterised(distribution) else "")
            )
        if distribution.has_enumerate_support:
            check_enumerable(site, distribution, "measure-valued gradients")

    def sample(self, key: Array, distribution: Distribution) -> Array:
        return jax.lax.stop_gradient(distribution.sample(key))

    def record(self, key: Array, distribution: Distribution, value: Array) -> FiniteRecord | WeakRecord:
        single = elements(distribution)
        if distribution.has_enumerate_support:
            support = jnp.asarray(single.enumerate_support(expand=True))
            return FiniteRecord(value, jnp.exp(jax.vmap(single.log_prob)(support)))
        weak = find_weak_derivative(single)
        if weak is None:
            raise TypeError("checked before")
        return WeakRecord(value, weak(key, single, value))

    def log_q(self, record: FiniteRecord | WeakRecord) -> Array | None:
        return record.weak.log_q if isinstance(record, WeakRecord) else None

    def law(self, record: FiniteRecord | WeakRecord, *, is_own: bool) -> Any:
        if isinstance(record, FiniteRecord):
            return [] if is_own else [record.probabilities]
        return [array for array in (record.weak.parameters, record.weak.log_q) if array is not None]

    def executions(self, decomposition: Decomposition, address: str) -> int:
        choice, record = decomposition.choices[address], decomposition.records[address].own
        finite = len(choice.support or ()) - 1  # the value that is drawn is executed anyway
        values = record.weak.plus.shape[len(choice.stack)] * 2 if isinstance(record, WeakRecord) else finite
        return values * decomposition.mixed(address)

    def term(self, lane: Lane, address: str) -> Any:
        choice, record = lane.decomposition.choices[address], lane.own(address)
        shape = shape_of(choice)
        if isinstance(record, FiniteRecord):
            # the value that was drawn has been executed already, so it comes first and the others follow
            support = jnp.asarray(choice.support, choice.dtype)
            drawn = jnp.argmax(record.value[..., None] == support, axis=-1)
            order = (drawn + jnp.arange(support.size).reshape(-1, *[1] * len(shape))) % support.size
            numbers = _numbers(lane, address, support[order[1:]])
            here = _as_phantom(lane, address)
            numbers = jax.tree.map(lambda first, rest: jnp.concatenate([first[None], rest]), here, numbers)
            probabilities = jnp.take_along_axis(_values_first(record.probabilities, choice), order, axis=0)
            weights = probabilities - jax.lax.stop_gradient(probabilities)
        else:
            weak = record.weak
            plus, minus = (_numbers(lane, address, _values_first(half, choice)) for half in (weak.plus, weak.minus))
            numbers = jax.tree.map(jnp.subtract, plus, minus)
            parameters = _values_first(weak.parameters, choice)
            weights = _values_first(weak.constants, choice) * (parameters - jax.lax.stop_gradient(parameters))
        if (taken := lane.execution.records[address].taken) is not None:
            weights = jnp.where(spread_over(taken, len(shape)), weights, 0.0)
        weights = _turns_last(weights, lane, address)
        return jax.tree.map(lambda number: jnp.tensordot(weights, number, axes=3), numbers)


def _numbers(lane: Lane, address: str, values: Array) -> Any:
    """For values of shape `(n, *shape)`: what their executions cost, shape `(n, turns, at once, *leaf)`.

    Elements that nothing mixes take their other values in one execution, each with the cost of what depends on itself;
    the others take turns, one execution each.
    """
    shape, parallel = values.shape[1:], lane.decomposition.parallel(address)
    turns = lane.decomposition.mixed(address)
    mixed = [1 if axis in parallel else length for axis, length in enumerate(shape)]
    masks = jnp.broadcast_to(jnp.eye(turns, dtype=bool).reshape(turns, *mixed), (turns, *shape))

    def phantom(mask: Array, value: Array) -> list[Array]:
        other = lane.elsewhere(address, mask, value)
        depends = law_of(other, address)
        return [forward_only(number, depends) for number in _leaves(other, address)]

    leaves = jax.vmap(lambda value: jax.vmap(phantom, (0, None))(masks, value))(values)
    return jax.tree.unflatten(lane.decomposition.tree, leaves)


def _as_phantom(lane: Lane, address: str) -> Any:
    """What an execution that has taken place costs, shape `(turns, at once, *leaf)`: the same at every turn."""
    depends, turns = law_of(lane, address), lane.decomposition.mixed(address)
    leaves = [forward_only(number, depends) for number in _leaves(lane, address)]
    return jax.tree.unflatten(
        lane.decomposition.tree, [jnp.broadcast_to(leaf, (turns, *leaf.shape)) for leaf in leaves]
    )


def _leaves(lane: Lane, address: str) -> list[Array]:
    """Of every leaf what depends on the choice, shape `(at once, *leaf)`."""
    shape, parallel = shape_of(lane.decomposition.choices[address]), lane.decomposition.parallel(address)
    at_once = math.prod(shape[axis] for axis in parallel)
    out = []
    for parts, leaf in zip(lane.execution.leaves, lane.decomposition.shapes, strict=True):
        if leaf:
            out.append(jnp.broadcast_to(lane.depending(parts, address, leaf), (at_once, *leaf)))
        else:
            spread = [length if axis in parallel else 1 for axis, length in enumerate(shape)]
            out.append(jnp.broadcast_to(lane.cost(parts, address, parallel), spread).reshape(at_once))
    return out


def _values_first(array: Array, choice: Choice) -> Array:
    """From `(*stack, values, *shape)` to `(values, *stack, *shape)`."""
    return jnp.moveaxis(array, len(choice.stack), 0)


def _turns_last(array: Array, lane: Lane, address: str) -> Array:
    """From `(values, *shape)` to `(values, turns, at once)`."""
    shape, parallel = array.shape[1:], lane.decomposition.parallel(address)
    order = [axis for axis in range(len(shape)) if axis not in parallel] + list(parallel)
    turns = lane.decomposition.mixed(address)
    return jnp.transpose(array, [0, *(axis + 1 for axis in order)]).reshape(len(array), turns, -1)
