"""`evaluate`: linear values from trajectories, by temporal differences, least squares, and errors with a shape."""

from __future__ import annotations

import functools
import warnings
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from bayeskit._keepable import keepable
from bayeskit._settings import is_number, is_whole, require
from bayeskit._spelling import did_you_mean
from bayeskit._typing import Array, ArrayLike
from bayeskit.errors import DataError, MethodError, TrainingError
from bayeskit.models.td_error.checks import finite, is_known
from bayeskit.models.td_error.noise import Noise, maximum_likelihood, response, spread
from bayeskit.models.td_error.trajectories import Trajectories
from bayeskit.xla.miscompilation import safe_jit

__all__ = ["METHODS", "Evaluation", "Moments", "check_condition", "evaluate", "moments"]

METHODS = ("td", "lstd", "generalized_gaussian")
LEAST_STEPS, LEAST_PASSES = 200_000, 20
"""By default."""
MOST_CONDITION = 1e10
LEAST_DIGITS = 1e-2
"""The largest relative error that rounding may bring to weights."""
SKEWED = 1e-3
ARRIVED = 0.25
"""The largest sum over the steps, squared and in units of its variance, a feature: half a standard error."""


@keepable("td_error.Evaluation")
class Evaluation(eqx.Module):
    r"""Linear values that were estimated, $v(s) = \phi(s) \cdot w$.

    Attributes:
        weights: $w$, shape `(features,)`.
        covariance: of the weights over repetitions, shape `(features, features)`.
        scale: of the TD errors, by greatest likelihood.
        shape: likewise.
        symmetry_p_value: of the statistic that tells whether the mean of the errors and their generalised Gaussian
            location agree; small where errors are skewed.
        distance: how far the sum that should vanish does not: squared, over its variance, a feature.
    """

    weights: Float[Array, " features"]
    covariance: Float[Array, "features features"]
    scale: Float[Array, ""]
    shape: Float[Array, ""]
    symmetry_p_value: Float[Array, ""]
    distance: Float[Array, ""]

    @property
    def error_variance(self) -> Float[Array, ""]:
        """The variance of a TD error: aleatoric uncertainty."""
        return spread(self.scale, self.shape)

    def values(self, features: ArrayLike) -> Float[Array, " states"]:
        """Of states with these features, shape `(states, features)`.

        Raises:
            DataError: another shape, or numbers that are not finite.
        """
        return self._checked(features) @ self.weights

    def standard_errors(self, features: ArrayLike) -> Float[Array, " states"]:
        """Of these values: epistemic uncertainty.

        Raises:
            DataError: as `values`.
        """
        rows = self._checked(features)
        return jnp.sqrt(jnp.sum((rows @ self.covariance) * rows, axis=1))

    def _checked(self, features: ArrayLike) -> Array:
        rows = finite(features, "features", self.weights.dtype)
        if rows.ndim != 2 or rows.shape[1] != len(self.weights):
            raise DataError(f"features must have shape (states, {len(self.weights)}), got {rows.shape}")
        return rows


def evaluate(
    chain: Trajectories,
    method: str = "td",
    lam: float = 0.0,
    *,
    num_passes: int | None = None,
    step_size: float = 0.3,
) -> Evaluation:
    r"""Estimate linear values.

    With traces $z_t = \gamma \lambda z_{t-1} + \phi_t$ and TD errors $\delta_t$, `"lstd"` solves
    $\sum_t z_t \delta_t = 0$. `"td"` approaches that by steps $w \leftarrow w + \alpha_k \delta_t z_t$ over the record,
    in a new order in each pass. `"generalized_gaussian"` approaches $\sum_t z_t \psi(\delta_t) = 0$ by steps
    $w \leftarrow w + \alpha_k \psi(\delta_t) z_t$, where $\psi$ is the score of a generalised Gaussian whose scale and
    shape are fitted to the errors after each pass. The result is the mean of $w$ over the second half of the passes,
    with

    $$\alpha_k = \frac{\text{step\_size}}{\max_t \|\phi_t\|^2}\, (1 + 200 k / K)^{-3/4}$$

    at step $k$ of $K$.

    Args:
        chain: what was recorded.
        method: ``"td"``, ``"lstd"`` or ``"generalized_gaussian"``.
        lam: $\lambda$ from 0 to 1.
        num_passes: over the record, at least 2; by default 20, and more where these are less than 200,000 steps. Not
            used by ``"lstd"``.
        step_size: of the first step. Not used by ``"lstd"``.

    Raises:
        MethodError: no trajectories, an unknown method, or an impossible setting.
        DataError: features that are linearly dependent, such as that of a state that was never seen.
        TrainingError: steps that lead to values that are not finite.

    Warns:
        UserWarning: the steps have not arrived; or errors are skewed, so that the location of a generalised Gaussian
            is not their mean.

    Example:
        >>> import numpyro.distributions as dist
        >>> from bayeskit.models import td_error
        >>> walk = td_error.random_walk(5)
        >>> chain = walk.simulate(5000, noise=dist.Laplace(0.0, 1.0), key=0)
        >>> value = td_error.evaluate(chain, method="generalized_gaussian")
        >>> bool((abs(value.values(walk.features) - walk.values) < 4 * value.standard_errors(walk.features)).all())
        True

    References: Sutton (1988), "Learning to predict by the methods of temporal differences"; Bradtke and Barto (1996),
    "Linear least-squares algorithms for temporal difference learning"; Polyak and Juditsky (1992), "Acceleration of
    stochastic approximation by averaging".
    """
    if not isinstance(chain, Trajectories):
        raise MethodError(f"chain must be Trajectories, got {type(chain).__name__}")
    if method not in METHODS:
        raise MethodError(f"method {method!r} is unknown{did_you_mean(method, METHODS, 'there are')}")
    require(is_number(lam) and 0 <= lam <= 1, "lam", lam, "a number from 0 to 1")
    passes = max(LEAST_PASSES, -(-LEAST_STEPS // len(chain.rewards))) if num_passes is None else num_passes
    require(is_whole(passes) and passes >= 2, "num_passes", num_passes, "an integer of at least 2, or None")
    require(is_number(step_size) and step_size > 0, "step_size", step_size, "a positive number")
    sums = moments(chain, lam)
    check_condition(sums.matrix)
    if method == "lstd":
        weights = jnp.linalg.solve(sums.matrix, sums.vector)
    else:
        weights = _pass_after_pass(chain, sums.traces, jnp.asarray(step_size), passes, method == "generalized_gaussian")
        if is_known(weights) and not bool(jnp.isfinite(weights).all()):
            raise TrainingError(f"the values of {method!r} are no longer finite; step_size={step_size:g} is too large")
    value = _judged(chain, sums, weights, method == "generalized_gaussian")
    if is_known(weights):
        _warn(value, method)
    return value


class Moments(NamedTuple):
    """Of the estimating equation: traces, and with them the matrix and the vector of LSTD."""

    traces: Float[Array, "steps features"]
    matrix: Float[Array, "features features"]
    vector: Float[Array, " features"]


@safe_jit
def moments(chain: Trajectories, lam: ArrayLike = 0.0) -> Moments:
    r"""$z_t$, $\sum_t z_t (\phi_t - \gamma \phi_{t+1})^\top$ and $\sum_t z_t r_t$."""
    traces = chain.traces(chain.discount * lam)
    difference = chain.features - chain.discount * chain.next_features
    return Moments(traces, traces.T @ difference, traces.T @ chain.rewards)


def check_condition(matrix: Array) -> None:
    """Whether weights are determined.

    Raises:
        DataError: features that are linearly dependent.
    """
    if not is_known(matrix):
        return
    known = np.asarray(matrix, np.float64)
    never = np.flatnonzero(~known.any(axis=0))
    if never.size:
        raise DataError(
            f"features has a column {never[0]} that is zero at every step, so that its weight is not determined; "
            "leave it out, or record a state that has it"
        )
    # columns and rows of any units
    scale = np.sqrt(np.abs(known).sum(axis=0) * np.abs(known).sum(axis=1)) + np.finfo(float).tiny
    condition = np.linalg.cond(known / np.sqrt(scale[:, None] * scale))
    # of dependent columns of 32-bit numbers it is some 1e7, by their rounding
    if not condition < min(MOST_CONDITION, LEAST_DIGITS / float(jnp.finfo(matrix.dtype).eps)):
        raise DataError(
            "features are linearly dependent in what was recorded, so that weights are not determined; leave columns "
            "out, or, without discount, record trajectories that end"
            + (
                ""
                if matrix.dtype == jnp.float64
                else "; or, if they are so nearly, use 64-bit numbers (jax_enable_x64)"
            )
        )


@functools.partial(safe_jit, static_argnums=(3, 4))
def _pass_after_pass(chain: Trajectories, traces: Array, step_size: Array, num_passes: int, is_robust: bool) -> Array:
    num_steps = len(chain.rewards)
    largest = step_size / jnp.max(jnp.sum(chain.features**2, axis=1))
    record = (traces, chain.features - chain.discount * chain.next_features, chain.rewards)

    def one_pass(carry: tuple[Array, Array, Noise], done: Array) -> tuple[tuple[Array, Array, Noise], None]:
        weights, mean, noise = carry

        def step(carry: tuple[Array, Array], now: tuple[Array, Array]) -> tuple[tuple[Array, Array], None]:
            weights, total = carry
            t, k = now
            trace, difference, reward = (of_all[t] for of_all in record)
            error = reward - difference @ weights
            size = largest * (1 + 200 * (done + k / num_steps) / num_passes) ** -0.75
            weights = weights + size * (response(error, noise) if is_robust else error) * trace
            return (weights, total + weights), None

        # in a new order each time: in one that recurs, what is seen next would depend on what the weights have seen
        order = jax.random.permutation(jax.random.fold_in(jax.random.key(0), done), num_steps)
        (weights, total), _ = jax.lax.scan(step, (weights, zero), (order, jnp.arange(num_steps)))
        of_pass = total / num_steps
        noise = maximum_likelihood(chain.errors(of_pass)) if is_robust else noise
        counted = done - num_passes // 2
        mean = jnp.where(counted < 0, mean, mean + (of_pass - mean) / jnp.maximum(counted + 1, 1))
        return (weights, mean, noise), None

    zero = jnp.zeros_like(chain.features[0])
    first = (zero, zero, maximum_likelihood(chain.rewards))
    return jax.lax.scan(one_pass, first, jnp.arange(num_passes))[0][1]


@functools.partial(safe_jit, static_argnums=(3,))
def _judged(chain: Trajectories, sums: Moments, weights: Array, is_robust: bool) -> Evaluation:
    """Standard errors by the sandwich, whether the equation holds, and whether errors are symmetric."""
    errors = chain.errors(weights)
    noise = maximum_likelihood(errors)
    robust = response(errors, noise)
    used = robust if is_robust else errors
    meat = (sums.traces * used[:, None] ** 2).T @ sums.traces
    half = jnp.linalg.solve(sums.matrix, meat)
    covariance = jnp.linalg.solve(sums.matrix, half.T)
    size = len(weights)
    distance = _squared_length(sums.traces, used, used) / size
    # where errors are symmetric, the two sums differ by a sum of martingale differences, as the matrix is the same
    other = errors if is_robust else robust
    statistic = _squared_length(sums.traces, other - used, errors - robust)
    p_value = 1 - jax.scipy.special.gammainc(size / 2, statistic / 2)
    # of rewards without noise nothing is left but rounding, whose sum is no sign of anything
    tiny, eps = jnp.finfo(errors.dtype).tiny, jnp.finfo(errors.dtype).eps
    largest = jnp.max(jnp.abs(chain.rewards)) + jnp.max(jnp.abs(chain.features @ weights)) + tiny
    is_exact = jnp.max(jnp.abs(errors)) < 1e2 * eps * largest
    distance, p_value = jnp.where(is_exact, 0.0, distance), jnp.where(is_exact, 1.0, p_value)
    return Evaluation(weights, covariance, noise.scale, noise.shape, p_value, distance)


def _squared_length(traces: Array, summed: Array, spread: Array) -> Array:
    """The sum over the steps, squared in units of the covariance of `spread` times traces."""
    total = traces.T @ summed
    covariance = (traces * spread[:, None] ** 2).T @ traces
    floor = jnp.finfo(total.dtype).eps * jnp.trace(covariance) + jnp.finfo(total.dtype).tiny
    return total @ jnp.linalg.solve(covariance + floor * jnp.eye(len(total)), total)


def _warn(value: Evaluation, method: str) -> None:
    if not float(value.distance) <= ARRIVED:
        warnings.warn(
            f"the steps of {method!r} have not arrived: the sum that should vanish is "
            f"{float(value.distance) ** 0.5:.2g} standard errors from zero; "
            "take more num_passes or a larger step_size, or use method='lstd'",
            stacklevel=3,
        )
    if method == "generalized_gaussian" and float(value.symmetry_p_value) < SKEWED:
        warnings.warn(
            f"TD errors are skewed (p = {float(value.symmetry_p_value):.1g} for symmetry), so that the location of a "
            "generalised Gaussian is not their mean and the values are biased; use method='lstd' or 'td'",
            stacklevel=3,
        )
