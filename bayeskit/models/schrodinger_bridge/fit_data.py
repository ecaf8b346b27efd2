"""The data of a fit in the shape in which its steps want them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple, Protocol, runtime_checkable

import equinox as eqx
import jax.numpy as jnp

from bayeskit._typing import Array
from bayeskit.models.schrodinger_bridge.bridge import Bridge
from bayeskit.models.schrodinger_bridge.moment_matching import Assessment, Blocks, assess, blocks, loss_of, overall
from bayeskit.models.schrodinger_bridge.samples import Source
from bayeskit.numerics.gaussian_mixture_fit import Moments
from bayeskit.xla.miscompilation import safe_jit

__all__ = ["FitData", "Settings"]


@runtime_checkable
class Settings(Protocol):
    """What the steps of a fit read of its settings."""

    @property
    def num_components(self) -> int: ...
    @property
    def epsilon(self) -> float: ...
    @property
    def covariance(self) -> str: ...
    @property
    def tau(self) -> float | None: ...
    @property
    def num_steps(self) -> int: ...
    @property
    def num_restarts(self) -> int: ...
    @property
    def annealing(self) -> Sequence[float]: ...
    @property
    def prior_count(self) -> float: ...
    @property
    def tolerance(self) -> float: ...
    @property
    def patience(self) -> int: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def learning_rate(self) -> float: ...


class FitData(NamedTuple):
    """Both samples.

    Attributes:
        start: the first.
        end: the second.
        blocks: their training points in blocks.
        held_out: the points to judge by in blocks, or ``None``.
        priors: overall moments of both.
        worth: what they are worth beside the points of a component, as a share of the sample.
    """

    start: Source
    end: Source
    blocks: tuple[Blocks, Blocks]
    held_out: tuple[Blocks, Blocks] | None
    priors: tuple[Moments, Moments]
    worth: Array

    @classmethod
    def of(cls, start: Source, end: Source, settings: Settings) -> FitData:
        """Cut the points into blocks and take the overall moments."""
        judges = len(start.held_out) > 0 and len(end.held_out) > 0
        train, held_out, priors = _cut(
            (start.train, end.train),
            (start.held_out, end.held_out) if judges else None,
            settings.num_components,
            settings.covariance == "diagonal",
        )
        count = settings.prior_count / min(len(start.train), len(end.train))
        return cls(start, end, train, held_out, priors, jnp.asarray(count, start.train.dtype))

    def thinned(self, num: int, settings: Settings) -> FitData:
        """The same with at most ``num`` training points of each sample, which stand in random order."""
        first, second = (eqx.tree_at(lambda s: s.train, item, item.train[:num]) for item in (self.start, self.end))
        return FitData.of(first, second, settings)

    def assess(self, bridge: Bridge) -> Assessment:
        """One pass over the training points."""
        return assess(bridge, *self.blocks, self.priors, self.worth)

    def judge(self, bridge: Bridge) -> Array:
        """The loss on the points held out."""
        if self.held_out is None:
            raise ValueError("no points were held out")
        return loss_of(bridge, *self.held_out)


@partial(safe_jit, compile=eqx.filter_jit)
def _cut(
    train: tuple[Array, Array], held_out: tuple[Array, Array] | None, num: int, diagonal: bool
) -> tuple[tuple[Blocks, Blocks], tuple[Blocks, Blocks] | None, tuple[Moments, Moments]]:
    first, second = blocks(train[0], num), blocks(train[1], num)
    judges = None if held_out is None else (blocks(held_out[0], num), blocks(held_out[1], num))
    return (first, second), judges, (overall(first, diagonal), overall(second, diagonal))
