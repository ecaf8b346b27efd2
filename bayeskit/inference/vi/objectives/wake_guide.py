"""The guide's half of reweighted wake-sleep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bayeskit.inference.vi.objectives.objective import Number, Objective, check_count, over_weights, propose
from bayeskit.program import Runnable
from bayeskit.program.weights import like

__all__ = ["WakeGuide"]


@dataclass(frozen=True)
class WakeGuide(Objective):
    r"""The guide's half of reweighted wake-sleep, :math:`\mathrm E \sum_k \tilde w_k \log q(z_k)` with everything but
    :math:`\log q` held fixed.

    Its gradient is that of :math:`-\mathrm{KL}(p(z \mid y) \,\|\, q)`, with a bias from self-normalisation that
    falls as :math:`1/K`. It is no bound: its value says nothing of the fit (:class:`bayeskit.objectives.ForwardKL` has
    the same gradient, and a value that does). No gradient reaches the model. Where the guide's density is estimated,
    a lower
    bound of it is maximised.

    Args:
        num_particles: :math:`K`, two or more.

    Raises:
        MethodError: an impossible setting.

    Example:
        >>> import jax, numpyro, numpyro.distributions as dist
        >>> import bayeskit as bk
        >>> def model():
        ...     z = numpyro.sample("z", dist.Bernoulli(0.3))
        ...     numpyro.sample("x", dist.Normal(2.0 * z, 1.0), obs=0.8)
        >>> def objective(q):
        ...     return bk.objectives.WakeGuide(1000)(model, lambda: numpyro.sample("z", dist.Bernoulli(q)))
        >>> gradient = jax.jit(jax.grad(bk.expectation(objective), argnums=1))(0, 0.2231)  # the posterior's probability
        >>> bool(abs(gradient) < 0.5)
        True

    Reference: Bornschein and Bengio (2015), "Reweighted wake-sleep".
    """

    kind: ClassVar[str] = "wake_guide"

    num_particles: int = 16

    def __post_init__(self) -> None:
        check_count(self.num_particles, 2)

    def __call__(self, model: Runnable, guide: Runnable) -> Number:
        particles = propose(self.num_particles, model, guide)
        return like(particles.log_q, over_weights(particles))
