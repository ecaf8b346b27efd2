"""Chains that stand still, that sit in different places, or that left the numbers."""

from __future__ import annotations

import numpy as np

from bayeskit.diagnostics.convergence import r_hat_of
from bayeskit.diagnostics.elements import Site
from bayeskit.diagnostics.verdict import Finding, number

NARROW = 0.03  # a chain whose interquartile range is this share of the others' barely moves
MOVES = 0.05  # a chain that leaves its place in fewer than this share of the steps barely moves
LP_R_HAT_LIMIT = 1.05
_CENTRAL = (0.05, 0.95)


def non_finite_draws(sites: list[Site]) -> list[Finding]:
    """NaN or infinite draws, in any site."""
    bad = {
        label: float((~np.isfinite(site.element(k))).mean())
        for site in sites
        for k, label in enumerate(site.labels)
        if not site.finite[k]
    }
    if not bad:
        return []
    names = tuple(sorted(bad, key=lambda label: -bad[label]))
    return [
        Finding(
            "non_finite_draws",
            "error",
            names,
            bad[names[0]],
            0.0,
            f"{bad[names[0]]:.1%} of the draws are NaN or infinite: every mean and quantile of them is meaningless.",
            "look for a logarithm of 0, a division by 0 or an overflow in the model; keep scales away from 0, work "
            "with log densities, and use float64.",
        )
    ]


def stuck_chains(sites: list[Site], acceptance: np.ndarray | None) -> list[Finding]:
    """Chains that barely move: constant, nearly always repeating, far narrower than the others, or never accepting.

    Args:
        sites: the posterior.
        acceptance: acceptance rates, shape ``(chain, draw)``, or ``None``.
    """
    stuck: dict[int, dict[str, None]] = {}

    def note(chains: np.ndarray, label: str) -> None:
        for chain in np.flatnonzero(chains):
            stuck.setdefault(int(chain), {})[label] = None

    for site in sites:
        for k in np.flatnonzero(site.finite):
            note(_stuck_in_element(site, int(k)), site.labels[k])
    if acceptance is not None and acceptance.size:
        note(np.nan_to_num(acceptance, nan=0.0).mean(axis=1) < MOVES, "acceptance_rate")
    if not stuck:
        return []
    names = tuple(dict.fromkeys(label for chain in sorted(stuck) for label in stuck[chain]))
    return [
        Finding(
            "stuck_chain",
            "error",
            names,
            float(len(stuck)),
            0.0,
            f"{_chains(sorted(stuck))} barely move{'s' if len(stuck) == 1 else ''}: the draws are nearly the same all "
            "along, so they describe a point, not a distribution.",
            "start elsewhere (init=), run a longer warmup, and look whether the density has a spike, such as a scale "
            "at 0 or a mixture component on one observation; keep it away with a prior. A parameter meant to be "
            "fixed belongs in the data or in numpyro.deterministic.",
        )
    ]


def _stuck_in_element(site: Site, k: int) -> np.ndarray:
    """Which chains stand still in one element, shape ``(chain,)``."""
    draws, flat = site.element(k), site.flat[:, k]
    nowhere = np.zeros(len(draws), dtype=bool)
    if site.constant[k]:
        # one value everywhere: structure (the diagonal of a Cholesky factor), a constant, or a sampler at rest
        return ~nowhere if site.latent and site.continuous and site.constant.all() else nowhere
    if flat.all():
        return ~nowhere
    if not (site.latent and site.continuous):
        return nowhere
    moves = (np.diff(draws, axis=1) != 0).mean(axis=1)
    return flat | _narrow(draws) | (moves < MOVES)


def _narrow(draws: np.ndarray) -> np.ndarray:
    if len(draws) < 2:
        return np.zeros(1, dtype=bool)
    low, high = np.quantile(draws, [0.25, 0.75], axis=1)
    width = high - low
    others = np.array([np.median(np.delete(width, chain)) for chain in range(len(width))])
    return width < NARROW * others


def separated_chains(sites: list[Site], lp: np.ndarray | None) -> list[Finding]:
    """Chains whose central 90% do not overlap: separate modes, swapped labels, or a chain that never arrived.

    Args:
        sites: the posterior.
        lp: log density, shape ``(chain, draw)``, or ``None``.
    """
    apart: dict[str, float] = {}
    groups: dict[str, list[list[int]]] = {}
    for site in sites:
        if not site.latent or site.shape[0] < 2:
            continue
        for k in np.flatnonzero(site.finite & ~site.constant):
            overlap = _overlap(site.element(int(k)))
            if not overlap.all():
                apart[site.labels[k]] = float((~overlap).sum() // 2)
                groups[site.labels[k]] = _components(overlap)
    if not apart:
        return []
    names = tuple(sorted(apart, key=lambda label: -apart[label]))
    parts = groups[names[0]]
    where = " against ".join(_chains(part) for part in parts) if len(parts) > 1 else "some chains drift apart"
    return [
        Finding(
            "separated_chains",
            "error",
            names,
            apart[names[0]],
            0.0,
            f"The chains sit in different places ({names[0]}: {where}): the central 90% of their draws do not overlap, "
            f"and they do not cross. {_compare_lp(parts, lp)}",
            "if the components of a mixture can swap, order them (numpyro.distributions.transforms."
            "OrderedTransform); otherwise start all chains near the better mode (init=), or exclude the other by a "
            "prior that you can defend. More draws will not mix the modes; bayeskit.SMC() and "
            "bayeskit.ParallelTempering() weigh them.",
        )
    ]


def _overlap(draws: np.ndarray) -> np.ndarray:
    """Whether the central intervals of each pair of chains overlap, shape ``(chain, chain)``."""
    low, high = np.quantile(draws, _CENTRAL, axis=1)
    return (low[:, None] <= high[None, :]) & (low[None, :] <= high[:, None])


def _components(overlap: np.ndarray) -> list[list[int]]:
    """Chains that are linked by overlaps, the largest group first."""
    left, parts = set(range(len(overlap))), []
    while left:
        part, border = set[int](), {min(left)}
        while border:
            part |= border
            border = {int(j) for i in border for j in np.flatnonzero(overlap[i])} - part
        parts.append(sorted(part))
        left -= part
    return sorted(parts, key=lambda part: -len(part))


def _compare_lp(parts: list[list[int]], lp: np.ndarray | None) -> str:
    if lp is None or not np.isfinite(lp).all() or len(parts) < 2:
        return "These may be separate modes."
    centres = [float(np.median(lp[part])) for part in parts]
    gap, spread = max(centres) - min(centres), float(np.median(np.ptp(np.quantile(lp, _CENTRAL, axis=1), axis=0)))
    if gap <= spread:
        return "Their log densities are alike: modes of like weight, or the same one with labels swapped."
    low = parts[int(np.argmin(centres))]
    text = f"The log density of {_chains(low)} is lower by {gap:.3g}: a lesser mode, or not yet arrived"
    if low == parts[0]:  # the many are the lower ones
        high = parts[int(np.argmax(centres))]
        text += f", unless {_chains(high)} fell into a spike"
    return f"{text}."


def unsettled_density(lp: np.ndarray | None) -> list[Finding]:
    """Log densities that differ between chains or still drift, even if each parameter looks settled."""
    if lp is None or lp.shape[1] < 4 or not np.isfinite(lp).all() or np.ptp(lp) == 0:
        return []
    value = r_hat_of(np.asarray(lp, dtype=float))
    if value <= LP_R_HAT_LIMIT:
        return []
    return [
        Finding(
            "unsettled_density",
            "error",
            ("lp",),
            value,
            LP_R_HAT_LIMIT,
            f"R-hat of the log density is {number(value)}: chains live at different heights of the density, or it "
            "still rises or falls. A density without a bound (a mixture component that collapses on one observation) "
            "rises without end.",
            "run a longer warmup; if the log density keeps rising, find the scale that goes to 0 and give it a prior "
            "that keeps it away.",
        )
    ]


def underflow(sites: list[Site]) -> list[Finding]:
    """Continuous parameters that have reached exactly 0 in some draws only, which has probability zero.

    For an angle, 0 is no boundary, and rounding hits it as it hits other numbers.
    """
    bad = {
        label: float(share)
        for site in sites
        if site.latent and site.continuous and not site.circular
        for elements, draws in site.blocks()
        for label, share in zip(site.labels[elements], (draws == 0).mean(axis=(0, 1)), strict=True)
        if 0 < share < 1
    }
    if not bad:
        return []
    names = tuple(sorted(bad, key=lambda label: -bad[label]))
    return [
        Finding(
            "underflow",
            "error",
            names,
            bad[names[0]],
            0.0,
            f"{bad[names[0]]:.1%} of the draws are exactly 0: a continuous parameter gets there only by underflow, "
            "when it collapses onto a boundary.",
            "give scales a prior that keeps them away from 0, and use float64.",
        )
    ]


def _chains(chains: list[int]) -> str:
    if len(chains) == 1:
        return f"chain {chains[0]}"
    return f"chains {', '.join(str(chain) for chain in chains[:-1])} and {chains[-1]}"
