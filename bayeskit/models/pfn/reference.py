"""`Reference`: how data sets of the prior look to a network, to tell whether others look like them.

Rows are put in a fixed order (by inputs, then by the output), and each half of them, every other row, is predicted from
the other. The score is the mean log density; beside it stands the largest distance of an input from the middle of the
prior. Both depend on the data alone, not on the order they came in.
"""

from __future__ import annotations

import dataclasses
import functools
import math

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from bayeskit._keepable import keepable
from bayeskit._typing import Array
from bayeskit.models.pfn.heads import Head
from bayeskit.xla.miscompilation import safe_jit

__all__ = ["Reference", "looks", "output_of"]

AT_ONCE = 32
NUM_SETS = 320


@functools.partial(safe_jit, compile=eqx.filter_jit)
def output_of(network: eqx.Module, x: Array, y: Array, known: Array) -> Array:
    """The numbers of the head for each row of data sets, of which the known rows are shown."""
    return network.both(x, y, known)  # type: ignore[attr-defined]


@keepable("pfn.Reference")
@dataclasses.dataclass(frozen=True, eq=False)
class Reference:
    """Scores of data sets of the prior.

    Attributes:
        sizes: rows of a data set, increasing.
        scores: mean log densities, shape `(sizes, sets)`, each row in order.
        extremes: the largest distance of an input, in standard deviations, likewise.
    """

    sizes: np.ndarray
    scores: np.ndarray
    extremes: np.ndarray

    def p_value(self, num_rows: int, score: float, extreme: float) -> float:
        """The share of data sets of the prior that are at least as strange, in one of the two ways.

        Twice the smaller of the two shares; the least that can be found is two over the number of sets.
        """
        if not num_rows:
            return 1.0
        total = self.scores.shape[1] + 1
        below = (1 + np.sum(self.scores <= score, axis=1)) / total
        above = (1 + np.sum(self.extremes >= extreme, axis=1)) / total
        shares = [float(np.interp(math.log(num_rows), np.log(self.sizes), each)) for each in (below, above)]
        return min(1.0, 2 * min(shares))


def looks(
    network: eqx.Module, head: Head, x: np.ndarray, y: np.ndarray, max_rows: int
) -> tuple[np.ndarray, np.ndarray]:
    """Score and extreme of data sets `(sets, rows, features)`, whose inputs are in units of the prior."""
    sets, rows, _features = x.shape
    filled = np.nan_to_num(x)
    order = np.lexsort([y, *np.moveaxis(filled, -1, 0)[::-1]], axis=-1)
    if getattr(network, "columns_alike", False):  # in units of their own
        filled = _in_own_units(x)
    x, y = np.take_along_axis(x, order[..., None], axis=1), np.take_along_axis(y, order, axis=1)
    pad = -sets % AT_ONCE
    x = np.pad(x, [(0, pad), (0, max_rows - rows), (0, 0)])
    y = np.pad(y, [(0, pad), (0, max_rows - rows)])
    at, exists = np.arange(max_rows), np.arange(max_rows) < rows
    scores = np.zeros(sets)
    for parity in (0, 1):
        shown, asked = exists & (at % 2 == parity), exists & (at % 2 != parity)
        for begin in range(0, sets, AT_ONCE):
            some = slice(begin, begin + AT_ONCE)
            values = jnp.asarray(y[some])
            known = jnp.broadcast_to(jnp.asarray(shown), values.shape)
            output = output_of(network, jnp.asarray(x[some]), head.standardise(values), known)
            log_prob = np.asarray(_log_prob(head, output, values), np.float64)
            scores[some] += np.where(asked, log_prob, 0.0).sum(axis=-1)[: len(scores[some])]
    return scores / rows, np.abs(filled).max(axis=(1, 2))


@functools.partial(safe_jit, compile=eqx.filter_jit)
def _log_prob(head: Head, output: Array, y: Array) -> Array:
    return head.log_prob(output, y)


def _in_own_units(x: np.ndarray) -> np.ndarray:
    """Columns of each data set, standardised; 0 where they are missing or constant."""
    known = np.isfinite(x)
    count = np.maximum(known.sum(axis=1, keepdims=True), 1)
    apart = np.where(known, x - np.where(known, x, 0.0).sum(axis=1, keepdims=True) / count, 0.0)
    sd = np.sqrt((apart**2).sum(axis=1, keepdims=True) / count)
    return apart / np.where(sd > 0, sd, 1.0)


def reference_of(network: eqx.Module, head: Head, x: np.ndarray, y: np.ndarray) -> Reference:
    """From data sets of the prior, of the largest size."""
    most = x.shape[1]
    sizes = sorted({max(1, most // part) for part in (16, 4, 1)})
    found = [looks(network, head, x[:, :size], y[:, :size], most) for size in sizes]
    scores, extremes = (np.sort(np.stack(each), axis=1) for each in zip(*found, strict=True))
    return Reference(np.array(sizes), scores, extremes)
