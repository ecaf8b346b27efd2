"""Numbers that count forwards only, and refuse second derivatives that would be wrong.

A *phantom* is an execution of the program with a choice at another value. Its number is a constant to the first
derivative; to the second it is not, since the law of the other choices in it depends on the parameters.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from bayeskit._typing import Array
from bayeskit.errors import ModelError
from bayeskit.inference.vi.surrogate import Lane
from bayeskit.inference.vi.tracing.decomposition import shape_of

__all__ = ["forward_only", "law_of"]


def law_of(lane: Lane, address: str) -> list[Any]:
    """What the law of a phantom of a choice depends on beside its number: the choices that it draws.

    A single choice with a finite support is linear in its probabilities, and is not drawn in its own phantoms.
    """
    decomposition = lane.decomposition
    alone = math.prod(shape_of(decomposition.choices[address])) == 1
    laws = [
        decomposition.estimator(other).law(lane.own(other), is_own=other == address and alone)
        for other in decomposition.choices
    ]
    leaves = [jnp.asarray(leaf) for leaf in jax.tree.leaves(laws)]
    real = [leaf for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return [*real, *decomposition.parameters(address)]


@jax.custom_jvp
def forward_only(x: Array, depends: Any) -> Array:
    """The value alone: its derivative is zero, and the derivative after that is refused."""
    del depends
    return x


@forward_only.defjvp
def _(primals: tuple[Array, Any], tangents: tuple[Array, Any]) -> tuple[Array, Array]:
    del tangents
    return _no_second_derivative(*primals), jnp.zeros_like(primals[0])


@jax.custom_jvp
def _no_second_derivative(x: Array, depends: Any) -> Array:
    del depends
    return x


@_no_second_derivative.defjvp
def _(primals: tuple[Array, Any], tangents: tuple[Array, Any]) -> tuple[Array, Array]:
    del primals, tangents
    raise ModelError(
        "second derivatives do not pass a measure-valued choice; use bayeskit.estimators.Enumeration() or Score() there"
    )
