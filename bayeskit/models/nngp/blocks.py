"""Kernel matrices in blocks of rows, so that what a layer needs beside the result stays small."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from bayeskit._errors import MethodError
from bayeskit._typing import Array

__all__ = ["block_rows", "by_row_blocks"]

IN_CACHE = 2**18
"""Numbers in a block of automatic size on a CPU: what a layer keeps of it stays in the cache."""

IN_MEMORY = 2**25
"""The same on accelerators, which want large blocks."""


def block_rows(n1: int, n2: int, per_pair: int, block_size: int | None) -> int:
    """Rows of a block.

    Raises:
        MethodError: ``block_size`` is not a positive integer.
    """
    if block_size is None:
        numbers = IN_CACHE if jax.default_backend() == "cpu" else IN_MEMORY
        return max(1, min(n1, numbers // (n2 * per_pair)))
    if isinstance(block_size, bool) or not isinstance(block_size, int) or block_size < 1:
        raise MethodError(f"block_size must be a positive integer, the rows of a block, or None, got {block_size!r}")
    return min(n1, block_size)


def by_row_blocks(
    function: Callable[[Array, Array], tuple[Array, ...]], x1: Array, x2: Array, size: int
) -> tuple[Array, ...]:
    """``function`` of blocks of rows of ``x1`` and all of ``x2``, put together.

    A block is computed again in the backward pass of a derivative, so that only one keeps its intermediate values.
    """
    n = x1.shape[0]
    checkpointed = jax.checkpoint(function)
    if size >= n:
        return checkpointed(x1, x2)
    num = -(-n // size)
    padded = jnp.concatenate([x1, jnp.broadcast_to(x1[-1:], (num * size - n, *x1.shape[1:]))])
    blocks = padded.reshape(num, size, *x1.shape[1:])
    found = jax.lax.map(lambda rows: checkpointed(rows, x2), blocks)
    return tuple(part.reshape(num * size, *part.shape[2:])[:n] for part in found)
