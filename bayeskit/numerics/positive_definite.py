"""Cholesky factors of matrices that must be positive definite, without jitter."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Float

from bayeskit._typing import Array

__all__ = ["factor", "log_determinant", "whiten"]


def factor(matrix: Float[Array, "*batch n n"]) -> Float[Array, "*batch n n"]:
    r"""The lower Cholesky factor, all NaN where the matrix is not positive definite.

    A pivot of at most $n \epsilon$ times the largest diagonal element is rounding and not a variance, so such a matrix
    counts as singular. Nothing is added to the diagonal.

    Example:
        >>> import jax.numpy as jnp
        >>> bool(jnp.isnan(factor(jnp.ones((2, 2)))).all())
        True
    """
    size = matrix.shape[-1]
    root = jnp.linalg.cholesky(matrix)
    pivots = jnp.diagonal(root, axis1=-2, axis2=-1) ** 2
    least = size * jnp.finfo(matrix.dtype).eps * jnp.max(jnp.diagonal(matrix, axis1=-2, axis2=-1), axis=-1)
    good = jnp.all(pivots > least[..., None], axis=-1)[..., None, None]
    # the derivative of the factor of a singular matrix is not wanted either
    return jnp.where(good, root, jnp.nan)


def whiten(root: Float[Array, "n n"], values: Float[Array, n * columns]) -> Float[Array, n * columns]:
    r"""$L^{-1} v$."""
    return jax.scipy.linalg.solve_triangular(root, values, lower=True)


def log_determinant(root: Float[Array, "*batch n n"]) -> Float[Array, "*batch"]:
    r"""$\log |L L^\top|$."""
    return 2 * jnp.sum(jnp.log(jnp.diagonal(root, axis1=-2, axis2=-1)), axis=-1)
