"""A fault of XLA's CPU compiler that makes some sums of products wrong, and how it is kept away.

XLA of JAX 0.10 and 0.12 hands a sum over an axis of a product of two broadcast arrays to a library, YNNPACK, and where
one of them does not vary along that axis the result is made of memory that was never written. Three lines of plain JAX
show it (`is_faulty`). The compiler option `COMPILER_OPTIONS` turns the library off, for one program; the environment
variable `XLA_FLAGS` does so for a process.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from bayeskit._typing import Array
from bayeskit.xla.once import is_outermost

__all__ = ["XLA_FLAG", "kept_away", "safe_jit", "safe_options", "warn_if_faulty"]

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

XLA_FLAG = "--xla_cpu_experimental_ynn_fusion_type"
COMPILER_OPTIONS = {XLA_FLAG.removeprefix("--"): ""}
_SHAPE = (20, 8, 4, 4, 2)
_TABLE = np.array([[1.0, 1.0], [1.0, 0.5], [0.5, 1.0], [0.5, 0.5]], np.float32)

_protected: list[bool] = []


@cache
def is_faulty() -> bool:
    """Whether this process computes such a sum wrongly, on its default device."""
    if jax.default_backend() != "cpu":
        return False
    factors = np.arange(8, dtype=np.float32) / 8

    def sums(factors: Array) -> Array:
        return jnp.sum(
            jnp.broadcast_to(_TABLE, _SHAPE) * jnp.broadcast_to(factors[None, :, None, None, None], _SHAPE), -1
        )

    found = jax.jit(sums).lower(factors).compile()(factors)
    right = factors[None, :, None, None] * _TABLE.sum(-1)
    return not np.allclose(np.asarray(found), np.broadcast_to(right, _SHAPE[:-1]), rtol=1e-3, atol=1e-3)


@cache
def safe_options() -> dict[str, str]:
    """What to give to ``jax.jit(..., compiler_options=...)``; nothing where the fault is not there."""
    if not is_faulty():
        return {}
    try:
        jax.jit(lambda x: x + 1.0, compiler_options=dict(COMPILER_OPTIONS)).lower(0.0).compile()
    except jax.errors.JaxRuntimeError:
        return {}
    return dict(COMPILER_OPTIONS)


def safe_jit(
    function: Callable[Arguments, Result],
    *,
    static_argnums: int | tuple[int, ...] = (),
    compile: Any = jax.jit,
    options: Callable[[], dict[str, Any]] = dict,
) -> Callable[Arguments, Result]:
    """``jax.jit`` with `safe_options`, asked for when first called, so that importing compiles nothing.

    Inside of another trace it is a plain ``jax.jit``: there the options are those of the outermost program.

    Args:
        function: to be compiled.
        static_argnums: as in `jax.jit`.
        compile: `jax.jit`, or `equinox.filter_jit`, which finds out itself what is static.
        options: what gives further options of the compiler.
    """
    settings = {"static_argnums": static_argnums} if compile is jax.jit else {}
    plain = compile(function, **settings)

    @cache
    def safe() -> Any:
        def shielded(*args: Any, **kwargs: Any) -> Any:
            with kept_away():
                return function(*args, **kwargs)

        further = {**options(), **safe_options()} or None
        return compile(functools.wraps(function)(shielded), compiler_options=further, **settings)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return (safe() if is_outermost() else plain)(*args, **kwargs)

    return call


@contextmanager
def kept_away() -> Iterator[None]:
    """While a program is traced that will be compiled with `safe_options`."""
    _protected.append(True)
    try:
        yield
    finally:
        _protected.pop()


def warn_if_faulty() -> None:
    """Warn, once, of a program that the user compiles."""
    if not _protected and is_faulty():
        _warn()


@cache
def _warn() -> None:
    warnings.warn(
        "XLA of this version of JAX computes some sums of products wrongly on CPUs (it reads memory that was never "
        f"written), and may do so in what you compile. Start Python with XLA_FLAGS={XLA_FLAG}= in the environment, "
        "which turns the library at fault off; bayeskit.infer and the command line are not affected",
        stacklevel=4,
    )
