"""What points may be: errors that name the argument and say what to do."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from bayeskit._typing import Array, Key
from bayeskit.errors import DataError

__all__ = ["as_key", "check_learnable", "check_precision", "finite", "points"]


ENOUGH = 20_000
"""Points that tell whether a covariance is singular."""


def as_key(key: Key) -> Array:
    """A JAX key from a key or an integer seed."""
    return jax.random.key(key) if isinstance(key, int | np.integer) else jnp.asarray(key)


def points(x: object, name: str, size: int | None = None, dtype: jnp.dtype | None = None) -> Float[Array, "n d"]:
    """Rows of numbers.

    Raises:
        DataError: not two-dimensional, empty, not real, or of another dimension than ``size``.
    """
    array = jnp.asarray(x)
    if not (jnp.issubdtype(array.dtype, jnp.floating) or jnp.issubdtype(array.dtype, jnp.integer)):
        raise DataError(f"{name} must hold real numbers, got {array.dtype}")
    if array.ndim != 2:
        raise DataError(f"{name} must have shape (points, dimensions), got {array.shape}; one point is x[None]")
    if array.shape[0] == 0 or array.shape[1] == 0:
        raise DataError(f"{name} is empty: its shape is {array.shape}")
    if size is not None and array.shape[1] != size:
        raise DataError(f"{name} has {array.shape[1]} dimensions where {size} are expected")
    return array.astype(dtype or jnp.promote_types(array.dtype, jnp.float32))


def finite(x: Array, name: str) -> Array:
    """The same points.

    Raises:
        DataError: NaN or infinity, with the first row (not seen within a compiled function).
    """
    if not isinstance(x, jax.core.Tracer):
        bad = np.flatnonzero(~np.isfinite(np.asarray(x)).all(axis=1))
        if bad.size:
            raise DataError(f"{name} has NaN or infinity in {bad.size} rows, the first is row {bad[0]}; remove them")
    return x


def check_learnable(x: Array, name: str, num_components: int, kind: str) -> None:
    """Whether a sample determines a mixture.

    Raises:
        DataError: fewer points than components, a constant coordinate, or (for full covariances) collinear ones.
    """
    if x.shape[0] < max(num_components, 2):
        raise DataError(
            f"{name} has {x.shape[0]} points for {num_components} components; give more points or fewer components"
        )
    deviation = np.asarray(x, np.float64).std(axis=0)
    resolution = np.finfo(x.dtype).eps
    constant = np.flatnonzero(deviation <= 10 * resolution * np.abs(np.asarray(x)).max(axis=0))
    if constant.size:
        raise DataError(f"{name} is constant in coordinate(s) {constant.tolist()}; leave them out of both samples")
    if kind == "diagonal":
        return
    spectrum = np.linalg.eigvalsh(np.corrcoef(np.asarray(x[:ENOUGH], np.float64), rowvar=False).reshape(x.shape[1], -1))
    rank = int(np.sum(spectrum > 10 * x.shape[1] * resolution * spectrum[-1]))
    if rank < x.shape[1]:
        raise DataError(
            f"the covariance of {name} is singular: its rank is {rank} in {x.shape[1]} dimensions "
            f"({x.shape[0]} points); remove collinear coordinates, give more points, or use covariance='diagonal'"
        )


def check_precision(x: np.ndarray, name: str, epsilon: float) -> None:
    r"""Whether exponents $|x|^2 / 2\varepsilon$ can be told apart in the precision of the points.

    Raises:
        DataError: their rounding error is above a twentieth.
    """
    largest = float((x**2).sum(axis=-1).max())
    if largest / (2 * epsilon) * float(jnp.finfo(x.dtype).eps) > 0.05:
        raise DataError(
            f"{name} has points so far from the origin (|x|² up to {largest:.3g}) that exponents |x|²/2ε with "
            f"ε = {epsilon:.3g} are lost in {x.dtype}; subtract one vector from both samples, use a larger epsilon, or "
            "64-bit numbers"
        )
