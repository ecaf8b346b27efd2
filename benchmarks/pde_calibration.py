"""Whether the bands of a solution hold what they say, on solutions that are drawn from the prior.

A draw is a sum of sines and cosines on a lattice of frequencies, with independent normal coefficients, so that its
derivatives are exact. The lattice is finer and wider than the one that the solver uses.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import norm

from bayeskit.errors import BayeskitError
from bayeskit.models import spectral_pde as sp

POINTS = 7
"""At which each solution is looked at."""
Intervals = tuple[tuple[float, float], ...]


class Case(NamedTuple):
    """A process on a box, and how many nodes look at it: so few that what they leave open is far above rounding."""

    name: str
    operator: Callable
    domain: Intervals
    spectra: tuple[sp.Spectrum, ...]
    num_nodes: int


CASES = (
    Case(
        "u_xx, 12 nodes",
        lambda u: u.xx,
        ((0.0, 1.0),),
        (sp.Spectrum(weight=[1.0, 0.5], frequency=[0.0, 3.0], lengthscale=[0.08, 0.15]),),
        12,
    ),
    Case(
        "u_xx + u_yy, 10 x 10 nodes",
        lambda u: u.xx + u.yy,
        ((0.0, 1.0), (0.0, 1.0)),
        (
            sp.Spectrum(weight=[2.0], frequency=[0.0], lengthscale=[0.2]),
            sp.Spectrum(weight=[1.0], frequency=[2.0], lengthscale=[0.4]),
        ),
        10,
    ),
)


class Draw:
    """A solution drawn from the prior.

    Args:
        spectra: one a coordinate.
        domain: likewise.
        generator: of its coefficients.
    """

    def __init__(self, spectra: Sequence[sp.Spectrum], domain: Intervals, generator: np.random.Generator):
        self.lattices = [lattice(one, high - low) for one, (low, high) in zip(spectra, domain, strict=True)]
        self.coefficients = generator.normal(size=[2 * len(frequency) for frequency, _ in self.lattices])

    def __call__(self, *at: np.ndarray, axis: int | None = None) -> np.ndarray:
        """Its values at points, one array a coordinate, all of one shape; or its second derivatives along an axis."""
        rows = [self.waves(d, np.ravel(points), 2 if d == axis else 0) for d, points in enumerate(at)]
        along = rows[0] @ self.coefficients
        values = np.sum(along * rows[1], axis=1) if len(rows) == 2 else along
        return values.reshape(np.shape(at[0]))

    def waves(self, dimension: int, points: np.ndarray, order: int) -> np.ndarray:
        """Sines and cosines of the lattice along a coordinate, or their derivatives."""
        frequency, amplitude = self.lattices[dimension]
        rate = 2 * np.pi * frequency
        angle = rate * points[:, None] + order * np.pi / 2
        return np.concatenate([amplitude * rate**order * wave(angle) for wave in (np.cos, np.sin)], axis=1)


def lattice(spectrum: sp.Spectrum, length: float) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies and amplitudes whose sum is the kernel, by the trapezoidal rule, to rounding on the domain."""
    frequencies, amplitudes = [], []
    for weight, centre, scale in zip(spectrum.weight, spectrum.frequency, spectrum.lengthscale, strict=True):
        width = 1 / (2 * np.pi * scale)
        step = 1 / (length + 12 * scale)
        offsets = step * np.arange(-np.ceil(10 * width / step), np.ceil(10 * width / step) + 1)
        frequencies.append(centre + offsets)
        amplitudes.append(np.sqrt(weight * step * norm.pdf(offsets, scale=width)))
    return np.concatenate(frequencies), np.concatenate(amplitudes)


class Scores(NamedTuple):
    """Z-scores, shape (problems, points); the median standard deviation, and seconds a problem."""

    z: np.ndarray
    sd: float
    seconds: float
    failed: int


def scores(case: Case, num: int, *, learned: bool) -> Scores:
    """Those of the first `num` draws, by the spectrum that they were drawn with or by one that is learned from each."""
    z, sds, seconds, failed = [], [], [], 0
    low, high = np.asarray(case.domain).T
    for seed in range(num):
        generator = np.random.default_rng(seed)
        draw = Draw(case.spectra, case.domain, generator)
        grid = np.meshgrid(*(np.linspace(*ends, case.num_nodes) for ends in case.domain), indexing="ij")
        problem = sp.Problem(
            domain=case.domain,
            operator=case.operator,
            source=sum(draw(*grid, axis=axis) for axis in range(len(grid))),
            boundary=lambda *at, draw=draw: draw(*map(np.asarray, at)),
            num_nodes=case.num_nodes,
        )
        points = low + (high - low) * generator.uniform(size=(POINTS, len(low)))
        begin = time.perf_counter()
        try:
            solution = sp.solve(problem, spectrum=None if learned else case.spectra, key=seed)
        except BayeskitError as error:
            print(f"    draw {seed}: {type(error).__name__}: {error}")
            failed += 1
            continue
        seconds.append(time.perf_counter() - begin)
        sd = solution.sd(points)
        z.append((draw(*points.T) - solution.mean(points)) / sd)
        sds.append(sd)
    return Scores(np.array(z), float(np.median(sds)), float(np.median(seconds)), failed)


def with_error(of_problems: np.ndarray) -> tuple[float, float]:
    """A mean and its standard error: problems are independent of one another, points of one problem are not."""
    return float(of_problems.mean()), float(of_problems.std(ddof=1) / np.sqrt(len(of_problems)))


def calibration(num: int, num_learned: int) -> None:
    """Print the table."""
    print(f"\ncalibration: z-scores at {POINTS} random points of each of the solutions that were drawn from the prior")
    print("bars, for the spectrum of the prior: root mean square .95 to 1.05, 90% bands hold .87 to .93")
    heading = f"{'problem':28}{'spectrum':10}{'problems':>9}{'median sd':>11}{'root mean square':>22}"
    print(f"{heading}{'':8}{'90% bands hold':>20}{'':8}{'seconds':>9}")
    for case in CASES:
        for learned in (False, True):
            count = min(num, num_learned) if learned else num
            if count < 2:
                continue
            found = scores(case, count, learned=learned)
            square, error = with_error(np.mean(found.z**2, axis=1))
            rms = np.sqrt(square)
            held, held_error = with_error(np.mean(np.abs(found.z) < norm.ppf(0.95), axis=1))
            verdicts = ("", "") if learned else (verdict(0.95 <= rms <= 1.05), verdict(0.87 <= held <= 0.93))
            row = f"{case.name:28}{'learned' if learned else 'given':10}{len(found.z):9}{found.sd:11.1e}"
            row += f"{rms:13.3f} +- {error / (2 * rms):5.3f}  {verdicts[0]:6}"
            row += f"{held:13.3f} +- {held_error:5.3f}  {verdicts[1]:6}{found.seconds:9.2f}"
            print(row + (f"  {found.failed} failed" if found.failed else ""), flush=True)


def verdict(holds: bool) -> str:
    """Of a bar."""
    return "met" if holds else "missed"
