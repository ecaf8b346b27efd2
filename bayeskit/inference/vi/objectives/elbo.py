"""The evidence lower bound."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from bayeskit.inference.vi.objectives.objective import Number, Objective, check_count, log_weight
from bayeskit.program import Runnable, average

__all__ = ["ELBO"]


@dataclass(frozen=True)
class ELBO(Objective):
    r"""The evidence lower bound :math:`\mathrm E_q[\log p(y, z) - \log q(z)]`.

    Args:
        num_particles: how many draws are averaged; with two or more, score estimators take the others as baseline.
        sticking_the_landing: see :func:`bayeskit.objectives.log_weight`.

    Raises:
        MethodError: an impossible setting.

    Example:
        >>> import numpyro, numpyro.distributions as dist
        >>> import bayeskit as bk
        >>> def model():
        ...     z = numpyro.sample("z", dist.Normal(0.0, 1.0))
        ...     numpyro.sample("x", dist.Normal(z, 1.0), obs=1.2)
        >>> posterior = lambda: numpyro.sample("z", dist.Normal(0.6, 0.5**0.5))
        >>> round(float(bk.expectation(bk.objectives.ELBO())(0, model, posterior)), 4)
        -1.6255

    Reference: Jordan, Ghahramani, Jaakkola and Saul (1999).
    """

    kind: ClassVar[str] = "elbo"
    fits_model: ClassVar[bool] = True

    num_particles: int = 1
    sticking_the_landing: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        check_count(self.num_particles)

    @property
    def is_affine(self) -> bool:
        return True

    def __call__(self, model: Runnable, guide: Runnable) -> Number:
        one = lambda: log_weight(model, guide, sticking_the_landing=self.sticking_the_landing)  # noqa: E731
        return one() if self.num_particles == 1 else average(self.num_particles, one)
