"""Two programs of one log density: that of the chains, compiled for speed, and the plain one that has found the starts.

They are compiled with different options, the first as one large kernel where that can be
(`bayeskit.xla.cpu_kernel`). Where a compiler makes one of them wrong, which has happened, the draws would be those of
another density, and no diagnostic of chains could tell. So their values are compared where the chains have come to
after their first steps: one call of a program that exists already.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np

from bayeskit._typing import Array
from bayeskit.errors import SamplingError
from bayeskit.target import Target
from bayeskit.target.start import evaluate

__all__ = ["Evaluated", "check_agreement"]

GRADIENT = 0.05
"""Largest relative difference of gradients where the model itself loses few digits."""

ULPS, ROUNDING = 4, 4.0
"""What the plain program changes by, this many spacings of numbers to either side, is its own rounding; so many times
that is allowed besides. In single precision it was 0.28 of the gradient of a Gaussian process of 20 points with next to
no noise, and the gradient in double precision was as far away."""

DENSITY = 1.0, 0.01
"""Largest difference of log densities, and as a part of them."""


class Evaluated(NamedTuple):
    """What the program of the chains says of the places where they are.

    Attributes:
        positions: unconstrained, shape ``(chain, size)``.
        density: the log density there, shape ``(chain,)``.
        gradient: shape ``(chain, size)``.
    """

    positions: Array
    density: Array
    gradient: Array


def check_agreement(target: Target, found: Evaluated) -> None:
    """Refuse to go on where the program of the chains and the plain one disagree by more than rounding.

    Raises:
        SamplingError: they do.
    """
    positions, density, gradient = (np.asarray(leaf) for leaf in found)
    usable = np.isfinite(density) & np.isfinite(gradient).all(axis=1)
    plain, slope = evaluate(target, positions)
    usable &= np.isfinite(plain) & np.isfinite(slope).all(axis=1)
    if not usable.any():
        return
    away = np.abs(density - plain)[usable]
    allowed = DENSITY[0] + DENSITY[1] * np.abs(plain)[usable]
    sizes = np.linalg.norm(slope, axis=1)[usable] + np.sqrt(target.size)
    apart = np.linalg.norm(gradient - slope, axis=1)[usable] / sizes
    if (away <= allowed).all() and (apart <= GRADIENT).all():
        return
    value, change = (own[usable] for own in _rounding(target, positions, plain, slope))
    if (away <= allowed + ROUNDING * value).all() and (apart <= GRADIENT + ROUNDING * change / sizes).all():
        return
    raise SamplingError(
        f"two compiled programs of the log density disagree: by {away.max():.3g} in its value and by {apart.max():.2g} "
        f"of the size of its gradient, at the same point. Either the {jax.default_backend()} compiler has made one of "
        "them wrong, or the model loses nearly all digits (a nearly singular matrix, a difference of large numbers). "
        "Set BAYESKIT_SINGLE_KERNELS=0 in the environment, or use chain_method='vectorized', to run the plain program; "
        "use float64, or a better conditioned model, if that says the same"
    )


def _rounding(
    target: Target, positions: np.ndarray, plain: np.ndarray, slope: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What value and gradient of the plain program change by at the next numbers."""
    step = ULPS * np.finfo(slope.dtype).eps * np.maximum(np.abs(positions), 1.0)
    near = [evaluate(target, (positions + side * step).astype(slope.dtype)) for side in (-1, 1)]
    value = np.max([np.nan_to_num(np.abs(density - plain), posinf=0.0) for density, _ in near], axis=0)
    changes = [np.nan_to_num(np.linalg.norm(gradient - slope, axis=1), posinf=0.0) for _, gradient in near]
    return value, np.max(changes, axis=0)
