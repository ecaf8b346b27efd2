"""The optimisation of a guide, step by step."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

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
from bayeskit.xla.miscompilation import kept_away

__all__ = ["MODEL", "Fit", "Optimisation"]

AVERAGED = 0.25
"""The last part of the steps, over which the parameters are averaged."""
MODEL = "parameters of the model"
"""Under this name they are among the parameters of the guide."""


class Fit(NamedTuple):
    """`parameters` of the guide (and of the model); `optimizer`: its state; `average`: of the last parameters;
    `windows`: what the stopping rule knows.
    """

    parameters: Parameters
    optimizer: Any
    average: Parameters
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

    def start(self, parameters: Parameters, like: Array) -> Fit:
        """Before the first step; `like` has the precision of the loss."""
        state = transformation(self.optimizer, self.guide, self.learning_rate).init(parameters)
        return Fit(parameters, state, parameters, stopping.no_windows(like))

    def step(self, fit: Fit, step: Array, target: Target, key: Array) -> tuple[Fit, Array, Array]:
        """The fit after a step, the loss before it, and the norm of its gradient."""
        rows = with_random_rows(target, jax.random.fold_in(key, 0))
        objective = self.objective.at(step / max(self.num_steps, 1))

        def loss(parameters: Parameters) -> Array:
            model, guide = self.guide.programs(parameters, with_parameters(rows, parameters.get(MODEL, {})))
            with kept_away():
                return -number_of(expectation(lambda: objective(model, guide))(key))

        value, gradient = jax.value_and_grad(loss)(fit.parameters)
        norm = optax.tree.norm(gradient)
        fine = jnp.isfinite(value) & jnp.isfinite(norm)
        rule = transformation(self.optimizer, self.guide, self._rate(fit, step))
        updates, optimizer = rule.update(gradient, fit.optimizer, fit.parameters)
        moved = optax.apply_updates(fit.parameters, updates), optimizer
        parameters, optimizer = (
            jax.tree.map(  # a step whose gradient is not finite is not taken, and shows in the trace
                lambda new, old: jnp.where(fine, new, old).astype(old.dtype), moved, (fit.parameters, fit.optimizer)
            )
        )
        share = 1.0 / jnp.maximum(step - self._first_averaged(step) + 1, 1)
        average = jax.tree.map(lambda old, new: (old + (new - old) * share).astype(old.dtype), fit.average, parameters)
        value, norm = (number.astype(fit.windows.mean.dtype) for number in (value, norm))
        seen = fit.windows
        if self.tolerance is not None:
            seen = stopping.record(seen, value, step, self.num_steps, self.tolerance)
        return Fit(parameters, optimizer, average, seen), value, norm

    def _rate(self, fit: Fit, step: Array) -> Array:
        """The step size: falling along a cosine, or by the stopping rule."""
        if self.tolerance is not None:
            return self.learning_rate * fit.windows.share
        return jnp.asarray(optax.cosine_decay_schedule(self.learning_rate, self.num_steps)(step))

    def _first_averaged(self, step: Array) -> Array | int:
        if self.tolerance is not None:
            return stopping.first_step(stopping.window_of(step, self.num_steps), self.num_steps)
        return self.num_steps - max(1, round(AVERAGED * self.num_steps))
