r"""`Spectrum`: the learned spectrum along one coordinate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from bayeskit._keepable import keepable
from bayeskit._typing import Array, ArrayLike
from bayeskit.errors import DataError

__all__ = ["Spectrum"]

Numbers: TypeAlias = ArrayLike | Sequence[float]


@keepable("spectral_pde.Spectrum", in_double=True)
class Spectrum(eqx.Module):
    r"""A mixture of normal densities at $\pm \mu_q$ with standard deviations $1 / 2\pi\ell_q$.

    It is the spectrum of $k(r) = \sum_q w_q e^{-r^2 / 2 \ell_q^2} \cos(2 \pi \mu_q r)$. Over several coordinates the
    kernels are multiplied; the weights along the first have the variance of the process, the others add up to one.

    Args:
        weight: $w_q \ge 0$, shape `(components,)`, in squared units of the solution.
        frequency: $\mu_q \ge 0$, in cycles a unit of the coordinate.
        lengthscale: $\ell_q > 0$, in units of the coordinate.

    Raises:
        DataError: shapes that differ, numbers that are not finite, a negative weight or frequency, a length scale that
            is not positive.

    Example:
        >>> from bayeskit.models import spectral_pde as sp
        >>> spectrum = sp.Spectrum(weight=[1.0, 0.5], frequency=[0.0, 15.9], lengthscale=[1.0, 2.0])
        >>> spectrum.share.round(3).tolist()
        [0.667, 0.333]

    Source: Wilson and Adams (2013), "Gaussian Process Kernels for Pattern Discovery and Extrapolation", equation 12.
    """

    weight: Float[np.ndarray | Array, " components"]
    frequency: Float[np.ndarray | Array, " components"]
    lengthscale: Float[np.ndarray | Array, " components"]

    def __init__(self, weight: Numbers, frequency: Numbers, lengthscale: Numbers):
        self.weight = _vector("weight", weight)
        self.frequency = _vector("frequency", frequency)
        self.lengthscale = _vector("lengthscale", lengthscale)
        shapes = {name: getattr(self, name).shape for name in ("weight", "frequency", "lengthscale")}
        if len(set(shapes.values())) > 1:
            raise DataError(f"a spectrum needs one weight, frequency and length scale a component; got shapes {shapes}")
        for name, least in (("weight", 0.0), ("frequency", 0.0), ("lengthscale", np.finfo(float).tiny)):
            value = getattr(self, name)
            if not isinstance(value, jax.core.Tracer) and np.any(np.asarray(value) < least):
                bound = "positive" if name == "lengthscale" else "0 or more"
                raise DataError(f"{name} of a spectrum must be {bound}; it is {np.asarray(value)}")

        weight = self.weight
        if not isinstance(weight, jax.core.Tracer) and not np.any(np.asarray(weight) > 0):
            raise DataError("a spectrum needs a component with a positive weight")

    @property
    def share(self) -> np.ndarray:
        """The share of each component in the variance, shape `(components,)`."""
        weight = np.asarray(self.weight)
        return weight / weight.sum()

    def density(self, frequency: ArrayLike) -> np.ndarray:
        """The power at frequencies of either sign; its integral is the sum of the weights."""
        at = np.asarray(frequency, float)[..., None]
        width = 1.0 / (2 * math.pi * np.asarray(self.lengthscale))
        centre, weight = np.asarray(self.frequency), np.asarray(self.weight)
        bells = [np.exp(-0.5 * ((at - sign * centre) / width) ** 2) for sign in (-1.0, 1.0)]
        return np.asarray((weight * (bells[0] + bells[1]) / (2 * width * math.sqrt(2 * math.pi))).sum(-1))


def _vector(name: str, value: Numbers) -> np.ndarray | Array:
    array = value if isinstance(value, jax.Array) else np.atleast_1d(np.asarray(value, np.float64))
    array = jnp.atleast_1d(array) if isinstance(array, jax.Array) else array
    if array.ndim != 1 or array.size == 0:
        raise DataError(f"{name} of a spectrum must be a vector, an entry a component; its shape is {array.shape}")
    if not isinstance(array, jax.core.Tracer) and not np.isfinite(np.asarray(array)).all():
        raise DataError(f"{name} of a spectrum is not finite: {np.asarray(array)}")
    return array
