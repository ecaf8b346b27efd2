"""One rule for keys: an integer seed, or one JAX key, typed or raw."""

from __future__ import annotations

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
