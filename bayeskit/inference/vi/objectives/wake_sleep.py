r"""Wake-sleep: the model and the guide are fitted to objectives of their own.

*Wake* phases take particles :math:`z_k` from the guide as it is, with weights :math:`w_k = p(y, z_k) / q(z_k)` that are
normalised, :math:`\tilde w_k = w_k / \sum_j w_j`. The *sleep* phase takes draws of the model itself. No gradient passes
a choice, so that every estimator will do, and discrete choices cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from bayeskit._errors import ModelError
from bayeskit._typing import Array, Values
from bayeskit.inference.method import require
from bayeskit.inference.vi.objectives.objective import (
    Number,
    Objective,
    Proposals,
    check_count,
    draw_fixed,
    propose,
)
from bayeskit.program import Runnable, average, log_average_exp, log_density
from bayeskit.program.runnable import name_of_program
from bayeskit.program.weights import like, number_of

__all__ = [
    "ReweightedWakeSleep",
    "Sleep",
    "WakeGuide",
    "WakeModel",
    "reweighted_wake_sleep",
    "sleep",
    "wake_guide",
    "wake_model",
]


@dataclass(frozen=True)
class WakeGuide(Objective):
    """See :func:`wake_guide`."""

    num_particles: int

    def __post_init__(self) -> None:
        check_count(self.num_particles, 2)

    def __call__(self, model: Runnable, guide: Runnable) -> Number:
        particles = propose(self.num_particles, model, guide)
        return like(particles.log_q, _over_weights(particles))


@dataclass(frozen=True)
class WakeModel:
    """See :func:`wake_model`. Not an :class:`Objective`, since it leaves the guide as it is."""

    num_particles: int

    def __post_init__(self) -> None:
        check_count(self.num_particles)

    def __call__(self, model: Runnable, guide: Runnable) -> Number:
        def one() -> Number:
            choices, log_r = draw_fixed(guide)
            return log_density(model, choices) - log_r

        return log_average_exp(self.num_particles, one)


@dataclass(frozen=True)
class ReweightedWakeSleep(Objective):
    """See :func:`reweighted_wake_sleep`."""

    num_particles: int

    def __post_init__(self) -> None:
        check_count(self.num_particles, 2)

    def __call__(self, model: Runnable, guide: Runnable) -> Number:
        particles = propose(self.num_particles, model, guide)
        bound = jax.nn.logsumexp(particles.log_weights) - jnp.log(self.num_particles)
        for_guide = _over_weights(particles)
        return like(particles.log_p - particles.log_r, bound + for_guide - jax.lax.stop_gradient(for_guide))


@dataclass(frozen=True)
class Sleep:
    """See :func:`sleep`."""

    observed: tuple[str, ...]
    num_particles: int = 1

    def __post_init__(self) -> None:
        check_count(self.num_particles)
        ok = bool(self.observed) and all(isinstance(name, str) for name in self.observed)
        require(ok, "observed", self.observed, "a list of site names")

    def __call__(self, generative: Runnable, guide: Callable[[Values], Runnable]) -> Number:
        def one() -> Number:
            choices, _ = draw_fixed(generative)
            for name in self.observed:
                if name not in choices:
                    raise ModelError(
                        f"observed names {name!r}, and {name_of_program(generative)!r} has {sorted(choices)}"
                    )
            given = {name: choices[name] for name in self.observed}
            return log_density(guide(given), {name: v for name, v in choices.items() if name not in given})

        return average(self.num_particles, one)


def wake_guide(num_particles: int) -> WakeGuide:
    r"""The guide's half of reweighted wake-sleep, :math:`\mathrm E \sum_k \tilde w_k \log q(z_k)` with everything but
    :math:`\log q` held fixed.

    Its gradient is that of :math:`-\mathrm{KL}(p(z \mid y) \,\|\, q)`, with a bias from self-normalisation that
    falls as :math:`1/K`. It is no bound: its value says nothing of the fit (:func:`bayeskit.forward_kl` has the same
    gradient, and a value that does). No gradient reaches the model. Where the guide's density is estimated, a lower
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
        ...     return bk.wake_guide(1000)(model, lambda: numpyro.sample("z", dist.Bernoulli(q)))
        >>> gradient = jax.grad(bk.expectation(objective), argnums=1)(0, 0.2231)  # the posterior's probability
        >>> bool(abs(gradient) < 0.5)
        True

    Reference: Bornschein and Bengio (2015), "Reweighted wake-sleep".
    """
    return WakeGuide(num_particles)


def wake_model(num_particles: int) -> WakeModel:
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
        ...     return bk.wake_model(1000)(model, posterior)
        >>> gradient = jax.grad(bk.expectation(objective), argnums=1)(0, 0.0)  # of log p(y), (y - mean) / 2 = .6
        >>> bool(abs(gradient - 0.6) < 0.1)
        True

    Reference: Bornschein and Bengio (2015), "Reweighted wake-sleep"; Hinton, Dayan, Frey and Neal (1995),
    "The wake-sleep algorithm for unsupervised neural networks", for one particle.
    """
    return WakeModel(num_particles)


def reweighted_wake_sleep(num_particles: int) -> ReweightedWakeSleep:
    r"""Both wake phases from one set of particles: the gradient of the model's parameters is that of
    :func:`bayeskit.wake_model`, the guide's that of :func:`bayeskit.wake_guide`.

    The value is the importance-weighted bound :math:`\mathrm E \log \frac1K \sum_k w_k`. A parameter that the model and
    the guide share gets the sum.

    Args:
        num_particles: :math:`K`, two or more.

    Raises:
        MethodError: an impossible setting.

    Example:
        >>> import bayeskit as bk
        >>> bk.VI(objective=bk.reweighted_wake_sleep(16)).objective
        ReweightedWakeSleep(num_particles=16)

    Reference: Bornschein and Bengio (2015), "Reweighted wake-sleep"; Le, Kosiorek, Siddharth, Teh and Wood (2019),
    "Revisiting reweighted wake-sleep for models with stochastic control flow", whose "wake-wake" it is.
    """
    return ReweightedWakeSleep(num_particles)


def sleep(observed: Sequence[str], num_particles: int = 1) -> Sleep:
    r"""The sleep phase of wake-sleep: :math:`\mathrm E_{p(z, y)} \log q(z \mid y)` over draws of the model.

    It fits an amortised guide, for all data at once, without bias and without weights; up to a constant it is the mean
    of :math:`-\mathrm{KL}(p(z \mid y) \,\|\, q(z \mid y))` over data from the model. The gradient reaches the guide
    only. Instead of a model with its data it takes a *generative* program, which draws the data as well, and the guide
    as a function of them: ``sleep(["x"])(generative, guide)``, where ``guide({"x": x})`` is a program of the other
    sites.

    Args:
        observed: names of the sites that are data.
        num_particles: how many draws are averaged.

    Raises:
        MethodError: an impossible setting.
        ModelError: when called: the program has no such site.

    Example:
        >>> import jax, numpyro, numpyro.distributions as dist
        >>> import bayeskit as bk
        >>> def generative():
        ...     z = numpyro.sample("z", dist.Normal(0.0, 1.0))
        ...     numpyro.sample("x", dist.Normal(z, 1.0))
        >>> def objective(slope):
        ...     guide = lambda data: lambda: numpyro.sample("z", dist.Normal(slope * data["x"], 0.5**0.5))
        ...     return bk.sleep(["x"], 1000)(generative, guide)
        >>> gradient = jax.grad(bk.expectation(objective), argnums=1)(0, 0.5)  # the posterior's slope
        >>> bool(abs(gradient) < 0.3)
        True

    Reference: Hinton, Dayan, Frey and Neal (1995), "The wake-sleep algorithm for unsupervised neural networks".
    """
    require(not isinstance(observed, str), "observed", observed, "a list of site names")
    return Sleep(tuple(observed), num_particles)


def _over_weights(particles: Proposals) -> Array:
    """The mean of the guide's log density over the normalised weights, which are held fixed."""
    share = jax.lax.stop_gradient(jax.nn.softmax(particles.log_weights))
    return jnp.sum(share * number_of(particles.log_q))
