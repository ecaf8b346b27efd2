"""Kernel matrices in blocks: what a layer needs besides the result then fits into the cache of the processor."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from bayeskit._settings import is_whole, require
from bayeskit._typing import Array

__all__ = ["KernelFunction", "block_rows", "by_row_blocks", "by_tiles", "in_tiles"]

KernelFunction: TypeAlias = Callable[[Array, Array], tuple[Array, ...]]
"""Matrices `(n1, n2)` of two sets of inputs."""

IN_CACHE = 2**18
"""Numbers in a block of automatic size on a CPU."""

IN_MEMORY = 2**25
"""The same on accelerators, which want large blocks."""

TILES = 6
"""On a side of a symmetric matrix, of which little more than half is then computed."""

VECTOR = 16
"""The rows of a tile are a multiple of this, and it is one of the width of the processor's vectors."""


def block_rows(n1: int, n2: int, per_pair: int, block_size: int | None) -> int:
    """Rows of a block.

    Raises:
        MethodError: ``block_size`` is not a positive integer.
    """
    if block_size is None:
        return max(1, min(n1, _numbers() // (n2 * per_pair)))
    whole = is_whole(block_size) and block_size >= 1
    require(whole, "block_size", block_size, "a positive integer, the rows of a block, or None")
    return min(n1, block_size)


def in_tiles(n: int, per_pair: int) -> bool:
    """Whether a symmetric matrix is better computed by tiles than by blocks of rows.

    It is not if one block holds all, in small matrices, and in matrices so large that putting tiles together, which
    needs the memory of two more, could fail.
    """
    return n >= TILES * VECTOR and _numbers() < n**2 * per_pair and n**2 <= IN_MEMORY


def _numbers() -> int:
    return IN_CACHE if jax.default_backend() == "cpu" else IN_MEMORY


def by_row_blocks(function: KernelFunction, x1: Array, x2: Array, size: int) -> tuple[Array, ...]:
    """``function`` of blocks of rows of ``x1`` and all of ``x2``, put together.

    A block is computed again in the backward pass of a derivative, so that only one keeps its intermediate values.
    """
    n = x1.shape[0]
    if size >= n:
        return jax.checkpoint(function)(x1, x2)
    blocks, columns = _in_columns(x1, size), jnp.moveaxis(x2, 0, -1)
    of_block = jax.checkpoint(lambda k: _apart(function, k, blocks[k], columns))
    found = jax.lax.map(of_block, jnp.arange(blocks.shape[0]))
    return tuple(part.reshape(-1, *part.shape[2:])[:n] for part in found)


def by_tiles(function: KernelFunction, x: Array) -> tuple[Array, ...]:
    """The symmetric matrices ``function(x, x)``, of which only the tiles on and below the diagonal are computed.

    All tiles have one shape, so that one compiled loop serves them and their derivatives; 6 on a side leave 21 of 36 to
    compute. More would save little more, and the overhead of the loop and of putting tiles together grows.
    """
    n = x.shape[0]
    size = VECTOR * -(-n // (TILES * VECTOR))
    positions = np.tril_indices(-(-n // size))

    # Two checkpoints. The outer one makes the loop of the derivative independent of that of the value, so that it need
    # not wait for it; the inner one keeps no intermediate values of a tile, which are many times the tile itself.
    @jax.checkpoint
    def every_tile(x: Array) -> tuple[Array, ...]:
        blocks = _in_columns(x, size)
        of_tile = jax.checkpoint(lambda tile: _apart(function, tile[0], blocks[tile[0]], blocks[tile[1]]))
        return jax.lax.map(of_tile, tuple(map(jnp.asarray, positions)))

    return tuple(_together(part, positions, n) for part in every_tile(x))


def _together(tiles: Array, positions: tuple[np.ndarray, ...], n: int) -> Array:
    """A symmetric matrix from the tiles of its lower triangle; those of the last row were filled up, and are cut."""
    size = tiles.shape[1]
    separate = jax.lax.split(tiles, [1] * len(tiles))
    computed = {(int(i), int(j)): tile[0] for i, j, tile in zip(*positions, separate, strict=True)}
    heights = [min(size, n - start) for start in range(0, n, size)]

    def tile(i: int, j: int) -> Array:
        return computed[i, j][: heights[i], : heights[j]] if i >= j else tile(j, i).T

    rows = range(len(heights))
    return jnp.concatenate([jnp.concatenate([tile(i, j) for j in rows], axis=1) for i in rows])


def _in_columns(x: Array, size: int) -> Array:
    """Blocks of rows as `(blocks, ..., rows)`: the inner loops run over inputs. The last row fills the last block."""
    n = x.shape[0]
    num = -(-n // size)
    padded = jnp.concatenate([x, jnp.broadcast_to(x[-1:], (num * size - n, *x.shape[1:]))])
    return jnp.moveaxis(padded.reshape(num, size, *x.shape[1:]), 1, -1)


def _apart(function: KernelFunction, place: Array, one: Array, two: Array) -> tuple[Array, ...]:
    """``function`` of two blocks, as a program of its own.

    XLA would put reading a block, at a place that is only known at run time, into the loop over its pairs, and does
    not vectorise that loop then. The branch of a conditional is not taken apart; this one is always taken.
    """

    def kernel(one: Array, two: Array) -> tuple[Array, ...]:
        return function(jnp.moveaxis(one, -1, 0), jnp.moveaxis(two, -1, 0))

    def never(one: Array, two: Array) -> tuple[Array, ...]:
        return tuple(jnp.zeros(part.shape, part.dtype) for part in jax.eval_shape(kernel, one, two))

    return jax.lax.cond(place >= 0, kernel, never, one, two)
