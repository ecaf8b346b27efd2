"""Jeffreys' divergence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bayeskit._typing import Array
from bayeskit.inference.vi.objectives.objective import Objective, check_count, fixed_ratios, log_weight, weighted_mean
from bayeskit.program import Runnable, average
from bayeskit.program.weights import number_of

__all__ = ["SymmetricKL"]


@dataclass(frozen=True)
class SymmetricKL(Objective):
    r"""Minus Jeffreys' divergence :math:`\mathrm{KL}(p(z \mid y) \,\|\, q) + \mathrm{KL}(q \,\|\, p(z \mid y))`.

    The evidence :math:`p(y)` cancels:

    .. math:: \frac1K \sum_k \log w_k - \sum_k \tilde w'_k \log w'_k,

    with the second set of :math:`K` particles as in :class:`bayeskit.objectives.ForwardKL` (held fixed, with a bias of
    order :math:`1/K`), and the first as in :class:`bayeskit.objectives.ELBO`.

    Args:
        num_particles: :math:`K`, two or more.

    Raises:
        MethodError: an impossible setting.
        ModelError: when called: a density is estimated.

    Example:
        >>> import bayeskit as bk
        >>> bk.VI(objective=bk.objectives.SymmetricKL(16)).objective
        SymmetricKL(num_particles=16)

    Reference: Jeffreys (1946), "An invariant form for the prior probability in estimation problems".
    """

    kind: ClassVar[str] = "symmetric_kl"

    num_particles: int = 16

    def __post_init__(self) -> None:
        check_count(self.num_particles, 2)

    def __call__(self, model: Runnable, guide: Runnable) -> Array:
        forward = weighted_mean(*fixed_ratios("the symmetric divergence", self.num_particles, model, guide))
        # inside the mean, so that leave-one-out baselines take it off
        return number_of(average(self.num_particles, lambda: log_weight(model, guide) - forward))
