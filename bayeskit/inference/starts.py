"""More places to start from than chains."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from bayeskit.errors import InitError
from bayeskit.target import Target, find_start

__all__ = ["more_starts"]


def more_starts(target: Target, key: np.ndarray, first: np.ndarray, number: int) -> np.ndarray:
    """Several starts for each chain, shape ``(chain, number, size)``: the first where the chain starts, the others
    uniform on (-2, 2); all where the chain starts if there is no other place with a finite density.

    Args:
        target: the target.
        key: raw.
        first: where the chains start, shape ``(chain, size)``.
        number: starts for each.
    """
    chains, size = first.shape
    starts = np.broadcast_to(first[:, None], (chains, number, size)).copy()
    if number > 1:
        try:
            found = find_start(target, jnp.asarray(key), chains * (number - 1), strategy="uniform")
        except InitError:
            return starts
        starts[:, 1:] = np.asarray(jax.vmap(target.ravel)(found)).reshape(chains, number - 1, size)
    return starts
