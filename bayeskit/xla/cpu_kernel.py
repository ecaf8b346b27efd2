"""One CPU kernel for a whole function, instead of one for each operation.

XLA runs a compiled CPU program as a list of kernels and spends about 50 ns on starting each. One leapfrog of the
no-U-turn sampler is some eighty kernels on vectors of a few dozen numbers: the starting costs more than the arithmetic.
XLA can also emit a call as a *single* kernel, loops included, and does so by itself for loops that touch less than a
kilobyte. `single_kernel` asks for it by the two attributes that XLA attaches to such calls.

This is right only where

* the program runs on the CPU (`is_available`),
* it is compiled with `kernel_options` (where XLA has the option, it turns a scatter, the gradient of indexing, into a
  loop; later versions have not, and there `bayeskit.xla.scatters` does so), and
* every operation has an emitter of this kind: `has_single_kernel` looks through a function for those that have none
  (factorisations, sorting, callbacks) and for arrays so large that the starting costs no longer matter.

The numbers are the same as without it up to rounding. `BAYESKIT_SINGLE_KERNELS=0` in the environment turns it off.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from functools import cache
from typing import Any

import jax
from jax.experimental.xla_metadata import set_xla_metadata
from jax.extend import core

from bayeskit.xla.jaxprs import CALLS, CONTROL, CUMULATIVE, ELEMENTWISE, REDUCTIONS, STRUCTURE, equations

__all__ = [
    "COMPILER_OPTIONS",
    "brief_options",
    "chain_options",
    "has_single_kernel",
    "is_available",
    "kernel_options",
    "single_kernel",
]

COMPILER_OPTIONS: dict[str, bool] = {"xla_cpu_use_fusion_emitters": False}
"""What turns a scatter into a loop, in the versions of XLA that have it; see `kernel_options`."""

MAX_ELEMENTS = 2**13
"""Largest array for which starting kernels is a cost worth avoiding: a kernel over more takes a hundred times as long
as its start, and loops over functions such as `exp` are vectorised in kernels of their own only."""

MAX_FACTOR = 2**17
"""Largest matrix that is only multiplied with."""

MAX_MATMUL = 2**15
"""Largest number of multiplications in a product of two matrices; larger ones are better left to a library."""

_LEVEL = "xla_backend_optimization_level"
_ATTRIBUTES = {"xla_cpu_small_call": "true", "inlineable": "false"}

_NOT_EMITTED = frozenset(
    (
        "call",
        "name",
        "population_count",
        "reduce_precision",
        "conj",
        "imag",
        "real",
        "random_gamma",
        "random_gamma_grad",
    )
    + ("igamma_grad_a", "zeta", "reduce_xor", "custom_linear_solve")
)
_EMITTED = (
    ELEMENTWISE
    | STRUCTURE
    | CUMULATIVE
    | REDUCTIONS
    | CONTROL
    | {"bitcast_convert_type", "dot_general"}
    # what JAX writes of late for gradients of tanh, for approximations of special functions, for copies and for loops
    | {"one_minus_square", "polynomial", "tile", "empty2"}
) - _NOT_EMITTED

_PASSED_ON = CALLS | {"dot_general", "transpose"}
"""Operations whose arguments may be factors of products."""


def is_available() -> bool:
    """Whether the default device is a CPU, and single kernels are not turned off."""
    return jax.default_backend() == "cpu" and os.environ.get("BAYESKIT_SINGLE_KERNELS", "1") != "0"


@cache
def kernel_options() -> dict[str, bool]:
    """What a program with a `single_kernel` is compiled with: `COMPILER_OPTIONS`, if this version of XLA has them."""
    try:
        jax.jit(lambda x: x + 1, compiler_options=dict(COMPILER_OPTIONS)).lower(0.0).compile()
    except jax.errors.JaxRuntimeError:
        return {}
    return dict(COMPILER_OPTIONS)


def chain_options() -> dict[str, Any]:
    """Options of the program of one chain: `kernel_options`, and how much to optimise.

    LLVM's highest level takes twice as long over a large kernel as the one below it, and makes none faster.
    """
    return {**(kernel_options() if is_available() else {}), **_level(2)}


def brief_options() -> dict[str, Any]:
    """Options of a program that runs a few times only, so that compiling it is what takes time."""
    return _level(1)


def _level(number: int) -> dict[str, Any]:
    if jax.default_backend() != "cpu" or _LEVEL in os.environ.get("XLA_FLAGS", ""):
        return {}
    return {_LEVEL: number}


def single_kernel(function: Callable) -> Callable:
    """`function`, emitted as one kernel where the program is compiled for a CPU with `kernel_options`.

    The function becomes a call that XLA may not inline. The attributes are taken off again for what is inside it,
    by versions of JAX that take `None` for that; later ones leave them there, which changes no number.
    """

    def inside(*args: object) -> object:
        with set_xla_metadata(**dict.fromkeys(_ATTRIBUTES)):
            return function(*args)

    compiled = jax.jit(inside)

    def call(*args: object) -> object:
        with set_xla_metadata(**_ATTRIBUTES):
            return compiled(*args)

    return call


def has_single_kernel(function: Callable, *args: object) -> bool:
    """Whether every operation of `function(*args)` can, and should, be part of a single kernel.

    Only traces: nothing is computed. An operation that is not known to have an emitter counts as having none.
    """
    closed = jax.make_jaxpr(function)(*args)
    return all(_is_emitted(equation) for equation in equations(closed.jaxpr))


def _is_emitted(equation: core.JaxprEqn) -> bool:
    name = equation.primitive.name
    if name not in _EMITTED or (name.startswith("scatter") and not kernel_options()):
        return False
    most = MAX_FACTOR if name in _PASSED_ON else MAX_ELEMENTS
    if not all(_is_real(atom.aval, most) for atom in (*equation.invars, *equation.outvars)):
        return False
    return name != "dot_general" or _is_small_product(equation)


def _is_real(array: Any, most: int) -> bool:
    return math.prod(array.shape) <= most and getattr(array.dtype, "kind", "c") != "c"


def _is_small_product(equation: core.JaxprEqn) -> bool:
    """A product with a vector becomes a sum over products, which is emitted well at any size."""
    shapes: list[Any] = [atom.aval for atom in equation.invars]
    left, right = shapes
    (contracted, _), (batch, _) = equation.params["dimension_numbers"]
    shared = math.prod(left.shape[axis] for axis in (*contracted, *batch))
    left_free, right_free = math.prod(left.shape) // max(shared, 1), math.prod(right.shape) // max(shared, 1)
    return min(left_free, right_free) <= 1 or shared * left_free * right_free <= MAX_MATMUL
