"""`Training`: how an optimisation went, and the DataTree that keeps it and that `bayeskit.check` judges."""

from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from bayeskit._keepable import keepable
from bayeskit.storage.provenance import provenance

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Stopped", "Training", "no_training"]


@keepable("train.Stopped")
class Stopped(enum.StrEnum):
    """Why an optimisation ended."""

    SETTLED = "the loss no longer falls"
    HELD_OUT = "the held-out loss no longer falls"
    USED_UP = "the number of steps is used up"
    OUT_OF_TIME = "the time is used up"
    BY_HAND = "it was interrupted by hand"
    NO_STEP = "no step was asked for"


@keepable("train.Training")
@dataclasses.dataclass(frozen=True)
class Training:
    """The course of an optimisation, of one phase or of several.

    Attributes:
        losses: at every step, shape `(step,)`; not finite where a step was not taken.
        gradient_norms: likewise; empty where there are no gradients.
        held_out: the held-out losses, shape `(look,)`; empty without one.
        looks: the steps that had been taken at each of them.
        stopped: why it ended.
        has_rule: whether there was a rule for ending it before its steps are used up.
        seconds: wall time.
        phases: their names, with the number of losses of each.
    """

    losses: np.ndarray
    gradient_norms: np.ndarray
    held_out: np.ndarray
    looks: np.ndarray
    stopped: Stopped
    has_rule: bool
    seconds: float
    phases: tuple[tuple[str, int], ...]

    @property
    def converged(self) -> bool:
        """Whether a rule has ended it."""
        return self.stopped in (Stopped.SETTLED, Stopped.HELD_OUT)

    def then(self, later: Training) -> Training:
        """This and what came after it, as one."""
        return dataclasses.replace(
            later,
            losses=np.concatenate([self.losses, later.losses]),
            gradient_norms=np.concatenate([np.full(len(self.losses), np.nan), later.gradient_norms]),
            held_out=np.concatenate([self.held_out, later.held_out]),
            looks=np.concatenate([self.looks, later.looks + max(len(self.losses) - 1, 0)]),
            seconds=self.seconds + later.seconds,
            phases=self.phases + later.phases,
        )

    def tree(self, method: str, settings: Mapping[str, object], **attrs: str | int | float) -> xr.DataTree:
        """The record of it: the group ``training`` with the variables ``loss``, ``gradient_norm`` and ``held_out``.

        Args:
            method: name of what was trained.
            settings: all of its settings, as JSON can hold them.
            attrs: more attributes, strings or numbers.
        """
        from bayeskit.storage import make_tree

        variables = {"loss": (self.losses, "step"), "held_out": (self.held_out, "look")}
        if np.isfinite(self.gradient_norms).any():
            variables["gradient_norm"] = (self.gradient_norms, "step")
        kept = {name: pair for name, pair in variables.items() if len(pair[0])}
        rule = {"converged": int(self.converged)} if self.has_rule else {}
        return make_tree(
            {"training": {name: array for name, (array, _) in kept.items()}},
            dims={name: (dim,) for name, (_, dim) in kept.items()},
            coords={"look": self.looks} if len(self.looks) else {},
            attrs={
                **provenance(),
                "method": method,
                "method_settings": json.dumps(settings),
                "wall_time": self.seconds,
                "stopped": str(self.stopped),
                "phases": json.dumps(dict(self.phases)),
                **rule,
                **attrs,
            },
        )


def no_training() -> Training:
    """The record of a training that has taken no step: empty traces."""
    none = np.zeros(0)
    return Training(none, none, none, none.astype(int), Stopped.NO_STEP, False, 0.0, ())
