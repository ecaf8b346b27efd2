"""Rank-normalised R-hat and effective sample sizes of every element.

Reference: Vehtari, Gelman, Simpson, Carpenter and Bürkner (2021), "Rank-normalization, folding, and localization: an
improved R-hat for assessing convergence of MCMC", Bayesian Analysis 16(2), sections 3 and 4. The thresholds are
its recommendations: R-hat at most 1.01, and an effective sample size of at least 100 a chain (50 a half-chain). Equal
chains that are just worth that have R-hat above 1.01 in one of three runs, so an R-hat up to 1.05 is tested before it
counts as an error.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bayeskit.diagnostics.chance import chance_explains
from bayeskit.diagnostics.elements import Site
from bayeskit.diagnostics.verdict import Finding, Measure, number

R_HAT_LIMIT = 1.01
R_HAT_BY_CHANCE = 1.05  # what chance may make of draws that are worth enough
ESS_PER_CHAIN = 100.0
FEW_DRAWS = 100
TAIL = (0.05, 0.95)

Scores = dict[str, float]


def convergence(sites: list[Site]) -> tuple[list[Finding], list[Measure]]:
    """Findings and worst values of R-hat, bulk and tail effective sample size over all elements that move."""
    chains, draws = sites[0].shape[:2]
    if draws < 4:
        return [_too_few_draws(draws)], []
    r_hat: Scores = {}
    bulk: Scores = {}
    tail: Scores = {}
    used = [site.finite & ~site.constant for site in sites]
    num_elements, explained = sum(int(use.sum()) for use in used), draws >= FEW_DRAWS
    for site, use in zip(sites, used, strict=True):
        for elements, draws_of in site.blocks():
            labels = [label for label, moves in zip(site.labels[elements], use[elements], strict=True) if moves]
            moving = draws_of[:, :, use[elements]]
            found = _r_hat(moving)
            explained = explained and _by_chance(moving, found, num_elements)
            r_hat |= zip(labels, found, strict=True)
            bulk |= zip(labels, ess(moving, "bulk"), strict=True)
            tail |= zip(labels, ess(moving, "tail", TAIL), strict=True)
    needed = ESS_PER_CHAIN * chains
    measures = [
        worst("max R-hat", r_hat, R_HAT_LIMIT, largest=True),
        worst("min bulk ESS", bulk, needed, largest=False),
        worst("min tail ESS", tail, needed, largest=False),
    ]
    findings = [
        *_r_hat_finding(r_hat, explained),
        *ess_finding("ess_bulk", bulk, needed, "means and medians", chains * draws),
        *ess_finding("ess_tail", tail, needed, "5% and 95% quantiles", chains * draws),
    ]
    if chains == 1:
        findings.append(_one_chain())
    if draws < FEW_DRAWS:
        findings.append(_few_draws(draws))
    return findings, measures


def r_hat_of(draws: np.ndarray) -> float:
    """R-hat of one quantity, shape ``(chain, draw)``."""
    return float(_r_hat(draws[:, :, None])[0])


def _r_hat(draws: np.ndarray) -> list[float]:
    from arviz_stats.base import array_stats

    if draws.shape[2] == 0:
        return []
    with np.errstate(all="ignore"):
        if draws.shape[0] == 1:
            values = [_r_hat_of_halves(draws[0, :, k]) for k in range(draws.shape[2])]
        else:
            values = np.atleast_1d(array_stats.rhat(draws, chain_axis=0, draw_axis=1)).tolist()
    # chains that each stand still, at different places: the variance within is zero
    apart = (np.ptp(draws, axis=1) == 0).all(axis=0)
    return [np.inf if stand else float(value) for stand, value in zip(apart, values, strict=True)]


def _r_hat_of_halves(draws: np.ndarray) -> float:
    """Rank-normalised R-hat of the two halves of one chain, the larger of location and spread (Vehtari et al., 4)."""
    from arviz_stats.base import array_stats
    from scipy.special import ndtri
    from scipy.stats import rankdata

    half = len(draws) // 2
    halves = np.stack([draws[:half], draws[-half:]])
    values: list[float] = []
    for quantity in (halves, np.abs(halves - np.median(halves))):
        scores = ndtri((rankdata(quantity, axis=None) - 3 / 8) / (quantity.size + 1 / 4)).reshape(halves.shape)
        values.append(float(array_stats.rhat(scores, chain_axis=0, draw_axis=1, method="identity")))
    return max(value for value in values if not np.isnan(value)) if not np.isnan(values).all() else np.nan


def ess(draws: np.ndarray, method: str, prob: tuple[float, float] | None = None) -> list[float]:
    """Effective sample size of each element of draws ``(chain, draw, element)``, by ArviZ."""
    from arviz_stats.base import array_stats

    if draws.shape[2] == 0:
        return []
    with np.errstate(all="ignore"):
        values = array_stats.ess(draws, chain_axis=0, draw_axis=1, method=method, prob=prob)
    return [float(value) for value in np.atleast_1d(values)]


def worst(name: str, scores: Scores, threshold: float, *, largest: bool) -> Measure:
    """The worst of the elements; NaN where there is none."""
    if not scores:
        return Measure(name, np.nan, threshold)
    ranked = _ranked(scores, lambda value: -value if largest else value)
    return Measure(name, scores[ranked[0]], threshold, ranked[0])


def _ranked(scores: Scores, order: Callable[[float], float]) -> list[str]:
    """Names, worst first; what is NaN is worst of all."""
    return sorted(scores, key=lambda label: (not np.isnan(scores[label]), order(scores[label])))


def _by_chance(draws: np.ndarray, r_hat: list[float], num_elements: int) -> bool:
    """Whether what is above the limit of R-hat may be chance; looked at until something cannot be."""
    if not all(value <= R_HAT_BY_CHANCE for value in r_hat):
        return False
    return all(
        chance_explains(draws[:, :, k], num_elements) for k, value in enumerate(r_hat) if not value <= R_HAT_LIMIT
    )


def _r_hat_finding(r_hat: Scores, explained: bool) -> list[Finding]:
    bad = {label: value for label, value in r_hat.items() if not value <= R_HAT_LIMIT}
    if not bad:
        return []
    names = tuple(_ranked(bad, lambda value: -value))
    value = bad[names[0]]
    if explained:
        meaning = (
            "but the chains differ by no more than chance makes equal chains differ whose draws are worth as many "
            "independent ones as these."
        )
        advice = "run longer (num_draws) to see it fall."
    else:
        meaning = (
            "the chains, or the halves of a chain, disagree about these values, so the draws do not yet describe one "
            "distribution."
        )
        advice = (
            "run longer (num_warmup, num_draws) if it is below 1.05; if it is larger, look at the trace plots for "
            "chains in different places, and reparameterise, order the components of a mixture, or tighten priors."
        )
    text = f"R-hat is {number(value)}, more than {R_HAT_LIMIT}{',' if explained else ':'} {meaning}"
    return [Finding("r_hat", "warning" if explained else "error", names, value, R_HAT_LIMIT, text, advice)]


def ess_finding(name: str, scores: Scores, needed: float, what: str, total: int, unit: str = "chain") -> list[Finding]:
    """Elements of which the draws are worth too few independent ones."""
    bad = {label: value for label, value in scores.items() if not value >= needed}
    if not bad:
        return []
    names = tuple(_ranked(bad, lambda value: value))
    value = bad[names[0]]
    return [
        Finding(
            name,
            "error",
            names,
            value,
            needed,
            f"{total} draws are worth {number(value)} independent ones here, fewer than {needed:.0f} (100 a {unit}): "
            f"{what} are uncertain, and so is R-hat.",
            "draw more (num_draws), after the other findings are dealt with; strongly correlated parameters want a "
            "reparameterisation or a dense mass matrix.",
        )
    ]


def _one_chain() -> Finding:
    return Finding(
        "one_chain",
        "warning",
        (),
        1.0,
        2.0,
        "There is one chain: that its halves agree says nothing about other modes.",
        "run 4 chains from different starting points (num_chains=4).",
    )


def _few_draws(draws: int) -> Finding:
    return Finding(
        "few_draws",
        "warning",
        (),
        float(draws),
        float(FEW_DRAWS),
        f"{draws} draws a chain are too few for the diagnostics themselves to be reliable.",
        "draw at least 1000 a chain (num_draws=1000). Many short chains are judged by nested R-hat where groups of "
        "them start together (num_superchains=16 of bayeskit.ChEES, MEADS and NUTS).",
    )


def _too_few_draws(draws: int) -> Finding:
    return Finding(
        "few_draws",
        "error",
        (),
        float(draws),
        4.0,
        f"There are {draws} draws a chain: nothing can be said about convergence.",
        "draw at least 1000 a chain (num_draws=1000).",
    )
