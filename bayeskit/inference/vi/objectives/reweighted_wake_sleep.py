"""Both wake phases from one set of particles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp

from bayeskit.inference.vi.objectives.objective import Number, Objective, check_count, over_weights, propose
from bayeskit.program import Runnable
from bayeskit.program.weights import like

__all__ = ["ReweightedWakeSleep"]


@dataclass(frozen=True)
class ReweightedWakeSleep(Objective):
    r"""Both wake phases from one set of particles: the gradient of the model's parameters is that of
    :class:`bayeskit.objectives.WakeModel`, the guide's that of :class:`bayeskit.objectives.WakeGuide`.

    The value is the importance-weighted bound :math:`\mathrm E \log \frac1K \sum_k w_k`. A parameter that the model and
    the guide share gets the sum.

    Args:
        num_particles: :math:`K`, two or more.

    Raises:
        MethodError: an impossible setting.

    Example:
        >>> import bayeskit as bk
        >>> bk.VI(objective=bk.objectives.ReweightedWakeSleep(16)).objective
        ReweightedWakeSleep(num_particles=16)

    Reference: Bornschein and Bengio (2015), "Reweighted wake-sleep"; Le, Kosiorek, Siddharth, Teh and Wood (2019),
    "Revisiting reweighted wake-sleep for models with stochastic control flow", whose "wake-wake" it is.
    """

    kind: ClassVar[str] = "reweighted_wake_sleep"
    fits_model: ClassVar[bool] = True

    num_particles: int = 16

    def __post_init__(self) -> None:
        check_count(self.num_particles, 2)

    def __call__(self, model: Runnable, guide: Runnable) -> Number:
        particles = propose(self.num_particles, model, guide)
        bound = jax.nn.logsumexp(particles.log_weights) - jnp.log(self.num_particles)
        for_guide = over_weights(particles)
        return like(particles.log_p - particles.log_r, bound + for_guide - jax.lax.stop_gradient(for_guide))
