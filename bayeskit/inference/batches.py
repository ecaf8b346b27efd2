r"""Plates that subsample their data: a density by some rows, and by all of them.

The program is rewritten so that the rows of such a plate are data. With $N$ rows, batches of $m$ and
$L(B) = \ell_0 + \frac Nm \sum_{i \in B} \ell_i$ for a batch $B$, the mean of $L$ over random batches is
$L = \ell_0 + \sum_i \ell_i$, and so is that over disjoint ones. Where $m$ does not divide $N$, the last $r$ rows are
filled up with row 0, which is taken out again:

$$L = \frac mN \sum_{k} L(B_k) + \frac mN L(B_{\text{last}}) - \frac{m - r}{N} L(\text{row 0, } m \text{ times}).$$
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from numpyro import handlers

from bayeskit._typing import Array, Model
from bayeskit.errors import MethodError
from bayeskit.program import Program
from bayeskit.target import Target
from bayeskit.target.sites import subsampling, trace_at_zero

__all__ = ["check_batches", "is_rows", "lift_batches", "over_all_rows", "with_random_rows"]

_PREFIX = "rows of plate "


@dataclasses.dataclass(frozen=True)
class Batched:
    """A model whose batches are among its arguments."""

    model: Model

    @property
    def __name__(self) -> str:
        return str(getattr(self.model, "__name__", type(self.model).__name__))

    def __call__(self, **given: Any) -> object:
        rows = {name.removeprefix(_PREFIX): given.pop(name) for name in list(given) if is_rows(name)}
        with handlers.substitute(data=rows):
            return self.model(**given)


def is_rows(name: str) -> bool:
    """Whether this name among the data of a program is that of a batch."""
    return name.startswith(_PREFIX)


def lift_batches(program: Program) -> Program:
    """The program with its batches among its data, at the first rows; itself where no plate subsamples."""
    found: dict[str, tuple[int, int]] = {}
    try:
        jax.eval_shape(lambda p: found.update(subsampling(trace_at_zero(p))), program)
    except Exception:  # whatever is wrong with the model is reported when its target is made
        return program
    if not found:
        return program
    arrays = {_PREFIX + name: jnp.arange(length) for name, (_, length) in found.items()}
    return dataclasses.replace(program, model=Batched(program.model), arrays={**program.arrays, **arrays})


def check_batches(target: Target) -> None:
    """Refuse models whose density by batches would be wrong.

    Raises:
        MethodError: two plates that subsample; a latent site inside one.
    """
    subsampled = target.structure.subsampled
    if len(subsampled) > 1:
        raise MethodError(f"plates {', '.join(map(repr, subsampled))} subsample their data; one such plate is taken")
    for site in target.structure.of_kind("latent"):
        inside = [plate.name for plate in site.plates if plate.name in subsampled]
        if inside:
            raise MethodError(
                f"site {site.name!r} is inside plate {inside[0]!r}, which subsamples: every batch would have values "
                "of its own, and none would be kept; use the full data, or sum the site out"
            )


def with_random_rows(target: Target, key: Array) -> Target:
    """The target at a random batch of rows."""
    for name, (size, length) in _lengths(target).items():
        key, own = jax.random.split(key)
        target = _with_rows(target, name, jax.random.permutation(own, size)[:length])
    return target


def over_all_rows(target: Target, f: Callable[[Target], Array]) -> Array:
    """The value by all rows of `f`, which is affine in the log density of the target; one batch at a time."""
    lengths = _lengths(target)
    if not lengths:
        return f(target)
    ((name, (size, length)),) = lengths.items()
    batches, weights = _batches(size, length)
    numbers = jax.lax.map(lambda rows: f(_with_rows(target, name, rows)), jnp.asarray(batches))
    return jnp.sum(jnp.asarray(weights, numbers.dtype) * numbers)


def _with_rows(target: Target, plate: str, rows: Array) -> Target:
    return eqx.tree_at(lambda t: t.program.arrays[_PREFIX + plate], target, rows)


def _batches(size: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """The rows of each batch, and its weight in the sum over all rows."""
    number, rest = divmod(size, length)
    rows = list(np.arange(number * length).reshape(number, length))
    weights = [length / size] * number
    if rest:
        last = np.zeros(length, int)
        last[:rest] = np.arange(number * length, size)
        rows += [last, np.zeros(length, int)]
        weights += [length / size, -(length - rest) / size]
    return np.stack(rows), np.array(weights)


def _lengths(target: Target) -> dict[str, tuple[int, int]]:
    """Of each plate that subsamples, the number of its rows and the length of a batch."""
    return dict(zip(target.structure.subsampled, target.structure.batches, strict=True))
