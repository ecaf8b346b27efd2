r"""Measure-valued choices: executions of the program with a choice at other values, which count forwards only.

For a choice $m$ with probabilities $q_m(v)$ the surrogate gains $\sum_v \bot k(v)\,(q_m(v) - \bot q_m(v))$, or that
over the two halves of a weak derivative. Elements that nothing mixes take their other values in one execution, each
with the cost of what depends on itself; the others take turns.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from bayeskit._typing import Array
from bayeskit.errors import ModelError
from bayeskit.inference.vi.estimators import Enumeration
from bayeskit.inference.vi.surrogate import cost, weighted
from bayeskit.inference.vi.tracing.structure import Execution, Overrides, Structure, shape_of
from bayeskit.program.execution import Choice, Override

__all__ = ["antithetic", "phantoms"]


def phantoms(structure: Structure, overrides: Overrides, address: str, execution: Execution) -> Any:
    """The term of one measure-valued choice; a pytree like the result."""
    choice, record = structure.choices[address], execution.records[address]
    shape = shape_of(choice)
    if "probabilities" in record:
        # the value that was drawn has been executed already
        support = jnp.asarray(choice.support, choice.dtype)
        drawn = jnp.argmax(record["value"][..., None] == support, axis=-1)
        order = (drawn + jnp.arange(support.size).reshape(-1, *[1] * len(shape))) % support.size
        numbers = _numbers(structure, overrides, address, support[order[1:]])
        here = _as_phantom(structure, execution, address)
        numbers = jax.tree.map(lambda first, rest: jnp.concatenate([first[None], rest]), here, numbers)
        probabilities = jnp.take_along_axis(_values_first(record["probabilities"], choice), order, axis=0)
        weights = probabilities - jax.lax.stop_gradient(probabilities)
    else:
        plus, minus = (
            _numbers(structure, overrides, address, _values_first(record[name], choice)) for name in ("plus", "minus")
        )
        numbers = jax.tree.map(jnp.subtract, plus, minus)
        parameters = _values_first(record["parameters"], choice)
        weights = _values_first(record["constants"], choice) * (parameters - jax.lax.stop_gradient(parameters))
    if "taken" in record:
        taken = record["taken"]
        weights = jnp.where(taken.reshape(*taken.shape, *[1] * (len(shape) - taken.ndim)), weights, 0.0)
    weights = _turns_last(weights, structure, address)
    return jax.tree.map(lambda number: jnp.tensordot(weights, number, axes=3), numbers)


def antithetic(structure: Structure, overrides: Overrides, address: str, execution: Execution) -> Any:
    """The term of one choice with the DisARM estimator; a pytree like the result."""
    record, choice = execution.records[address], structure.choices[address]
    shape, parallel = shape_of(choice), structure.parallel(address)
    if any(length > 1 and axis not in parallel for axis, length in enumerate(choice.stack)):
        raise ModelError(
            f"site {choice.site!r}: DisARM would be biased in a loop whose passes depend on each other; use "
            "bayeskit.estimators.Score() or bayeskit.estimators.MeasureValued() there"
        )
    value, other, logits = record["value"], record["antithetic"], record["logits"]
    second = structure.execute({**overrides, address: Override(jnp.ones(shape, bool), other)})
    sign = jnp.where(value != other, 1.0 - 2.0 * other, 0.0)
    share = 0.5 * sign * jax.nn.sigmoid(jnp.abs(logits))
    if "taken" in record:
        share = jnp.where(
            record["taken"].reshape(*record["taken"].shape, *[1] * (len(shape) - record["taken"].ndim)), share, 0.0
        )
    steps = jax.lax.stop_gradient(share) * (logits - jax.lax.stop_gradient(logits))
    depends = [*_forgotten(structure, address, execution), logits]
    numbers: list[Array] = []
    for first_parts, second_parts, leaf in zip(execution.leaves, second.leaves, structure.shapes, strict=True):
        if leaf:
            pair = [
                sum((weighted(structure, e, p) for p in parts if address in p.labels), start=jnp.zeros(leaf))
                for e, parts in ((execution, first_parts), (second, second_parts))
            ]
            numbers.append(jnp.sum(steps) * _forward_only(pair[0] - pair[1], depends))
        else:
            axes = tuple(range(len(shape)))
            first = cost(structure, execution, first_parts, address, axes)
            less = first - cost(structure, second, second_parts, address, axes)
            numbers.append(jnp.sum(steps * _forward_only(less, depends)))
    return jax.tree.unflatten(structure.tree, numbers)


def _numbers(structure: Structure, overrides: Overrides, address: str, values: Array) -> Any:
    """For values of shape `(n, *shape)`: what their executions cost, shape `(n, turns, at once, *leaf)`."""
    shape, parallel = values.shape[1:], structure.parallel(address)
    turns = structure.mixed(address)
    mixed = [1 if axis in parallel else length for axis, length in enumerate(shape)]
    masks = jnp.broadcast_to(jnp.eye(turns, dtype=bool).reshape(turns, *mixed), (turns, *shape))

    def phantom(mask: Array, value: Array) -> list[Array]:
        execution = structure.execute({**overrides, address: Override(mask, value)})
        depends = _forgotten(structure, address, execution)
        return [_forward_only(number, depends) for number in _leaves(structure, execution, address)]

    leaves = jax.vmap(lambda value: jax.vmap(phantom, (0, None))(masks, value))(values)
    return jax.tree.unflatten(structure.tree, leaves)


def _as_phantom(structure: Structure, execution: Execution, address: str) -> Any:
    """What an execution that has taken place costs, shape `(turns, at once, *leaf)`: the same at every turn."""
    depends = _forgotten(structure, address, execution)
    turns = structure.mixed(address)
    leaves = [_forward_only(number, depends) for number in _leaves(structure, execution, address)]
    return jax.tree.unflatten(structure.tree, [jnp.broadcast_to(leaf, (turns, *leaf.shape)) for leaf in leaves])


def _leaves(structure: Structure, execution: Execution, address: str) -> list[Array]:
    """Of every leaf what depends on the choice, shape `(at once, *leaf)`."""
    shape, parallel = shape_of(structure.choices[address]), structure.parallel(address)
    at_once = math.prod(shape[axis] for axis in parallel)
    out = []
    for parts, leaf in zip(execution.leaves, structure.shapes, strict=True):
        if leaf:
            number = sum(
                (weighted(structure, execution, p) for p in parts if address in p.labels), start=jnp.zeros(leaf)
            )
            out.append(jnp.broadcast_to(number, (at_once, *leaf)))
        else:
            spread = [length if axis in parallel else 1 for axis, length in enumerate(shape)]
            out.append(jnp.broadcast_to(cost(structure, execution, parts, address, parallel), spread).reshape(at_once))
    return out


def _values_first(array: Array, choice: Choice) -> Array:
    """From `(*stack, values, *shape)` to `(values, *stack, *shape)`."""
    return jnp.moveaxis(array, len(choice.stack), 0)


def _turns_last(array: Array, structure: Structure, address: str) -> Array:
    """From `(values, *shape)` to `(values, turns, at once)`."""
    shape, parallel = array.shape[1:], structure.parallel(address)
    order = [axis for axis in range(len(shape)) if axis not in parallel] + list(parallel)
    return jnp.transpose(array, [0, *(axis + 1 for axis in order)]).reshape(len(array), structure.mixed(address), -1)


def _forgotten(structure: Structure, address: str, execution: Execution) -> list[Array]:
    """What the law of a phantom depends on beside its number: the choices that it draws.

    A single choice with a finite support is linear in its probabilities, and is not drawn in its own phantoms.
    """
    choices = structure.choices
    alone = math.prod(shape_of(choices[address])) == 1
    forgotten = []
    for other, record in execution.records.items():
        if isinstance(choices[other].estimator, Enumeration):
            continue
        forgotten += [record[name] for name in ("log_q", "parameters", "logits") if name in record]
        forgotten += _numbers_of(record.get("distribution"))
        if "probabilities" in record and not (other == address and alone):
            forgotten.append(record["probabilities"])
    return forgotten


def _numbers_of(distribution: Any) -> list[Array]:
    """What a distribution that a custom estimator draws from is made of."""
    leaves = map(jnp.asarray, jax.tree.leaves(distribution))
    return [leaf for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.floating)]


@jax.custom_jvp
def _forward_only(x: Array, depends: list[Array]) -> Array:
    """The value alone: its derivative is zero, and the derivative after that is refused."""
    del depends
    return x


@_forward_only.defjvp
def _(primals: tuple[Array, Any], tangents: tuple[Array, Any]) -> tuple[Array, Array]:
    del tangents
    return _no_second_derivative(*primals), jnp.zeros_like(primals[0])


@jax.custom_jvp
def _no_second_derivative(x: Array, depends: list[Array]) -> Array:
    del depends
    return x


@_no_second_derivative.defjvp
def _(primals: tuple[Array, Any], tangents: tuple[Array, Any]) -> tuple[Array, Array]:
    del primals, tangents
    raise ModelError(
        "second derivatives do not pass a measure-valued choice; use bayeskit.estimators.Enumeration() or Score() there"
    )
