"""The log-variance divergence (VarGrad)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp

from bayeskit._typing import Array
from bayeskit.inference.vi.objectives.objective import Objective, check_count, fixed_ratios
from bayeskit.program import Runnable

__all__ = ["LogVariance"]


@dataclass(frozen=True)
class LogVariance(Objective):
    r"""Minus the log-variance divergence :math:`\tfrac12 \mathrm{Var}_r \log \frac{p(y, z)}{q(z)}`, with the proposal
    :math:`r = q` held fixed (VarGrad).

    .. math:: -\frac{1}{2 (K - 1)} \sum_k \Bigl(\log w_k - \frac1K \sum_j \log w_j\Bigr)^2

    The value has no bias, needs no evidence, and is zero where the guide is the posterior. The guide's gradient is that
    of the ELBO: for every set of particles it is the score-function gradient with leave-one-out baselines, as of
    ``ELBO(num_particles, sticking_the_landing=True)`` with :class:`bayeskit.estimators.Score` at every site, but for
    any guide. The choices are held fixed, so discrete ones will do. Parameters of the model have the gradient of the
    log-variance, which is *not* that of the ELBO.

    Args:
        num_particles: :math:`K`, two or more.

    Raises:
        MethodError: an impossible setting.
        ModelError: when called: a density is estimated.

    Example:
        >>> import numpyro, numpyro.distributions as dist
        >>> import bayeskit as bk
        >>> def model():
        ...     z = numpyro.sample("z", dist.Normal(0.0, 1.0))
        ...     numpyro.sample("x", dist.Normal(z, 1.0), obs=1.2)
        >>> posterior = lambda: numpyro.sample("z", dist.Normal(0.6, 0.5**0.5))
        >>> abs(round(float(bk.expectation(bk.objectives.LogVariance(8))(0, model, posterior)), 5))
        0.0

    Reference: Richter, Boustati, Nüsken, Ruiz and Akyildiz (2020), "VarGrad: a low-variance gradient estimator for
    variational inference".
    """

    kind: ClassVar[str] = "log_variance"

    num_particles: int = 16

    def __post_init__(self) -> None:
        check_count(self.num_particles, 2)

    def __call__(self, model: Runnable, guide: Runnable) -> Array:
        log_ratio, _ = fixed_ratios("the log-variance divergence", self.num_particles, model, guide)
        return -0.5 * jnp.var(log_ratio, ddof=1)
