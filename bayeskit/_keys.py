"""One rule for keys: an integer seed, or one JAX key, typed or raw.

What a run does with its key before anything is compiled, it does on the host, bit for bit as JAX does it: as operations
of JAX, each of them would be a program of its own to compile.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bayeskit._typing import Array
from bayeskit.errors import BayeskitError, MethodError


def as_key(key: object, who: str = "key", error: type[BayeskitError] = MethodError) -> Array:
    """The key that was given, or the one that a seed stands for.

    Args:
        key: an integer (Python's, NumPy's or JAX's, traced or not, but no bool), a typed key, or raw key data.
        who: what takes the key, for messages.
        error: the exception to raise.

    Raises:
        BayeskitError: of the type `error`: neither an integer nor one key.

    Example:
        >>> from bayeskit._keys import as_key
        >>> import numpy as np
        >>> as_key(3).tolist() == as_key(np.int64(3)).tolist() == [0, 3]
        True
    """
    if isinstance(key, int | np.integer) and not isinstance(key, bool):
        return jax.random.PRNGKey(int(key))
    if isinstance(key, jax.Array | np.ndarray):
        array = jnp.asarray(key)
        typed = jnp.issubdtype(array.dtype, jax.dtypes.prng_key)
        if typed and array.shape == ():
            return array
        if not typed and jnp.issubdtype(array.dtype, jnp.integer) and array.shape == ():
            return jax.random.PRNGKey(array)
        if array.dtype == jnp.uint32 and array.ndim == 1:
            return array
        if (typed and array.ndim) or (array.dtype == jnp.uint32 and array.ndim > 1):
            raise error(f"{who} takes one key, got an array of them, shape {array.shape}; use jax.vmap over keys")
    raise error(f"{who} takes an integer seed or a key such as jax.random.key(0), got {key!r}")


def raw_key(key: object, who: str = "key", error: type[BayeskitError] = MethodError) -> Array:
    """As `as_key`, as raw data: what a state holds, so that it can be stored."""
    array = as_key(key, who, error)
    return jax.random.key_data(array) if jnp.issubdtype(array.dtype, jax.dtypes.prng_key) else array


def host_key(key: object, who: str = "key", error: type[BayeskitError] = MethodError) -> np.ndarray:
    """As `raw_key`, on the host.

    Example:
        >>> from bayeskit._keys import host_key
        >>> host_key(3)
        array([0, 3], dtype=uint32)
    """
    if _is_plain() and isinstance(key, int) and not isinstance(key, bool) and 0 <= key < 2**31:
        return np.array([0, key], np.uint32)
    return np.asarray(raw_key(key, who, error))


def host_split(raw: np.ndarray, number: int = 2) -> np.ndarray:
    """`jax.random.split` of a raw key, on the host; shape ``(number, size of a key)``."""
    if not (_is_plain() and raw.shape == (2,)):
        return np.asarray(jax.random.split(jnp.asarray(raw), number))
    counts = np.arange(number, dtype=np.uint32)
    return np.stack(_threefry(raw, np.zeros_like(counts), counts), axis=-1)


def host_fold_in(raw: np.ndarray, number: int) -> np.ndarray:
    """`jax.random.fold_in` of a raw key and a 32-bit number, on the host."""
    if not (_is_plain() and raw.shape == (2,)):
        return np.asarray(jax.random.fold_in(jnp.asarray(raw), np.uint32(number)))
    return np.concatenate(_threefry(raw, np.zeros(1, np.uint32), np.array([number], np.uint32)))


def _is_plain() -> bool:
    """Whether raw keys are Threefry's, and are split as JAX does by default; no, where a JAX to come does not say."""
    plain = {"jax_default_prng_impl": "threefry2x32", "jax_threefry_partitionable": True}
    config: Any = jax.config
    return all(getattr(config, name, None) == value for name, value in plain.items())


_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = np.uint32(0x1BD11BDA)


def _threefry(key: np.ndarray, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Threefry-2x32 with 20 rounds of pairs of words (Salmon, Moraes, Dror and Shaw 2011)."""
    schedule = key[0], key[1], key[0] ^ key[1] ^ _PARITY
    with np.errstate(over="ignore"):  # sums are modulo 2**32
        first, second = first + schedule[0], second + schedule[1]
        for group in range(5):
            for bits in _ROTATIONS[group % 2]:
                first = first + second
                second = first ^ (second << np.uint32(bits) | second >> np.uint32(32 - bits))
            first = first + schedule[(group + 1) % 3]
            second = second + schedule[(group + 2) % 3] + np.uint32(group + 1)
    return first, second
