r"""Natural gradients of normal guides.

The steepest direction in the Kullback-Leibler divergence is the gradient times the inverse of the Fisher information.
For :math:`N(m, C C^\top)` in the coordinates :math:`m + C a`, :math:`C (I + A)` with :math:`A` lower triangular, the
Fisher information at :math:`a = 0`, :math:`A = 0` is diagonal: one for :math:`a` and below the diagonal of :math:`A`,
two on its diagonal. With :math:`G` the gradient for :math:`C` (of the loss) and rate :math:`\rho`,

.. math:: m \leftarrow m - \rho\, C C^\top g_m, \qquad
          C \leftarrow C\,(\operatorname{strict}(A) + \operatorname{diag} e^{A_{ii}}), \qquad
          A_{ij} = -\rho\, (C^\top G)_{ij} \;(i > j), \quad A_{ii} = -\tfrac{\rho}{2} (C^\top G)_{ii} .

The exponential keeps the diagonal positive and agrees with :math:`C (I + A)` to first order. Nothing depends on the
units or the correlations of the coordinates.

Reference: Amari (1998), "Natural gradient works efficiently in learning"; Tan (2022), "Analytic natural gradient
updates for Cholesky factor in Gaussian variational approximation", theorem 1.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

from bayeskit._typing import Array
from bayeskit.inference.vi.guides import FullRank, Guide, LaplaceGuide, MeanField, Parameters

__all__ = ["NATURAL_GUIDES", "natural"]

NATURAL_GUIDES = (MeanField, FullRank, LaplaceGuide)
LONGEST = 0.5
"""Length of the longest step, in the Fisher metric and for each root of a coordinate."""


def natural(guide: Guide, rate: Array | float) -> optax.GradientTransformation:
    r"""Steps along the natural gradient.

    Args:
        guide: one of `NATURAL_GUIDES`.
        rate: step size; one is Newton's for a normal target. Where a step would be longer than `LONGEST`
            :math:`\sqrt d` in the Fisher metric, it is shortened.
    """
    step = _mean_field if isinstance(guide, MeanField) else _full_rank

    def init(parameters: Parameters) -> optax.EmptyState:
        del parameters
        return optax.EmptyState()

    def update(gradient: Parameters, state: Any, parameters: Parameters | None = None) -> tuple[Parameters, Any]:
        if parameters is None:
            raise TypeError("natural gradients need the parameters")
        moved = {**parameters, **step(parameters, gradient, rate)}
        return jax.tree.map(jnp.subtract, moved, parameters), state

    return optax.GradientTransformation(init, update)


def _mean_field(parameters: Parameters, gradient: Parameters, rate: Array | float) -> Parameters:
    scale = jnp.exp(parameters["log_scale"])
    shift, widening = -scale * gradient["loc"], -gradient["log_scale"] / 2
    rate = _shorten(rate, jnp.sum(shift**2) + 2 * jnp.sum(widening**2), scale.shape[0])
    return {"loc": parameters["loc"] + rate * scale * shift, "log_scale": parameters["log_scale"] + rate * widening}


def _full_rank(parameters: Parameters, gradient: Parameters, rate: Array | float) -> Parameters:
    scale, size = jnp.exp(parameters["log_scale"]), parameters["loc"].shape[0]
    below = jnp.tril_indices(size, -1)
    unit = jnp.eye(size, dtype=scale.dtype).at[below].set(parameters["lower"])
    root = scale[:, None] * unit
    by_unit = jnp.zeros_like(unit).at[below].set(gradient["lower"])
    diagonal = gradient["log_scale"] - jnp.sum(by_unit * unit, axis=1)
    by_root = (by_unit + jnp.diag(diagonal)) / scale[:, None]
    inner = -jnp.tril(root.T @ by_root)
    strict, widening = jnp.tril(inner, -1), jnp.diag(inner) / 2
    shift = -root.T @ gradient["loc"]
    rate = _shorten(rate, jnp.sum(shift**2) + jnp.sum(strict**2) + 2 * jnp.sum(widening**2), size)
    new = root @ (rate * strict + jnp.diag(jnp.exp(rate * widening)))
    log_scale = parameters["log_scale"] + rate * widening
    lower = (new / jnp.diag(new)[:, None])[below]
    return {"loc": parameters["loc"] + root @ (rate * shift), "log_scale": log_scale, "lower": lower}


def _shorten(rate: Array | float, square: Array, size: int) -> Array:
    """The rate, smaller where the step, of this squared length at rate one, would be too long."""
    return jnp.minimum(rate, LONGEST * size**0.5 / jnp.sqrt(jnp.maximum(square, jnp.finfo(square.dtype).tiny)))
