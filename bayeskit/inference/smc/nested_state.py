"""The state of nested sampling."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bayeskit.inference.smc.moves import Particles

TRACES = ("log_evidence", "log_volume", "remaining", "expansions")


class NestedState(NamedTuple):
    """Of each run.

    Attributes:
        key: raw.
        stage: stages done.
        live: the live points.
        draws: of the posterior; each an independent choice among the dead points so far, by their weights.
        log_weight: log of the sum of these weights, the evidence without the live points.
        log_volume: of the prior that has a positive likelihood.
        volume_error: standard error of that, from the draws of the prior that had none.
        volume_left: log of what the dead points have left.
        dead: log likelihoods of the dead points, `num_dead` of them.
        num_dead: how many have died.
        undefined: share of the prior draws whose likelihood was NaN.
        finished: what is left no longer matters.
        cursor: draws dealt out.
        trace: `TRACES` of each stage, NaN where there was none.
    """

    key: np.ndarray
    stage: np.ndarray
    live: Particles
    draws: Particles
    log_weight: np.ndarray
    log_volume: np.ndarray
    volume_error: np.ndarray
    volume_left: np.ndarray
    dead: np.ndarray
    num_dead: np.ndarray
    undefined: np.ndarray
    finished: np.ndarray
    cursor: np.ndarray
    trace: dict[str, np.ndarray]
