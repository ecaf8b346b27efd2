r"""Learning the spectra: the evidence of the equations, maximised by L-BFGS for falling tolerances."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
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

__all__ = ["Course", "Learner", "basis_of", "layouts_of"]

LONGEST = 10.0
"""Length scales, in lengths of the domain: beyond it a component is a pure tone."""
LEAST_WEIGHT, MOST_WEIGHT = 1e-18, 1e3
"""Of the starting variance."""
LEAST_TREND = 1e-10
GAIN = 1.0
"""Nats of evidence that a component must be worth."""
FALL = {1: 1e-8, 2: 1e-6, 3: 1e-6}
"""Learning ends where a step lowers the loss by less than this share of it."""
REPEATS, AGAIN = 8, 3
FEW, MOST = 500, 1800
"""Features while learning: so many are welcome, and so many possible."""
SETTLED = 0.1
"""The slope in units of its curvature, over the square root of the number of equations: what an end may have."""


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
        floors: how short the length scales may become.
        totals: the sums of the weights at the start, which bound them.
    """

    domain: tuple[tuple[float, float], ...]
    counts: tuple[int, ...]
    spectra: tuple[Spectrum, ...]
    noise: float | None
    bar: ProgressBar
    max_steps: int
    course: Course = dataclasses.field(default_factory=Course)
    floors: list[np.ndarray] = dataclasses.field(default_factory=list)
    totals: list[float] = dataclasses.field(default_factory=list)

    def learn(self, equations: Sequence[Equations], tolerance: float, *, prune: bool) -> None:
        """Maximise the evidence at a tolerance, from where the spectra are."""
        if not self.floors:
            self.totals = [float(np.asarray(s.weight).sum()) for s in self.spectra]
            self.floors = self._first_floors(tolerance)
        for _ in range(REPEATS):
            layouts = self._layouts(self.floors, tolerance)
            for _ in range(AGAIN):
                self._take(self._maximise(equations, tolerance, layouts), layouts)
                if self.course.converged:
                    break
            if prune:
                self._prune(equations, tolerance, layouts)
            if not self._lower_floors(tolerance):
                return

    def fits(self, tolerance: float) -> bool:
        """Whether the spectra, as they are, can be learned at a tolerance."""
        return self._size(self.floors, tolerance) <= MOST

    @property
    def smallest(self) -> list[float]:
        """The shortest length scale that the nodes can tell, along each coordinate."""
        return [(high - low) / (n - 1) for (low, high), n in zip(self.domain, self.counts, strict=True)]

    def _first_floors(self, tolerance: float) -> list[np.ndarray]:
        """How short the length scales may become with the features of the first round.

        Along one coordinate an eighth of the domain; along several, where features are dear, hardly less than they are.
        """
        for factor in (8.0,) if len(self.domain) == 1 else (16.0, 8.0, 4.0, 2.0, 1.5, 1.05):
            floors = [
                np.maximum(np.minimum(np.asarray(s.lengthscale), high - low) / factor, least)
                if len(self.domain) == 1
                else np.maximum(np.asarray(s.lengthscale) / factor, least)
                for s, least, (low, high) in zip(self.spectra, self.smallest, self.domain, strict=True)
            ]
            size = self._size(floors, tolerance)
            if size <= FEW or (factor < 1.1 and size <= MOST):
                return floors
        raise DataError(
            f"to learn this spectrum takes {size} unknowns, more than {MOST}: use fewer num_components, or give the "
            "spectrum"
        )

    def _lower_floors(self, tolerance: float) -> bool:
        """Let those length scales become shorter that would; whether there are any."""
        for step in (4.0, 2.0, 1.4):
            lower, some = [], False
            for s, floor, least in zip(self.spectra, self.floors, self.smallest, strict=True):
                low = (np.asarray(s.lengthscale) < 1.01 * floor) & (s.share > 1e-8) & (floor > 1.01 * least)
                some = some or bool(low.any())
                scale = np.asarray(s.lengthscale)  # what has room to spare gives it back
                lower.append(np.where(low, np.maximum(floor / step, least), np.maximum(floor, scale / 2)))
            if not some:
                return False
            if self._size(lower, tolerance) <= (MOST if step < 1.5 else 2 * FEW):
                self.floors = lower
                return True
        self.course.converged = False
        return False

    def _size(self, floors: Sequence[np.ndarray], tolerance: float) -> int:
        return math.prod(layout.size for layout in self._layouts(floors, tolerance))

    def _layouts(self, floors: Sequence[np.ndarray], tolerance: float) -> tuple[Layout, ...]:
        precision = 1e-7 if len(self.domain) == 1 else 0.1 * tolerance
        return tuple(
            layout_for(interval, low.tolist(), _trends(s), precision)
            for interval, low, s in zip(self.domain, floors, self.spectra, strict=True)
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

    def _bounds(self) -> tuple[np.ndarray, np.ndarray]:
        low, high = [], []
        for interval, n, spectrum, least, total in zip(
            self.domain, self.counts, self.spectra, self.floors, self.totals, strict=True
        ):
            moving = int(np.sum(np.asarray(spectrum.frequency) > 0))
            q = len(least)
            weight = np.full(q, math.log(total * LEAST_WEIGHT))
            weight[: q - moving] = math.log(total * LEAST_TREND)
            low.append(_Part(np.full(moving, 0.25), np.log(least), weight))
            longest = math.log(LONGEST * (interval[1] - interval[0]))
            high.append(
                _Part(np.full(moving, (n - 1) / 2), np.full(q, longest), np.full(q, math.log(total * MOST_WEIGHT)))
            )
        noise = [] if self.noise is None else [math.log(self.noise)]
        return _packed(low, [one - 25.0 for one in noise]), _packed(high, [one + 25.0 for one in noise])

    def _maximise(self, equations: Sequence[Equations], tolerance: float, layouts: tuple[Layout, ...]) -> np.ndarray:
        low, high = self._bounds()
        start = np.clip(self._vector(), low, high)

        def loss(vector: np.ndarray) -> tuple[float, np.ndarray]:
            found = _value_and_slope(jnp.asarray(vector), tuple(equations), jnp.asarray(tolerance), layouts)
            value, gradient = float(found[0]), np.asarray(found[1])
            if not (math.isfinite(value) and np.isfinite(gradient).all()):
                return 1e18, np.zeros_like(vector)  # a wall that the line search turns back from
            return value, gradient

        first, slope = loss(start)
        if first >= 1e18:
            raise TrainingError(
                "the evidence of the equation is not finite where learning starts: check the sizes of the source, of "
                "the boundary values and of what multiplies the derivatives"
            )
        units = self._units(loss, start, slope, high)
        latest: dict[bytes, float] = {}

        def scaled(x: np.ndarray) -> tuple[float, np.ndarray]:
            value, gradient = loss(units * x)
            latest[x.tobytes()] = float(np.linalg.norm(_free(units * gradient, x, low / units, high / units)))
            return value, units * gradient

        losses, norms = [first], [float(np.linalg.norm(_free(units * slope, start, low, high)))]

        def note(intermediate_result: scipy.optimize.OptimizeResult) -> None:
            losses.append(float(intermediate_result.fun))
            norms.append(latest.get(intermediate_result.x.tobytes(), math.nan))
            self.bar.update("evidence", len(self.course.losses) + len(losses))

        found = scipy.optimize.minimize(
            scaled,
            start / units,
            jac=True,
            method="L-BFGS-B",
            bounds=np.stack([low / units, high / units], axis=1),
            callback=note,
            options={"maxiter": self.max_steps, "ftol": FALL[len(self.domain)], "gtol": 1e-3, "maxcor": 20},
        )
        name = f"tolerance {tolerance:.0e}"
        self.course.losses += losses
        self.course.gradient_norms += norms
        self.course.phases[name] = self.course.phases.get(name, 0) + len(losses)
        # ABNORMAL: no shorter step falls, which at the end of what rounding allows is where it settles
        small = norms[-1] < SETTLED * math.sqrt(sum(one.targets.size for one in equations))
        self.course.converged = bool((found.success or "ABNORMAL" in str(found.message)) and small)
        return np.asarray(units * found.x)

    def _units(
        self,
        loss: Callable[[np.ndarray], tuple[float, np.ndarray]],
        start: np.ndarray,
        slope: np.ndarray,
        high: np.ndarray,
    ) -> np.ndarray:
        """Units in which the evidence bends alike in all directions: by one evaluation a number that is learned.

        A frequency is known the better the smaller the tolerance is, by factors that L-BFGS would not find out. Along
        several coordinates, where evaluations are dear, only frequencies get units.
        """
        ends = np.cumsum([0, *(3 * len(s.share) - _trends(s) for s in self.spectra)])
        moving = [range(a, a + len(s.share) - _trends(s)) for a, s in zip(ends, self.spectra, strict=False)]
        every = range(len(start)) if len(self.domain) == 1 else [i for one in moving for i in one]
        units = np.ones_like(start)
        for i in every:
            aside = start.copy()
            aside[i] += 1e-5 if start[i] + 1e-5 < high[i] else -1e-5
            bend = (loss(aside)[1][i] - slope[i]) / (aside[i] - start[i])
            units[i] = 1.0 / math.sqrt(max(abs(bend), 1.0)) if math.isfinite(bend) else 1.0
        return units

    def _take(self, vector: np.ndarray, layouts: tuple[Layout, ...]) -> None:
        spectra, noise = _unpacked(jnp.asarray(vector), layouts)
        self.spectra = tuple(jax.tree.map(np.asarray, spectra))
        self.noise = None if noise is None else float(noise)

    def _prune(self, equations: Sequence[Equations], tolerance: float, layouts: tuple[Layout, ...]) -> None:
        """Leave out the components without which the evidence does not fall, the weakest first."""

        def loss(vector: np.ndarray) -> float:
            # with the slope, as the program for both is there already
            return float(_value_and_slope(jnp.asarray(vector), tuple(equations), jnp.asarray(tolerance), layouts)[0])

        vector = self._vector()
        best = loss(vector)
        kept = [np.ones(len(s.share), bool) for s in self.spectra]
        places = _places(layouts)
        order = sorted(
            ((axis, q) for axis, s in enumerate(self.spectra) for q in range(len(s.share))),
            key=lambda pair: self.spectra[pair[0]].share[pair[1]],
        )
        for axis, q in order:
            if q < _trends(self.spectra[axis]) or kept[axis].sum() == 1:
                continue  # what a trend is worth shows only at the smallest tolerance
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
        self.floors = [floor[keep] for floor, keep in zip(self.floors, kept, strict=True)]


def layouts_of(
    spectra: Sequence[Spectrum], domain: Sequence[tuple[float, float]], precision: float, shorter: float = 1.0
) -> tuple[Layout, ...]:
    """Layouts that are exact to `precision` for these spectra, and for length scales `shorter` times as short."""
    return tuple(
        layout_for(interval, (np.asarray(s.lengthscale) / shorter).tolist(), _trends(s), precision)
        for interval, s in zip(domain, spectra, strict=True)
    )


def basis_of(spectra: Sequence[Spectrum], domain: Sequence[tuple[float, float]], precision: float) -> Basis:
    """The features of these spectra, exact to `precision`."""
    layouts = layouts_of(spectra, domain, precision)
    return Basis.of([jax.tree.map(np.asarray, one) for one in spectra], layouts)


def _trends(spectrum: Spectrum) -> int:
    """How many components are trends; they come first."""
    return int(np.sum(np.asarray(spectrum.frequency) == 0))


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
        moving, q = layout.tones, layout.trends + layout.tones
        ends = [begin, begin + moving, begin + moving + q, begin + moving + 2 * q]
        result.append(_Part(*(slice(a, b) for a, b in itertools.pairwise(ends))))
        begin = ends[-1]
    return result


def _unpacked(vector: Array, layouts: Sequence[Layout]) -> tuple[tuple[Spectrum, ...], Array | None]:
    """The spectra, and the standard deviation of readings where it is learned."""
    spectra, places = [], _places(layouts)
    for axis, (layout, place) in enumerate(zip(layouts, places, strict=True)):
        frequency = jnp.concatenate([jnp.zeros(layout.trends), vector[place.cycles] / layout.length])
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


_value_and_slope = safe_jit(lambda vector, *rest: jax.value_and_grad(_loss)(vector, *rest), compile=eqx.filter_jit)


def _free(gradient: np.ndarray, vector: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The slope in the directions that the bounds leave open."""
    shut = ((vector <= low) & (gradient > 0)) | ((vector >= high) & (gradient < 0))
    return np.where(shut, 0.0, gradient)
