"""Draws at the beginning of the chains that belong to the way there."""

from __future__ import annotations

import numpy as np

from bayeskit.diagnostics.elements import Site
from bayeskit.diagnostics.verdict import Finding, number

LEVEL = 0.02
SHARE = 0.1  # of the draws of a chain that may be its beginning
LIMIT = 1.1
DEPTH = 20.0  # nats: 1e-9 of a normal density, 1e-5 of Student's with 5 degrees of freedom in 4 dimensions


def early_draws(sites: list[Site], lp: np.ndarray | None) -> list[Finding]:
    r"""Chains that are lowest in their first draws, where without those a standard deviation is another.

    Where a chain has arrived, its lowest log density is as likely to be that of one draw as of another. So the places
    :math:`u_i = (t_i + 1) / n` of the lowest of `n` draws of `m` chains are uniform, whatever the density is, and the
    `j`-th smallest of them has a beta distribution:

    .. math:: p = m \min_j \operatorname{Beta}_{j, m - j + 1}(u_{(j)}).

    At level 0.02, or where the first tenth of the draws reaches 20 below the lowest log density of all others, which
    no density does by chance; and only where it changes a standard deviation by a tenth or more, which is rare by
    itself in draws that are worth hundreds.

    Args:
        sites: the posterior.
        lp: log density, shape ``(chain, draw)``, or ``None``.
    """
    if lp is None or lp.shape[1] < 4 or not np.isfinite(lp).all() or (np.ptp(lp, axis=1) == 0).any():
        return []
    num_draws = lp.shape[1]
    first, lowest = int(SHARE * num_draws), lp.argmin(axis=1)
    early = np.flatnonzero(lowest < first)
    if not early.size:
        return []
    deep = lp[:, :first].min() < lp[:, first:].min() - DEPTH
    if not deep and _p_value((lowest + 1) / num_draws) > LEVEL:
        return []
    changed: dict[str, tuple[float, float]] = {}
    for site in sites:
        use = site.finite & ~site.constant
        for elements, draws in site.blocks():
            with np.errstate(all="ignore"):
                whole, rest = draws.std(axis=(0, 1)), draws[:, first:].std(axis=(0, 1))
                off = use[elements] & (np.fmax(whole / rest, rest / whole) > LIMIT)
            changed |= {site.labels[elements][k]: (float(whole[k]), float(rest[k])) for k in np.flatnonzero(off)}
    if not changed:
        return []
    names = tuple(sorted(changed, key=lambda label: -abs(np.log(changed[label][0] / changed[label][1]))))
    whole, rest = changed[names[0]]
    return [
        Finding(
            "early_draws",
            "error",
            names,
            float(max(whole / rest, rest / whole)),
            LIMIT,
            f"The lowest log density of {len(early)} of {len(lp)} chains is among the first {first} draws, and without "
            f"these the standard deviation of {names[0]} is {number(rest)}, not {number(whole)}: chains were still on "
            "their way.",
            "run a longer warmup (num_warmup=1000), or start nearer (init=); what is there can be used without its "
            f"beginning, post.isel(draw=slice({first}, None)), if that is judged well.",
        )
    ]


def _p_value(places: np.ndarray) -> float:
    """Of as many uniform numbers that the smallest, or the smallest two, ... are as small as these, by Bonferroni."""
    from scipy.stats import beta

    m, j = len(places), np.arange(1, len(places) + 1)
    return float(min(1.0, m * beta.cdf(np.sort(places), j, m - j + 1).min()))
