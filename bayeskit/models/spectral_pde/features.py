r"""Features of a spectral-mixture kernel on an interval: exact to rounding, with derivatives of every order.

A component is $e^{-r^2 / 2\ell^2} \cos 2\pi\mu r$. The trapezoid rule with the step $\Delta = 1 / (L + 8.6\,\ell)$
turns the spectrum of the envelope into frequencies $j \Delta$; what it makes is the envelope repeated at distances
$1 / \Delta$, and on a domain of length $L$ the nearest repetition is $8.6\,\ell$ away, where the envelope is below
$10^{-16}$ (Greengard, Rachh and Barnett 2022, "Equispaced Fourier representations for efficient Gaussian process
regression from a billion data points", section 3). The sines and cosines of the envelope are all but linearly
dependent on the domain, so they are combined by an orthogonal matrix, from a singular value decomposition, of which the
columns that cannot be seen are left out. Times the two carriers these are the features; no small number is ever divided
by.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from bayeskit._keepable import keepable
from bayeskit._typing import Array
from bayeskit.errors import MethodError
from bayeskit.models.spectral_pde.spectrum import Spectrum

__all__ = ["Layout", "combinations", "features", "layout_for"]

REACH = 8.6
"""Length scales after which the envelope is below 1e-16."""
CUT = 9.5
"""Standard deviations of the spectrum after which even its eighth moment is below rounding."""


@keepable("spectral_pde.Layout")
class Layout(NamedTuple):
    r"""What must be known of the features along one coordinate before they are computed; hashable.

    Attributes:
        centre: of the interval.
        length: of the interval.
        half: the frequencies of an envelope are $-$`half`$ \Delta, \\dots,$ `half`$ \Delta$.
        trends: components at frequency 0, which come first and need no sine.
        tones: the other components.
        trend_rank: how many combinations of an envelope are kept, for a trend.
        tone_rank: likewise, for a tone.
    """

    centre: float
    length: float
    half: int
    trends: int
    tones: int
    trend_rank: int
    tone_rank: int

    @property
    def size(self) -> int:
        """The number of features."""
        return self.trends * self.trend_rank + 2 * self.tones * self.tone_rank


def layout_for(domain: tuple[float, float], lengthscale: Sequence[float], trends: int, precision: float) -> Layout:
    """The layout that is exact to `precision` for length scales of at least these, those of `trends` trends first.

    Raises:
        MethodError: a length scale so small that it would take more than `MOST` frequencies.
    """
    length = domain[1] - domain[0]
    half = 8 * math.ceil(max(_half(length / scale) for scale in lengthscale) / 8)  # few shapes, few compilations
    if half > MOST:
        raise MethodError(
            f"a length scale of {min(lengthscale):.3g} on a domain of length {length:.3g} needs {half} frequencies, "
            f"more than {MOST}: the solution varies too fast for these features; use a smaller domain"
        )
    ranks = [
        max((rank(length / scale, half, precision) for scale in part), default=1)
        for part in (lengthscale[:trends], lengthscale[trends:])
    ]
    centre = (domain[0] + domain[1]) / 2
    return Layout(centre, length, half, trends, len(lengthscale) - trends, ranks[0], ranks[1])


MOST = 2000


def _half(ratio: float) -> int:
    return math.ceil(CUT / (2 * math.pi) * (ratio + REACH))


def rank(ratio: float, half: int, precision: float) -> int:
    """How many combinations of an envelope of length scale `length / ratio` can be seen above `precision`."""
    return _rank(round(math.log(ratio), 2), half, precision)


@functools.lru_cache(maxsize=512)
def _rank(log_ratio: float, half: int, precision: float) -> int:
    values = np.linalg.svd(_seen(np, math.exp(-log_ratio), 1.0, half), compute_uv=False)
    return int(np.sum(values > precision * values[0]))


def combinations(spectrum: Spectrum, layout: Layout) -> Float[Array | np.ndarray, "q frequencies rank"]:
    """The orthogonal matrix of each component, to be computed once: singular vectors are not unique.

    Of a spectrum of NumPy arrays it is computed on the host.
    """
    rank = max(layout.trend_rank, layout.tone_rank)
    if isinstance(spectrum.lengthscale, np.ndarray):
        seen = np.stack([_seen(np, float(scale), layout.length, layout.half) for scale in spectrum.lengthscale])
        return np.swapaxes(np.linalg.svd(seen, full_matrices=False)[2][:, :rank], 1, 2)
    scales = jax.lax.stop_gradient(spectrum.lengthscale)
    traced = jax.vmap(lambda scale: _seen(jnp, scale, layout.length, layout.half))(scales)
    return jnp.swapaxes(jnp.linalg.svd(traced, full_matrices=False)[2][:, :rank], 1, 2)


def features(
    spectrum: Spectrum, combined: Array, points: Float[Array, " n"], layout: Layout, order: int
) -> list[Float[Array, "n r"]]:
    r"""The features at points and their derivatives, `[Phi, Phi', ...]` up to an order.

    $\Phi \Phi^\top$ is the covariance of the process at the points, and $\Phi^{(i)} \Phi^{(j)\top}$ that of its
    derivatives. Differentiable in the spectrum: the orthogonal matrix is a constant there, which changes no
    derivative, as all that can be seen lies in its span whatever the matrix is.

    Args:
        spectrum: along this coordinate, trends first.
        combined: from `combinations`.
        points: within the interval.
        layout: see there; float64 is taken as given.
        order: the highest derivative.
    """
    at = points - layout.centre
    envelope = [
        jnp.einsum("qnf,qfr->qnr", values, combined)
        for values in jax.vmap(lambda scale: _envelope(jnp, at, scale, layout.length, layout.half, order))(
            spectrum.lengthscale
        )
    ]
    rate = 2 * math.pi * spectrum.frequency[:, None, None]
    shift = jnp.array([0.0, -0.5 * math.pi])
    carrier = [rate**m * jnp.cos(rate * at[:, None] + shift + 0.5 * math.pi * m) for m in range(order + 1)]  # (q, n, 2)
    amplitude = jnp.sqrt(spectrum.weight)[:, None, None, None]
    result = []
    for m in range(order + 1):  # Leibniz' rule
        terms = [math.comb(m, i) * envelope[i][:, :, None, :] * carrier[m - i][:, :, :, None] for i in range(m + 1)]
        whole = jnp.moveaxis(amplitude * sum(terms[1:], terms[0]), 0, 1)  # (n, q, 2, r)
        trends = whole[:, : layout.trends, 0, : layout.trend_rank].reshape(len(at), -1)
        tones = whole[:, layout.trends :, :, : layout.tone_rank].reshape(len(at), -1)
        result.append(jnp.concatenate([trends, tones], axis=1))
    return result


def _envelope(xp: Any, at: Any, scale: Any, length: float, half: int, order: int) -> list[Any]:
    """Cosines and sines whose squares add up to the envelope, and their derivatives, each `(n, 2 half + 1)`."""
    step = 1.0 / (length + REACH * scale)
    j = np.arange(-half, half + 1)  # negative numbers stand for sines
    root = xp.sqrt(step * math.sqrt(2 * math.pi) * scale) * xp.exp(-((math.pi * scale * step * j) ** 2))
    amplitude = np.where(j == 0, 1.0, math.sqrt(2.0)) * root
    rate = 2 * math.pi * step * j
    angle = rate * at[:, None] - np.where(j < 0, 0.5 * math.pi, 0.0)
    return [amplitude * rate**m * xp.cos(angle + 0.5 * math.pi * m) for m in range(order + 1)]


def _seen(xp: Any, scale: Any, length: float, half: int) -> Any:
    """The envelope and its second and fourth derivative at points that are dense at the ends, in like units."""
    at = 0.5 * length * np.cos(np.linspace(0.0, math.pi, 4 * half + 8))
    value, _, second, _, fourth = _envelope(xp, at, scale, length, half, 4)
    unit = xp.minimum(scale, length)
    return xp.concatenate([value, second * unit**2 / 3, fourth * unit**4 / 50])
