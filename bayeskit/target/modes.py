r"""Modes beside those where the chains start: more ascents, compared by the mass around their ends.

Besides the starts, candidates that were drawn for them and not taken are followed uphill, to about `ASCENTS` ascents in
all. Two ends belong to one mode where the density on the line between them nowhere falls by more than `DIP` below the
lower end. Around the highest end of each mode stands a normal density, $z^* + A^{-1/2} \epsilon$ with
$A = -\nabla^2 \log \pi(z^*)$. The mass of the mode is Laplace's, or the mean of the weights $\pi / q$ of 256 points of
that normal density, whichever is less: a mode that is broader than its curvature says is not told from its tail, so
that less is claimed, not more.

Nothing is said where the highest ascent has not arrived (a funnel, a density without bound), of an end that has not,
where the curvature is not that of a maximum, and beyond `VOLUMES` coordinates.

What is kept says where draws of a mode lie, in the model's coordinates, for the verdict has nothing else: the median
and half of the central 68% of each element.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bayeskit.numerics.ascent import curvature
from bayeskit.target.basins import VOLUMES, Climb, ascent, evaluator
from bayeskit.xla.cpu_kernel import brief_options
from bayeskit.xla.miscompilation import safe_jit

if TYPE_CHECKING:
    from bayeskit.target.start import Search
    from bayeskit.target.target import Target

ASCENTS = 12
ROUNDS = 7
ROUGH = 1.0
"""How much may be left to gain at first; what looks like another mode is followed to its top."""
DIP = 1.0
MOST = 12
"""Modes that are kept, the heaviest."""
FARTHEST = 30.0
"""A mode with less than exp(-30) of the mass of another does not matter, whichever of them the chains are in."""
POINTS = 256


class _Ends(NamedTuple):
    """Ends of ascents: positions ``(end, size)``, log densities ``(end,)``, and whether they have arrived."""

    positions: np.ndarray
    values: np.ndarray
    arrived: np.ndarray


def find_modes(search: Search, climb: Climb) -> str:
    """The modes around the starts, as the attribute ``modes`` of a result; empty where there is one, or none is told.

    Args:
        search: where the chains have started, with the candidates that were drawn.
        climb: the ascents from there.
    """
    if search.target.size > VOLUMES or not climb.arrived[np.argmax(climb.values)]:
        return ""
    ends = _Ends(climb.modes, climb.values, climb.arrived)
    for candidates in search.spare(min(ROUNDS, -(-ASCENTS // search.num_chains) - 1)):
        more, _ = ascent(search, candidates, ROUGH)
        new = (more.positions, more.values, more.arrived)
        ends = _Ends(*(np.concatenate(pair) for pair in zip(ends, new, strict=True)))
    tops = _tops(search, ends)
    if len(tops) > 1:
        tops = _tops(search, _to_the_top(search, tops))
    return _described(search, tops) if len(tops) > 1 else ""


def _to_the_top(search: Search, tops: np.ndarray) -> _Ends:
    """What is left of the ascents."""
    parts = [ascent(search, search.at(piece))[0] for piece in _pieces(search, tops)]
    ends = _Ends(*(np.concatenate([getattr(part, name) for part in parts]) for name in _Ends._fields))
    return _Ends(*(leaf[: len(tops)] for leaf in ends))


def _tops(search: Search, ends: _Ends) -> np.ndarray:
    """The highest end of each mode, shape ``(mode, size)``; none where the highest of all has not arrived."""
    if not ends.arrived[np.argmax(ends.values)]:
        return np.empty((0, search.target.size))
    evaluate = evaluator(search)
    left = [int(i) for i in np.argsort(-ends.values, kind="stable") if ends.arrived[i]]
    tops: list[np.ndarray] = []
    while left and len(tops) < 2 * MOST:
        top = left[0]
        tops.append(ends.positions[top])
        between = np.full(len(left), np.inf)
        for share in (0.25, 0.5, 0.75):
            line = (1.0 - share) * ends.positions[top] + share * ends.positions[left]
            between = np.minimum(between, _in_pieces(search, line, lambda piece: evaluate(piece)[0]))
        left = [i for i, lowest in zip(left[1:], between[1:], strict=True) if lowest < ends.values[i] - DIP]
    return np.stack(tops)


def _described(search: Search, tops: np.ndarray) -> str:
    """Mass, place and extent of the modes that have any of the mass."""
    spacing = np.finfo(search.dtype).eps ** (1 / 3)
    evaluate = evaluator(search)
    precision = _in_pieces(search, tops, lambda piece: curvature(evaluate, piece, spacing))
    heights = _in_pieces(search, tops, lambda piece: evaluate(piece)[0])
    rng = np.random.default_rng(0)
    rows = []
    for top, height, matrix in zip(tops, heights, precision, strict=True):
        if not np.isfinite(matrix).all():
            continue
        values, vectors = np.linalg.eigh(matrix)
        if values[0] <= search.target.size * np.finfo(search.dtype).eps * values[-1]:
            continue
        noise = rng.normal(size=(POINTS, len(top)))
        points = top + (noise / np.sqrt(values)) @ vectors.T
        log_volume = 0.5 * (len(top) * np.log(2.0 * np.pi) - np.log(values).sum())
        relative = _in_pieces(search, points, lambda piece: evaluate(piece)[0]) - height + 0.5 * (noise**2).sum(axis=1)
        weight = np.exp(np.minimum(relative, 50.0)).mean()
        rows.append((height + log_volume + min(0.0, float(np.log(weight))), points))
    if len(rows) < 2:
        return ""
    heaviest = max(mass for mass, _ in rows)
    kept = sorted((row for row in rows if row[0] > heaviest - FARTHEST), key=lambda row: -row[0])[:MOST]
    if len(kept) < 2:
        return ""
    return json.dumps([{"log_mass": mass - heaviest, **_extent(search.target, points)} for mass, points in kept])


def _extent(target: Target, points: np.ndarray) -> dict[str, object]:
    """Where draws of a mode lie: medians and half-widths by site, flattened."""
    drawn = {n: np.asarray(v).reshape(POINTS, -1) for n, v in _constrained(target, jnp.asarray(points)).items()}
    low, median, high = ({n: np.quantile(v, q, axis=0) for n, v in drawn.items()} for q in (0.16, 0.5, 0.84))
    scale = {n: np.maximum((high[n] - low[n]) / 2.0, np.finfo(float).tiny) for n in drawn}
    return {
        "centre": {n: v.tolist() for n, v in median.items()},
        "scale": {n: v.tolist() for n, v in scale.items()},
    }


def _latent(target: Target, position: jax.Array) -> dict[str, jax.Array]:
    found = target.constrain(target.unravel(position))
    return {name: found[name] for name in target.latent_names if name in found}


_constrained = safe_jit(jax.vmap(_latent, in_axes=(None, 0)), options=brief_options)


def _pieces(search: Search, positions: np.ndarray) -> list[np.ndarray]:
    """Any number of positions in pieces of as many as there are chains, the last one repeated."""
    chains, number = search.num_chains, len(positions)
    padded = np.concatenate([positions, np.repeat(positions[-1:], -number % chains, axis=0)])
    return [padded[i : i + chains] for i in range(0, number, chains)]


def _in_pieces(search: Search, positions: np.ndarray, function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """A function of as many positions as there are chains, of any number of them."""
    return np.concatenate([function(piece) for piece in _pieces(search, positions)])[: len(positions)]
