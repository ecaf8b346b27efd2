"""Nested sampling's account of the prior's volume, on the host: weights of dead points, the evidence and its error."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

SIMULATIONS = 200


class Account(NamedTuple):
    r"""What the dead and the live points of one run amount to.

    Attributes:
        log_evidence: its logarithm.
        error: the standard error of that.
        information: nats from prior to posterior.
        effective: what weighted draws are worth, :math:`(\sum w)^2 / \sum w^2`.
    """

    log_evidence: float
    error: float
    information: float
    effective: float


def counts(num_live: int, num_delete: int, num_dead: int) -> np.ndarray:
    """Live points before each death, where `num_delete` at a time die from the lowest up and are replaced together."""
    return num_live - np.arange(num_dead) % num_delete


def log_shells(log_volume: float, live: np.ndarray) -> tuple[np.ndarray, float]:
    r"""Log of the volume :math:`X_{i-1} - X_i` of each shell, :math:`E \log(X_i / X_{i-1}) = -1 / n_i`, and of what is
    left.
    """
    steps = -1.0 / live
    before = log_volume + np.cumsum(steps) - steps
    return before + np.log(-np.expm1(steps)), float(log_volume + steps.sum())


def account(
    dead: np.ndarray, live: np.ndarray, log_volume: float, num_delete: int, random: np.random.Generator
) -> Account:
    r"""The evidence of one run from log likelihoods of its dead points, in the order of death, and of its live ones.

    The volumes are uncertain, :math:`X_i = t_i X_{i-1}` with :math:`t_i \sim \mathrm{Beta}(n_i, 1)`; the error is the
    standard deviation of the log evidence over draws of them.

    Reference: Skilling (2006), "Nested sampling for general Bayesian computation", sections 4 and 5.
    """
    number = counts(len(live), num_delete, len(dead))
    shells, left = log_shells(log_volume, number)
    log_likelihood = np.concatenate([dead, live])
    log_weights = log_likelihood + np.concatenate([shells, np.full(len(live), left - np.log(len(live)))])
    log_evidence = float(np.logaddexp.reduce(log_weights))
    weights = np.exp(log_weights - log_evidence)
    used = weights > 0
    information = float((weights[used] * log_likelihood[used]).sum() - log_evidence)
    highest = log_weights.max()
    simulated = np.empty(SIMULATIONS)
    live_total = np.logaddexp.reduce(live) - np.log(len(live))
    for index in range(SIMULATIONS):
        steps = -random.exponential(size=len(dead)) / number
        after = log_volume + np.cumsum(steps)
        shell = after - steps + np.log(-np.expm1(steps))
        total = np.exp(dead + shell - highest).sum() + np.exp(live_total + after[-1] - highest)
        simulated[index] = np.log(total)
    return Account(log_evidence, float(simulated.std(ddof=1)), information, float(1.0 / np.square(weights).sum()))


PLATEAU = 0.05


def ties(log_likelihood: np.ndarray, num_live: int) -> float:
    r"""Share of values on a plateau: those that more than a twentieth of the number of live points have.

    Of :math:`n` live points :math:`m` on a plateau die together, so that the volume falls by
    :math:`-\log(1 - m / n) \approx m / n + m^2 / 2 n^2`, and not by :math:`m / n`: pairs that rounding
    makes do no harm.
    """
    _, sizes = np.unique(log_likelihood, return_counts=True)
    return float(sizes[sizes > max(2.0, PLATEAU * num_live)].sum() / len(log_likelihood))
