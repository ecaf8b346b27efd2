"""The optimisation of a guide, step by step."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from bayeskit._typing import Array
from bayeskit.inference.batches import with_random_rows
from bayeskit.inference.model_parameters import with_parameters
from bayeskit.inference.vi.expectation import expectation
from bayeskit.inference.vi.fit import stopping
from bayeskit.inference.vi.fit.optimizers import transformation
from bayeskit.inference.vi.fit.stopping import Windows
from bayeskit.inference.vi.guides import Guide, Parameters
from bayeskit.inference.vi.objectives import Objective
from bayeskit.program.weights import number_of
from bayeskit.target import Target
from bayeskit.train.descent import Descent, take_step
from bayeskit.xla.miscompilation import kept_away

__all__ = ["MODEL", "FitState", "Optimisation"]

AVERAGED = 0.25
"""The last part of the steps, over which the parameters are averaged."""
MODEL = "parameters of the model"
"""Under this name they are among the parameters of the guide."""


class FitState(NamedTuple):
    """`descent`: parameters of the guide (and of the model), the optimiser's state, the average of the last parameters;
    `windows`: what the stopping rule knows.
    """

    descent: Descent
    windows: Windows


@dataclasses.dataclass(frozen=True)
class Optimisation:
    """How parameters are improved; the settings are those of :class:`bayeskit.VI`."""

    guide: Guide
    objective: Objective
    optimizer: str
    learning_rate: float
    num_steps: int
    tolerance: float | None

    def start(self, parameters: Parameters, like: Array) -> FitState:
        """Before the first step; `like` has the precision of the loss."""
        state = transformation(self.optimizer, self.guide, self.learning_rate).init(parameters)
        return FitState(Descent(parameters, state, parameters), stopping.no_windows(like))

    def step(self, fit: FitState, step: Array, target: Target, key: Array) -> tuple[FitState, Array, Array]:
        """The fit after a step, the loss before it, and the norm of its gradient."""
        rows = with_random_rows(target, jax.random.fold_in(key, 0))
        objective = self.objective.at(step / max(self.num_steps, 1))

        def loss(parameters: Parameters) -> Array:
            model, guide = self.guide.programs(parameters, with_parameters(rows, parameters.get(MODEL, {})))
            with kept_away():
                return -number_of(expectation(lambda: objective(model, guide))(key))

        rule = transformation(self.optimizer, self.guide, self._rate(fit, step))
        share = 1.0 / jnp.maximum(step - self._first_averaged(step) + 1, 1)
        descent, value, norm = take_step(loss, fit.descent, rule.update, share)
        value, norm = (number.astype(fit.windows.mean.dtype) for number in (value, norm))
        windows = fit.windows
        if self.tolerance is not None:
            windows = stopping.record(windows, value, step, self.num_steps, self.tolerance)
        return FitState(descent, windows), value, norm

    def _rate(self, fit: FitState, step: Array) -> Array:
        """The step size: falling along a cosine, or by the stopping rule."""
        if self.tolerance is not None:
            return self.learning_rate * fit.windows.share
        return jnp.asarray(optax.cosine_decay_schedule(self.learning_rate, self.num_steps)(step))

    def _first_averaged(self, step: Array) -> Array | int:
        if self.tolerance is not None:
            return stopping.first_step(stopping.window_of(step, self.num_steps), self.num_steps)
        return self.num_steps - max(1, round(AVERAGED * self.num_steps))
