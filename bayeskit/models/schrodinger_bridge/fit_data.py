"""The data of a fit in the shape in which its steps want them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import equinox as eqx

from bayeskit._typing import Array
from bayeskit.models.schrodinger_bridge.bridge import Bridge
from bayeskit.models.schrodinger_bridge.moment_matching import Assessment, Blocks, assess, blocks, loss_of, overall
from bayeskit.models.schrodinger_bridge.samples import Source
from bayeskit.numerics.gaussian_mixture_fit import Moments

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
    worth: float

    @classmethod
    def of(cls, start: Source, end: Source, settings: Settings) -> FitData:
        """Cut the points into blocks and take the overall moments."""
        num, diagonal = settings.num_components, settings.covariance == "diagonal"
        train = blocks(start.train, num), blocks(end.train, num)
        judges = len(start.held_out) > 0 and len(end.held_out) > 0
        held_out = (blocks(start.held_out, num), blocks(end.held_out, num)) if judges else None
        count = settings.prior_count / min(len(start.train), len(end.train))
        return cls(start, end, train, held_out, (overall(train[0], diagonal), overall(train[1], diagonal)), count)

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
