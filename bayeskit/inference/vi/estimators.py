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
=====================  ============================================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from numpyro.distributions import Distribution, constraints

from bayeskit._errors import ModelError
from bayeskit._typing import Array
from bayeskit.inference.vi.weak_derivatives import find_weak_derivative
from bayeskit.program.execution import Estimator, Record
from bayeskit.program.supports import elements, is_everywhere

__all__ = ["Custom", "Enumeration", "MeasureValued", "Pathwise", "Score", "default_estimator"]


Surrogate = Callable[[Array, Distribution, Callable[[Array], Any]], Any]


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
        return jnp.asarray(distribution.rsample(key))

    def record(self, key: Array, distribution: Distribution, value: Array) -> Record:
        del key, distribution, value
        return {}


@dataclass(frozen=True)
class Score(Estimator):
    """See :func:`score`."""

    baseline: float | Callable[[], Array] | None = None

    def check(self, site: str, distribution: Distribution) -> None:
        check_fixed_support(site, distribution, "score-function")

    def sample(self, key: Array, distribution: Distribution) -> Array:
        return jax.lax.stop_gradient(distribution.sample(key))

    def record(self, key: Array, distribution: Distribution, value: Array) -> Record:
        del key
        log_q = elements(distribution).log_prob(jax.lax.stop_gradient(value))
        if self.baseline is None:
            return {"log_q": log_q, "leave_one_out": jnp.zeros_like(log_q)}
        baseline = self.baseline() if callable(self.baseline) else self.baseline
        return {"log_q": log_q, "baseline": _baseline(baseline, log_q)}


def _baseline(baseline: object, log_q: Array) -> Array:
    array = jnp.asarray(baseline, log_q.dtype)
    if jnp.broadcast_shapes(array.shape, log_q.shape) != log_q.shape:
        raise ModelError(
            f"a baseline has shape {array.shape}, and the choice has {log_q.shape} independent elements: it takes a "
            "number, or one for each element"
        )
    return jnp.broadcast_to(array, log_q.shape)


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


@dataclass(frozen=True)
class Custom(Estimator):
    """See :func:`custom_estimator`."""

    function: Surrogate

    def check(self, site: str, distribution: Distribution) -> None:
        del site, distribution

    def sample(self, key: Array, distribution: Distribution) -> Array:
        return jax.lax.stop_gradient(distribution.sample(key))

    def record(self, key: Array, distribution: Distribution, value: Array) -> Record:
        del value
        raw = jax.random.key_data(key) if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else key
        return {"key": raw, "distribution": distribution}


def custom_estimator(function: Surrogate) -> Custom:
    r"""An estimator of your own.

    Args:
        function: ``function(key, distribution, continuation)`` returns a surrogate: a number whose expectation is
            :math:`\mathrm E\, k(x)`, and the expectation of whose derivative is that of :math:`\mathrm E\, k(x)`.
            ``continuation`` is :math:`k`: given a value of the choice it runs the rest of the program, and returns what
            the function given to :func:`bayeskit.expectation` returns (a number, or a pytree of numbers), with the
            estimators of the other choices at work. It is traced, may be called more than once and under ``jax.vmap``;
            gradients pass the value. Where other choices are enumerated, it runs once in each lane.

    Example:
        >>> import jax, numpyro, numpyro.distributions as dist
        >>> import bayeskit as bk
        >>> def by_score(key, distribution, continuation):
        ...     x = jax.lax.stop_gradient(distribution.sample(key))
        ...     number, log_q = continuation(x), distribution.log_prob(x)
        ...     return number + jax.lax.stop_gradient(number) * (log_q - jax.lax.stop_gradient(log_q))
        >>> estimator = bk.custom_estimator(by_score)
        >>> def f(p):
        ...     program = lambda: numpyro.sample("b", dist.Bernoulli(p), infer={"estimator": estimator})
        ...     return (2 * bk.draw(program)[0]["b"] + 1) ** 2.0
        >>> gradients = jax.vmap(jax.grad(bk.expectation(f), argnums=1), (0, None))
        >>> bool(abs(gradients(jax.random.split(jax.random.key(0), 10_000), 0.3).mean() - 8.0) < 0.5)
        True
    """
    return Custom(function)


def pathwise() -> Pathwise:
    r"""Pathwise gradients, by (implicit) reparameterisation.

    Low variance; needs a distribution whose values are a differentiable function of its parameters (normal, gamma,
    beta, Dirichlet, Student's t, ...). The default where it is valid.

    Reference: Kingma and Welling (2014); Figurnov, Mohamed and Mnih (2018) for the implicit form.
    """
    return Pathwise()


def score(baseline: float | Callable[[], Array] | None = None) -> Score:
    r"""The score-function estimator (REINFORCE), unbiased for every distribution with a fixed support.

    Args:
        baseline: a number that is subtracted from what the score multiplies, or a function without arguments that
            returns one; it may depend on what came before the choice, never on the choice itself. Within
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


def is_reparameterised(distribution: Distribution) -> bool:
    """Whether values are differentiable functions of the parameters."""
    single = elements(distribution)
    return bool(distribution.has_rsample) and not single.is_discrete


def check_fixed_support(site: str, distribution: Distribution, what: str) -> None:
    """Refuse a continuous distribution whose support may depend on what is differentiated."""
    for leaf in _bounds(distribution):
        if isinstance(leaf, jax.core.Tracer) and jnp.issubdtype(leaf.dtype, jnp.floating):
            raise ModelError(
                f"site {site!r}: the support of {name_of(distribution)} has a bound that is computed, and "
                f"{what} gradients are wrong where it depends on a parameter; use bayeskit.pathwise(), or a plain "
                "number for the bound"
            )


def _bounds(distribution: Distribution) -> list[object]:
    """What the support of a distribution is made of, or of those that it is made of."""
    single = elements(distribution)
    while type(single).__name__ == "ExpandedDistribution":
        single = single.base_dist
    bounds = list(jax.tree.leaves(single.support)) if isinstance(single.support, constraints.Constraint) else []
    if isinstance(single, dist.Delta):
        bounds.append(single.v)
    if isinstance(single, dist.TransformedDistribution):
        bounds += _bounds(single.base_dist)
        if not is_everywhere(single.base_dist.support):
            bounds += jax.tree.leaves(single.transforms)
    if isinstance(single, dist.MixtureSameFamily):
        bounds += _bounds(single.component_distribution)
    if isinstance(single, dist.MixtureGeneral):
        for component in single.component_distributions:
            bounds += _bounds(component)
    return bounds


def check_enumerable(site: str, distribution: Distribution, what: str) -> None:
    """Refuse a distribution without a finite support."""
    if not distribution.has_enumerate_support:
        raise ModelError(
            f"site {site!r}: {what} needs a finite support, and {name_of(distribution)} has none; use bayeskit.score()"
            + (" or bayeskit.pathwise()" if is_reparameterised(distribution) else "")
        )
    if elements(distribution).event_dim > 0:
        raise ModelError(
            f"site {site!r}: {what} over events of {name_of(distribution)} is not supported; use bayeskit.score()"
        )


def name_of(distribution: Distribution) -> str:
    """The name of the distribution under its wrappers."""
    single = elements(distribution)
    while type(single).__name__ == "ExpandedDistribution":
        single = single.base_dist
    return type(single).__name__
