"""The two samples of a fit: arrays or samplers, what is held out of them, and minibatches."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from bayeskit._typing import Array, ArrayLike
from bayeskit.errors import DataError
from bayeskit.models.schrodinger_bridge.checks import finite, points
from bayeskit.xla.miscompilation import safe_jit

__all__ = ["Sampler", "Source", "pooled_scale", "sources"]

Sampler: TypeAlias = Callable[[Array, int], Array]


class Source(eqx.Module):
    """One of the two samples, less ``centre`` and divided by ``scale``.

    Attributes:
        train: the points to learn from, in random order.
        held_out: those to judge by, perhaps none.
        sampler: where fresh points come from, if not from ``train``.
        centre: what is subtracted from fresh points.
        scale: what they are then divided by.
    """

    train: Float[Array, "n d"]
    held_out: Float[Array, "m d"]
    sampler: Sampler | None = eqx.field(static=True)
    centre: Array | float = 0.0
    scale: float = 1.0

    def seen_from(self, centre: Float[Array, " d"], scale: float) -> Source:
        """The same sample from another origin and in other units."""
        train, held_out = _seen_from(self.train, self.held_out, centre, jnp.asarray(scale, self.train.dtype))
        return Source(train, held_out, self.sampler, centre, scale)

    def draw(self, key: Array, num: int) -> Float[Array, "b d"]:
        """A minibatch: fresh points, or points of the sample with replacement."""
        if self.sampler is not None:
            return (self.sampler(key, num).astype(self.train.dtype) - self.centre) / self.scale
        return self.train[jax.random.randint(key, (num,), 0, self.train.shape[0])]


def sources(
    x0: ArrayLike | Sampler, x1: ArrayLike | Sampler, key: Array, num_samples: int, share: float, coupled: bool
) -> tuple[Source, Source]:
    """Both samples, checked; with ``coupled`` the rows of both are shuffled alike.

    Raises:
        DataError: empty, NaN, different dimensions; or numbers of points, when coupled.
    """
    keys = (key, key) if coupled else tuple(jax.random.split(key))
    found = [
        _source(x, name, own, num_samples, share) for x, name, own in zip((x0, x1), ("x0", "x1"), keys, strict=True)
    ]
    (n, d), (m, e) = (item.train.shape for item in found)
    if d != e:
        raise DataError(f"x0 has {d} dimensions and x1 has {e}; a bridge needs the same space at both ends")
    if coupled and n != m:
        raise DataError(f"a coupling pairs rows, but x0 and x1 have different numbers of them ({n} and {m})")
    dtype = jnp.promote_types(found[0].train.dtype, found[1].train.dtype)
    first, second = (jax.tree.map(lambda leaf: leaf.astype(dtype), item) for item in eqx.filter(found, eqx.is_array))
    return eqx.combine(first, found[0]), eqx.combine(second, found[1])


def pooled_scale(start: Source, end: Source) -> float:
    """The mean over coordinates of the standard deviation of both samples pooled."""
    return float(np.concatenate([start.train, end.train]).std(axis=0, dtype=np.float64).mean())


def _source(x: ArrayLike | Sampler, name: str, key: Array, num_samples: int, share: float) -> Source:
    of_points, of_order = jax.random.split(key)
    sampler = x if callable(x) else None
    checked = finite(points(x(of_points, num_samples) if callable(x) else x, name), name)
    kept = checked.shape[0] - round(share * checked.shape[0])
    if sampler is None:  # rows may stand in an order that means something
        checked = _shuffled(of_order, checked)
    return Source(checked[:kept], checked[kept:], sampler)


@safe_jit
def _seen_from(train: Array, held_out: Array, centre: Array, scale: Array) -> tuple[Array, Array]:
    return (train - centre) / scale, (held_out - centre) / scale


@safe_jit
def _shuffled(key: Array, x: Array) -> Array:
    return x[jax.random.permutation(key, x.shape[0])]
