r"""`solve`: the posterior of the solution of a differential equation, with the spectrum learned."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from bayeskit._keys import raw_key
from bayeskit._progress import ProgressBar
from bayeskit._settings import is_number, is_whole
from bayeskit._typing import Array, ArrayLike, Key
from bayeskit.errors import DataError, MethodError, TrainingError
from bayeskit.models.spectral_pde.equations import (
    Basis,
    Equations,
    condition_equations,
    derivative_rows,
    interior_equations,
    matrices_of,
    prior_variance,
    reading_equations,
    scaled,
)
from bayeskit.models.spectral_pde.evidence import Normal, normal_posterior
from bayeskit.models.spectral_pde.learn import Course, Learner, basis_of
from bayeskit.models.spectral_pde.operator import Operator
from bayeskit.models.spectral_pde.problem import Problem
from bayeskit.models.spectral_pde.solution import Solution
from bayeskit.models.spectral_pde.spectrum import Spectrum
from bayeskit.models.spectral_pde.start import Tones, find_tones
from bayeskit.train.training import Stopped, Training, no_training
from bayeskit.xla.miscompilation import safe_jit

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["solve"]

TOLERANCE = {1: 1e-10, 2: 1e-8, 3: 1e-8}
LEARNING = {1: (1e-2, 1e-4, 1e-6), 2: (1e-2,), 3: (1e-2,)}
"""Tolerances at which the spectrum is learned."""
FURTHER = {1: (), 2: (1e-4, 1e-6), 3: (1e-4, 1e-6)}
"""And then, where the equation does not hold between the nodes."""
FINE = 1e-6
"""A residual at fresh points, as a share of the size of the left side, that does not matter."""
PRECISION = 1e-12
GAUSS_NEWTON = 30
ARRIVED = 1e-9
"""Relative change of the solution after which Gauss-Newton has arrived, or ten times the tolerance."""
FRESH = 200
LARGEST, STEP = 1e-1, 10.0
"""Between tolerances that are tried."""
SHARE_OF_MEMORY = 0.6


def solve(
    problem: Problem,
    *,
    key: Key = 0,
    coefficients: Mapping[str, ArrayLike] | None = None,
    spectrum: Sequence[Spectrum] | None = None,
    num_components: int = 6,
    tolerance: float | None = None,
    max_steps: int = 100,
    progress: bool = False,
) -> Solution:
    r"""Condition a Gaussian process on a differential equation, and learn its spectrum.

    Where the equation is linear this is exact. Where it is not, Gauss-Newton steps lead to the mode, and the posterior
    is the Laplace approximation there. :func:`bayeskit.check` judges the result.

    Args:
        problem: the equation, and what else is known.
        key: for the fresh points at which the residual is looked at; the rest uses no chance.
        coefficients: values of the unknown coefficients of the problem. To infer them, see :func:`model`.
        spectrum: one :class:`Spectrum` a coordinate, which is taken as it is; learned by default.
        num_components: at most so many frequencies along a coordinate, beside a trend.
        tolerance: the error that the equation and its conditions are allowed, as a share of the prior standard
            deviation of their left sides; 1e-10 along one coordinate, else 1e-8.
        max_steps: L-BFGS steps of learning, at each tolerance.
        progress: show a progress bar.

    Raises:
        DataError: a coefficient is missing; or there are more unknowns than fit into the memory.
        MethodError: an impossible setting.
        TrainingError: the evidence, or the solution, is not finite.

    Example:
        >>> import jax.numpy as jnp, numpy as np
        >>> from bayeskit.models import spectral_pde as sp
        >>> problem = sp.Problem(
        ...     domain=[(0.0, 1.0)],
        ...     operator=lambda u: u.xx,
        ...     source=lambda x: -(30.0**2) * jnp.sin(30.0 * x),
        ...     boundary=lambda x: jnp.sin(30.0 * x),
        ...     num_nodes=60,
        ... )
        >>> solution = sp.solve(problem, key=0)
        >>> x = np.linspace(0.0, 1.0, 50)[:, None]
        >>> bool(np.abs(solution.mean(x) - np.sin(30.0 * x[:, 0])).max() < 1e-6)
        True

    References:
        Fang, Cooley, Long, Li, Kirby and Zhe (2024), "Solving High Frequency and Multi-Scale PDEs with Gaussian
        Processes"; Cockayne, Oates, Sullivan and Girolami (2019), "Bayesian Probabilistic Numerical Methods", for the
        posterior; Chen, Hosseini, Owhadi and Stuart (2021), "Solving and learning nonlinear PDEs with Gaussian
        processes", for Gauss-Newton.
    """
    begin = time.perf_counter()
    if not isinstance(problem, Problem):
        raise MethodError(f"solve takes a Problem, got {type(problem).__name__}")
    dimensions = len(problem.coordinates)
    tolerance = TOLERANCE[dimensions] if tolerance is None else tolerance
    if not (is_number(tolerance) and 0 < tolerance < 0.1):
        raise MethodError(f"tolerance must be a number above 0 and below 0.1, got {tolerance!r}")
    for name, value in (("num_components", num_components), ("max_steps", max_steps)):
        if not (is_whole(value) and value >= 1):
            raise MethodError(f"{name} must be a positive integer, got {value!r}")
    raw = raw_key(key)
    values = problem.given(coefficients)
    total = len(LEARNING[dimensions]) * max_steps
    with jax.enable_x64(True), ProgressBar(total, progress) as bar:
        given = {name: jnp.asarray(value) for name, value in values.items()}
        state = _State(problem, given)
        start = checked(spectrum, problem.coordinates) if spectrum is not None else state.start(num_components)
        state.rescale(start)
        if spectrum is not None:
            state.spectra = start
            found = _final(state, tolerance, tolerance, raw)
        else:
            learner = state.learner(start, max_steps, bar)
            found = _learned(state, learner, tolerance, raw)
        basis, record = found
        posterior = state.posterior
        assert posterior is not None
        scales = tuple(float(one.scale) for one in state.equations() if one.shapes.is_exact)
    training = _training(state.course, time.perf_counter() - begin)
    tree = record.tree(training, problem, state, raw)
    return Solution(
        coordinates=problem.coordinates,
        domain=problem.domain,
        spectrum=state.spectra,
        combined=jax.tree.map(np.asarray, basis.combined),
        layouts=basis.layouts,
        coefficients=np.asarray(posterior.mean),
        root=np.asarray(posterior.root),
        scales=scales,
        noise=state.noise,
        tree=tree,
    )


class Steps(NamedTuple):
    """How Gauss-Newton went: the relative change at each step, and whether it has arrived."""

    changes: list[float]
    arrived: bool


class _State:
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

    def settle(self, basis: Basis, tolerance: float, *, loose: bool = False) -> Steps:
        """The posterior; by Gauss-Newton steps where the equation is not linear."""
        if self.problem.is_linear:
            self.posterior = _posterior(self.equations(), basis, tolerance)
            self.values = _values(self.interior(), basis, self.posterior.mean)
            return Steps([], True)
        changes: list[float] = []
        enough = 1e-2 if loose else max(ARRIVED, 10 * tolerance)
        before = _Point(self.values, None, math.inf)
        while len(changes) < GAUSS_NEWTON:
            found = _posterior(self.equations(), basis, tolerance)
            values = _values(self.interior(), basis, found.mean)
            step = self._shortened(before, _Point(values, found.mean, math.nan), basis, tolerance)
            changes.append(_change(before.values, step.values))
            before, self.values, self.posterior = step, step.values, found
            self.num_steps += 1
            if not math.isfinite(changes[-1]) or changes[-1] < enough:
                break
        return Steps(changes, bool(changes[-1] < enough))

    def _shortened(self, before: _Point, after: _Point, basis: Basis, tolerance: float) -> _Point:
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
            after = _Point(values, (before.mean + after.mean) / 2, math.nan)
            objective = self._objective(after, basis, tolerance)
        return before

    def _objective(self, point: _Point, basis: Basis, tolerance: float) -> float:
        values, mean = point.values, point.mean
        assert values is not None
        assert mean is not None
        problem = self.problem
        points = jnp.asarray(problem.inner_points())
        at = jnp.stack([one.ravel() for one in values], axis=1)
        reached, _ = problem.linear_operator.linearise(at, points, self.coefficients)
        residual = (problem.at_inner(self.source).ravel() - reached) / (self.interior_scale * tolerance)
        return float(_squares(residual, self.equations(), basis, mean, jnp.asarray(tolerance)))


class _Point(NamedTuple):
    """A solution that Gauss-Newton has come to."""

    values: list[Array] | None
    mean: Array | None
    objective: float


class _Record(NamedTuple):
    """What a solution is judged by."""

    tolerance: float
    log_evidence: float
    misfit: float
    condition: float
    steps: Steps
    points: np.ndarray
    residual: np.ndarray
    residual_sd: np.ndarray
    size: float
    readings_z: float
    edges: dict[str, float]

    @property
    def is_fine(self) -> bool:
        """Whether the equation holds at fresh points as well as it is said to, or so well that it does not matter."""
        if not self.residual.size:
            return True
        z = float(np.sqrt(np.mean((self.residual / self.residual_sd) ** 2)))
        return z < 3.0 or float(np.sqrt(np.mean(self.residual**2))) < FINE * self.size

    def tree(self, training: Training, problem: Problem, state: _State, raw: Array) -> xr.DataTree:
        """The record of the fit."""
        import xarray as xr

        tree = training.tree(
            "spectral_pde.solve", {"tolerance": self.tolerance}, key=json.dumps(np.asarray(raw).tolist())
        )
        more = {
            "residual": ("fresh", self.residual),
            "residual_sd": ("fresh", self.residual_sd),
            "fresh_point": (("fresh", "coordinate"), self.points),
            "change": ("gauss_newton", np.asarray(self.steps.changes)),
        }
        kept = {name: pair for name, pair in more.items() if pair[1].size}
        dataset = tree["training"].to_dataset().assign(kept).assign_coords(coordinate=list(problem.coordinates))
        tree["training"] = xr.DataTree(dataset)
        tree.attrs |= {
            "float_dtype": "float64",  # whatever the default is
            "log_evidence": self.log_evidence,
            "refinement_misfit": self.misfit,
            "condition": self.condition,
            "gauss_newton_steps": state.num_steps,
            "gauss_newton_arrived": int(self.steps.arrived),
            "operator_size": self.size,
            "tolerance": self.tolerance,
            "readings_z": self.readings_z,
            "edges": json.dumps(self.edges),
        }
        return tree


def _learned(state: _State, learner: Learner, least: float, raw: Array) -> tuple[Basis, _Record]:
    """The posterior with spectra that are learned, at the tolerances that are needed.

    Where the equation cannot be satisfied to the least tolerance by a process with this spectrum, or does not hold
    between the nodes, the spectrum is learned once more at a smaller tolerance, for as long as it raises the evidence.
    """
    first, *more = LEARNING[len(state.problem.domain)]
    state.learn(learner, first, prune=not more)
    reached, evidence = first, -state.course.losses[-1]
    for one in more:
        kept = state.kept()
        state.learn(learner, one, prune=True)
        if -state.course.losses[-1] <= evidence:
            state.restore(kept)
            break
        reached, evidence = one, -state.course.losses[-1]
    basis, record = _final(state, least, reached, raw)
    for one in FURTHER[len(state.problem.domain)]:
        if (record.is_fine and record.tolerance <= least) or one < least or not learner.fits(one):
            break
        kept = state.kept()
        state.learn(learner, one, prune=False)
        later = _final(state, least, one, raw)
        if later[1].log_evidence <= record.log_evidence:
            state.restore(kept)
            break
        basis, record = later
    return basis, record


def _final(state: _State, least: float, most: float, raw: Array) -> tuple[Basis, _Record]:
    """The posterior with the spectra as they are, and what it is judged by.

    At the tolerance between `least` and `most` that has the highest evidence: where the solution has features that the
    process has not, such as a kink at a corner, it is the larger one, and the bands become wider.
    """
    basis = basis_of(state.spectra, state.problem.domain, PRECISION)
    _check_memory(basis, state.problem)
    tolerance = max(least, most)
    steps, best = _tried(state, basis, tolerance)
    for factor, end in ((1.0 / STEP, least), (STEP, LARGEST)):
        here = tolerance
        while tolerance != end:
            other = min(max(tolerance * factor, least), LARGEST)
            steps, evidence = _tried(state, basis, other)
            if evidence < best:
                steps, _ = _tried(state, basis, tolerance)
                break
            tolerance, best = other, evidence
        if tolerance != here or least >= LARGEST:
            break
    return basis, _record(state, basis, tolerance, steps, raw)


def _tried(state: _State, basis: Basis, tolerance: float) -> tuple[Steps, float]:
    """Settle at a tolerance; what has the evidence."""
    steps = state.settle(basis, tolerance)
    assert state.posterior is not None
    evidence = float(state.posterior.log_evidence)
    if not math.isfinite(evidence):
        raise TrainingError(
            "the solution is not finite: the equation cannot be solved at this tolerance; use a larger tolerance, "
            "fewer num_components, or check the sizes of the source and the boundary values"
        )
    return steps, evidence


def _record(state: _State, basis: Basis, tolerance: float, steps: Steps, raw: Array) -> _Record:
    problem, posterior = state.problem, state.posterior
    assert posterior is not None
    diagonal = np.abs(np.diag(np.asarray(posterior.root)))
    points = np.zeros((0, len(problem.domain)))
    residual = residual_sd = np.zeros(0)
    if callable(problem.source) or np.ndim(problem.source) == 0:
        low, high = np.asarray(problem.domain).T
        points = low + (high - low) * np.random.default_rng(np.asarray(raw)).uniform(size=(FRESH, len(low)))
        residual, residual_sd = residuals(problem, basis, posterior, points, state.coefficients)
        residual_sd = np.hypot(residual_sd, tolerance * float(state.interior_scale))
    return _Record(
        tolerance=tolerance,
        log_evidence=float(posterior.log_evidence),
        misfit=float(posterior.misfit),
        condition=float((diagonal.max() / diagonal.min()) ** 2),
        steps=steps,
        points=points,
        residual=residual,
        residual_sd=residual_sd,
        size=float(state.interior_scale),
        readings_z=_readings_z(state, basis),
        edges=_edges(state.spectra, problem),
    )


def _readings_z(state: _State, basis: Basis) -> float:
    """The root mean square of what is left of the readings, in standard deviations of their noise; 0 without any."""
    assert state.posterior is not None
    for one in state.conditions:
        if one.shapes.scattered:
            gap = one.targets - one.apply(matrices_of([one], basis)[0], state.posterior.mean)
            return float(jnp.sqrt(jnp.mean((gap / one.scale) ** 2)))
    return 0.0


def residuals(
    problem: Problem, basis: Basis, posterior: Normal, points: np.ndarray, coefficients: Mapping[str, Array]
) -> tuple[np.ndarray, np.ndarray]:
    """What is left of the equation at points, and its standard deviation under the posterior."""
    at = jnp.asarray(points)
    found = _left(problem.linear_operator, basis, posterior, at, dict(coefficients))
    source = problem.source_at(points, coefficients)
    return np.asarray(found[0]) - np.asarray(source), np.asarray(found[1])


def _left_side(
    operator: Operator, basis: Basis, posterior: Normal, at: Array, coefficients: dict[str, Array]
) -> tuple[Array, Array]:
    """The left side of the equation at points, and its standard deviation."""
    rows = [derivative_rows(basis, at, orders) for orders in operator.terms]
    values = jnp.stack([one @ posterior.mean.ravel() for one in rows], axis=1)
    reached, slopes = operator.linearise(values, at, coefficients)
    row = jnp.sum(jnp.stack([slopes[:, t : t + 1] * one for t, one in enumerate(rows)]), axis=0)
    white = jax.scipy.linalg.solve_triangular(posterior.root, row.T, trans=1)
    rounding = jnp.abs(slopes * values).sum(axis=1) * 1e3 * jnp.finfo(values.dtype).eps
    return reached, jnp.sqrt(jnp.sum(white**2, axis=0) + rounding**2)


_left = safe_jit(_left_side, compile=eqx.filter_jit)


def checked(spectrum: Sequence[Spectrum], coordinates: Sequence[str]) -> tuple[Spectrum, ...]:
    """One spectrum a coordinate."""
    spectra = (spectrum,) if isinstance(spectrum, Spectrum) else tuple(spectrum)
    if len(spectra) != len(coordinates) or not all(isinstance(one, Spectrum) for one in spectra):
        raise MethodError(f"spectrum must be one Spectrum for each of {', '.join(coordinates)}; got {spectra!r}")
    ordered = []
    for one in spectra:
        order = np.argsort(np.asarray(one.frequency) > 0, kind="stable")  # trends first
        ordered.append(Spectrum(*(np.asarray(v)[order] for v in (one.weight, one.frequency, one.lengthscale))))
    return tuple(ordered)


def _edges(spectra: Sequence[Spectrum], problem: Problem) -> dict[str, float]:
    """The highest frequency of a component that matters, as a share of what the grid resolves, by coordinate."""
    result = {}
    assert isinstance(problem.num_nodes, tuple)
    for name, one, (low, high), n in zip(problem.coordinates, spectra, problem.domain, problem.num_nodes, strict=True):
        matters = one.share > 1e-6
        top = np.asarray(one.frequency) + 3.0 / (2 * math.pi * np.asarray(one.lengthscale))
        result[name] = float(top[matters].max() * 2 * (high - low) / (n - 1))
    return result


def _training(course: Course, seconds: float) -> Training:
    if not course.losses:
        return no_training()
    return Training(
        losses=np.asarray(course.losses),
        gradient_norms=np.asarray(course.gradient_norms),
        held_out=np.zeros(0),
        looks=np.zeros(0, int),
        stopped=Stopped.SETTLED if course.converged else Stopped.USED_UP,
        has_rule=True,
        seconds=seconds,
        phases=tuple(course.phases.items()),
    )


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


def _check_memory(basis: Basis, problem: Problem) -> None:
    unknowns = math.prod(basis.shape)
    assert isinstance(problem.num_nodes, tuple)
    nodes = math.prod(problem.num_nodes)
    terms = len(problem.linear_operator.terms)
    widest = max(basis.shape) ** 2
    needed = 8.0 * (4 * unknowns**2 + nodes * (4 * terms + 4) + widest * max(problem.num_nodes) * 2)
    if len(basis.shape) == 1:
        needed += 8.0 * 4 * nodes * unknowns
    try:
        memory = SHARE_OF_MEMORY * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        memory = 8e9
    if needed > memory:
        each = " x ".join(f"{size} along {name}" for size, name in zip(basis.shape, problem.coordinates, strict=True))
        raise DataError(
            f"the solution would have {unknowns} unknowns ({each}) and take {needed / 2**30:.1f} GiB, of which this "
            f"machine may give {memory / 2**30:.1f}: use fewer num_components, fewer num_nodes or a smaller domain"
        )


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
