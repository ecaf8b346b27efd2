"""Computing in float64 where the mathematics needs it, whatever the default of the process is."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from bayeskit.xla.miscompilation import safe_jit

__all__ = ["in_double", "to_default", "to_double"]

P = ParamSpec("P")
R = TypeVar("R")


def to_double(tree: R) -> R:
    """The same tree with its floating leaves in float64, Python's among them; call it inside `in_double`."""
    return jax.tree.map(_as_double, tree)


def _as_double(leaf: object) -> object:
    if isinstance(leaf, jax.Array | np.ndarray | np.generic):
        return jnp.asarray(leaf, jnp.float64) if jnp.issubdtype(leaf.dtype, jnp.floating) else jnp.asarray(leaf)
    return jnp.asarray(leaf, jnp.float64) if isinstance(leaf, float) else leaf


def to_default(tree: R) -> R:
    """The same tree with its floating arrays in the default precision of the process."""
    return jax.tree.map(lambda leaf: leaf.astype(float) if eqx.is_inexact_array(leaf) else leaf, tree)


def in_double(function: Callable[P, R]) -> Callable[P, R]:
    """The function, compiled, computed in float64 and differentiated in float64.

    Floating leaves of the arguments are converted first. What the function returns stays in float64: pass it on to
    another such function, or through `to_default`. It must not close over traced values.

    Where 64-bit numbers are the default, this is compilation and nothing else. Where they are not, they are enabled
    during the call and, by a rule of its own, during its backward pass: JAX transposes a function after it has
    returned, when the context that allowed 64-bit numbers is gone. So there is no forward-mode derivative there.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> with jax.enable_x64(False):
        ...     third = in_double(lambda x: x / 3)(jnp.float32(1.0))
        >>> third.dtype
        dtype('float64')
    """

    @functools.partial(safe_jit, compile=eqx.filter_jit)
    def compiled(dynamic: PyTree, static: PyTree) -> R:
        arguments, keywords = eqx.combine(dynamic, static)
        return function(*arguments, **keywords)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        native = jax.dtypes.canonicalize_dtype(float) == jnp.float64
        if native:
            dynamic, static = eqx.partition(to_double((args, kwargs)), eqx.is_array)
            return compiled(dynamic, static)
        dynamic, static = eqx.partition((args, kwargs), _may_vary)
        return _with_own_backward_pass(compiled, dynamic, static)

    return call


def _may_vary(leaf: Any) -> bool:
    """What can have a derivative: a constant in float64 has none that single precision could hold."""
    if not isinstance(leaf, jax.Array) or not eqx.is_inexact_array(leaf):
        return False
    return isinstance(leaf, jax.core.Tracer) or leaf.dtype != jnp.float64


def _with_own_backward_pass(compiled: Callable[[object, object], R], dynamic: object, static: object) -> R:
    def run(dynamic: object) -> R:
        changing, fixed = eqx.partition(to_double(eqx.combine(dynamic, static)), eqx.is_array)
        return compiled(changing, fixed)

    @jax.custom_vjp
    def value(dynamic: object) -> R:
        with jax.enable_x64(True):
            return run(dynamic)

    def forward(dynamic: object) -> tuple[R, object]:
        with jax.enable_x64(True):
            return jax.vjp(run, dynamic)

    def backward(pull: Callable[[R], tuple[PyTree]], cotangent: R) -> tuple[PyTree]:
        with jax.enable_x64(True):
            return pull(cotangent)

    value.defvjp(forward, backward)
    return value(dynamic)
