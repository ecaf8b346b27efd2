"""A function that is traced once, however many programs it becomes part of."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from functools import cache
from typing import ParamSpec, TypeVar

import jax
import jax.numpy as jnp
from jax.extend.core import get_opaque_trace_state
from numpyro import primitives

from bayeskit.xla.jaxprs import equations

__all__ = ["is_outermost", "traced_once"]

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def traced_once(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Inside of other programs, what the function has been traced to before, for arguments of these shapes.

    One fit meets the log density of its model half a dozen times: in a loop JAX traces what is inside more than once,
    and a question to a program (does it factorise?) is a trace of its own. NumPyro's handlers make that slow. Called
    outside of any program it is the function itself. So it is where single precision is the default: what a model
    computes in float64 there (`bayeskit.xla.precision`) holds while it is traced, and would be put in without it.

    Args:
        function: of pytrees; pure.
    """
    inlined = jax.jit(function, inline=True)

    @functools.wraps(function)
    def call(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        itself = is_outermost() or bool(primitives._PYRO_STACK) or holds_double(*args, **kwargs)
        return (function if itself else inlined)(*args, **kwargs)

    def holds_double(*args: Arguments.args, **kwargs: Arguments.kwargs) -> bool:
        if jax.dtypes.canonicalize_dtype(float) == jnp.float64:
            return False
        found = equations(inlined.trace(*args, **kwargs).jaxpr.jaxpr)
        return any(getattr(variable.aval, "dtype", None) == jnp.float64 for e in found for variable in e.outvars)

    return call


def is_outermost() -> bool:
    """Whether nothing is being traced in this thread."""
    return get_opaque_trace_state(convention="nnx") == _no_trace()


@cache
def _no_trace() -> object:
    """The trace state of a thread of its own, in which nothing is traced."""
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.append(get_opaque_trace_state(convention="nnx")))
    thread.start()
    thread.join()
    return found[0]
