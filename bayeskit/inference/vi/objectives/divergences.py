r"""Divergences between the posterior and the guide that are neither a bound nor a mean of one function.

With weights :math:`w_k = p(y, z_k) / q(z_k)`, :math:`z_k \sim q`, and :math:`\tilde w_k = w_k / \sum_j w_j`.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from bayeskit._typing import Array
from bayeskit.inference.vi.objectives.objective import Objective, check_count, inside, known, log_weight, propose
from bayeskit.program import Runnable, average, draw, log_density, replicate
from bayeskit.program.weights import number_of

__all__ = [
    "CauchySchwarz",
    "ForwardKL",
    "LogVariance",
    "SymmetricKL",
    "cauchy_schwarz",
    "forward_kl",
    "log_variance",
    "symmetric_kl",
]


@dataclass(frozen=True)
class ForwardKL(Objective):
    """See :func:`forward_kl`."""

    num_particles: int

    def __post_init__(self) -> None:
        check_count(self.num_particles, 2)

    def __call__(self, model: Runnable, guide: Runnable) -> Array:
        log_ratio, log_weights = _fixed_ratios("the forward divergence", self.num_particles, model, guide)
        return jax.nn.logsumexp(log_weights) - jnp.log(self.num_particles) - _weighted(log_ratio, log_weights)


@dataclass(frozen=True)
class SymmetricKL(Objective):
    """See :func:`symmetric_kl`."""

    num_particles: int

    def __post_init__(self) -> None:
        check_count(self.num_particles, 2)

    def __call__(self, model: Runnable, guide: Runnable) -> Array:
        forward = _weighted(*_fixed_ratios("the symmetric divergence", self.num_particles, model, guide))
        # inside of the mean, so that leave-one-out baselines take it off
        return number_of(average(self.num_particles, lambda: log_weight(model, guide) - forward))


@dataclass(frozen=True)
class CauchySchwarz(Objective):
    """See :func:`cauchy_schwarz`."""

    num_particles: int

    def __post_init__(self) -> None:
        check_count(self.num_particles, 2)

    def __call__(self, model: Runnable, guide: Runnable) -> Array:
        def one() -> tuple[Array, Array]:
            choices, log_q = draw(guide)
            log_p = inside(known(log_density(model, choices), "the Cauchy-Schwarz divergence", "bayeskit.elbo()"))
            return log_p, known(log_q, "the Cauchy-Schwarz divergence", "bayeskit.elbo()")

        log_p, log_q = replicate(self.num_particles, one)
        # the two numbers of particles, K² and K², cancel
        return 2.0 * jax.nn.logsumexp(log_p) - jax.nn.logsumexp(2.0 * log_p - log_q) - jax.nn.logsumexp(log_q)


@dataclass(frozen=True)
class LogVariance(Objective):
    """See :func:`log_variance`."""

    num_particles: int

    def __post_init__(self) -> None:
        check_count(self.num_particles, 2)

    def __call__(self, model: Runnable, guide: Runnable) -> Array:
        log_ratio, _ = _fixed_ratios("the log-variance divergence", self.num_particles, model, guide)
        return -0.5 * jnp.var(log_ratio, ddof=1)


def forward_kl(num_particles: int) -> ForwardKL:
    r"""Minus the forward divergence :math:`\mathrm{KL}(p(z \mid y) \,\|\, q)`, which makes the guide cover the
    posterior.

    Estimated by self-normalised importance sampling from the guide as it is,

    .. math:: -\sum_k \tilde w_k \log w_k + \log \frac1K \sum_k w_k = -\sum_k \tilde w_k \log (K \tilde w_k), \qquad
              \text{with the gradient} \quad \sum_k \tilde w_k \nabla_\phi \log q_\phi(z_k),

    that of :func:`bayeskit.wake_guide`. Both have a bias of order :math:`1/K`; and since the value is at least
    :math:`-\log K`, a divergence beyond that cannot be seen. The choices are held fixed, so discrete ones will do.
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
        >>> bool(abs(bk.expectation(bk.forward_kl(10_000))(0, model, guide) + 0.0966) < 0.01)
        True

    Reference: Bornschein and Bengio (2015), "Reweighted wake-sleep"; Naesseth, Lindsten and Blei (2020), "Markovian
    score climbing", on the bias.
    """
    return ForwardKL(num_particles)


def symmetric_kl(num_particles: int) -> SymmetricKL:
    r"""Minus Jeffreys' divergence :math:`\mathrm{KL}(p(z \mid y) \,\|\, q) + \mathrm{KL}(q \,\|\, p(z \mid y))`.

    The evidence :math:`p(y)` cancels:

    .. math:: \frac1K \sum_k \log w_k - \sum_k \tilde w'_k \log w'_k,

    with the second set of :math:`K` particles as in :func:`bayeskit.forward_kl` (held fixed, with a bias of order
    :math:`1/K`), and the first as in :func:`bayeskit.elbo`.

    Args:
        num_particles: :math:`K`, two or more.

    Raises:
        MethodError: an impossible setting.
        ModelError: when called: a density is estimated.

    Example:
        >>> import bayeskit as bk
        >>> bk.VI(objective=bk.symmetric_kl(16)).objective
        SymmetricKL(num_particles=16)

    Reference: Jeffreys (1946), "An invariant form for the prior probability in estimation problems".
    """
    return SymmetricKL(num_particles)


def cauchy_schwarz(num_particles: int) -> CauchySchwarz:
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
        >>> bk.VI(objective=bk.cauchy_schwarz(16)).objective
        CauchySchwarz(num_particles=16)

    Reference: Jenssen, Principe, Erdogmus and Eltoft (2006), "The Cauchy-Schwarz divergence and Parzen windowing";
    Principe (2010), "Information theoretic learning".
    """
    return CauchySchwarz(num_particles)


def log_variance(num_particles: int) -> LogVariance:
    r"""Minus the log-variance divergence :math:`\tfrac12 \mathrm{Var}_r \log \frac{p(y, z)}{q(z)}`, with the proposal
    :math:`r = q` held fixed (VarGrad).

    .. math:: -\frac{1}{2 (K - 1)} \sum_k \Bigl(\log w_k - \frac1K \sum_j \log w_j\Bigr)^2

    The value has no bias, needs no evidence, and is zero where the guide is the posterior. The guide's gradient is that
    of the ELBO: for every set of particles it is the score-function gradient with leave-one-out baselines, as of
    ``elbo(num_particles, sticking_the_landing=True)`` with :func:`bayeskit.score` at every site, but for any guide.
    The choices are held fixed, so discrete ones will
    do. Parameters of the model have the gradient of the log-variance, which is *not* that of the ELBO.

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
        >>> abs(round(float(bk.expectation(bk.log_variance(8))(0, model, posterior)), 5))
        0.0

    Reference: Richter, Boustati, Nüsken, Ruiz and Akyildiz (2020), "VarGrad: a low-variance gradient estimator for
    variational inference".
    """
    return LogVariance(num_particles)


def _fixed_ratios(name: str, num_particles: int, model: Runnable, guide: Runnable) -> tuple[Array, Array]:
    """Log densities of the model over the guide, and over the guide held fixed, at particles that are held fixed."""
    particles = propose(num_particles, model, guide)
    log_p, log_q = (known(log, name, "bayeskit.wake_guide()") for log in (particles.log_p, particles.log_q))
    return log_p - log_q, particles.log_weights


def _weighted(log_ratio: Array, log_weights: Array) -> Array:
    """The mean of the log ratio over the normalised weights; where the weight is zero, so is the term."""
    share = jax.nn.softmax(log_weights)
    return jnp.sum(share * jnp.where(share == 0.0, 0.0, log_ratio))
