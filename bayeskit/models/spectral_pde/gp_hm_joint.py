r"""The joint density of GP-HM: values of a solution on a grid, its kernels, its boundary values and its equation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Float

from bayeskit._typing import Array, ArrayLike
from bayeskit.errors import MethodError
from bayeskit.models.spectral_pde.kernels import SpectralKernel
from bayeskit.models.spectral_pde.operator import Derivative, Operator
from bayeskit.models.spectral_pde.problem import Problem
from bayeskit.numerics.kronecker import kronecker_apply, kronecker_log_density

__all__ = ["Known", "Unknowns", "kernels_of", "log_joint", "root", "solve_along"]


class Unknowns(NamedTuple):
    r"""What is learned; the parameters of the kernels have a row a coordinate.

    Attributes:
        values: $U$, the solution on the grid, of its shape.
        log_weight: shape `(coordinates, components)`.
        frequency: likewise; the sign says nothing.
        log_lengthscale: likewise.
        log_boundary_precision: $\log \tau_1$.
        log_equation_precision: $\log \tau_2$.
    """

    values: Array
    log_weight: Float[Array, "d q"]
    frequency: Float[Array, "d q"]
    log_lengthscale: Float[Array, "d q"]
    log_boundary_precision: Float[Array, ""]
    log_equation_precision: Float[Array, ""]

    @classmethod
    def start(cls, shape: tuple[int, ...], num_components: int, max_frequency: float) -> Unknowns:
        """As published: a solution of zero, equal weights, length scales of one, equispaced frequencies."""
        full = (len(shape), num_components)
        frequency = jnp.broadcast_to(jnp.linspace(0.0, max_frequency, num_components), full)
        log_weight = jnp.full(full, -math.log(num_components))
        return cls(jnp.zeros(shape), log_weight, frequency, jnp.zeros(full), jnp.zeros(()), jnp.zeros(()))


class Known(eqx.Module):
    """A problem, as the joint density reads it.

    Attributes:
        nodes: along each coordinate, equispaced.
        points: all nodes, shape `(nodes, coordinates)`.
        source: on the grid.
        boundary: values of the solution on each face.
        coefficients: all of them.
        ends: of each face: its axis, and the place of its nodes along it, 0 or -1.
        operator: the left side of the equation.
    """

    nodes: tuple[Array, ...]
    points: Float[Array, "n d"]
    source: Array
    boundary: tuple[Array, ...]
    coefficients: dict[str, Array]
    ends: tuple[tuple[int, int], ...] = eqx.field(static=True)
    operator: Operator = eqx.field(static=True)

    @classmethod
    def of(cls, problem: Problem, coefficients: Mapping[str, ArrayLike] | None = None) -> Known:
        """Of a problem whose unknown coefficients are given.

        Raises:
            MethodError: something that GP-HM does not take: more than two coordinates, readings, conditions other than
                values of the solution, an unknown coefficient that is not given.
            DataError: a coefficient that the problem does not have, or an impossible value of one.
        """
        _check(problem, coefficients or {})
        given = {name: jnp.asarray(value) for name, value in problem.given(coefficients).items()}
        return cls(
            nodes=tuple(jnp.asarray(along) for along in problem.nodes()),
            points=jnp.stack([jnp.asarray(each).ravel() for each in problem.grid()], axis=1),
            source=problem.source_values(given),
            boundary=tuple(problem.face_values(face, given) for face in problem.faces),
            coefficients=given,
            ends=tuple((face.axis, -face.end) for face in problem.faces),
            operator=problem.linear_operator,
        )


def log_joint(
    unknowns: Unknowns,
    known: Known,
    kernel: type[SpectralKernel],
    *,
    boundary_weight: float = 200.0,
    jitter: float = 1e-6,
) -> Float[Array, ""]:
    r"""The logarithm of the joint density.

    $$\log N(\operatorname{vec} U \mid 0, K_1 \otimes K_2)
    + \lambda \log N(g \mid U_{\partial}, \tau_1^{-1} I) + \log N(f \mid \mathcal L u, \tau_2^{-1} I),$$

    where the derivatives that $\mathcal L$ reads at the nodes are the conditional means of the process given $U$, such
    as $K_1'' K_1^{-1} U$ and $U K_2^{-1} K_2''$. A corner counts once for each face that it is on. The prior of the
    logarithms of the weights is flat, which is that of Jeffreys, $1 / w$, for the weights themselves.

    Args:
        unknowns: see there.
        known: see there.
        kernel: one along each coordinate.
        boundary_weight: $\lambda$.
        jitter: added to the diagonal of each $K_d$, as a share of the variance.
    """
    kernels = kernels_of(unknowns, kernel)
    roots = [root(one, nodes, jitter) for one, nodes in zip(kernels, known.nodes, strict=True)]
    terms = known.operator.terms
    values = jnp.stack(
        [one.ravel() for one in _derivatives(unknowns.values, kernels, known.nodes, roots, terms)], axis=1
    )
    left = jax.vmap(known.operator.at, in_axes=(0, 0, None))(values, known.points, known.coefficients)
    result = kronecker_log_density(roots, unknowns.values)
    result = result + _log_density(left - known.source.ravel(), unknowns.log_equation_precision)
    for (axis, place), expected in zip(known.ends, known.boundary, strict=True):
        gap = jnp.take(unknowns.values, jnp.array([place]), axis=axis) - expected
        result = result + boundary_weight * _log_density(gap, unknowns.log_boundary_precision)
    return result


def kernels_of(unknowns: Unknowns, kernel: type[SpectralKernel]) -> list[SpectralKernel]:
    """One kernel a coordinate."""
    weight, frequency = jnp.exp(unknowns.log_weight), jnp.abs(unknowns.frequency)
    return [kernel(*each) for each in zip(weight, frequency, jnp.exp(unknowns.log_lengthscale), strict=True)]


def root(kernel: SpectralKernel, nodes: Float[Array, " n"], jitter: Array | float) -> Float[Array, "n n"]:
    """The lower Cholesky factor of the covariance at the nodes."""
    return jnp.linalg.cholesky(_matrix(kernel, nodes, 0) + jitter * jnp.sum(kernel.weight) * jnp.eye(len(nodes)))


def _matrix(kernel: SpectralKernel, nodes: Float[Array, " n"], order: int) -> Float[Array, "n n"]:
    r"""$k^{(m)}(x_i - x_j)$: between equispaced nodes there are only so many distances as there are nodes."""
    stationary = jax.vmap(kernel.derivative(order, 0), in_axes=(0, None))(nodes, nodes[0])
    place = jnp.arange(len(nodes))
    apart = place[:, None] - place
    sign = jnp.where(apart < 0, (-1.0) ** order, 1.0)
    return sign * stationary[jnp.abs(apart)]


def _derivatives(
    values: Array,
    kernels: Sequence[SpectralKernel],
    nodes: Sequence[Array],
    roots: Sequence[Array],
    terms: Sequence[Derivative],
) -> list[Array]:
    """The conditional means of derivatives at the nodes, each of the shape of the grid."""
    slopes = [
        [jnp.eye(len(x)), *(_matrix(kernel, x, m) for m in range(1, max(orders[axis] for orders in terms) + 1))]
        for axis, (kernel, x) in enumerate(zip(kernels, nodes, strict=True))
    ]
    solved: dict[tuple[int, ...], Array] = {}
    result = []
    for orders in terms:
        axes = tuple(axis for axis, order in enumerate(orders) if order)
        if axes not in solved:
            solved[axes] = solve_along(roots, values, axes)
        result.append(kronecker_apply([found[m] for found, m in zip(slopes, orders, strict=True)], solved[axes]))
    return result


def solve_along(roots: Sequence[Array], array: Array, axes: Sequence[int]) -> Array:
    r"""$K_d^{-1}$ along some of the axes."""
    for axis in axes:
        ahead = jnp.moveaxis(array, axis, 0)
        flat = jax.scipy.linalg.cho_solve((roots[axis], True), ahead.reshape(len(ahead), -1))
        array = jnp.moveaxis(flat.reshape(ahead.shape), 0, axis)
    return array


def _log_density(gap: Array, log_precision: Array) -> Array:
    return 0.5 * gap.size * (log_precision - math.log(2 * math.pi)) - 0.5 * jnp.exp(log_precision) * jnp.sum(gap**2)


def _check(problem: Problem, coefficients: Mapping[str, ArrayLike]) -> None:
    if not isinstance(problem, Problem):
        raise MethodError(f"GPHM fits a Problem, got {type(problem).__name__}")
    if len(problem.coordinates) > 2:
        raise MethodError(
            f"GPHM takes one or two coordinates, and the problem has {', '.join(problem.coordinates)}; "
            "solve takes three"
        )
    if problem.data is not None:
        raise MethodError("GPHM takes no readings, and the problem has them as data; solve takes them")
    for face in problem.faces:
        if face.wraps or face.order:
            kind = "a periodic condition" if face.wraps else "a condition on a derivative"
            raise MethodError(f"GPHM takes values of u, and {face.what} is {kind}; solve takes it")
    missing = [name for name in problem.unknown if name not in coefficients]
    if missing:
        raise MethodError(
            f"GPHM does not infer coefficients, and {', '.join(missing)} of the problem are unknown: give "
            f"coefficients={{{missing[0]!r}: ...}}"
        )
