r"""Objectives: functions of a few lines that draw from programs and return a number.

Each takes programs and returns a function without arguments, to be given to :func:`bayeskit.expectation`. Those that are
maximised are lower bounds of :math:`\log p(y)`.
"""

from __future__ import annotations

from bayeskit._typing import Array
from bayeskit.program import Runnable, average, draw, log_average_exp, log_density

__all__ = ["elbo", "importance_weighted_elbo", "log_weight"]


def log_weight(model: Runnable, guide: Runnable) -> Array:
    r"""A draw's :math:`\log w = \log p(y, z) - \log q(z)`, :math:`z \sim q`: the integrand of the bounds."""
    choices, log_q = draw(guide)
    return log_density(model, choices) - log_q


def elbo(model: Runnable, guide: Runnable, num_particles: int = 1) -> Array:
    r"""The evidence lower bound :math:`\mathrm E_q[\log p(y, z) - \log q(z)]`.

    Args:
        model: with its observations.
        guide: draws the latent sites of the model.
        num_particles: how many draws are averaged; with two or more, score estimators take the others as baseline.

    Reference: Jordan, Ghahramani, Jaakkola and Saul (1999).
    """
    if num_particles == 1:
        return log_weight(model, guide)
    return average(num_particles, log_weight, model, guide)


def importance_weighted_elbo(model: Runnable, guide: Runnable, num_particles: int) -> Array:
    r"""The importance-weighted bound :math:`\mathrm E \log \frac1K \sum_k w_k`.

    Args:
        model: with its observations.
        guide: draws the latent sites of the model.
        num_particles: :math:`K`; the bound rises with it to :math:`\log p(y)`.

    Reference: Burda, Grosse and Salakhutdinov (2016), "Importance weighted autoencoders".
    """
    return log_average_exp(num_particles, log_weight, model, guide)
