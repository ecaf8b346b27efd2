"""How well the guide of a variational fit covers the posterior: Pareto k-hat of its importance weights."""

from __future__ import annotations

import warnings

import numpy as np
from arviz_stats.base import array_stats

from bayeskit.diagnostics.findings import Finding, Measure

MAX_K = 0.7
MIN_ESS = 10.0


def importance_weights(stats: dict[str, np.ndarray]) -> tuple[list[Finding], list[Measure]]:
    r"""Judge the weights $w = p(y, z) / q(z)$ of independent draws of a guide.

    $\hat k$ is the shape of the generalised Pareto distribution fitted to the largest weights; above 0.7 the guide
    misses so much of the posterior that its moments, and importance sampling with it, cannot be trusted (Vehtari,
    Simpson, Gelman, Yao and Gabry 2024, "Pareto smoothed importance sampling"). Where a few draws hold all of the
    weight, no tail can be fitted, and the effective number of draws $1 / \sum_i \bar w_i^2$ says so. Each fit is
    judged, the worst counts.
    """
    if "log_weight" not in stats:
        return [], []
    fits = [pareto_k(weights) for weights in stats["log_weight"]]
    k, ess = max(k for k, _ in fits), min(ess for _, ess in fits)
    measures = [Measure("max Pareto k", k, MAX_K)]
    if k <= MAX_K:
        return [], measures
    few = f" (the weights are worth {ess:.1f} draws)" if ess < MIN_ESS else ""
    return [
        Finding(
            "pareto_k",
            "error",
            (),
            k,
            MAX_K,
            f"The guide is far from the posterior{few}: do not trust its means and standard deviations.",
            "a richer guide (bayeskit.full_rank()), more steps (num_steps), or NUTS started from this fit: "
            "bayeskit.infer(model, data, bayeskit.NUTS(), key=..., init=post).",
        )
    ], measures


def pareto_k(log_weights: np.ndarray) -> tuple[float, float]:
    """Pareto k-hat of one fit, infinite where it cannot be fitted; and the effective number of draws."""
    log_weights = np.asarray(log_weights, float).ravel()
    if not np.isfinite(log_weights).all():
        return np.inf, 0.0
    normalised = np.exp(log_weights - log_weights.max())
    ess = float(normalised.sum() ** 2 / (normalised**2).sum())
    if ess < MIN_ESS:
        return np.inf, ess
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        k = float(array_stats.psislw(-log_weights)[1])  # it takes log likelihoods, and negates them
    return (k if np.isfinite(k) else np.inf), ess


def optimisation(traces: dict[str, np.ndarray]) -> list[Finding]:
    """Steps of the optimisation that were not taken because loss or gradient was not finite."""
    if "loss" not in traces:
        return []
    bad = ~np.isfinite(traces["loss"])
    if "gradient_norm" in traces:
        bad = bad | ~np.isfinite(traces["gradient_norm"])
    if not bad.any():
        return []
    share = float(bad.mean())
    return [
        Finding(
            "skipped_steps",
            "error" if share > 0.01 else "warning",
            ("loss",),
            share,
            0.01,
            f"Loss or gradient was not finite at {int(bad.sum())} of {bad.size} steps, which were not taken.",
            "a smaller learning_rate, starting values (init=), or a model whose density is finite wherever the guide "
            "may go.",
        )
    ]
