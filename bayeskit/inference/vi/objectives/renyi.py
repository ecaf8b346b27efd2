"""The Rényi bound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bayeskit._settings import is_number, require
from bayeskit.inference.vi.objectives.objective import Number, Objective, check_count, log_weight
from bayeskit.program import Runnable, log_average_exp

__all__ = ["Renyi"]


@dataclass(frozen=True)
class Renyi(Objective):
    r"""The Rényi bound :math:`\frac{1}{1 - \alpha} \mathrm E \log \frac1K \sum_k w_k^{1 - \alpha}`.

    Args:
        alpha: in [0, 1); 0 gives the importance-weighted bound, and towards 1 it becomes the ELBO.
        num_particles: :math:`K`.

    Raises:
        MethodError: an impossible setting.

    Reference: Li and Turner (2016), "Rényi divergence variational inference", equation 14.
    """

    kind: ClassVar[str] = "renyi"
    fits_model: ClassVar[bool] = True

    alpha: float
    num_particles: int = 8

    def __post_init__(self) -> None:
        check_count(self.num_particles)
        require(is_number(self.alpha) and 0 <= self.alpha < 1, "alpha", self.alpha, "a number in [0, 1)")

    def __call__(self, model: Runnable, guide: Runnable) -> Number:
        power = 1.0 - self.alpha
        return log_average_exp(self.num_particles, lambda: log_weight(model, guide) * power) / power
