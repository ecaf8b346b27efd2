"""The state of tempered particles."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np

from bayeskit.errors import SamplingError
from bayeskit.inference.smc.moves import Particles
from bayeskit.inference.smc.particles import check_finite_likelihood

TRACES = (
    "temperature",
    "ess",
    "log_evidence",
    "acceptance_rate",
    "step_size",
    "num_moves",
    "displacement",
    "correlation",
    "moved",
    "ancestors",
)


class SMCState(NamedTuple):
    """Of each run.

    Attributes:
        key: raw.
        stage: stages done.
        temperature: of the particles, 1 at the end.
        particles: position, log prior and log likelihood of each.
        acceptance: mean acceptance probability of each in its last moves.
        eve: the ancestor of each among the draws of the prior.
        rounded: variance that resampling has added to the sizes of families.
        log_evidence: so far.
        variance: relative variance of the estimate of the evidence.
        undefined: share of all weights whose likelihood was NaN.
        log_step: log of the tuned step size.
        cursor: draws dealt out.
        trace: `TRACES` of each stage, NaN where there was none.
    """

    key: np.ndarray
    stage: np.ndarray
    temperature: np.ndarray
    particles: Particles
    acceptance: np.ndarray
    eve: np.ndarray
    rounded: np.ndarray
    log_evidence: np.ndarray
    variance: np.ndarray
    undefined: np.ndarray
    log_step: np.ndarray
    cursor: np.ndarray
    trace: dict[str, np.ndarray]


def noted(trace: np.ndarray, stage: np.ndarray, numbers: Any) -> np.ndarray:
    """The trace with the numbers of a stage of each run."""
    trace = trace.copy()
    trace[np.arange(len(trace)), stage] = numbers
    return trace


def where_going(going: np.ndarray, new: SMCState, old: SMCState) -> SMCState:
    """The new state of the runs that were still going."""

    def pick(fresh: Any, before: Any) -> np.ndarray:
        fresh, before = np.asarray(fresh), np.asarray(before)
        mask = going.reshape(-1, *[1] * (before.ndim - 1))
        return np.where(mask, fresh, before).astype(before.dtype)

    return jax.tree.map(pick, new, old)


def check_prior_draws(particles: Particles) -> None:
    """The prior draws can be used.

    Raises:
        SamplingError: none has a finite likelihood, one has an infinite one, or one lies at infinity.
    """
    if not np.isfinite(particles.position).all():
        share = 1.0 - np.isfinite(particles.position).all(-1).mean()
        raise SamplingError(
            f"{share:.2%} of the draws of the prior lie on the boundary of their support, at infinity in unconstrained "
            "coordinates; use float64, or a prior that keeps away from its boundary"
        )
    check_finite_likelihood(particles.log_likelihood)
    if not np.isfinite(particles.log_likelihood).any(1).all():
        raise SamplingError(
            f"no draw of the prior, of {particles.log_prior.shape[1]}, has a finite likelihood; look at the prior with "
            "bayeskit.predict(model, data, key=...), and write one that the data are possible under"
        )
