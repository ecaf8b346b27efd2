"""The model's half of reweighted wake-sleep. It leaves the guide as it is, so it is not an `Objective` for `VI`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bayeskit._settings import Settings
from bayeskit.inference.vi.objectives.objective import Number, check_count, draw_fixed
from bayeskit.program import Runnable, log_average_exp, log_density

__all__ = ["WakeModel"]


@dataclass(frozen=True)
class WakeModel(Settings):
    r"""The model's half of reweighted wake-sleep: :math:`\mathrm E \log \frac1K \sum_k w_k` with the guide held fixed.

    Its gradient is :math:`\sum_k \tilde w_k \nabla_\theta \log p_\theta(y, z_k)`, without bias that of the
    importance-weighted bound, which is the value; for one particle it is the wake phase of wake-sleep. No gradient
    reaches the guide, so :class:`bayeskit.VI` refuses it.

    Args:
        num_particles: :math:`K`.

    Raises:
        MethodError: an impossible setting.

    Example:
        >>> import jax, numpyro, numpyro.distributions as dist
        >>> import bayeskit as bk
        >>> def objective(mean):
        ...     def model():
        ...         z = numpyro.sample("z", dist.Normal(mean, 1.0))
        ...         numpyro.sample("x", dist.Normal(z, 1.0), obs=1.2)
        ...
        ...     posterior = lambda: numpyro.sample("z", dist.Normal((mean + 1.2) / 2, 0.5**0.5))
        ...     return bk.objectives.WakeModel(1000)(model, posterior)
        >>> gradient = jax.grad(bk.expectation(objective), argnums=1)(0, 0.0)  # of log p(y), (y - mean) / 2 = .6
        >>> bool(abs(gradient - 0.6) < 0.1)
        True

    Reference: Bornschein and Bengio (2015), "Reweighted wake-sleep"; Hinton, Dayan, Frey and Neal (1995),
    "The wake-sleep algorithm for unsupervised neural networks", for one particle.
    """

    kind: ClassVar[str] = "wake_model"

    num_particles: int = 16

    def __post_init__(self) -> None:
        check_count(self.num_particles)

    def __call__(self, model: Runnable, guide: Runnable) -> Number:
        def one() -> Number:
            choices, log_r = draw_fixed(guide)
            return log_density(model, choices) - log_r

        return log_average_exp(self.num_particles, one)
