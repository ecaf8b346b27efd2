"""What objectives are made of: their contract, the log weight, and draws that no gradient passes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from bayeskit._settings import Settings, is_whole, require
from bayeskit._typing import Array, Values
from bayeskit.errors import ModelError
from bayeskit.program import LogWeight, Runnable, detach, draw, log_density, replicate
from bayeskit.program.execution import at, current_level
from bayeskit.program.weights import number_of

__all__ = [
    "Number",
    "Objective",
    "Proposals",
    "check_count",
    "draw_fixed",
    "first_order",
    "fixed_ratios",
    "inside",
    "known",
    "log_weight",
    "over_weights",
    "propose",
    "weighted_mean",
]

Number = LogWeight | Array


class Objective(Settings, ABC):
    """Settings of an objective (a frozen dataclass), called with a model and a guide.

    Attributes:
        fits_model: whether its gradient fits the parameters of a model too, as that of a bound on the evidence does; a
            divergence fits the guide to the model as it is.
    """

    room: ClassVar[str] = "objective"
    such_as: ClassVar[str] = "one such as bayeskit.objectives.ELBO(), or a function of a model and a guide"
    fits_model: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, model: Runnable, guide: Runnable) -> Number:
        """The number whose expectation is maximised."""

    @property
    def is_affine(self) -> bool:
        """Whether it is affine in the log density of the model, so that an unbiased estimate of that will do."""
        return False

    def at(self, progress: Array) -> Objective:
        """The objective after a share of the steps of a fit, from 0 to 1; the same unless it is annealed."""
        del progress
        return self

    def approximation(self, guide: Runnable) -> Runnable:
        """The program that draws from the approximation of the posterior: the guide, unless some of it is hidden."""
        return guide


class Proposals(NamedTuple):
    """Particles from a proposal that is held fixed; every field has shape `(num_particles,)`.

    Attributes:
        log_p: of the model at them, observations included; differentiable in the model's parameters.
        log_q: of the guide at them; differentiable in the guide's parameters.
        log_r: of the proposal, which is the guide at its present parameters; a constant.
    """

    log_p: Number
    log_q: Number
    log_r: Number

    @property
    def log_weights(self) -> Array:
        """Of the model to the fixed proposal."""
        return number_of(self.log_p) - number_of(self.log_r)


def log_weight(model: Runnable, guide: Runnable, *, sticking_the_landing: bool = False) -> Number:
    r"""A draw's :math:`\log w = \log p(y, z) - \log q(z)`, :math:`z \sim q`: the integrand of the bounds.

    Args:
        model: with its observations.
        guide: draws the latent sites of the model.
        sticking_the_landing: leave out the part of the gradient with mean zero that passes the parameters of
            :math:`\log q` directly, so that no noise is left where the guide is the posterior. Needs a guide whose
            parameters are known: a :class:`bayeskit.Program` (see :func:`bayeskit.detach`).

    Raises:
        ModelError: sticking the landing with a guide whose density is estimated, where the part has another mean; or a
            second derivative of it, from which that part is not absent.

    Reference: Roeder, Wu and Duvenaud (2017), "Sticking the landing".
    """
    choices, log_q = draw(guide)
    if not sticking_the_landing:
        return log_density(model, choices) - log_q
    if isinstance(log_q, LogWeight):
        raise ModelError("sticking the landing would bias the gradient of a guide whose density is estimated")
    log_w = log_density(model, choices) - log_density(detach(guide), choices)
    return jax.tree.map(lambda number: first_order(number, "sticking_the_landing"), log_w)


def draw_fixed(program: Runnable) -> tuple[Values, Number]:
    """Draw as from a program without parameters: no gradient passes the choices, by whatever estimator, or the density.

    Estimators are not consulted, so a site to be enumerated is drawn here.
    """
    outer = current_level("an objective")
    outer.check_transform("a program")
    apart = outer.child(outer.next_path("fixed"), is_draw=False)
    with at(apart):
        drawn = draw(program)
    return jax.tree.map(jax.lax.stop_gradient, drawn)  # the level's records are left behind


def propose(num_particles: int, model: Runnable, guide: Runnable) -> Proposals:
    """Particles from the guide, held fixed."""

    def one() -> Proposals:
        choices, log_r = draw_fixed(guide)
        return Proposals(log_density(model, choices), log_density(guide, choices), log_r)

    return replicate(num_particles, one)


def known(log_densities: Number, objective: str, instead: str) -> Array:
    """Refuse the density of a marginal or normalised program, of which only sums are unbiased."""
    if isinstance(log_densities, LogWeight):
        raise ModelError(
            f"{objective} is no sum of log densities, so it would be biased with one that is estimated (a marginal or "
            f"normalised program): use {instead}"
        )
    return log_densities


def inside(log_weight: Array) -> Array:
    """Not a number where a pathwise choice has left the support of the model, if the number would be finite otherwise.

    What crosses the boundary of the support is missing in a pathwise gradient.
    """
    choices = current_level("an objective").choices.values()
    if not any(choice.estimator.passes_values for choice in choices):
        return log_weight
    return log_weight * jnp.where(log_weight == -jnp.inf, jnp.nan, 1.0)


def check_count(num_particles: object, least: int = 1) -> None:
    """Refuse an impossible number of particles."""
    must = "a positive integer" if least == 1 else f"an integer of at least {least}"
    require(is_whole(num_particles) and num_particles >= least, "num_particles", num_particles, must)


def first_order(number: Array, objective: str) -> Array:
    """The same number, with its first derivative; of which a derivative raises."""

    @jax.custom_jvp
    def same(x: Array) -> Array:
        return x

    @jax.custom_jvp
    def one(x: Array) -> Array:
        return jnp.ones_like(x)

    @same.defjvp
    def _(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
        return primals[0], tangents[0] * one(primals[0])

    @one.defjvp
    def _(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
        del primals, tangents
        raise ModelError(f"{objective} has an unbiased gradient, and a second derivative of it would be wrong")

    return same(number)


def fixed_ratios(name: str, num_particles: int, model: Runnable, guide: Runnable) -> tuple[Array, Array]:
    """Log densities of the model over the guide, and over the guide held fixed, at particles that are held fixed."""
    particles = propose(num_particles, model, guide)
    log_p, log_q = (known(log, name, "bayeskit.objectives.WakeGuide()") for log in (particles.log_p, particles.log_q))
    return log_p - log_q, particles.log_weights


def weighted_mean(log_ratio: Array, log_weights: Array) -> Array:
    """The mean of the log ratio over the normalised weights; where the weight is zero, so is the term."""
    share = jax.nn.softmax(log_weights)
    return jnp.sum(share * jnp.where(share == 0.0, 0.0, log_ratio))


def over_weights(particles: Proposals) -> Array:
    """The mean of the guide's log density over the normalised weights, which are held fixed."""
    share = jax.lax.stop_gradient(jax.nn.softmax(particles.log_weights))
    return jnp.sum(share * number_of(particles.log_q))
