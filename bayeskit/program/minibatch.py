"""`minibatch`: some rows of the data, drawn afresh in every execution."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from bayeskit.errors import ModelError
from bayeskit.program.execution import current_level

__all__ = ["minibatch"]


def minibatch(data: Any, size: int) -> tuple[Any, float]:
    r"""Draw rows without replacement, and the factor by which sums over them must be scaled.

    For use in an objective; a model whose plates subsample (``numpyro.plate(name, N, subsample_size=m)``) needs no more
    than its plates, which scale by themselves. Each of the :math:`\binom{N}{m}` subsets is equally likely, so that
    :math:`\frac{N}{m} \sum_{i \in \text{batch}} f_i` has mean :math:`\sum_i f_i`.

    Args:
        data: an array, or a pytree of arrays, with a common leading axis of length :math:`N`.
        size: :math:`m`.

    Returns:
        The rows, and :math:`N / m`, to be given to ``numpyro.handlers.scale`` or multiplied by hand.

    Raises:
        ModelError: no rows, different numbers of rows, or a size that is not between 1 and :math:`N`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import bayeskit as bk
        >>> x = jnp.arange(6.0)
        >>> def total():
        ...     batch, scale = bk.minibatch(x, 2)
        ...     return scale * batch.sum()
        >>> estimates = jax.vmap(bk.expectation(total))(jax.random.split(jax.random.key(0), 4000))
        >>> bool(abs(estimates.mean() - 15.0) < 0.5)
        True
    """
    leaves = [jnp.shape(leaf) for leaf in jax.tree.leaves(data)]
    if not leaves or any(not shape for shape in leaves):
        raise ModelError("bayeskit.minibatch takes arrays with a leading axis of rows")
    lengths = sorted({shape[0] for shape in leaves})
    if len(lengths) > 1:
        raise ModelError(f"bayeskit.minibatch takes arrays with the same number of rows, got {lengths}")
    if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= lengths[0]:
        raise ModelError(f"the size of a minibatch must be an integer between 1 and {lengths[0]} rows, got {size!r}")
    level = current_level("bayeskit.minibatch")
    level.check_transform("bayeskit.minibatch")
    rows = jax.random.permutation(level.key_of(level.next_path("minibatch")), lengths[0])[:size]
    return jax.tree.map(lambda leaf: jnp.asarray(leaf)[rows], data), lengths[0] / size
