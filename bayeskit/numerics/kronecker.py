r"""Products with Kronecker matrices, and their weighted squares, without a matrix of the grid's size.

An array $Z$ of shape `(r_1, ..., r_D)` stands for its entries in C order. $(A_1 \otimes \dots \otimes A_D)
\operatorname{vec} Z$ is then $Z$ with its $d$-th axis multiplied by $A_d$, for all $d$ in turn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Float

from bayeskit._typing import Array

__all__ = ["kronecker_apply", "kronecker_gram", "kronecker_log_density", "kronecker_rows"]


def kronecker_apply(factors: Sequence[Float[Array, "_ _"]], array: Array) -> Array:
    r"""$(A_1 \otimes \dots \otimes A_D) \operatorname{vec} Z$, as an array.

    Args:
        factors: matrices of shapes `(n_d, r_d)`.
        array: shape `(r_1, ..., r_D)`.

    Returns:
        Shape `(n_1, ..., n_D)`.

    Example:
        >>> import jax.numpy as jnp
        >>> a, b, z = jnp.ones((2, 3)), jnp.eye(4), jnp.arange(12.0).reshape(3, 4)
        >>> bool(jnp.allclose(kronecker_apply([a, b], z).ravel(), jnp.kron(a, b) @ z.ravel()))
        True
    """
    for matrix in factors:  # the first axis goes to the end each time, so that all come round
        array = jnp.tensordot(array, matrix, axes=(0, 1))
    return array


def kronecker_rows(factors: Sequence[Float[Array, "n _"]]) -> Float[Array, "n _"]:
    r"""The rows $a_{1i} \otimes \dots \otimes a_{Di}$ of matrices with equally many rows (a face-splitting product)."""
    rows = factors[0]
    for matrix in factors[1:]:
        rows = (rows[:, :, None] * matrix[:, None, :]).reshape(len(matrix), -1)
    return rows


def kronecker_gram(
    left: Sequence[Float[Array, "_ _"]], right: Sequence[Float[Array, "_ _"]], weight: Array | None = None
) -> Float[Array, "_ _"]:
    r"""$(A_1 \otimes \dots \otimes A_D)^\top \operatorname{diag}(w) (B_1 \otimes \dots \otimes B_D)$.

    With weights that vary the sum over the grid is taken one axis after the other: for two axes with $n$ nodes and $r$
    columns each it costs $n^2 r^2 + n r^4$ operations, where the whole matrix of the grid would cost $n^2 r^4$.

    Args:
        left: matrices of shapes `(n_d, r_d)`.
        right: matrices of shapes `(n_d, s_d)`.
        weight: shape `(n_1, ..., n_D)`; ones for `None`.

    Returns:
        Shape `(r_1 ... r_D, s_1 ... s_D)`.

    Example:
        >>> import jax.numpy as jnp
        >>> a, w = jnp.arange(6.0).reshape(3, 2), jnp.arange(9.0).reshape(3, 3)
        >>> whole = jnp.kron(a, a)
        >>> bool(jnp.allclose(kronecker_gram([a, a], [a, a], w), whole.T @ (w.reshape(9, 1) * whole)))
        True
    """
    if weight is None:
        gram = jnp.ones((1, 1), left[0].dtype)
        for a, b in zip(left, right, strict=True):
            gram = jnp.kron(gram, a.T @ b)
        return gram
    for a, b in zip(left, right, strict=True):
        pairs = (a[:, :, None] * b[:, None, :]).reshape(len(a), -1)
        weight = jnp.tensordot(weight, pairs, axes=(0, 0))
    num_axes = len(left)
    split = weight.reshape([size for a, b in zip(left, right, strict=True) for size in (a.shape[1], b.shape[1])])
    order = [*range(0, 2 * num_axes, 2), *range(1, 2 * num_axes, 2)]
    return split.transpose(order).reshape(math.prod(a.shape[1] for a in left), -1)


def kronecker_log_density(roots: Sequence[Float[Array, "_ _"]], array: Array) -> Float[Array, ""]:
    r"""$\log N(\operatorname{vec} U \mid 0, K_1 \otimes \dots \otimes K_D)$ from the Cholesky factors of the $K_d$.

    Args:
        roots: lower Cholesky factors, shapes `(n_d, n_d)`.
        array: $U$, shape `(n_1, ..., n_D)`.

    Example:
        >>> import jax.numpy as jnp
        >>> roots = [jnp.eye(2), 2.0 * jnp.eye(3)]
        >>> round(float(kronecker_log_density(roots, jnp.zeros((2, 3)))), 4)
        -9.6725
    """
    white = array
    for root in roots:
        flat = jax.scipy.linalg.solve_triangular(root, white.reshape(len(root), -1), lower=True)
        white = jnp.moveaxis(flat.reshape(white.shape), 0, -1)
    size = array.size
    logs = sum(size // len(root) * jnp.sum(jnp.log(jnp.diagonal(root))) for root in roots)
    return -0.5 * jnp.sum(white**2) - logs - 0.5 * size * math.log(2 * math.pi)
