r"""`State`: what is known of a solution while it is found, and the steps that lead on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from bayeskit._progress import ProgressBar
from bayeskit._typing import Array
from bayeskit.errors import ModelError
from bayeskit.models.spectral_pde.equations import (
    Basis,
    Equations,
    condition_equations,
    interior_equations,
    matrices_of,
    prior_variance,
    reading_equations,
    scaled,
)
from bayeskit.models.spectral_pde.evidence import Normal, normal_posterior
from bayeskit.models.spectral_pde.learn import Course, Learner, basis_of
from bayeskit.models.spectral_pde.problem import Problem
from bayeskit.models.spectral_pde.spectrum import Spectrum
from bayeskit.models.spectral_pde.start import Tones, find_tones
from bayeskit.xla.miscompilation import safe_jit

__all__ = ["State", "Steps"]

GAUSS_NEWTON = 30
ARRIVED = 1e-9
"""Relative change of the solution after which Gauss-Newton has arrived, or ten times the tolerance."""


class Steps(NamedTuple):
    """How Gauss-Newton went: the relative change at each step, and whether it has arrived."""

    changes: list[float]
    arrived: bool


class State:
    """What is known of a solution while it is found.

    Attributes:
        values: the derivatives that the operator reads, at the nodes; `None` before the first solution.
        posterior: of the coefficients of the features, at last.
    """

    def __init__(self, problem: Problem, coefficients: dict[str, Array]):
        self.problem, self.coefficients = problem, coefficients
        self.source = problem.source_values(coefficients)
        self.conditions = condition_equations(problem, coefficients)
        self.noise: float | None = None
        self.learns_noise = False
        if problem.data is not None:
            data = problem.data
            sd = data.sd if data.sd is not None else 0.1 * float(np.std(np.asarray(data.values))) + 1e-12
            self.learns_noise, self.noise = data.sd is None, sd
            self.conditions.append(
                reading_equations(jnp.asarray(data.at), jnp.asarray(data.values), jnp.asarray(float(sd)))
            )
        self.interior_scale = jnp.ones(())
        self.values: list[Array] | None = None
        self.spectra: tuple[Spectrum, ...] = ()
        self.posterior: Normal | None = None
        self.course = Course()
        self.num_steps = 0
        found = self.interior()
        if not all(bool(jnp.isfinite(one).all()) for one in (*found.slopes, found.targets)):
            raise ModelError(
                "operator or its slopes are not finite where u and its derivatives are 0, which is where solving "
                "starts: write it so that they are (a logarithm or a power of u as a function of something positive)"
            )

    def interior(self) -> Equations:
        """The equation at the nodes, linearised where the solution is now."""
        found = interior_equations(self.problem, self.source, self.coefficients, self.values)
        return eqx.tree_at(lambda e: e.scale, found, self.interior_scale)

    def equations(self) -> tuple[Equations, ...]:
        """All that is known."""
        return (self.interior(), *self.conditions)

    def rescale(self, spectra: tuple[Spectrum, ...]) -> None:
        """Set what the tolerance is a share of."""
        self.interior_scale = scaled(self.interior(), spectra).scale
        self.conditions = [scaled(one, spectra) if one.shapes.is_exact else one for one in self.conditions]

    def start(self, most: int) -> tuple[Spectrum, ...]:
        """A trend and the frequencies of the periodogram along each coordinate, at the size of what is known."""
        operator, domain = self.problem.linear_operator, self.problem.domain
        slopes = [float(jnp.sqrt(jnp.mean(slope**2))) for slope in self.interior().slopes]
        spectra = []
        for axis, (low, high) in enumerate(domain):
            length = high - low
            tones = self._tones(axis, length, most)
            symbol = np.zeros(len(tones.frequency))
            for orders, slope in zip(operator.terms, slopes, strict=True):
                if sum(orders) == orders[axis]:
                    symbol += slope * (2 * math.pi * tones.frequency) ** orders[axis]
            sizes = tones.amplitude / np.maximum(symbol, 1e-300) if len(symbol) else symbol
            trend = float(sizes.max()) if len(sizes) else 1.0
            weight = np.maximum(np.concatenate([[trend], sizes]) / max(trend, 1e-300), 1e-3) ** 2
            q = len(weight)
            spectra.append(
                Spectrum(
                    weight / weight.sum(),
                    np.append(0.0, tones.frequency),
                    np.full(q, (1.0 if len(domain) == 1 else 2.0) * length),
                )
            )
        size = self._size(spectra)
        first = spectra[0]
        spectra[0] = Spectrum(first.weight * size**2, first.frequency, first.lengthscale)
        return tuple(spectra)

    def _tones(self, axis: int, length: float, most: int) -> Tones:
        """Of the source along a coordinate; where it has none, of the values at the boundary and of the first time."""
        counts = self.source.shape
        found = find_tones(_lines(np.asarray(self.source), axis), length, most)
        for one in self.conditions:
            if len(found.frequency) or one.shapes.scattered or one.targets.shape[axis] != counts[axis]:
                continue
            found = find_tones(_lines(np.asarray(one.targets), axis), length, most)
        return found

    def _size(self, spectra: Sequence[Spectrum]) -> float:
        """The standard deviation of the solution that would explain the source, or the largest value that is known."""
        sizes = []
        for one in (self.interior(), *self.conditions):
            power = float(jnp.mean(one.targets**2))
            variance = 0.0
            for orders, slope in zip(one.shapes.orders, one.slopes, strict=True):
                variance += float(jnp.mean(slope**2)) * prior_variance(spectra, orders)
            sizes.append(math.sqrt(power / variance) if variance > 0 else 0.0)
        return max(sizes) or 1.0

    def learner(self, start: tuple[Spectrum, ...], max_steps: int, bar: ProgressBar) -> Learner:
        """What learns the spectra."""
        noise = self.noise if self.learns_noise else None
        counts = self.problem.num_nodes
        assert isinstance(counts, tuple)
        return Learner(self.problem.domain, counts, start, noise, bar, max_steps, self.course)

    def learn(self, learner: Learner, tolerance: float, *, prune: bool) -> None:
        """Learn the spectra at a tolerance, and take Gauss-Newton steps after it where the equation is not linear."""
        learner.learn(self.equations(), tolerance, prune=prune)
        self._hear(learner)
        if not self.problem.is_linear:
            self.settle(basis_of(self.spectra, self.problem.domain, 0.01 * tolerance), tolerance, loose=True)

    def kept(self) -> tuple[Any, ...]:
        """What learning and settling change, to come back to it."""
        return self.spectra, self.noise, self.conditions, self.values, self.posterior, self.course.converged

    def restore(self, kept: tuple[Any, ...]) -> None:
        """Come back to it."""
        self.spectra, self.noise, self.conditions, self.values, self.posterior, self.course.converged = kept

    def _hear(self, learner: Learner) -> None:
        self.spectra = learner.spectra
        if learner.noise is not None:
            self.noise = learner.noise
            self.conditions = [
                one if one.shapes.is_exact else eqx.tree_at(lambda e: e.scale, one, jnp.asarray(learner.noise))
                for one in self.conditions
            ]

    def evidence(self, basis: Basis, tolerance: float) -> float:
        """Of the equations at a tolerance, linearised where the solution is now."""
        return float(_posterior(self.equations(), basis, tolerance).log_evidence)

    def settle(self, basis: Basis, tolerance: float, *, loose: bool = False) -> Steps:
        """The posterior; by Gauss-Newton steps where the equation is not linear."""
        if self.problem.is_linear:
            self.posterior = _posterior(self.equations(), basis, tolerance)
            self.values = _values(self.interior(), basis, self.posterior.mean)
            return Steps([], True)
        changes: list[float] = []
        enough = 1e-2 if loose else max(ARRIVED, 10 * tolerance)
        before = Point(self.values, None, math.inf)
        while len(changes) < GAUSS_NEWTON:
            found = _posterior(self.equations(), basis, tolerance)
            values = _values(self.interior(), basis, found.mean)
            step = self._shortened(before, Point(values, found.mean, math.nan), basis, tolerance)
            changes.append(_change(before.values, values))  # of the whole step: a shortened one is no sign of arriving
            self.num_steps += 1
            if step is before:  # no shorter step falls: arrived if the whole one is nothing, and stuck otherwise
                break
            assert step.mean is not None
            before, self.values, self.posterior = step, step.values, found._replace(mean=step.mean)
            if not math.isfinite(changes[-1]) or changes[-1] < enough:
                break
        return Steps(changes, bool(changes[-1] < enough))

    def _shortened(self, before: Point, after: Point, basis: Basis, tolerance: float) -> Point:
        """The step, halved until the objective does not rise."""
        objective = self._objective(after, basis, tolerance)
        if before.mean is None or not math.isfinite(before.objective):
            return after._replace(objective=objective)
        for _ in range(20):
            if objective <= before.objective * (1 + 1e-9):
                return after._replace(objective=objective)
            assert before.values is not None
            assert after.values is not None
            assert after.mean is not None
            values = [(a + b) / 2 for a, b in zip(before.values, after.values, strict=True)]
            after = Point(values, (before.mean + after.mean) / 2, math.nan)
            objective = self._objective(after, basis, tolerance)
        return before

    def _objective(self, point: Point, basis: Basis, tolerance: float) -> float:
        values, mean = point.values, point.mean
        assert values is not None
        assert mean is not None
        problem = self.problem
        points = jnp.asarray(problem.inner_points())
        at = jnp.stack([one.ravel() for one in values], axis=1)
        reached, _ = problem.linear_operator.linearise(at, points, self.coefficients)
        residual = (problem.at_inner(self.source).ravel() - reached) / (self.interior_scale * tolerance)
        return float(_squares(residual, self.equations(), basis, mean, jnp.asarray(tolerance)))


class Point(NamedTuple):
    """A solution that Gauss-Newton has come to."""

    values: list[Array] | None
    mean: Array | None
    objective: float


def _lines(values: np.ndarray, axis: int) -> np.ndarray:
    """All lines along an axis, at most 64 of them, shape `(points, lines)`."""
    lines = np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)
    return lines[:, :: max(1, lines.shape[1] // 64)]


def _change(before: Sequence[Array] | None, after: Sequence[Array] | None) -> float:
    assert after is not None
    if before is None:
        return 1.0
    gaps = [float(jnp.linalg.norm(b - a) / (jnp.linalg.norm(b) + 1e-300)) for a, b in zip(before, after, strict=True)]
    return max(gaps)


def _normal(equations: tuple[Equations, ...], basis: Basis, tolerance: Array) -> Normal:
    return normal_posterior(equations, basis, tolerance)


_compiled = safe_jit(_normal, compile=eqx.filter_jit)


_values_of = safe_jit(
    lambda interior, basis, mean: interior.derivatives(matrices_of([interior], basis)[0], mean),
    compile=eqx.filter_jit,
)


def _all_squares(
    residual: Array, equations: tuple[Equations, ...], basis: Basis, mean: Array, tolerance: Array
) -> Array:
    """Of the residual of the equation, the gaps of the conditions and the coefficients, in units of their errors."""
    result = jnp.sum(residual**2) + jnp.sum(mean**2)
    for one, matrices in list(zip(equations, matrices_of(equations, basis), strict=True))[1:]:
        result += jnp.sum(((one.targets - one.apply(matrices, mean)) / one.errors(tolerance)) ** 2)
    return result


_squares = safe_jit(_all_squares, compile=eqx.filter_jit)


def _posterior(equations: tuple[Equations, ...], basis: Basis, tolerance: float) -> Normal:
    return _compiled(equations, basis, jnp.asarray(tolerance))


def _values(interior: Equations, basis: Basis, mean: Array) -> list[Array]:
    return _values_of(interior, basis, mean)
