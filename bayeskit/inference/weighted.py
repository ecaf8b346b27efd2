"""Draws chosen before they are asked for, from a pool with importance weights: what methods without chains hand out."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.special import logsumexp

from bayeskit._typing import Array
from bayeskit.numerics.importance import pareto_k, systematic

__all__ = ["Pool", "Weighted", "choose", "nothing_chosen"]

NOTHING = 100.0
"""By so much less than any other is the log weight of a draw whose density is zero: a weight of nothing, and finite."""


class Pool(NamedTuple):
    """Draws of an approximation, shape `(n, size)`; their log density `lp` under the target and `log_q` under the
    approximation, shape `(n,)`.
    """

    points: np.ndarray
    lp: np.ndarray
    log_q: np.ndarray


class Weighted(NamedTuple):
    """The draws of one chain (or of all, with a leading axis), and what their weights say.

    Attributes:
        points: shape `(num_draws, size)`.
        lp: log density of the target.
        log_q: log density of the approximation.
        pareto_k: of the weights of the whole pool.
        ess: how many independent draws the pool is worth.
        log_evidence: the log of the mean weight of the pool.
        undefined: draws of the pool whose log density is NaN.
    """

    points: Array
    lp: Array
    log_q: Array
    pareto_k: Array
    ess: Array
    log_evidence: Array
    undefined: Array

    def at(self, step: Array, *, weights: bool) -> tuple[Array, dict[str, Array]]:
        """Draw number `step`, and its statistics: weights of its own, or what the weights of the pool have said."""
        if weights:
            own = {"log_q": self.log_q[step], "log_weight": self.lp[step] - self.log_q[step]}
        else:
            own = {"pareto_k": self.pareto_k, "importance_ess": self.ess}
        return self.points[step], {"lp": self.lp[step], **own}

    def found(self) -> dict[str, float]:
        """Attributes of a result, from all chains: the log of the mean evidence, and draws whose density is NaN."""
        evidence = np.asarray(self.log_evidence, float)
        total = logsumexp(evidence) - np.log(evidence.size)
        return {"log_evidence": float(total), "num_undefined": int(np.sum(self.undefined))}


def nothing_chosen(num_chains: int, num_draws: int, size: int, dtype: np.dtype) -> Weighted:
    """All chains before there are draws."""
    one, many = np.zeros(num_chains, dtype), np.zeros((num_chains, num_draws), dtype)
    none = np.zeros((num_chains, num_draws, size), dtype)
    leaves: list[Any] = [none, many, many, one, one, one, np.zeros(num_chains, np.int32)]  # on the host
    return Weighted(*leaves)


def choose(pool: Pool, num_draws: int, key: Array, *, resample: bool) -> Weighted:
    """Draws of the pool in proportion to their weights, or the first of it as they are.

    A density of zero is a weight of zero. A density that is NaN has a weight of zero too, for a sampler would not go
    there either; how many there are is said.
    """
    log_weights = np.asarray(pool.lp, float) - np.asarray(pool.log_q, float)
    undefined, usable = np.isnan(log_weights), log_weights > -np.inf
    lowest = log_weights[usable].min() if usable.any() else 0.0
    fit = pareto_k(np.where(usable, log_weights, lowest - NOTHING))
    if not usable.any():
        fit = fit._replace(k=np.inf, ess=0.0)
    index = systematic(fit.weights, num_draws, key) if resample else np.arange(num_draws)
    evidence = logsumexp(log_weights[usable]) - np.log(log_weights.size) if usable.any() else -np.inf
    real = pool.points.dtype
    leaves: list[Any] = [np.asarray(array[index], real) for array in pool]
    leaves += [np.asarray(number, real) for number in (fit.k, fit.ess, evidence)]
    leaves += [np.asarray(undefined.sum(), np.int32)]
    return Weighted(*leaves)
