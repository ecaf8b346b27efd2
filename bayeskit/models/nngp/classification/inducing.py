r"""Inducing points: a Gaussian process seen through its values at a few inputs.

With $u = f(Z)$, $K_{ZZ} = L L^\top$ and $a(x) = L^{-1} k(Z, x)$,

$$f(x) \mid u \sim N(a(x)^\top L^{-1} u,\; k(x, x) - a(x)^\top a(x)).$$

Factors are computed in float64, on the host.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg

from bayeskit._keepable import keepable
from bayeskit.errors import DataError
from bayeskit.xla.miscompilation import safe_jit

__all__ = ["InducingPoints", "at_points", "chosen_points", "factor", "inputs"]

BLOCK = 1024
"""Rows of the kernel at a time."""
ROUNDING = 1e-6
"""Of a conditional variance, as a share of the variances."""


@keepable("nngp.InducingPoints", in_double=True)
@dataclasses.dataclass(frozen=True)
class InducingPoints:
    """Some inputs, and the Cholesky factor of the kernel there.

    Attributes:
        kernel: a tinygp kernel.
        points: shape `(m, ...)`.
        factor: $L$, shape `(m, m)`.
    """

    kernel: Any
    points: np.ndarray
    factor: np.ndarray

    def project(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weights $a(x)$, shape `(n, m)`, and the variance left when $u$ is known, shape `(n,)`."""
        weights, left = np.empty((len(x), len(self.factor))), np.empty(len(x))
        for start in range(0, len(x), BLOCK):
            rows = slice(start, start + BLOCK)
            cross, prior = matrix(self.kernel, x[rows], self.points), diagonal(self.kernel, x[rows])
            weights[rows] = scipy.linalg.solve_triangular(self.factor, cross.T, lower=True).T
            left[rows] = prior - np.sum(weights[rows] ** 2, axis=1)
            check_definite(left[rows], prior)
        return weights, np.maximum(left, 0.0)  # what is below zero is rounding


def inputs(x: object, name: str, like: np.ndarray | None = None) -> np.ndarray:
    """Inputs on the host; floating-point numbers become float64.

    Raises:
        DataError: not numbers, empty, not finite, or of another shape than those of the fit.
    """
    array = np.asarray(x)
    if array.dtype.kind not in "fiub":
        raise DataError(f"{name} must hold real numbers, got {array.dtype}")
    if array.ndim == 0 or array.size == 0:
        raise DataError(f"{name} must have shape (inputs, ...) and not be empty, got {array.shape}")
    if like is not None and array.shape[1:] != like.shape[1:]:
        raise DataError(f"{name} has inputs of shape {array.shape[1:]} where {like.shape[1:]} is expected")
    bad = np.flatnonzero(~np.isfinite(array.reshape(len(array), -1)).all(axis=1))
    if bad.size:
        raise DataError(f"{name} has NaN or infinity in {bad.size} inputs, the first is {name}[{bad[0]}]; remove them")
    return array.astype(np.float64) if array.dtype.kind == "f" else array


def at_points(kernel: Any, points: np.ndarray, name: str = "inducing") -> InducingPoints:
    """Inducing points that are given.

    Raises:
        DataError: the kernel matrix there is singular.
    """
    return InducingPoints(kernel, points, factor(kernel, points, name))


def chosen_points(kernel: Any, x: np.ndarray, number: int) -> InducingPoints:
    r"""One after another, the input at which most variance is left (pivoted Cholesky factorisation).

    This keeps $\sum_i (k(x_i, x_i) - a(x_i)^\top a(x_i))$ small, on which the gap of the bound depends (Burt, Rasmussen
    and van der Wilk 2020, "Convergence of sparse variational inference in Gaussian processes regression"). It needs the
    kernel only, so that inputs may be anything, and takes no input twice.

    Raises:
        DataError: more points than inputs, or than the kernel has directions.
    """
    if number > len(x):
        raise DataError(f"inducing = {number} is more than the {len(x)} inputs; at most so many can be chosen")
    variances = diagonal(kernel, x)
    left, least = variances.copy(), resolution(variances)
    weights, pivots = np.zeros((len(x), number)), np.zeros(number, int)
    for step in range(number):
        pivot = int(np.argmax(left))
        check_definite(np.delete(left, pivots[:step]), variances)
        if left[pivot] <= least:
            raise DataError(
                f"inducing = {number} points cannot be told apart: the kernel has {step} different directions at these "
                f"inputs, as far as 64-bit numbers can tell; use inducing={step}, or remove duplicates from x"
            )
        column = matrix(kernel, x, x[pivot : pivot + 1])[:, 0] - weights[:, :step] @ weights[pivot, :step]
        weights[:, step] = column / np.sqrt(left[pivot])
        left -= weights[:, step] ** 2
        pivots[step] = pivot
        left[pivot] = -np.inf
    return InducingPoints(kernel, x[pivots], np.tril(weights[pivots]))


def factor(kernel: Any, points: np.ndarray, name: str) -> np.ndarray:
    """The Cholesky factor of the kernel at all of the points.

    Raises:
        DataError: it is singular, or nearly so.
    """
    covariance = matrix(kernel, points, points)
    try:
        lower = np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        lower = np.zeros_like(covariance)
    pivots = np.diag(lower) ** 2
    if not np.all(pivots > resolution(np.diag(covariance))):
        raise DataError(
            f"the kernel matrix of {name} is singular as far as 64-bit numbers can tell: inputs are equal, or too "
            "close for so smooth a kernel; remove some, choose fewer inducing points, or add a kernel of noise"
        )
    return lower


def check_definite(left: np.ndarray, variances: np.ndarray) -> None:
    """Refuse a function that is no kernel.

    Raises:
        DataError: a conditional variance is negative, by more than rounding.
    """
    if left.size and left.min() < -ROUNDING * np.max(variances):
        raise DataError(
            "the kernel is not positive semidefinite: a variance given the inducing points is "
            f"{left.min():.3g}. tinygp's Matern kernels need distance=tinygp.kernels.L2Distance() in more "
            "than one dimension"
        )


def matrix(kernel: Any, x1: np.ndarray, x2: np.ndarray) -> np.ndarray:
    """The kernel between two sets of inputs, in float64."""
    with jax.enable_x64(True):
        return finite(np.asarray(_call(kernel, jnp.asarray(x1), jnp.asarray(x2)), np.float64))


def diagonal(kernel: Any, x: np.ndarray) -> np.ndarray:
    """The variances of the kernel, in float64."""
    with jax.enable_x64(True):
        parts = [np.asarray(_call(kernel, jnp.asarray(x[i : i + BLOCK]))) for i in range(0, len(x), BLOCK)]
        return finite(np.concatenate(parts).astype(np.float64))


def finite(values: np.ndarray) -> np.ndarray:
    """The same numbers.

    Raises:
        DataError: the kernel is not finite somewhere.
    """
    if not np.isfinite(values).all():
        raise DataError("the kernel is NaN or infinite at some of the inputs")
    return values


def resolution(variances: np.ndarray) -> float:
    """What is left of a variance by rounding alone."""
    return 10 * len(variances) * np.finfo(np.float64).eps * float(np.max(variances))


def _apply(kernel: Any, *x: Any) -> Any:
    return kernel(*x)


_call = safe_jit(_apply, compile=eqx.filter_jit)
