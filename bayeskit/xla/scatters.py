"""Sums into elements of an array, the gradients of indexing, written as loops.

XLA's CPU backend has no emitter of scatters inside a single kernel (`bayeskit.xla.cpu_kernel`). Earlier versions could
be told to turn them into loops; here that is done before XLA sees them, for one function and its gradient. The sums are
taken in the order of the indices, as XLA does on a CPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core
from jax.lax import GatherScatterMode

from bayeskit._typing import Array
from bayeskit.xla.jaxprs import CALLS, OWN_DERIVATIVE, equations, execute, inner_program

__all__ = ["with_loops"]

SCATTERS = frozenset(["scatter-add", "scatter_add"])
_INLINED = CALLS - OWN_DERIVATIVE - {"checkpoint", "remat", "remat2"}


def with_loops(function: Callable[[Array], Array], position: Array) -> Callable[[Array], Array]:
    """The same scalar function of a vector; where its gradient has scatters, this is made of loops instead.

    Args:
        function: what is to be differentiated once, in reverse.
        position: an argument of the right shape.
    """
    if not any(
        e.primitive.name in SCATTERS for e in equations(jax.make_jaxpr(jax.value_and_grad(function))(position).jaxpr)
    ):
        return function

    def with_gradient(position: Array) -> tuple[Array, Array]:
        traced = jax.make_jaxpr(jax.value_and_grad(function))(position)
        value, gradient = _evaluate(traced.jaxpr, traced.consts, [position])
        return value, gradient

    @jax.custom_vjp
    def looped(position: Array) -> Array:
        return function(position)

    looped.defvjp(with_gradient, lambda gradient, cotangent: (cotangent * gradient,))
    return looped


def _evaluate(jaxpr: Any, constants: list[Any], arguments: list[Any]) -> list[Any]:
    """Carry out a program, with loops for its scatters and those of the programs that it calls."""
    known: dict[Any, Any] = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*constants, *arguments], strict=True))
    for equation in jaxpr.eqns:
        values = [atom.val if isinstance(atom, core.Literal) else known[atom] for atom in equation.invars]
        known.update(zip(equation.outvars, _results(equation, values), strict=True))
    return [atom.val if isinstance(atom, core.Literal) else known[atom] for atom in jaxpr.outvars]


def _results(equation: Any, values: list[Any]) -> list[Any]:
    name = equation.primitive.name
    if name in SCATTERS and _is_plain(equation):
        return [_add(equation, *values)]
    inner = inner_program(equation) if name in _INLINED else None
    if inner is not None and any(e.primitive.name in SCATTERS for e in equations(inner)):
        held = next(p for p in equation.params.values() if isinstance(p, core.ClosedJaxpr | core.Jaxpr))
        return _evaluate(inner, getattr(held, "consts", []), values)
    return execute(equation, values)


def _is_plain(equation: Any) -> bool:
    """Whether a scatter has no axes over which operand and indices go together."""
    return not getattr(equation.params["dimension_numbers"], "operand_batching_dims", ())


def _add(equation: Any, operand: Array, indices: Array, updates: Array) -> Array:
    """The operand with all updates added, one after the other."""
    numbers, mode = equation.params["dimension_numbers"], equation.params["mode"]
    windows = numbers.update_window_dims
    batch = [axis for axis in range(updates.ndim) if axis not in windows]
    count = math.prod(updates.shape[axis] for axis in batch)
    window = [1] * operand.ndim
    kept = [axis for axis in range(operand.ndim) if axis not in numbers.inserted_window_dims]
    for axis, of in zip(kept, windows, strict=True):
        window[axis] = updates.shape[of]
    rows = jnp.transpose(updates, (*batch, *windows)).reshape(count, *window)
    where = indices.reshape(count, indices.shape[-1])
    highest = np.asarray(operand.shape) - np.asarray(window)
    clipped = mode == GatherScatterMode.CLIP

    def step(i: Array, total: Array) -> Array:
        row = jax.lax.dynamic_index_in_dim(rows, i, keepdims=False)
        at = jax.lax.dynamic_index_in_dim(where, i, keepdims=False)
        starts = [jnp.zeros((), at.dtype)] * operand.ndim
        inside = jnp.array(True)
        for position, axis in enumerate(numbers.scatter_dims_to_operand_dims):
            start = at[position]
            inside &= (start >= 0) & (start <= highest[axis])
            starts[axis] = jnp.clip(start, 0, int(highest[axis]))
        row = row if clipped else jnp.where(inside, row, jnp.zeros_like(row))
        before = jax.lax.dynamic_slice(total, starts, window)
        return jax.lax.dynamic_update_slice(total, before + row, starts)

    return jax.lax.fori_loop(0, count, step, operand)
