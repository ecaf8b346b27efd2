r"""Linear equations on tensor grids and at scattered points, in terms of the coefficients $Z$ of the features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from bayeskit._typing import Array
from bayeskit.models.spectral_pde.features import Layout, combinations, features
from bayeskit.models.spectral_pde.operator import Derivative
from bayeskit.models.spectral_pde.problem import Problem
from bayeskit.models.spectral_pde.spectrum import Spectrum
from bayeskit.numerics.kronecker import kronecker_apply, kronecker_gram, kronecker_rows
from bayeskit.xla.miscompilation import safe_jit

__all__ = ["Basis", "Equations", "Shapes", "condition_equations", "interior_equations", "reading_equations"]

Matrices = list[list[Array]]
"""For each coordinate, the features and their derivatives at the points along it."""


class Basis(NamedTuple):
    """What a solution is made of: a spectrum, the matrices of its features and their layout, along each coordinate."""

    spectra: tuple[Spectrum, ...]
    combined: tuple[Array, ...]
    layouts: tuple[Layout, ...]

    @classmethod
    def of(cls, spectra: Sequence[Spectrum], layouts: Sequence[Layout]) -> Basis:
        """With matrices that belong to these spectra."""
        pairs = zip(spectra, layouts, strict=True)
        combined: Any = tuple(combinations(one, layout) for one, layout in pairs)
        return cls(tuple(spectra), combined, tuple(layouts))

    def features(self, axis: int, points: Array, order: int) -> list[Array]:
        """Along one coordinate, with their derivatives."""
        return features(self.spectra[axis], self.combined[axis], points, self.layouts[axis], order)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the coefficients."""
        return tuple(layout.size for layout in self.layouts)


class Place(NamedTuple):
    """Nodes along a coordinate: a slice of them, or the difference between the last and the first."""

    first: int | None = None
    last: int | None = None
    wraps: bool = False


LOW, HIGH = Place(None, 1), Place(-1, None)


class Shapes(NamedTuple):
    """What must be known of equations before they are computed; hashable.

    Attributes:
        orders: the derivative in each term.
        places: along each coordinate, which nodes.
        scattered: whether the points along the coordinates belong together, one equation each.
        is_exact: whether they hold but for the tolerance; readings have noise of their own.
    """

    orders: tuple[Derivative, ...]
    places: tuple[Place, ...]
    scattered: bool = False
    is_exact: bool = True


class Equations(eqx.Module):
    r"""$\sum_t c_t \, \partial^{m_t} u = y$ with independent errors, on a grid or at scattered points.

    Attributes:
        points: along each coordinate: the nodes, or the scattered points.
        slopes: $c_t$, a number or an array of the shape of the targets, a term each.
        targets: $y$.
        scale: the size of the left side, of which the tolerance is a fraction; for readings the standard deviation.
        shapes: see there.
    """

    points: tuple[Array, ...]
    slopes: tuple[Array, ...]
    targets: Array
    scale: Array
    shapes: Shapes = eqx.field(static=True)

    def apply(self, matrices: Matrices, coefficients: Array) -> Array:
        """The left side, of the shape of the targets."""
        result = jnp.zeros_like(self.targets)
        for orders, slope in zip(self.shapes.orders, self.slopes, strict=True):
            result = result + slope * self._derivative(matrices, orders, coefficients)
        return result

    def _derivative(self, matrices: Matrices, orders: Derivative, coefficients: Array) -> Array:
        factors = self._factors(matrices, orders)
        if self.shapes.scattered:
            return kronecker_rows(factors) @ coefficients.ravel()
        return kronecker_apply(factors, coefficients)

    def adjoint(self, matrices: Matrices, values: Array) -> Array:
        """The transpose of `apply`, of the shape of the coefficients."""
        shape = tuple(found[0].shape[1] for found in matrices)
        result = jnp.zeros(shape, values.dtype)
        for orders, slope in zip(self.shapes.orders, self.slopes, strict=True):
            factors = self._factors(matrices, orders)
            if self.shapes.scattered:
                result = result + (kronecker_rows(factors).T @ (slope * values)).reshape(shape)
            else:
                result = result + kronecker_apply([factor.T for factor in factors], slope * values)
        return result

    def derivatives(self, matrices: Matrices, coefficients: Array) -> list[Array]:
        """The derivative in each term, of the shape of the targets."""
        return [self._derivative(matrices, orders, coefficients) for orders in self.shapes.orders]

    def gram(self, matrices: Matrices) -> Array:
        r"""$A^\top A$, shape `(R, R)`."""
        if self.shapes.scattered or len(matrices) == 1:
            rows = self.rows(matrices)
            return rows.T @ rows
        result = None
        for i, (orders, slope) in enumerate(zip(self.shapes.orders, self.slopes, strict=True)):
            for other, factor in list(zip(self.shapes.orders, self.slopes, strict=True))[i:]:
                left, right = self._factors(matrices, orders), self._factors(matrices, other)
                weight = slope * factor
                part = kronecker_gram(left, right, weight) if weight.ndim else weight * kronecker_gram(left, right)
                part = part if other == orders else part + part.T
                result = part if result is None else result + part
        assert result is not None
        return result

    def rows(self, matrices: Matrices) -> Array:
        """$A$ itself, shape `(targets, R)`: for few equations, or one coordinate."""
        total = jnp.zeros(())
        for orders, slope in zip(self.shapes.orders, self.slopes, strict=True):
            factors = self._factors(matrices, orders)
            if self.shapes.scattered or len(factors) == 1:
                rows = kronecker_rows(factors)
            else:
                rows = factors[0]
                for factor in factors[1:]:
                    rows = jnp.kron(rows, factor)
            total = total + (slope.reshape(-1, 1) if slope.ndim else slope) * rows
        return total

    def _factors(self, matrices: Matrices, orders: Derivative) -> list[Array]:
        return [found[order] for found, order in zip(matrices, orders, strict=True)]

    def errors(self, tolerance: Array | float) -> Array:
        """The standard deviation of an error."""
        return self.scale * tolerance if self.shapes.is_exact else self.scale


def matrices_of(equations: Sequence[Equations], basis: Basis) -> list[Matrices]:
    """The features along each coordinate and their derivatives, as each of the equations needs them.

    Those at the nodes are computed once, and each takes its rows of them.
    """
    on_grid = [one for one in equations if not one.shapes.scattered]
    nodes = []
    for axis in range(len(basis.shape)):
        order = max((orders[axis] for one in on_grid for orders in one.shapes.orders), default=0)
        nodes.append(basis.features(axis, on_grid[0].points[axis], order) if on_grid else [])
    result = []
    for one in equations:
        if one.shapes.scattered:
            tops = [max(orders[axis] for orders in one.shapes.orders) for axis in range(len(basis.shape))]
            result.append([basis.features(axis, points, tops[axis]) for axis, points in enumerate(one.points)])
        else:
            places = zip(nodes, one.shapes.places, strict=True)
            result.append([[_rows_at(matrix, place) for matrix in found] for found, place in places])
    return result


def _rows_at(matrix: Array, place: Place) -> Array:
    return matrix[-1:] - matrix[:1] if place.wraps else matrix[place.first : place.last]


def interior_equations(
    problem: Problem, source: Array, coefficients: Mapping[str, Array], at: Sequence[Array] | None
) -> Equations:
    """The equation at the inner nodes, linearised at a solution.

    Args:
        problem: see there.
        source: at the nodes.
        coefficients: all of them.
        at: the derivatives that the operator reads, at the inner nodes; `None` for a solution of zero.
    """
    operator, num_terms = problem.linear_operator, len(problem.linear_operator.terms)
    nodes = tuple(jnp.asarray(points) for points in problem.nodes())
    shapes = Shapes(operator.terms, tuple(Place(*ends) for ends in problem.inner))
    source = problem.at_inner(source)
    if operator.varies:
        points = jnp.asarray(problem.inner_points())
        values = jnp.zeros((len(points), num_terms)) if at is None else jnp.stack([one.ravel() for one in at], axis=1)
        value, slopes = operator.linearise(values, points, coefficients)
        targets = source - (value - jnp.sum(slopes * values, axis=1)).reshape(source.shape)
        return Equations(nodes, tuple(slopes.T.reshape(num_terms, *source.shape)), targets, jnp.ones(()), shapes)
    origin = jnp.asarray([points[0] for points in nodes])[None]
    value, slopes = operator.linearise(jnp.zeros((1, num_terms)), origin, coefficients)
    return Equations(nodes, tuple(slopes[0]), source - value[0], jnp.ones(()), shapes)


def condition_equations(problem: Problem, coefficients: Mapping[str, Array]) -> list[Equations]:
    """What holds at the boundary and at the first time."""
    result = []
    nodes = tuple(jnp.asarray(points) for points in problem.nodes())
    for face in problem.faces:
        orders = tuple(face.order if axis == face.axis else 0 for axis in range(len(nodes)))
        there = Place(wraps=True) if face.wraps else (HIGH if face.end else LOW)
        places = tuple(there if axis == face.axis else Place() for axis in range(len(nodes)))
        targets = problem.face_values(face, coefficients)
        slope = jnp.asarray(face.sign, jnp.float64)
        result.append(Equations(nodes, (slope,), targets, jnp.ones(()), Shapes((orders,), places)))
    return result


def reading_equations(at: Array, values: Array, sd: Array) -> Equations:
    """Noisy values of the solution at scattered points."""
    dimensions = at.shape[1]
    shapes = Shapes(((0,) * dimensions,), (Place(),) * dimensions, scattered=True, is_exact=False)
    points = tuple(at[:, axis] for axis in range(dimensions))
    return Equations(points, (jnp.ones(()),), values, sd, shapes)


def derivative_rows(basis: Basis, points: Array, orders: Derivative) -> Array:
    """The features of a derivative at scattered points, shape `(points, R)`."""
    return _derivative_rows(basis, points, orders)


def _rows_of(basis: Basis, points: Array, orders: Derivative) -> Array:
    return kronecker_rows([basis.features(axis, points[:, axis], m)[m] for axis, m in enumerate(orders)])


_derivative_rows = safe_jit(_rows_of, compile=eqx.filter_jit)


def prior_variance(spectra: Sequence[Spectrum], orders: Derivative) -> float:
    r"""The variance of a derivative under the prior, $\prod_d \sum_q w_q E[(2 \pi s)^{2 m_d}]$, $s$ of the spectrum."""
    result = 1.0
    for spectrum, order in zip(spectra, orders, strict=True):
        rate = 2 * np.pi * np.asarray(spectrum.frequency)
        width = 1.0 / np.asarray(spectrum.lengthscale)
        moment = np.ones_like(rate)
        previous = np.zeros_like(rate)
        for k in range(2 * order):  # of a normal variable: E[s^(k+1)] = rate E[s^k] + k width^2 E[s^(k-1)]
            moment, previous = rate * moment + k * width**2 * previous, moment
        result *= float(np.sum(np.asarray(spectrum.weight) * moment))
    return result


def scaled(equations: Equations, spectra: Sequence[Spectrum]) -> Equations:
    """The equations, with the prior standard deviation of their left side as its size."""
    variance = 0.0
    for orders, slope in zip(equations.shapes.orders, equations.slopes, strict=True):
        doubled = 4.0 if any(place.wraps for place in equations.shapes.places) else 1.0
        variance += doubled * float(jnp.mean(slope**2)) * prior_variance(spectra, orders)
    return eqx.tree_at(lambda e: e.scale, equations, jnp.asarray(np.sqrt(variance)))
