r"""Learning the spectra: the evidence of the equations, maximised by L-BFGS for falling tolerances."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize

from bayeskit._progress import ProgressBar
from bayeskit._typing import Array
from bayeskit.errors import DataError, TrainingError
from bayeskit.models.spectral_pde.equations import Basis, Equations
from bayeskit.models.spectral_pde.evidence import log_evidence
from bayeskit.models.spectral_pde.features import Layout, layout_for
from bayeskit.models.spectral_pde.spectrum import Spectrum
from bayeskit.xla.miscompilation import safe_jit

__all__ = ["Course", "Learner", "basis_of"]

LONGEST = 10.0
"""Length scales, in lengths of the domain: beyond it a component is a pure tone."""
LEAST_WEIGHT = 1e-18
"""Of the starting variance."""
GAIN = 1.0
"""Nats of evidence that a component must be worth."""
REPEATS = 8
MOST_FEATURES = {1: 1500, 2: 1800, 3: 1800}
"""While learning."""


@dataclasses.dataclass
class Course:
    """The course of the optimisation.

    Attributes:
        losses: minus the log evidence after each step.
        gradient_norms: likewise.
        phases: their names with the number of steps.
        converged: whether the last phase has.
    """

    losses: list[float] = dataclasses.field(default_factory=list)
    gradient_norms: list[float] = dataclasses.field(default_factory=list)
    phases: dict[str, int] = dataclasses.field(default_factory=dict)
    converged: bool = False


@dataclasses.dataclass
class Learner:
    """Spectra that are being learned.

    Attributes:
        domain: the intervals.
        counts: nodes along each coordinate.
        spectra: as they are now.
        noise: the standard deviation of readings, where it is learned.
        bar: the progress bar.
        max_steps: L-BFGS steps at a tolerance.
        course: so far.
    """

    domain: tuple[tuple[float, float], ...]
    counts: tuple[int, ...]
    spectra: tuple[Spectrum, ...]
    noise: float | None
    bar: ProgressBar
    max_steps: int
    course: Course = dataclasses.field(default_factory=Course)

    def learn(self, equations: Sequence[Equations], tolerance: float, *, prune: bool) -> None:
        """Maximise the evidence at a tolerance, from where the spectra are."""
        for _ in range(REPEATS):
            lowest = self._lowest(tolerance)
            layouts = self._layouts(lowest, tolerance)
            found = self._maximise(equations, tolerance, layouts, lowest)
            self._take(found, layouts)
            if prune:
                self._prune(equations, tolerance, layouts)
            if not self._cramped(lowest):
                return

    @property
    def smallest(self) -> list[float]:
        """The shortest length scale that the nodes can tell, along each coordinate."""
        return [(high - low) / (n - 1) for (low, high), n in zip(self.domain, self.counts, strict=True)]

    def _lowest(self, tolerance: float) -> list[np.ndarray]:
        """How short the length scales may become with the features of this round."""
        for factor in (6.0, 3.0, 2.0, 1.5, 1.2, 1.05):
            lowest = [
                np.maximum(np.asarray(s.lengthscale) / factor, least)
                for s, least in zip(self.spectra, self.smallest, strict=True)
            ]
            size = math.prod(layout.size for layout in self._layouts(lowest, tolerance))
            if size <= MOST_FEATURES[len(self.domain)]:
                return lowest
        raise DataError(
            f"to learn this spectrum takes {size} unknowns, more than {MOST_FEATURES[len(self.domain)]}: the solution "
            "varies over lengths that are short against the domain. Use a smaller domain, fewer num_components, or give "
            "the spectrum"
        )

    def _layouts(self, lowest: Sequence[np.ndarray], tolerance: float) -> tuple[Layout, ...]:
        return tuple(
            layout_for(interval, low.tolist(), (np.asarray(s.frequency) == 0).tolist(), tolerance * 0.1)
            for interval, low, s in zip(self.domain, lowest, self.spectra, strict=True)
        )

    def _vector(self) -> np.ndarray:
        return _packed(
            [
                _Part(
                    np.asarray(s.frequency)[np.asarray(s.frequency) > 0] * (high - low),
                    np.log(np.asarray(s.lengthscale)),
                    np.log(np.asarray(s.weight)),
                )
                for s, (low, high) in zip(self.spectra, self.domain, strict=True)
            ],
            [] if self.noise is None else [math.log(self.noise)],
        )

    def _bounds(self, lowest: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        low, high = [], []
        for interval, n, spectrum, least in zip(self.domain, self.counts, self.spectra, lowest, strict=True):
            moving = int(np.sum(np.asarray(spectrum.frequency) > 0))
            total, q = float(np.asarray(spectrum.weight).sum()), len(least)
            low.append(_Part(np.full(moving, 0.25), np.log(least), np.full(q, math.log(total * LEAST_WEIGHT))))
            longest = math.log(LONGEST * (interval[1] - interval[0]))
            high.append(_Part(np.full(moving, (n - 1) / 2), np.full(q, longest), np.full(q, math.log(total * 1e8))))
        noise = [] if self.noise is None else [math.log(self.noise)]
        return _packed(low, [one - 25.0 for one in noise]), _packed(high, [one + 25.0 for one in noise])

    def _maximise(
        self, equations: Sequence[Equations], tolerance: float, layouts: tuple[Layout, ...], lowest: list[np.ndarray]
    ) -> np.ndarray:
        low, high = self._bounds(lowest)
        latest: dict[bytes, float] = {}

        def loss(vector: np.ndarray) -> tuple[float, np.ndarray]:
            found = _value_and_slope(jnp.asarray(vector), tuple(equations), jnp.asarray(tolerance), layouts)
            value, gradient = float(found[0]), np.asarray(found[1])
            if not (math.isfinite(value) and np.isfinite(gradient).all()):
                return 1e18, np.zeros_like(vector)  # a wall that the line search turns back from
            latest[vector.tobytes()] = float(np.linalg.norm(_free(gradient, vector, low, high)))
            return value, gradient

        start = np.clip(self._vector(), low, high)
        first, _ = loss(start)
        if first >= 1e18:
            raise TrainingError(
                "the evidence of the equation is not finite where learning starts: check the sizes of the source, of the "
                "boundary values and of what multiplies the derivatives"
            )
        losses, norms = [first], [latest[start.tobytes()]]

        def note(intermediate_result: scipy.optimize.OptimizeResult) -> None:
            losses.append(float(intermediate_result.fun))
            norms.append(latest.get(intermediate_result.x.tobytes(), math.nan))
            self.bar.update("evidence", len(self.course.losses) + len(losses))

        found = scipy.optimize.minimize(
            loss,
            start,
            jac=True,
            method="L-BFGS-B",
            bounds=np.stack([low, high], axis=1),
            callback=note,
            options={"maxiter": self.max_steps, "ftol": 1e-9, "gtol": 1e-3, "maxcor": 20},
        )
        name = f"tolerance {tolerance:.0e}"
        self.course.losses += losses
        self.course.gradient_norms += norms
        self.course.phases[name] = self.course.phases.get(name, 0) + len(losses)
        # ABNORMAL: no shorter step falls, which at the end of what rounding allows is where it settles
        settled = bool(found.success) or (len(losses) > 2 and "ABNORMAL" in str(found.message))
        self.course.converged = settled and found.nit < self.max_steps
        return np.asarray(found.x)

    def _take(self, vector: np.ndarray, layouts: tuple[Layout, ...]) -> None:
        spectra, noise = _unpacked(jnp.asarray(vector), layouts)
        self.spectra = tuple(jax.tree.map(np.asarray, spectra))
        self.noise = None if noise is None else float(noise)

    def _prune(self, equations: Sequence[Equations], tolerance: float, layouts: tuple[Layout, ...]) -> None:
        """Leave out the components without which the evidence does not fall, the weakest first."""

        def loss(vector: np.ndarray) -> float:
            return float(_value(jnp.asarray(vector), tuple(equations), jnp.asarray(tolerance), layouts))

        vector = self._vector()
        best = loss(vector)
        kept = [np.ones(len(s.share), bool) for s in self.spectra]
        places = _places(layouts)
        order = sorted(
            ((axis, q) for axis, s in enumerate(self.spectra) for q in range(len(s.share))),
            key=lambda pair: self.spectra[pair[0]].share[pair[1]],
        )
        for axis, q in order:
            if kept[axis].sum() == 1:
                continue
            weights = places[axis].log_weight
            without = vector.copy()
            without[weights.start + q] = vector[weights].max() - 60.0
            value = loss(without)
            if value < best + GAIN:
                kept[axis][q], vector, best = False, without, min(best, value)
        self.spectra = tuple(
            s if keep.all() else Spectrum(*(np.asarray(v)[keep] for v in (s.weight, s.frequency, s.lengthscale)))
            for s, keep in zip(self.spectra, kept, strict=True)
        )

    def _cramped(self, lowest: list[np.ndarray]) -> bool:
        """Whether a length scale would go on below what the features of this round allowed."""
        for spectrum, low, least in zip(self.spectra, lowest, self.smallest, strict=True):
            scale = np.asarray(spectrum.lengthscale)
            floor = low.min()
            if np.any((scale < 1.01 * floor) & (spectrum.share > 1e-8)) and floor > 1.01 * least:
                return True
        return False


def basis_of(spectra: Sequence[Spectrum], domain: Sequence[tuple[float, float]], precision: float) -> Basis:
    """The features of these spectra, exact to `precision`."""
    layouts = tuple(
        layout_for(interval, np.asarray(s.lengthscale).tolist(), (np.asarray(s.frequency) == 0).tolist(), precision)
        for interval, s in zip(domain, spectra, strict=True)
    )
    return Basis.of([jax.tree.map(jnp.asarray, one) for one in spectra], layouts)


class _Part(NamedTuple):
    """What is learned along one coordinate; or where it stands in the vector of all."""

    cycles: Any
    log_lengthscale: Any
    log_weight: Any


def _packed(parts: Sequence[_Part], noise: Sequence[float]) -> np.ndarray:
    return np.concatenate([*(np.concatenate(part) for part in parts), np.asarray(noise, float)])


def _places(layouts: Sequence[Layout]) -> list[_Part]:
    result, begin = [], 0
    for layout in layouts:
        moving, q = layout.is_trend.count(False), len(layout.is_trend)
        ends = [begin, begin + moving, begin + moving + q, begin + moving + 2 * q]
        result.append(_Part(*(slice(a, b) for a, b in zip(ends, ends[1:], strict=False))))
        begin = ends[-1]
    return result


def _unpacked(vector: Array, layouts: Sequence[Layout]) -> tuple[tuple[Spectrum, ...], Array | None]:
    """The spectra, and the standard deviation of readings where it is learned."""
    spectra, places = [], _places(layouts)
    for axis, (layout, place) in enumerate(zip(layouts, places, strict=True)):
        where = np.flatnonzero(~np.array(layout.is_trend))
        frequency = jnp.zeros(len(layout.is_trend)).at[where].set(vector[place.cycles] / layout.length)
        logs = vector[place.log_weight]
        weight = jnp.exp(logs) if axis == 0 else jax.nn.softmax(logs)
        spectra.append(Spectrum(weight, frequency, jnp.exp(vector[place.log_lengthscale])))
    end = places[-1].log_weight.stop
    return tuple(spectra), jnp.exp(vector[end]) if len(vector) > end else None


def _loss(vector: Array, equations: tuple[Equations, ...], tolerance: Array, layouts: tuple[Layout, ...]) -> Array:
    spectra, noise = _unpacked(vector, layouts)
    if noise is not None:
        equations = tuple(
            one if one.shapes.is_exact else eqx.tree_at(lambda e: e.scale, one, noise) for one in equations
        )
    return -log_evidence(equations, Basis.of(spectra, layouts), tolerance)


_value = safe_jit(_loss, compile=eqx.filter_jit)
_value_and_slope = safe_jit(lambda vector, *rest: jax.value_and_grad(_loss)(vector, *rest), compile=eqx.filter_jit)


def _free(gradient: np.ndarray, vector: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The slope in the directions that the bounds leave open."""
    shut = ((vector <= low) & (gradient > 0)) | ((vector >= high) & (gradient < 0))
    return np.where(shut, 0.0, gradient)
