"""Weights of samples: risk-averse, and by the inverse of the variance over an ensemble."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Float

from bayeskit._settings import is_number, require
from bayeskit._typing import Array, ArrayLike
from bayeskit.errors import DataError
from bayeskit.models.td_error.checks import finite, is_known, positive, within

__all__ = ["effective_size", "ensemble_variance", "inverse_error_variance", "risk_averse_weights"]

_HALVINGS = 120


def risk_averse_weights(shape: ArrayLike) -> Float[Array, ...]:
    r"""Weights proportional to the shapes, of mean one: heavier tails (a smaller shape) count less.

    They are not differentiated through.

    Args:
        shape: $b > 0$ of every sample.

    Raises:
        DataError: shapes that are not positive, or none.

    Example:
        >>> import jax.numpy as jnp
        >>> from bayeskit.models import td_error
        >>> td_error.risk_averse_weights(jnp.array([1.0, 2.0, 3.0])).tolist()
        [0.5, 1.0, 1.5]
    """
    shapes = jax.lax.stop_gradient(positive(shape, "shape"))
    if shapes.size == 0:
        raise DataError("shape is empty; weights need a batch")
    return shapes / jnp.mean(shapes)


def ensemble_variance(ensemble_values: ArrayLike, excess_kurtosis: ArrayLike = 0.0) -> Float[Array, " batch"]:
    r"""The variance over an ensemble, by the estimator of least mean squared error.

    Among the multiples of $\sum_j (x_j - \overline x)^2$ that is

    $$\frac{s^2}{\frac\kappa n + \frac{n+1}{n-1}}$$

    with $s^2$ the sample variance, $\kappa$ the excess kurtosis and $n$ the number of heads.

    Args:
        ensemble_values: of every head, shape `(heads, batch)`.
        excess_kurtosis: $\kappa \ge -2$, a number or shape `(batch,)`; 0 for heads that are normal around their mean.

    Raises:
        DataError: one head, another shape, numbers that are not finite, or a kurtosis that no law has.

    Example:
        >>> import jax.numpy as jnp
        >>> from bayeskit.models import td_error
        >>> td_error.ensemble_variance(jnp.array([[0.0], [1.0], [2.0]])).tolist()
        [0.5]
    """
    values = finite(ensemble_values, "ensemble_values")
    if values.ndim != 2:
        raise DataError(f"ensemble_values must have shape (heads, batch), got {values.shape}")
    num_heads, batch = values.shape
    if num_heads < 2:
        raise DataError("ensemble_values must have at least two heads: one has no variance; add heads to the ensemble")
    kurtosis = within(excess_kurtosis, "excess_kurtosis", -2.0, float("inf"))
    if kurtosis.shape not in ((), (batch,)):
        raise DataError(f"excess_kurtosis must be a number or have shape ({batch},), got {kurtosis.shape}")
    return jnp.var(values, axis=0, ddof=1) / (kurtosis / num_heads + (num_heads + 1) / (num_heads - 1))


def effective_size(weights: ArrayLike) -> Float[Array, ""]:
    r"""How many samples of equal weight are worth as much: $(\sum_i w_i)^2 / \sum_i w_i^2$.

    Args:
        weights: not negative, shape `(batch,)`.

    Raises:
        DataError: another shape, or weights that are negative, not finite, or all zero.

    Example:
        >>> import jax.numpy as jnp
        >>> from bayeskit.models import td_error
        >>> float(td_error.effective_size(jnp.array([1.0, 1.0, 0.0])))
        2.0
    """
    given = within(weights, "weights", 0.0, float("inf"))
    if given.ndim != 1 or not given.size:
        raise DataError(f"weights must have shape (batch,), got {given.shape}")
    if is_known(given) and not bool(given.any()):
        raise DataError("weights are all zero")
    return _effective_size(given / jnp.max(given))


def inverse_error_variance(
    ensemble_values: ArrayLike, min_effective_size: float = 16, excess_kurtosis: ArrayLike = 0.0
) -> Float[Array, " batch"]:
    r"""Weights $1 / (V + \xi)$ of mean one, with $V$ the variance over an ensemble.

    $\xi \ge 0$ is the least number with which the weights have an effective size of `min_effective_size`: zero where
    they have it already, as those of equal variances do. The weights are not differentiated through.

    Args:
        ensemble_values: values or TD errors of every head, shape `(heads, batch)`.
        min_effective_size: from 1 to the size of the batch.
        excess_kurtosis: as in :func:`ensemble_variance`.

    Raises:
        DataError: as in :func:`ensemble_variance`, or a batch that is smaller than `min_effective_size`.
        MethodError: a size below one.

    Example:
        >>> import jax
        >>> from bayeskit.models import td_error
        >>> weights = td_error.inverse_error_variance(jax.random.normal(jax.random.key(0), (5, 64)), 30)
        >>> round(float(td_error.effective_size(weights)), 3), round(float(weights.mean()), 3)
        (30.0, 1.0)
    """
    ok = is_number(min_effective_size) and min_effective_size >= 1
    require(ok, "min_effective_size", min_effective_size, "a number of at least 1")
    values = finite(ensemble_values, "ensemble_values")
    variances = jax.lax.stop_gradient(ensemble_variance(_of_one_size(values), excess_kurtosis))
    batch = variances.size
    if batch < min_effective_size:
        raise DataError(
            f"ensemble_values hold a batch of {batch}, which cannot have an effective size of {min_effective_size:g}; "
            "give a larger batch or a smaller min_effective_size"
        )
    if batch == min_effective_size:
        return jnp.ones_like(variances)
    # in units of the largest; where all are zero they are equal
    largest = jnp.max(variances)
    relative = jnp.where(largest > 0, variances / jnp.where(largest > 0, largest, 1.0), 1.0)
    weights = _weights(relative, _least_addition(relative, float(min_effective_size)))
    # comparisons have taken NaN for a number
    return jnp.where(jnp.isfinite(largest), weights / jnp.mean(weights), jnp.nan)


def _of_one_size(values: Array) -> Array:
    """Values of heads around the first of them, divided by the largest, so that squares are within float's range."""
    away = values - values[:1] if values.ndim == 2 else values
    largest = jnp.max(jnp.abs(away), initial=0.0)
    return away / jnp.where(largest == 0, 1.0, largest)


def _effective_size(weights: Array) -> Array:
    return jnp.sum(weights) ** 2 / jnp.sum(weights**2)


def _weights(variances: Array, addition: Array) -> Array:
    """Relative to the largest weight: finite where a variance and the addition are zero, as the limit is."""
    least = jnp.min(variances) + addition
    return jnp.where(variances + addition > least, least / jnp.maximum(variances + addition, least), 1.0)


def _least_addition(variances: Array, size: float) -> Array:
    r"""Bisection on the logarithm of $\xi$; the largest variance is one.

    Ratios of weights are at most $R = 1 + 1 / \xi$, and then the effective size is at least $4 n R / (1 + R)^2$
    (Kantorovich's inequality), which is the bound from above.
    """
    share = size / variances.size
    ratio = (2 - share + 2 * (1 - share) ** 0.5) / share
    high = -jnp.log(jnp.asarray(ratio - 1, variances.dtype))
    low = jnp.log(jnp.finfo(variances.dtype).tiny) + jnp.zeros_like(high)

    def halve(_: int, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = (low + high) / 2
        enough = _effective_size(_weights(variances, jnp.exp(middle))) >= size
        return jnp.where(enough, low, middle), jnp.where(enough, middle, high)

    _, high = jax.lax.fori_loop(0, _HALVINGS, halve, (low, high))
    return jnp.where(_effective_size(_weights(variances, jnp.zeros_like(high))) >= size, 0.0, jnp.exp(high))
