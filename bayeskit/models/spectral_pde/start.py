r"""Where learning starts: frequencies at the peaks of the periodogram of what is known along a coordinate.

The strongest peak is taken, a tone there whose amplitude and phase may drift is fitted and subtracted, and the next
peak is looked for in what is left (orthogonal matching pursuit; Mallat and Zhang 1993), so that side lobes are not
taken for frequencies.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

__all__ = ["Tones", "find_tones"]

WEAKEST = 1e-4
"""Of the largest value of the first periodogram."""
NEAREST = 1.5
"""Cycles on the domain: below it a frequency is not told from a trend, nor from another that is nearer."""
DRIFT = 3
"""Degree of the polynomials by which amplitude and phase may drift."""


class Tones(NamedTuple):
    """Frequencies in cycles a unit, and their amplitudes, the strongest first."""

    frequency: np.ndarray
    amplitude: np.ndarray


def find_tones(lines: np.ndarray, length: float, most: int) -> Tones:
    """The frequencies of signals on equispaced points, ends included.

    Args:
        lines: shape `(points, signals)`.
        length: of the interval.
        most: at most so many.
    """
    count = len(lines)
    size = np.abs(lines).max(initial=0.0)
    if count < 8 or size == 0.0:
        return Tones(np.zeros(0), np.zeros(0))
    lines = lines / size
    at = np.linspace(-1.0, 1.0, count)
    window = np.blackman(count + 2)[1:-1]
    pad = 2 ** math.ceil(math.log2(16 * count))
    frequencies = np.fft.rfftfreq(pad, length / (count - 1))
    design = np.ones((count, 1))
    found: list[float] = []
    amplitudes: list[float] = []

    def spectrum(signals: np.ndarray) -> np.ndarray:
        return np.sqrt(np.mean(np.abs(np.fft.rfft(signals * window[:, None], pad, axis=0)) ** 2, axis=1))

    top, left = spectrum(lines).max(), lines - lines.mean(axis=0)
    while len(found) < most:
        power = spectrum(left)
        peak = _highest(power, frequencies, length, found, WEAKEST * top)
        if peak is None:
            break
        found.append(_between(power, frequencies, peak))
        amplitudes.append(2 * power[peak] / window.sum() * size)
        phase = 2 * math.pi * found[-1] * (at * length / 2)
        drift = at[:, None] ** np.arange(DRIFT + 1)
        design = np.hstack([design, drift * np.cos(phase)[:, None], drift * np.sin(phase)[:, None]])
        if design.shape[1] >= count:
            break
        left = lines - design @ np.linalg.lstsq(design, lines, rcond=1e-10)[0]
    return Tones(np.array(found), np.array(amplitudes))


def _highest(power: np.ndarray, frequencies: np.ndarray, length: float, found: list[float], least: float) -> int | None:
    """The highest peak that stands out: twice as high as what lies a resolution to either side."""
    inner = power[1:-1]
    peaks = 1 + np.flatnonzero((inner > power[:-2]) & (inner >= power[2:]) & (inner > least))
    step = frequencies[1] - frequencies[0]
    aside = max(1, round(2.5 / length / step))
    for peak in sorted(peaks, key=lambda i: -power[i]):
        here = frequencies[peak]
        if here < NEAREST / length or any(abs(here - other) < NEAREST / length for other in found):
            continue
        below, above = power[max(peak - aside, 0)], power[min(peak + aside, len(power) - 1)]
        if power[peak] > 2 * max(below, above):
            return int(peak)
    return None


def _between(power: np.ndarray, frequencies: np.ndarray, peak: int) -> float:
    """The top of the parabola through the logarithms at a peak and beside it."""
    a, b, c = np.log(power[peak - 1 : peak + 2])
    shift = 0.5 * (a - c) / (a - 2 * b + c) if a - 2 * b + c != 0 else 0.0
    return float(frequencies[peak] + shift * (frequencies[1] - frequencies[0]))
