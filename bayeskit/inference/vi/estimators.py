r"""How a gradient passes a random choice.

For a choice $x \sim q_\theta$ and the rest of the program $k(x)$, an estimator makes a *surrogate*: a number whose
value is an unbiased estimate of $\mathrm E\, k(x)$ and whose derivative is an unbiased estimate of
$\nabla_\theta\, \mathrm E\, k(x)$ (Lew, Huot, Staton and Mansinghka 2023, "ADEV"; Becker et al. 2024, "Probabilistic
Programming with Programmable Variational Inference"). With $\bot$ for `stop_gradient`:

=====================  ============================================================================================
estimator              surrogate
=====================  ============================================================================================
:func:`pathwise`       $k(x)$ with $x$ a differentiable function of $\theta$ and of noise
:func:`score`          $k(\bot x) \, e^{\ell - \bot \ell} - b\,(e^{\ell - \bot \ell} - 1)$, $\ell = \log q_\theta(x)$
:func:`enumeration`    $\sum_v q_\theta(v)\, k(v)$
:func:`measure_valued` $k(\bot x) + \sum_v \bot k(v)\, (q_\theta(v) - \bot q_\theta(v))$, or the same over the two
                       halves of a weak derivative
:func:`disarm`         $k(\bot x)$ and, for each Bernoulli choice, $\bot[\tfrac12 (k(x) - k(\tilde x)) (-1)^{\tilde x_i}
                       1_{x_i \ne \tilde x_i}\, \sigma(|\alpha_i|)]\,(\alpha_i - \bot \alpha_i)$ with its antithetic
=====================  ============================================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from numpyro.distributions import Distribution

from bayeskit._errors import ModelError
from bayeskit._typing import Array
from bayeskit.inference.vi.baselines import FittedBaseline, elementwise
from bayeskit.inference.vi.implicit import implicit
from bayeskit.inference.vi.validity import (
    as_mixture,
    check_enumerable,
    check_fixed_support,
    is_reparameterised,
    name_of,
)
from bayeskit.inference.vi.weak_derivatives import find_weak_derivative
from bayeskit.program.execution import Estimator, Record
from bayeskit.program.supports import elements

__all__ = ["Enumeration", "MeasureValued", "Pathwise", "Score", "default_estimator"]


@dataclass(frozen=True)
class Pathwise(Estimator):
    """See :func:`pathwise`."""

    def check(self, site: str, distribution: Distribution) -> None:
        if not is_reparameterised(distribution):
            raise ModelError(
                f"site {site!r}: pathwise gradients do not pass {name_of(distribution)}, whose values do not move "
                "smoothly with its parameters; use bayeskit.score()"
                + (", bayeskit.enumeration()" if distribution.has_enumerate_support else "")
            )

    def sample(self, key: Array, distribution: Distribution) -> Array:
        mixture = as_mixture(distribution)
        if mixture is None:
            return jnp.asarray(distribution.rsample(key))
        return implicit(jax.lax.stop_gradient(mixture.sample(key)), mixture)

    def record(self, key: Array, distribution: Distribution, value: Array) -> Record:
        del key, distribution, value
        return {}


@dataclass(frozen=True)
class Score(Estimator):
    """See :func:`score`."""

    baseline: float | Array | Callable[[], Array] | FittedBaseline | None = None

    def check(self, site: str, distribution: Distribution) -> None:
        check_fixed_support(site, distribution, "score-function")

    def sample(self, key: Array, distribution: Distribution) -> Array:
        return jax.lax.stop_gradient(distribution.sample(key))

    def record(self, key: Array, distribution: Distribution, value: Array) -> Record:
        del key
        log_q = elements(distribution).log_prob(jax.lax.stop_gradient(value))
        if self.baseline is None:
            return {"log_q": log_q, "leave_one_out": jnp.zeros_like(log_q)}
        if isinstance(self.baseline, FittedBaseline):
            fitted = elementwise(self.baseline.function(), log_q)
            return {"log_q": log_q, "baseline": jax.lax.stop_gradient(fitted), "fitted": self.baseline.sign * fitted}
        baseline = self.baseline() if callable(self.baseline) else self.baseline
        return {"log_q": log_q, "baseline": elementwise(baseline, log_q)}


@dataclass(frozen=True)
class Enumeration(Estimator):
    """See :func:`enumeration`."""

    needs_support = True

    def check(self, site: str, distribution: Distribution) -> None:
        check_enumerable(site, distribution, "enumeration")

    def sample(self, key: Array, distribution: Distribution) -> Array:
        return jax.lax.stop_gradient(distribution.sample(key))

    def record(self, key: Array, distribution: Distribution, value: Array) -> Record:
        del key
        return {"log_q": elements(distribution).log_prob(value)}


@dataclass(frozen=True)
class MeasureValued(Estimator):
    """See :func:`measure_valued`."""

    needs_support = True

    def check(self, site: str, distribution: Distribution) -> None:
        check_fixed_support(site, distribution, "measure-valued")
        if not distribution.has_enumerate_support and find_weak_derivative(elements(distribution)) is None:
            raise ModelError(
                f"site {site!r}: no weak derivative of {name_of(distribution)} is known; use bayeskit.score()"
                + (" or bayeskit.pathwise()" if is_reparameterised(distribution) else "")
            )
        if distribution.has_enumerate_support:
            check_enumerable(site, distribution, "measure-valued gradients")

    def sample(self, key: Array, distribution: Distribution) -> Array:
        return jax.lax.stop_gradient(distribution.sample(key))

    def record(self, key: Array, distribution: Distribution, value: Array) -> Record:
        single = elements(distribution)
        if distribution.has_enumerate_support:
            support = jnp.asarray(single.enumerate_support(expand=True))
            return {"value": value, "probabilities": jnp.exp(jax.vmap(single.log_prob)(support))}
        weak = find_weak_derivative(single)
        if weak is None:
            raise TypeError("checked before")
        return {"value": value, **weak(key, single, value)}


def pathwise() -> Pathwise:
    r"""Pathwise gradients, by (implicit) reparameterisation.

    Low variance; needs a distribution whose values are a differentiable function of its parameters (normal, gamma,
    beta, Dirichlet, Student's t, ...). The default where it is valid.

    Reference: Kingma and Welling (2014); Figurnov, Mohamed and Mnih (2018) for the implicit form.
    """
    return Pathwise()


def score(baseline: float | Array | Callable[[], Array] | FittedBaseline | None = None) -> Score:
    r"""The score-function estimator (REINFORCE), unbiased for every distribution with a fixed support.

    Args:
        baseline: a number that is subtracted from what the score multiplies, or a function without arguments that
            returns one (or one for each independent element of the choice); it may depend on what came before the
            choice, never on the choice itself. :func:`bayeskit.fitted_baseline` learns one. Within
            :func:`bayeskit.average` and :func:`bayeskit.log_average_exp`, ``None`` takes the other particles for it.

    Reference: Williams (1992), "Simple statistical gradient-following algorithms".
    """
    return Score(baseline)


def enumeration() -> Enumeration:
    r"""Exact summation over a finite support: no variance from this choice.

    The program runs once for every combination of the values of the enumerated choices.
    """
    return Enumeration()


def measure_valued() -> MeasureValued:
    r"""Weak derivatives: the program runs again with the choice (one element at a time) at other values.

    For finite supports (Bernoulli, categorical, ...) and the Poisson, normal and gamma distributions.

    Reference: Pflug (1989); Mohamed, Rosca, Figurnov and Mnih (2020), "Monte Carlo gradient estimation in machine
    learning", section 6.
    """
    return MeasureValued()


def default_estimator(distribution: Distribution) -> Estimator:
    """Pathwise where that is valid, else the score function."""
    return Pathwise() if is_reparameterised(distribution) else Score()
