r"""Modes that the ascents before a run have found (`bayeskit.target.modes`) and no chain came near.

A draw $x$ is near a mode with centre $m$ and scale $s$ where the mean of $((x - m) / s)^2$ over the elements is at most
2. For the draws of a mode that mean is about one, so by Markov's inequality half of them or more are near, however the
elements are correlated: a mode with ten draws is missed once in a thousand. With $m_u$ the mass of an unvisited mode
and $m_V$ that of all visited ones, its share is $p = m_u / (m_u + m_V)$. Where no mode is visited, as in a hierarchy
whose draws lie far from its mode, the masses say nothing of the draws, and nothing is said.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from bayeskit.diagnostics.elements import Site
from bayeskit.diagnostics.verdict import Finding, number
from bayeskit.numerics.tails import MAX_RATIO, MAX_SHIFT

NEAR = 2.0
LEAST_SHARE = float(np.exp(-5.0))
"""Laplace's masses are right within a factor of a few; a smaller share may be nothing."""
MOST_DRAWS = 20_000
"""Draws that are looked at, spread over all."""
ALIKE = 0.3
"""Logarithms of masses by which modes may differ that are one with labels swapped: their estimates have some noise."""


class _Seen(NamedTuple):
    """Of each element that moves: its label, centre and scale in each mode ``(mode, element)``, mean and sd of the
    draws; and the distance of the nearest draw to each mode.
    """

    labels: list[str]
    centre: np.ndarray
    scale: np.ndarray
    mean: np.ndarray
    sd: np.ndarray
    nearest: np.ndarray


def unvisited_modes(attrs: Mapping[Any, Any], sites: list[Site]) -> list[Finding]:
    """Modes with a share of the posterior of which the draws know nothing.

    Args:
        attrs: of the result; ``modes`` is what the ascents have found.
        sites: of the posterior, as they were drawn.
    """
    modes = json.loads(attrs.get("modes", "[]"))
    named = [s for s in sites if modes and s.name in modes[0]["centre"] and not s.circular and not s.auxiliary_of]
    seen = _look(modes, named)
    if seen is None:
        return []
    mass = np.array([mode["log_mass"] for mode in modes])
    visited = seen.nearest <= NEAR
    if visited.all() or not visited.any():
        return []
    behind = np.logaddexp.reduce(mass[visited])
    shares = np.where(visited, 0.0, 1.0 / (1.0 + np.exp(behind - mass)))
    worst = int(np.argmax(shares))
    if shares[worst] < LEAST_SHARE:
        return []
    return [_finding(seen, shares, worst, alike=bool((np.abs(mass[worst] - mass[visited]) < ALIKE).any()))]


def _look(modes: list[dict[str, Any]], sites: list[Site]) -> _Seen | None:
    """Where draws and modes lie, from a few elements at a time; `None` where there is nothing to compare."""
    labels, parts, squares = [], [], np.zeros(())
    for site in sites:
        use = site.finite & ~site.constant
        centre, scale = (np.array([mode[what][site.name] for mode in modes]) for what in ("centre", "scale"))
        if centre.shape[1] != len(use):
            return None
        for elements, draws in site.blocks():
            kept = use[elements]
            moving = draws.reshape(-1, draws.shape[2])[:, kept]
            some = moving[:: max(1, -(-len(moving) // MOST_DRAWS))]
            c, s = centre[:, elements][:, kept], scale[:, elements][:, kept]
            labels += [label for label, one in zip(site.labels[elements], kept, strict=True) if one]
            parts.append((c, s, moving.mean(axis=0), moving.std(axis=0)))
            distances = [np.square((some - a) / b).sum(axis=1) for a, b in zip(c, s, strict=True)]
            squares = squares + np.stack(distances)
    if not labels:
        return None
    c, s = (np.concatenate([part[i] for part in parts], axis=1) for i in (0, 1))
    mean, sd = (np.concatenate([part[i] for part in parts]) for i in (2, 3))
    return _Seen(labels, c, s, mean, sd, squares.min(axis=1) / len(labels))


def _finding(seen: _Seen, shares: np.ndarray, worst: int, *, alike: bool) -> Finding:
    share = float(shares[worst])
    gap = seen.centre[worst] - seen.mean
    shift = share * np.abs(gap) / seen.sd
    variance = (1 - share) * seen.sd**2 + share * seen.scale[worst] ** 2 + share * (1 - share) * gap**2
    ratio = np.sqrt(variance) / seen.sd
    matters = bool((shift > MAX_SHIFT).any() or (np.maximum(ratio, 1 / ratio) > MAX_RATIO).any())
    order = [int(k) for k in np.argsort(-np.abs(gap) / seen.sd) if abs(gap[k]) > seen.sd[k]] or [int(np.argmax(shift))]
    where = ", ".join(f"{seen.labels[k]} = {seen.centre[worst][k]:.3g}" for k in order[:3])
    others = int((shares >= LEAST_SHARE).sum()) - 1
    more = f", and {others} more such mode{'s' if others > 1 else ''}" if others else ""
    swapped = " It has as much as one that was visited, and may be that one with labels swapped." if alike else ""
    return Finding(
        "unvisited_mode",
        "error" if matters else "warning",
        tuple(seen.labels[k] for k in order),
        share,
        LEAST_SHARE,
        f"The ascents before the run have found another mode, at {where}{more}. By Laplace's approximation it has "
        f"{number(100 * share)}% of the posterior, and no chain came near it.{swapped}",
        "bayeskit.SMC() or bayeskit.ParallelTempering(), which weigh modes; where the components of a mixture can "
        "swap, order them (numpyro.distributions.transforms.OrderedTransform).",
    )
