r"""Nested R-hat: have many short chains forgotten where they started?

There are $K$ superchains, groups of $M$ chains that start at one point, with $N$ draws a chain. With $\bar x_{km}$ the
mean of a chain and $\bar x_k$ that of a superchain,

$$\tilde B = \frac 1K \sum_k \operatorname{var}_m \bar x_{km}, \quad
\tilde W = \frac{1}{KM} \sum_{km} \operatorname{var}_n x_{kmn}, \quad
V = \tilde B + \tilde W, \quad B = \operatorname{var}_k \bar x_k, \quad \mathfrak n\hat R = \sqrt{1 + B / V}.$$

$\tilde B$ is what chance alone leaves of the mean of a chain, so that $B$ is $\tilde B / M$ where the starts are
forgotten, and larger by the *nonstationary variance*, that of the expectation given the start, where they are not. It
bounds the square of the bias where starts are spread more widely than the posterior. Chance gives
$M B / \tilde B \sim F_{K - 1, K (M - 1)}$, and the limit allows that, at level $\alpha$ of all elements together, and a
nonstationary variance of $\tau V$:

$$\mathfrak n\hat R \le \sqrt{1 + \tau + \frac{\tilde B}{M V} F^{-1}_{K - 1, K (M - 1)}(1 - \alpha)}.$$

For one draw a chain $\tilde B = V$, and without the quantile this is the threshold $\sqrt{1 + \tau + 1 / M}$ of the
paper. By the same numbers the effective sample size of all chains is
$K M (\tilde B + \tfrac{N - 1}N \tilde W) / \tilde B$, without autocorrelations, which short chains do not show.

Chains of 100 draws or more are cut into halves, and the halves of a superchain count as two, so that a drift that all
chains share is seen as well; their effective sample sizes are by autocorrelations, as always.

Reference: Margossian, Hoffman, Sountsov, Riou-Durand, Vehtari and Gelman (2024), "Nested R-hat: Assessing the
convergence of Markov chain Monte Carlo when running many short chains", Bayesian Analysis.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import xarray as xr
from scipy.special import ndtri
from scipy.stats import f, rankdata

from bayeskit.diagnostics.convergence import FEW_DRAWS, TAIL, ess, ess_finding, worst
from bayeskit.diagnostics.elements import Site, mapped
from bayeskit.diagnostics.verdict import Finding, Measure, number

TOLERANCE = 0.02
"""Nonstationary variance in units of the variance, as R-hat = 1.01 allows: biases up to 0.14 standard deviations."""
LEVEL = 1e-3
MANY = 32
"""Chains below which long ones are judged one by one: the variance between chains of a superchain is then uncertain."""
ESS_PER_SUPERCHAIN = 100.0


class Nested(NamedTuple):
    """Of each element, shape ``(element,)``.

    Attributes:
        r_hat: nested R-hat.
        ess: effective sample size of all chains together.
        chance: what chance leaves of the square of `r_hat` beyond one, on average.
    """

    r_hat: np.ndarray
    ess: np.ndarray
    chance: np.ndarray


def num_superchains(post: xr.DataTree, chains: int, draws: int) -> int:
    """In how many superchains the chains have started; zero where each is judged by itself."""
    groups = post.attrs.get("num_superchains", 0)
    if not isinstance(groups, int | np.integer) or (chains < MANY and draws >= FEW_DRAWS):
        return 0
    return int(groups) if groups >= 2 and chains % groups == 0 and chains > groups else 0


def nested(draws: np.ndarray, groups: int) -> Nested:
    """Nested R-hat of each element as it stands, without normalising ranks.

    Args:
        draws: shape ``(chain, draw, element)``; chains of a superchain follow one another.
        groups: number of superchains.
    """
    chains, length, elements = draws.shape
    split = draws.reshape(groups, chains // groups, length, elements)
    means = split.mean(axis=2)
    between_chains = means.var(axis=1, ddof=1).mean(axis=0)
    within = split.var(axis=2, ddof=1).mean(axis=(0, 1)) if length > 1 else np.zeros(elements)
    total = between_chains + within
    with np.errstate(all="ignore"):
        between = means.mean(axis=1).var(axis=0, ddof=1)
        chance = between_chains / total / (chains // groups)
        # chains that all stand still at the place of their superchain have no variance within
        r_hat = np.where((total == 0) & (between > 0), np.inf, np.sqrt(1.0 + between / total))
        return Nested(r_hat, chains * (between_chains + (length - 1) / length * within) / between_chains, chance)


def grouped(site: Site, groups: int) -> Site:
    """A site whose chains are the superchains."""
    chains, draws, elements = site.shape
    shape = (groups, chains // groups * draws, elements)
    return mapped(site, lambda part: site.part(part).reshape(*shape[:2], -1), shape)


def nested_convergence(sites: list[Site], lp: np.ndarray | None, groups: int) -> tuple[list[Finding], list[Measure]]:
    """What R-hat and effective sample sizes are for long chains: of every element that moves, and of ``lp``."""
    chains = sites[0].shape[0]
    parts = {
        label: site.element(k)
        for site in sites
        for k, label in enumerate(site.labels)
        if site.finite[k] and not site.constant[k]
    }
    if lp is not None and np.isfinite(lp).all() and np.ptp(lp) > 0:
        parts["lp"] = lp.astype(float)
    halves = 2 if sites[0].shape[1] >= FEW_DRAWS else 1
    quantile = f.isf(LEVEL / max(len(parts), 1), halves * groups - 1, halves * (chains - groups))
    found = {label: _judge(draws, groups, halves, quantile) for label, draws in parts.items()}
    needed = ESS_PER_SUPERCHAIN * groups
    measures = []
    if found:
        label = min(found, key=lambda name: found[name].limit - found[name].r_hat)
        measures = [Measure("max nested R-hat", found[label].r_hat, found[label].limit, label)]
    bulk = {label: one.bulk for label, one in found.items()}
    tail = {label: one.tail for label, one in found.items()}
    measures += [worst("min bulk ESS", bulk, needed, largest=False), worst("min tail ESS", tail, needed, largest=False)]
    total = chains * sites[0].shape[1]
    findings = [
        *_not_forgotten(found, groups, chains // groups),
        *ess_finding("ess_bulk", bulk, needed, "means and medians", total, "superchain"),
        *ess_finding("ess_tail", tail, needed, "5% and 95% quantiles", total, "superchain"),
    ]
    return findings, measures


class _Judged(NamedTuple):
    r_hat: float
    limit: float
    bulk: float
    tail: float


def _judge(draws: np.ndarray, groups: int, halves: int, quantile: float) -> _Judged:
    """The larger excess of location and spread, of normalised ranks as for R-hat; ``draws`` are ``(chain, draw)``."""
    scores = _scores(draws)
    cut = [np.concatenate(np.split(part[:, : part.shape[1] // halves * halves], halves, axis=1)) for part in scores]
    pairs = [
        (float(one.r_hat[0]), float(np.sqrt(1.0 + TOLERANCE + quantile * one.chance[0])))
        for one in (nested(part[:, :, None], halves * groups) for part in cut)
    ]
    r_hat, limit = max(pairs, key=lambda pair: pair[0] - pair[1])
    tails = [(draws <= value).astype(float) for value in np.quantile(draws, TAIL)]
    bulk, *rest = (float(nested(part[:, :, None], groups).ess[0]) for part in (scores[0], *tails))
    if halves > 1:  # long enough for autocorrelations
        (bulk,), rest = ess(draws[:, :, None], "bulk"), ess(draws[:, :, None], "tail", TAIL)
    return _Judged(r_hat, limit, bulk, min(rest))


def _scores(draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Normal scores of the ranks of the draws, and of their distances from the median."""
    folded = np.abs(draws - np.median(draws))
    first, second = (
        ndtri((rankdata(x, axis=None) - 3 / 8) / (x.size + 1 / 4)).reshape(x.shape) for x in (draws, folded)
    )
    return first, second


def _not_forgotten(found: Mapping[str, _Judged], groups: int, each: int) -> list[Finding]:
    bad = {label: one for label, one in found.items() if not one.r_hat <= one.limit}
    if not bad:
        return []
    names = tuple(sorted(bad, key=lambda label: bad[label].limit - bad[label].r_hat))
    one = bad[names[0]]
    return [
        Finding(
            "nested_r_hat",
            "error",
            names,
            one.r_hat,
            one.limit,
            f"Nested R-hat is {number(one.r_hat)}, and chance and tolerance explain {number(one.limit)}: the means of "
            f"the {groups} superchains ({each} chains each, from one start) differ by more than those of their chains "
            "do, so the chains have not forgotten where they started.",
            "a longer warmup (num_warmup); if that does not help, the starts lie in several modes, or the sampler does "
            "not cross the posterior: reparameterise.",
        )
    ]
