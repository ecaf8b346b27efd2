r"""The record of a solution, by which it is judged: residuals at fresh points, and how it was found."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from bayeskit._typing import Array
from bayeskit.models.spectral_pde.equations import Basis, derivative_rows, matrices_of
from bayeskit.models.spectral_pde.evidence import Normal
from bayeskit.models.spectral_pde.learn import Course
from bayeskit.models.spectral_pde.operator import Operator
from bayeskit.models.spectral_pde.problem import Problem
from bayeskit.models.spectral_pde.spectrum import Spectrum
from bayeskit.models.spectral_pde.state import State, Steps
from bayeskit.train.training import Stopped, Training, no_training
from bayeskit.xla.miscompilation import safe_jit

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["FRESH", "MATTERS", "Record", "record_of", "training_of"]

FINE = 1e-6
"""A residual at fresh points, as a share of the size of the left side, that does not matter."""
FRESH = 200
MATTERS = 1e-6
"""The share of the weight from which on a component counts."""


class Record(NamedTuple):
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

    def tree(self, training: Training, problem: Problem, state: State, raw: Array) -> xr.DataTree:
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
            "num_conditions": len(state.conditions),
            "edges": json.dumps(self.edges),
        }
        return tree


def record_of(state: State, basis: Basis, tolerance: float, steps: Steps, raw: Array) -> Record:
    """Look at a solution: at fresh points, at its readings, and at what was solved."""
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
    return Record(
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


def _readings_z(state: State, basis: Basis) -> float:
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


def _edges(spectra: Sequence[Spectrum], problem: Problem) -> dict[str, float]:
    """The highest frequency of a component that matters, as a share of what the grid resolves, by coordinate."""
    result = {}
    assert isinstance(problem.num_nodes, tuple)
    for name, one, (low, high), n in zip(problem.coordinates, spectra, problem.domain, problem.num_nodes, strict=True):
        matters = one.share > MATTERS
        top = np.asarray(one.frequency) + 3.0 / (2 * math.pi * np.asarray(one.lengthscale))
        result[name] = float(top[matters].max() * 2 * (high - low) / (n - 1))
    return result


def training_of(course: Course, seconds: float) -> Training:
    """The course of learning, as the record of any training."""
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
