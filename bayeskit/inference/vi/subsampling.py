r"""Log densities of targets whose plates subsample their data: by random rows, or by all of them in turn.

With $N$ rows, batches of $m$ and $L(B) = \ell_0 + \frac Nm \sum_{i \in B} \ell_i$ for a batch $B$, the mean of $L$ over
random batches is $L = \ell_0 + \sum_i \ell_i$, and so is that over disjoint ones. Where $m$ does not divide $N$, the
last $r$ rows are filled up with row 0, which is taken out again:

$$L = \frac mN \sum_{k} L(B_k) + \frac mN L(B_{\text{last}}) - \frac{m - r}{N} L(\text{row 0, } m \text{ times}).$$
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from numpyro import handlers

from bayeskit._errors import MethodError
from bayeskit._typing import Array, Values
from bayeskit.program.execution import current_level
from bayeskit.target import Target

__all__ = ["check_subsampling", "random_log_density", "whole_log_density"]


def check_subsampling(target: Target) -> None:
    """Refuse what batches would make wrong.

    Raises:
        MethodError: two plates that subsample; a latent site inside of one.
    """
    subsampled = target.structure.subsampled
    if len(subsampled) > 1:
        raise MethodError(f"plates {', '.join(map(repr, subsampled))} subsample their data; VI takes one such plate")
    for site in target.structure.of_kind("latent"):
        inside = [plate.name for plate in site.plates if plate.name in subsampled]
        if inside:
            raise MethodError(
                f"site {site.name!r} is inside of plate {inside[0]!r}, which subsamples: every batch would have values "
                "of its own and none would be kept; use the full data, or sum the site out"
            )


def random_log_density(target: Target, values: Values) -> Array:
    """The log density by a random batch, within an expectation."""
    if not target.structure.subsampled:
        return target.log_density(values)
    level = current_level("the log density of a model whose plate subsamples")
    path = level.next_path("batch")
    rows = {
        name: jax.random.permutation(level.key_of(path + name), size)[:length]
        for name, (size, length) in _lengths(target).items()
    }
    return _at_rows(target, values, rows)


def whole_log_density(target: Target, values: Values) -> Array:
    """The log density by all rows, a batch at a time."""
    if not target.structure.subsampled:
        return target.log_density(values)
    ((name, (size, length)),) = _lengths(target).items()
    batches, weights = _batches(size, length)
    densities = jax.lax.map(lambda rows: _at_rows(target, values, {name: rows}), jnp.asarray(batches))
    return jnp.sum(jnp.asarray(weights, densities.dtype) * densities)


def _batches(size: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the batches, and what they count."""
    number, rest = divmod(size, length)
    rows = list(np.arange(number * length).reshape(number, length))
    weights = [length / size] * number
    if rest:
        last = np.zeros(length, int)
        last[:rest] = np.arange(number * length, size)
        rows += [last, np.zeros(length, int)]
        weights += [length / size, -(length - rest) / size]
    return np.stack(rows), np.array(weights)


def _at_rows(target: Target, values: Values, rows: dict[str, Array]) -> Array:
    with handlers.substitute(data=rows):
        return target.log_density(values)


def _lengths(target: Target) -> dict[str, tuple[int, int]]:
    """Rows of each plate that subsamples, and of its batches."""
    return dict(zip(target.structure.subsampled, target.structure.batches, strict=True))
