r"""Objectives: functions of a few lines that draw from programs and return a number.

An objective is called as ``objective(model, guide)`` within :func:`bayeskit.expectation`. Those here bound
:math:`\log p(y)` from below and are maximised. Each is made from its settings, as in
``bk.elbo(num_particles=8)(model, guide)``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import jax

from bayeskit._errors import ModelError
from bayeskit._typing import Array
from bayeskit.inference.method import is_number, is_whole, require
from bayeskit.program import LogWeight, Runnable, average, detach, draw, log_average_exp, log_density

__all__ = [
    "ELBO",
    "ImportanceWeightedELBO",
    "Objective",
    "RenyiBound",
    "TemperedELBO",
    "WakeGuide",
    "elbo",
    "importance_weighted_elbo",
    "log_weight",
    "renyi_bound",
    "tempered_elbo",
    "wake_guide",
]

Number = LogWeight | Array


class Objective(ABC):
    """Settings of an objective (a frozen dataclass), called with a model and a guide."""

    @abstractmethod
    def __call__(self, model: Runnable, guide: Runnable) -> Number:
        """The number whose expectation is maximised."""


def log_weight(model: Runnable, guide: Runnable, *, sticking_the_landing: bool = False) -> Number:
    r"""A draw's :math:`\log w = \log p(y, z) - \log q(z)`, :math:`z \sim q`: the integrand of the bounds.

    Args:
        model: with its observations.
        guide: draws the latent sites of the model.
        sticking_the_landing: leave out the part of the gradient with mean zero that passes the parameters of
            :math:`\log q` directly, so that no noise is left where the guide is the posterior. Needs a guide whose
            parameters are known: a :class:`bayeskit.Program` (see :func:`bayeskit.detach`).

    Raises:
        ModelError: sticking the landing with a guide whose density is estimated, where the part has another mean.

    Reference: Roeder, Wu and Duvenaud (2017), "Sticking the landing".
    """
    choices, log_q = draw(guide)
    if sticking_the_landing:
        if isinstance(log_q, LogWeight):
            raise ModelError("sticking the landing would bias the gradient of a guide whose density is estimated")
        log_q = log_density(detach(guide), choices)
    return log_density(model, choices) - log_q


@dataclass(frozen=True)
class ELBO(Objective):
    """See :func:`elbo`."""

    num_particles: int = 1
    sticking_the_landing: bool = False

    def __post_init__(self) -> None:
        _check_count(self.num_particles)

    def __call__(self, model: Runnable, guide: Runnable) -> Number:
        one = lambda: log_weight(model, guide, sticking_the_landing=self.sticking_the_landing)  # noqa: E731
        return one() if self.num_particles == 1 else average(self.num_particles, one)


@dataclass(frozen=True)
class ImportanceWeightedELBO(Objective):
    """See :func:`importance_weighted_elbo`."""

    num_particles: int

    def __post_init__(self) -> None:
        _check_count(self.num_particles)

    def __call__(self, model: Runnable, guide: Runnable) -> Number:
        return log_average_exp(self.num_particles, lambda: log_weight(model, guide))


@dataclass(frozen=True)
class RenyiBound(Objective):
    """See :func:`renyi_bound`."""

    alpha: float
    num_particles: int

    def __post_init__(self) -> None:
        _check_count(self.num_particles)
        require(is_number(self.alpha) and 0 <= self.alpha < 1, "alpha", self.alpha, "a number in [0, 1)")

    def __call__(self, model: Runnable, guide: Runnable) -> Number:
        power = 1.0 - self.alpha
        return log_average_exp(self.num_particles, lambda: log_weight(model, guide) * power) / power


@dataclass(frozen=True)
class TemperedELBO(Objective):
    """See :func:`tempered_elbo`."""

    temperature: float
    num_particles: int = 1

    def __post_init__(self) -> None:
        _check_count(self.num_particles)
        require(is_number(self.temperature) and self.temperature > 0, "temperature", self.temperature, "positive")

    def __call__(self, model: Runnable, guide: Runnable) -> Number:
        def one() -> Number:
            choices, log_q = draw(guide)
            return log_density(model, choices) - log_q * float(self.temperature)

        return one() if self.num_particles == 1 else average(self.num_particles, one)


@dataclass(frozen=True)
class WakeGuide(Objective):
    """See :func:`wake_guide`."""

    num_particles: int

    def __post_init__(self) -> None:
        require(
            is_whole(self.num_particles) and self.num_particles >= 2, "num_particles", self.num_particles, "two or more"
        )

    def __call__(self, model: Runnable, guide: Runnable) -> Number:
        from bayeskit.inference.vi.marginal import normalize, sir

        choices, _ = draw(normalize(model, sir(self.num_particles, detach(guide))))
        return log_density(guide, jax.lax.stop_gradient(choices))


def elbo(num_particles: int = 1, *, sticking_the_landing: bool = False) -> ELBO:
    r"""The evidence lower bound :math:`\mathrm E_q[\log p(y, z) - \log q(z)]`.

    Args:
        num_particles: how many draws are averaged; with two or more, score estimators take the others as baseline.
        sticking_the_landing: see :func:`bayeskit.log_weight`.

    Example:
        >>> import numpyro, numpyro.distributions as dist
        >>> import bayeskit as bk
        >>> def model():
        ...     z = numpyro.sample("z", dist.Normal(0.0, 1.0))
        ...     numpyro.sample("x", dist.Normal(z, 1.0), obs=1.2)
        >>> posterior = lambda: numpyro.sample("z", dist.Normal(0.6, 0.5**0.5))
        >>> round(float(bk.expectation(bk.elbo())(0, model, posterior)), 4)
        -1.6255

    Reference: Jordan, Ghahramani, Jaakkola and Saul (1999).
    """
    return ELBO(num_particles, sticking_the_landing)


def importance_weighted_elbo(num_particles: int) -> ImportanceWeightedELBO:
    r"""The importance-weighted bound :math:`\mathrm E \log \frac1K \sum_k w_k`.

    Args:
        num_particles: :math:`K`; the bound rises with it to :math:`\log p(y)`.

    Reference: Burda, Grosse and Salakhutdinov (2016), "Importance weighted autoencoders".
    """
    return ImportanceWeightedELBO(num_particles)


def renyi_bound(alpha: float, num_particles: int) -> RenyiBound:
    r"""The Rényi bound :math:`\frac{1}{1 - \alpha} \mathrm E \log \frac1K \sum_k w_k^{1 - \alpha}`.

    Args:
        alpha: in [0, 1); 0 gives the importance-weighted bound, and towards 1 it becomes the ELBO.
        num_particles: :math:`K`.

    Reference: Li and Turner (2016), "Rényi divergence variational inference", equation 14.
    """
    return RenyiBound(alpha, num_particles)


def tempered_elbo(temperature: float, num_particles: int = 1) -> TemperedELBO:
    r"""The ELBO with its entropy scaled, :math:`\mathrm E_q[\log p(y, z) - T \log q(z)]`.

    A bound for :math:`T = 1` only.

    Args:
        temperature: :math:`T`; above 1 the guide is wider, which helps at the start.
        num_particles: how many draws are averaged.

    Reference: Mandt, McInerney, Abrol, Ranganath and Blei (2016), "Variational tempering".
    """
    return TemperedELBO(temperature, num_particles)


def wake_guide(num_particles: int) -> WakeGuide:
    r"""The guide's half of reweighted wake-sleep: :math:`\mathrm E \log q(z)` over draws resampled from the guide.

    Its gradient is that of :math:`-\mathrm{KL}(p(z \mid y) \,\|\, q)`, with a bias from self-normalisation that
    falls as :math:`1/K`. It is no bound: its value says nothing of the fit.

    Args:
        num_particles: :math:`K`, from which one is resampled.

    Reference: Bornschein and Bengio (2015), "Reweighted wake-sleep".
    """
    return WakeGuide(num_particles)


def _check_count(num_particles: object) -> None:
    ok = is_whole(num_particles) and num_particles >= 1
    require(ok, "num_particles", num_particles, "a positive integer")
