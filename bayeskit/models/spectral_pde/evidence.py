r"""The posterior of the coefficients given linear equations, and the evidence of the equations, with its slope.

With rows $A$ and targets $y$ in units of their errors, $H = I + A^\top A$ and $\hat z = H^{-1} A^\top y$,

$$\log p(y) = -\tfrac12 \log |H| - \tfrac12 \bigl(\lVert y - A \hat z \rVert^2 + \lVert \hat z \rVert^2\bigr)
  - \sum_i \log \sigma_i - \tfrac n2 \log 2 \pi.$$
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from bayeskit._typing import Array
from bayeskit.models.spectral_pde.equations import Basis, Equations, Matrices, matrices_of

__all__ = ["Normal", "log_evidence", "moment", "normal_posterior", "precision"]

REFINEMENTS = 300
ENOUGH = 1e-10
"""Relative residual at which conjugate gradients end a pass."""
PASSES = 2


class Normal(NamedTuple):
    r"""$N(\hat z, H^{-1})$.

    Attributes:
        mean: $\hat z$, of the shape of the coefficients.
        root: an upper triangular $R$ with $R^\top R = H$.
        misfit: of the refinement, relative: how far the mean is from solving its equations.
        log_evidence: of the equations.
    """

    mean: Array
    root: Array
    misfit: Array
    log_evidence: Array


def log_evidence(equations: Sequence[Equations], basis: Basis, tolerance: Array | float) -> Array:
    r"""$\log p(y)$, differentiable in the basis, the equations and the tolerance.

    $\hat z$ minimises the square, so that its own change does not count, and the derivative of $\log |H|$ is
    $\operatorname{tr} H^{-1} dH$: no derivative of a factorisation is taken. First derivatives only.
    """
    matrices = matrices_of(equations, basis)
    matrix = precision(equations, matrices, basis, tolerance)
    fixed = jax.lax.stop_gradient(matrix)
    root = jnp.linalg.cholesky(fixed)
    mean = jax.lax.stop_gradient(_solve(root, moment(equations, matrices, tolerance).ravel()).reshape(basis.shape))
    inverse = jax.lax.stop_gradient(_solve(root, jnp.eye(len(root))))
    log_determinant = 2 * jnp.sum(jnp.log(jnp.diagonal(root))) + jnp.sum(inverse * (matrix - fixed))
    return _density(equations, matrices, mean, log_determinant, tolerance)


def _density(
    equations: Sequence[Equations],
    matrices: Sequence[Matrices],
    mean: Array,
    log_determinant: Array,
    tolerance: Array | float,
) -> Array:
    squares, logs, count = jnp.sum(mean**2), jnp.zeros(()), 0
    for one, found in zip(equations, matrices, strict=True):
        error = one.errors(tolerance)
        squares += jnp.sum(((one.targets - one.apply(found, mean)) / error) ** 2)
        logs += one.targets.size * jnp.log(error)
        count += one.targets.size
    return -0.5 * (log_determinant + squares) - logs - 0.5 * count * math.log(2 * math.pi)


def normal_posterior(equations: Sequence[Equations], basis: Basis, tolerance: Array | float) -> Normal:
    """The posterior of the coefficients.

    Along one coordinate, by a QR factorisation of the rows, which are few. Along several, by a Cholesky factorisation
    of the precision; then the mean is refined by conjugate gradients on residuals of the equations themselves, with
    that factor as the preconditioner, as the square of the rows has half the digits.
    """
    matrices = matrices_of(equations, basis)
    if len(basis.shape) == 1:
        return _by_rows(equations, matrices, basis, tolerance)
    matrix = precision(equations, matrices, basis, tolerance)
    plain = jnp.linalg.cholesky(matrix)
    # what rounding does to the square is of this size; with it there is a factor where there was none
    shift = len(matrix) * jnp.finfo(matrix.dtype).eps * jnp.max(jnp.diagonal(matrix))
    lower = jax.lax.cond(
        jnp.isfinite(plain).all(),
        lambda: plain,
        lambda: jnp.linalg.cholesky(matrix + shift * jnp.eye(len(matrix))),
    )

    def apply(z: Array) -> Array:
        result = z
        for one, found in zip(equations, matrices, strict=True):
            result = result + one.adjoint(found, one.apply(found, z) / one.errors(tolerance) ** 2)
        return result

    def precondition(residual: Array) -> Array:
        return _solve(lower, residual.ravel()).reshape(basis.shape)

    def left(z: Array) -> Array:
        # from what is left of the targets: A'y and A'A z have lost the digits in which they differ
        result = -z
        for one, found in zip(equations, matrices, strict=True):
            gap = one.targets - one.apply(found, z)
            result = result + one.adjoint(found, gap / one.errors(tolerance) ** 2)
        return result

    def correct(z: Array, _: None) -> tuple[Array, None]:
        return z + _conjugate_gradients(apply, precondition, left(z)), None

    def energy(residual: Array) -> Array:
        return jnp.sum(residual * precondition(residual))

    nothing = jnp.zeros(basis.shape)
    mean, _ = jax.lax.scan(correct, nothing, None, length=PASSES)
    misfit = jnp.sqrt(energy(left(mean)) / jnp.maximum(energy(left(nothing)), jnp.finfo(matrix.dtype).tiny))
    determinant = 2 * jnp.sum(jnp.log(jnp.diagonal(lower)))
    return Normal(mean, lower.T, misfit, _density(equations, matrices, mean, determinant, tolerance))


def _conjugate_gradients(
    apply: Callable[[Array], Array], precondition: Callable[[Array], Array], right: Array
) -> Array:
    start = precondition(right)
    residual = right - apply(start)
    searched = precondition(residual)

    def go(state: tuple[Array, ...]) -> Array:
        *_, energy, first, count = state
        return (energy > ENOUGH**2 * first) & (count < REFINEMENTS)

    def step(state: tuple[Array, ...]) -> tuple[Array, ...]:
        z, residual, direction, energy, first, count = state
        image = apply(direction)
        length = energy / jnp.sum(direction * image)
        z, residual = z + length * direction, residual - length * image
        improved = precondition(residual)
        later = jnp.sum(residual * improved)
        return z, residual, improved + later / energy * direction, later, first, count + 1

    energy, first = jnp.sum(residual * searched), jnp.sum(right * start)
    state: tuple[Array, ...] = (start, residual, searched, energy, first, jnp.asarray(0))
    return jax.lax.while_loop(go, step, state)[0]


def _by_rows(
    equations: Sequence[Equations], matrices: Sequence[Matrices], basis: Basis, tolerance: Array | float
) -> Normal:
    size = basis.shape[0]
    rows = [one.rows(found) / one.errors(tolerance) for one, found in zip(equations, matrices, strict=True)]
    targets = [one.targets.ravel() / one.errors(tolerance) for one in equations]
    stacked = jnp.concatenate([*rows, jnp.eye(size)])
    orthogonal, root = jnp.linalg.qr(stacked)
    mean = jnp.zeros(size)
    right = jnp.concatenate([*targets, jnp.zeros(size)])
    change = mean
    for _ in range(3):  # refined with residuals of the rows
        change = jax.scipy.linalg.solve_triangular(root, orthogonal.T @ (right - stacked @ mean))
        mean = mean + change
    misfit = jnp.linalg.norm(change) / jnp.maximum(jnp.linalg.norm(mean), 1e-300)
    determinant = 2 * jnp.sum(jnp.log(jnp.abs(jnp.diagonal(root))))
    return Normal(mean, root, misfit, _density(equations, matrices, mean, determinant, tolerance))


def precision(
    equations: Sequence[Equations], matrices: Sequence[Matrices], basis: Basis, tolerance: Array | float
) -> Array:
    r"""$H$."""
    result = jnp.eye(math.prod(basis.shape))
    for one, found in zip(equations, matrices, strict=True):
        result = result + one.gram(found) / one.errors(tolerance) ** 2
    return result


def moment(equations: Sequence[Equations], matrices: Sequence[Matrices], tolerance: Array | float) -> Array:
    r"""$A^\top y$, of the shape of the coefficients."""
    parts = [
        one.adjoint(found, one.targets / one.errors(tolerance) ** 2)
        for one, found in zip(equations, matrices, strict=True)
    ]
    return sum(parts[1:], parts[0])


def _solve(lower: Array, right: Array) -> Array:
    return jax.scipy.linalg.cho_solve((lower, True), right)
