"""The forward divergence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp

from bayeskit._typing import Array
from bayeskit.inference.vi.objectives.objective import Objective, check_count, fixed_ratios, weighted_mean
from bayeskit.program import Runnable

__all__ = ["ForwardKL"]


@dataclass(frozen=True)
class ForwardKL(Objective):
    r"""Minus the forward divergence :math:`\mathrm{KL}(p(z \mid y) \,\|\, q)`, which makes the guide cover the
    posterior.

    Estimated by self-normalised importance sampling from the guide as it is,

    .. math:: -\sum_k \tilde w_k \log w_k + \log \frac1K \sum_k w_k = -\sum_k \tilde w_k \log (K \tilde w_k), \qquad
              \text{with the gradient} \quad \sum_k \tilde w_k \nabla_\phi \log q_\phi(z_k),

    that of :class:`bayeskit.objectives.WakeGuide`. Both have a bias of order :math:`1/K`; and since the value is at
    least :math:`-\log K`, a divergence beyond that cannot be seen. The choices are held fixed, so discrete ones will
    do.
    The model's parameters have the gradient of the same divergence.

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
        >>> guide = lambda: numpyro.sample("z", dist.Normal(0.6, 1.0))
        >>> bool(abs(bk.expectation(bk.objectives.ForwardKL(10_000))(0, model, guide) + 0.0966) < 0.01)
        True

    Reference: Bornschein and Bengio (2015), "Reweighted wake-sleep"; Naesseth, Lindsten and Blei (2020), "Markovian
    score climbing", on the bias.
    """

    kind: ClassVar[str] = "forward_kl"

    num_particles: int = 16

    def __post_init__(self) -> None:
        check_count(self.num_particles, 2)

    def __call__(self, model: Runnable, guide: Runnable) -> Array:
        log_ratio, log_weights = fixed_ratios("the forward divergence", self.num_particles, model, guide)
        return jax.nn.logsumexp(log_weights) - jnp.log(self.num_particles) - weighted_mean(log_ratio, log_weights)
