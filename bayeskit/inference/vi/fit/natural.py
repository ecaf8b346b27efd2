r"""Natural gradients of normal guides.

The steepest direction in the Kullback-Leibler divergence is the gradient times the inverse of the Fisher information.
For :math:`N(m, C C^\top)` in the coordinates :math:`m + C a`, :math:`C (I + A)` with :math:`A` lower triangular, the
Fisher information at :math:`a = 0`, :math:`A = 0` is diagonal: one for :math:`a` and below the diagonal of :math:`A`,
two on its diagonal. With :math:`G` the gradient for :math:`C` (of the loss) and rate :math:`\rho`,

.. math:: m \leftarrow m - \rho\, C C^\top g_m, \qquad
          C \leftarrow C\,(\operatorname{strict}(A) + \operatorname{diag} e^{A_{ii}}), \qquad
          A_{ij} = -\rho\, (C^\top G)_{ij} \;(i > j), \quad A_{ii} = -\tfrac{\rho}{2} (C^\top G)_{ii} .

The exponential keeps the diagonal positive and agrees with :math:`C (I + A)` to first order. Nothing depends on the
units or the correlations of the coordinates. The step itself is the guide's: `Guide.natural_step`.

Reference: Amari (1998), "Natural gradient works efficiently in learning"; Tan (2022), "Analytic natural gradient
updates for Cholesky factor in Gaussian variational approximation", theorem 1.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

from bayeskit._typing import Array
from bayeskit.inference.vi.guides import Guide, Parameters

__all__ = ["natural"]


def natural(guide: Guide, rate: Array | float) -> optax.GradientTransformation:
    r"""Steps along the natural gradient.

    Args:
        guide: one that has a natural gradient.
        rate: step size; one is Newton's for a normal target. Where a step would be longer than
            :math:`\tfrac12 \sqrt d` in the Fisher metric, it is shortened.
    """

    def init(parameters: Parameters) -> optax.EmptyState:
        del parameters
        return optax.EmptyState()

    def update(gradient: Parameters, state: Any, parameters: Parameters | None = None) -> tuple[Parameters, Any]:
        if parameters is None:
            raise TypeError("natural gradients need the parameters")
        moved = {**parameters, **guide.natural_step(parameters, gradient, rate)}
        return jax.tree.map(jnp.subtract, moved, parameters), state

    return optax.GradientTransformation(init, update)
