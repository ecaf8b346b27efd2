"""The Cauchy-Schwarz divergence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax

from bayeskit._typing import Array
from bayeskit.inference.vi.objectives.objective import Objective, check_count, inside, known
from bayeskit.program import Runnable, draw, log_density, replicate

__all__ = ["CauchySchwarz"]


@dataclass(frozen=True)
class CauchySchwarz(Objective):
    r"""Minus the Cauchy-Schwarz divergence
    :math:`-\log \frac{(\int p q \, dz)^2}{\int p^2 \, dz \int q^2 \, dz}`.

    It does not depend on the evidence, as :math:`p` may be scaled. With :math:`\int p q = \mathrm E_q\, p`,
    :math:`\int p^2 = \mathrm E_q\, p^2 / q` and :math:`\int q^2 = \mathrm E_q\, q`, each by the same particles,

    .. math:: \log \frac{\bigl(\sum_k p(y, z_k)\bigr)^2}{\sum_k p(y, z_k)^2 / q(z_k) \; \sum_k q(z_k)} \le 0,

    which is zero exactly where the guide is the posterior, whatever the particles: there is no noise there. The bias is
    of order :math:`1/K` (a log of means); what is maximised is the expectation of the estimate, whose gradient has no
    bias. Integrals of squares depend on the coordinates: the divergence is that of the densities in the coordinates of
    the guide (the unconstrained vector, for the automatic guides).

    Args:
        num_particles: :math:`K`, two or more.

    Raises:
        MethodError: an impossible setting.
        ModelError: when called: a density is estimated.

    Example:
        >>> import bayeskit as bk
        >>> bk.VI(objective=bk.objectives.CauchySchwarz(16)).objective
        CauchySchwarz(num_particles=16)

    Reference: Jenssen, Principe, Erdogmus and Eltoft (2006), "The Cauchy-Schwarz divergence and Parzen windowing";
    Principe (2010), "Information theoretic learning".
    """

    kind: ClassVar[str] = "cauchy_schwarz"

    num_particles: int = 16

    def __post_init__(self) -> None:
        check_count(self.num_particles, 2)

    def __call__(self, model: Runnable, guide: Runnable) -> Array:
        def one() -> tuple[Array, Array]:
            choices, log_q = draw(guide)
            log_p = inside(
                known(log_density(model, choices), "the Cauchy-Schwarz divergence", "bayeskit.objectives.ELBO()")
            )
            return log_p, known(log_q, "the Cauchy-Schwarz divergence", "bayeskit.objectives.ELBO()")

        log_p, log_q = replicate(self.num_particles, one)
        # the two numbers of particles, K² and K², cancel
        return 2.0 * jax.nn.logsumexp(log_p) - jax.nn.logsumexp(2.0 * log_p - log_q) - jax.nn.logsumexp(log_q)
