"""How well the guide of a variational fit covers the posterior: Pareto k-hat of its importance weights."""

from __future__ import annotations

import numpy as np

from bayeskit.diagnostics.elements import Site
from bayeskit.diagnostics.verdict import Finding, Measure
from bayeskit.numerics.importance import FEWEST, MAX_K, MIN_ESS, Fit, pareto_k
from bayeskit.numerics.tails import MAX_RATIO, MAX_SHIFT

__all__ = ["FEWEST", "MAX_K", "importance_weights", "pareto_k", "worst_k"]

_NUTS = "NUTS started from this fit: bayeskit.infer(model, data, bayeskit.NUTS(), key=..., init=post)"
_FAR = (
    "a guide that can follow the posterior (bayeskit.guides.FullRank(), Mixture(...), Flow()), more steps "
    f"(num_steps), or {_NUTS}. Its weights are of no use; once k is below {MAX_K}, "
    "bayeskit.importance_resample(post, num_draws, key=...) corrects what is left."
)
_MOMENTS = (
    "weighted draws in place of those of the guide: bayeskit.importance_resample(post, num_draws, key=...); a richer "
    f"guide (bayeskit.guides.FullRank()); or {_NUTS}."
)


def importance_weights(stats: dict[str, np.ndarray], sites: list[Site]) -> tuple[list[Finding], list[Measure]]:
    r"""Judge the weights $w = p(y, z) / q(z)$ of independent draws of a guide.

    $\hat k$ is the shape of the generalised Pareto distribution fitted to the largest weights; above 0.7 the guide
    misses so much of the posterior that its moments, and importance sampling with it, cannot be trusted (Vehtari,
    Simpson, Gelman, Yao and Gabry 2024, "Pareto smoothed importance sampling"). Where a few draws hold all of the
    weight, no tail can be fitted, and the effective number of draws $1 / \sum_i \bar w_i^2$ says so. Each fit is
    judged, the worst counts. Weights that are nearly equal have a shape too, but not one that matters: where neither
    what the draws show nor what their tail promises can move a mean or a standard deviation by much
    (`bayeskit.numerics.tails.nearly_equal`), $\hat k$ counts as zero.

    Below 0.7 the weighted draws are a better estimate of the posterior than the plain ones, and where their means and
    standard deviations differ by much, the guide's are wrong.
    """
    if "log_weight" not in stats:
        return [], []
    fits = [pareto_k(weights) for weights in stats["log_weight"]]
    k, ess = worst_k(fits), min(fit.ess for fit in fits)
    measures = [Measure("max Pareto k", k, MAX_K)]
    if np.isnan(k):
        return [], measures
    if k <= MAX_K:
        return _moments(fits, sites), measures
    few = f" (the weights are worth {ess:.1f} draws)" if ess < MIN_ESS else ""
    return [
        Finding(
            "pareto_k",
            "error",
            (),
            k,
            MAX_K,
            f"The guide is far from the posterior{few}: do not trust its means and standard deviations.",
            _FAR,
        )
    ], measures


def _moments(fits: list[Fit], sites: list[Site]) -> list[Finding]:
    """Elements whose mean or standard deviation the weights change by much."""
    wrong: dict[str, float] = {}
    for site in sites:
        if not site.continuous:
            continue
        for chain, fit in enumerate(fits):
            draws = site.draws[chain]
            mean = fit.weights @ draws
            with np.errstate(invalid="ignore", divide="ignore"):
                sd = np.sqrt(fit.weights @ (draws - mean) ** 2)
                shift = np.abs(draws.mean(axis=0) - mean) / sd
                ratio = np.abs(np.log(draws.std(axis=0) / sd))
            worst = np.fmax(shift / MAX_SHIFT, ratio / np.log(MAX_RATIO))
            for label, value in zip(site.labels, worst, strict=True):
                if value > 1.0:
                    wrong[label] = max(wrong.get(label, 0.0), float(value))
    if not wrong:
        return []
    labels = tuple(sorted(wrong, key=lambda label: -wrong[label]))
    return [
        Finding(
            "guide_moments",
            "error",
            labels,
            wrong[labels[0]],
            1.0,
            f"Weighting the draws towards the posterior moves a mean by more than {MAX_SHIFT} standard deviations, or "
            f"changes a standard deviation by a factor of more than {MAX_RATIO}: the guide's are wrong there.",
            _MOMENTS,
        )
    ]


def worst_k(fits: list[Fit]) -> float:
    """The largest k of several fits; NaN where none is known."""
    return float(np.fmax.reduce([fit.k for fit in fits]))
