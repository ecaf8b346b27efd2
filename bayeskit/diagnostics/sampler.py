"""What the sampler itself reports: divergences, tree depth, energy, non-finite statistics.

References: Betancourt (2017), "A conceptual introduction to Hamiltonian Monte Carlo", arXiv:1701.02434, sections 5, 6;
Betancourt (2016), "Diagnosing suboptimal cotangent disintegrations in Hamiltonian Monte Carlo", arXiv:1604.00695.
"""

from __future__ import annotations

import numpy as np

from bayeskit.diagnostics.elements import Site
from bayeskit.diagnostics.verdict import Finding, Measure

E_BFMI_LIMIT = 0.3
E_BFMI_ERROR = 0.2
SATURATED_WARNING = 0.01
_NEVER_INFINITE = ("lp", "energy")


def non_finite_stats(stats: dict[str, np.ndarray]) -> list[Finding]:
    """Sample statistics that are NaN anywhere, and log densities or energies that are infinite."""
    bad: dict[str, float] = {}
    for name, values in stats.items():
        if values.dtype.kind == "f":
            wrong = ~np.isfinite(values) if name in _NEVER_INFINITE else np.isnan(values)
            if wrong.any():
                bad[name] = float(wrong.mean())
    if not bad:
        return []
    names = tuple(sorted(bad, key=lambda name: -bad[name]))
    return [
        Finding(
            "non_finite_stats",
            "error",
            names,
            bad[names[0]],
            0.0,
            f"{bad[names[0]]:.1%} of the values are NaN or infinite: the density could not be evaluated there, and the "
            "sampler did not follow it.",
            "look for a logarithm of 0, a division by 0 or an overflow in the model; use float64.",
        )
    ]


def divergences(stats: dict[str, np.ndarray], sites: list[Site]) -> tuple[list[Finding], list[Measure]]:
    """Divergent transitions. Any at all is an error: the sampler says that it could not follow the density there."""
    if "diverging" not in stats:
        return [], []
    diverging = stats["diverging"].astype(bool)
    count = int(diverging.sum())
    measure = Measure("divergences", float(count), 0.0)
    if count == 0:
        return [], [measure]
    names, where = _where_divergent(diverging, sites)
    finding = Finding(
        "divergences",
        "error",
        names,
        float(count),
        0.0,
        f"{count} of {diverging.size} transitions diverged ({diverging.mean():.1%}): the step is too long for a narrow "
        f"part of the posterior, which the draws therefore miss.{where}",
        "write hierarchical effects non-centred (numpyro.infer.reparam.LocScaleReparam(0)), raise target_accept to "
        "0.95 or 0.99, and give scales priors that keep them away from 0.",
    )
    return [finding], [measure]


def _where_divergent(diverging: np.ndarray, sites: list[Site]) -> tuple[tuple[str, ...], str]:
    """The elements in which divergent draws are most unlike the others, by the mean of their ranks."""
    count = int(diverging.sum())
    scores: dict[str, float] = {}
    for site in sites:
        if not site.latent or site.shape[:2] != diverging.shape:
            continue
        for k in np.flatnonzero(site.finite & ~site.constant):
            draws = site.element(int(k))
            ranks = np.searchsorted(np.sort(draws, axis=None), draws[diverging]) / draws.size
            # the mean of n uniforms has standard deviation 1 / sqrt(12 n)
            scores[site.labels[k]] = float((ranks.mean() - 0.5) * np.sqrt(12 * count))
    names = tuple(name for name in sorted(scores, key=lambda name: -abs(scores[name])) if abs(scores[name]) > 4)[:3]
    if not names:
        return (), ""
    ends = [f"{'small' if scores[name] < 0 else 'large'} {name}" for name in names]
    return names, f" They gather at {', '.join(ends)}."


def tree_depth(stats: dict[str, np.ndarray]) -> tuple[list[Finding], list[Measure]]:
    """Trajectories that were cut at the largest tree depth.

    They draw from the posterior all the same, in small strides: whether these were enough, effective sample sizes tell.
    """
    if "reached_max_treedepth" not in stats:
        return [], []
    reached = stats["reached_max_treedepth"].astype(bool)
    share = float(reached.mean()) if reached.size else 0.0
    measure = Measure("share at max tree depth", share, SATURATED_WARNING)
    if share <= SATURATED_WARNING:
        return [], [measure]
    finding = Finding(
        "tree_depth",
        "warning",
        (),
        share,
        SATURATED_WARNING,
        f"{share:.1%} of the trajectories were cut at the largest tree depth before they turned around: the sampler "
        "crosses the posterior in many small strides.",
        "rescale the parameters to unit size, use a dense mass matrix for strong correlations, run a longer warmup, or "
        "raise max_tree_depth.",
    )
    return [finding], [measure]


def energy(stats: dict[str, np.ndarray], groups: int = 0) -> tuple[list[Finding], list[Measure]]:
    """The estimated Bayesian fraction of missing information of each chain, or of so many groups of short ones.

    E-BFMI is the mean square of the change of energy over the variance of the energy.
    """
    values = stats.get("energy")
    if values is None or values.shape[1] < 2 or not np.isfinite(values).all():
        return [], []
    split = values.astype(float).reshape(groups or len(values), -1, values.shape[1])
    with np.errstate(all="ignore"):
        fractions = np.square(np.diff(split, axis=2)).mean(axis=(1, 2)) / split.var(axis=(1, 2))
    unit = "superchain" if groups else "chain"
    worst = int(np.argmin(np.nan_to_num(fractions, nan=-1)))
    value = float(fractions[worst])
    measure = Measure("min E-BFMI", value, E_BFMI_LIMIT, f"{unit} {worst}")
    if value >= E_BFMI_LIMIT:
        return [], [measure]
    low = [str(chain) for chain in np.flatnonzero(~(fractions >= E_BFMI_LIMIT))]
    finding = Finding(
        "e_bfmi",
        "warning" if value >= E_BFMI_ERROR else "error",
        ("energy",),
        value,
        E_BFMI_LIMIT,
        f"E-BFMI is {value:.2f} in {unit}{'s' if len(low) > 1 else ''} {', '.join(low)}, less than {E_BFMI_LIMIT}: a "
        "trajectory changes the energy little against how much it varies, so the tails are visited rarely.",
        "reparameterise (non-centred hierarchical effects), and give lighter-tailed priors to what has heavy tails.",
    )
    return [finding], [measure]
