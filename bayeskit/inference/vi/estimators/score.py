"""The score function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from numpyro.distributions import Distribution

from bayeskit._typing import Array
from bayeskit.inference.vi.estimator import GradientEstimator
from bayeskit.inference.vi.estimators.baselines import FittedBaseline, elementwise
from bayeskit.inference.vi.estimators.validity import check_fixed_support
from bayeskit.inference.vi.surrogate import Lane
from bayeskit.inference.vi.tracing.decomposition import Part
from bayeskit.program.sites import elements

__all__ = ["Score"]


class ScoreRecord(NamedTuple):
    """Of a choice with the score estimator, element by element.

    Attributes:
        log_q: its log density.
        baseline: what is subtracted from what the score multiplies; `None` without one.
        fitted: a baseline that is learned, times the sign of its loss.
        others: the baseline that the other particles of an average make; `None` where one is given.
    """

    log_q: Array
    baseline: Array | None = None
    fitted: Array | None = None
    others: Array | None = None


@dataclass(frozen=True)
class Score(GradientEstimator):
    r"""The score-function estimator (REINFORCE), unbiased for every distribution with a fixed support.

    Args:
        baseline: a number that is subtracted from what the score multiplies, or a function without arguments that
            returns one (or one for each independent element of the choice); it may depend on what came before the
            choice, never on the choice itself. :class:`bayeskit.estimators.FittedBaseline` learns one. Within
            :func:`bayeskit.average` and :func:`bayeskit.log_average_exp`, ``None`` takes the other particles for it.

    Reference: Williams (1992), "Simple statistical gradient-following algorithms".
    """

    kind: ClassVar[str] = "score"
    takes_discrete: ClassVar[bool] = True

    baseline: float | Array | Callable[[], Array] | FittedBaseline | None = None

    def check(self, site: str, distribution: Distribution) -> None:
        check_fixed_support(site, distribution, "score-function")

    def sample(self, key: Array, distribution: Distribution) -> Array:
        return jax.lax.stop_gradient(distribution.sample(key))

    def record(self, key: Array, distribution: Distribution, value: Array) -> ScoreRecord:
        del key
        log_q = elements(distribution).log_prob(jax.lax.stop_gradient(value))
        if self.baseline is None:
            return ScoreRecord(log_q, others=jnp.zeros_like(log_q))
        if isinstance(self.baseline, FittedBaseline):
            fitted = elementwise(self.baseline.function(), log_q)
            return ScoreRecord(log_q, jax.lax.stop_gradient(fitted), self.baseline.sign * fitted)
        baseline = self.baseline() if callable(self.baseline) else self.baseline
        return ScoreRecord(log_q, elementwise(baseline, log_q))

    def with_others(self, record: ScoreRecord, others: Array) -> ScoreRecord:
        if record.others is None:
            return record
        shape = record.others.shape
        return record._replace(others=jnp.broadcast_to(others.reshape(-1, *[1] * (len(shape) - 1)), shape))

    def log_q(self, record: ScoreRecord) -> Array:
        return record.log_q

    def controls(self, record: ScoreRecord) -> tuple[Any, ...]:
        return record.log_q, record.baseline

    def law(self, record: ScoreRecord, *, is_own: bool) -> Any:
        del is_own
        return (record.log_q,)

    def control(self, lane: Lane, address: str, zero: Array, parts: list[Part]) -> Array | float:
        record: ScoreRecord = lane.own(address)
        if record.baseline is not None:
            control = jnp.sum(jax.lax.stop_gradient(record.baseline * _weight(lane, address, zero)) * jnp.expm1(zero))
            return control if record.fitted is None else control + _misfit(lane, address, zero, parts)
        particles = lane.decomposition.choices[address].particles
        aligned = [part.labels[address] for part in parts if address in part.labels]
        if particles is not None and all(particles in label for label in aligned):
            # every element of every particle has its own cost, and the mean of the others' for a baseline
            costs = jax.lax.stop_gradient(lane.cost(parts, address, tuple(range(zero.ndim))))
            return jnp.sum(_mean_of_others(costs.reshape(costs.shape[: zero.ndim]), particles) * jnp.expm1(zero))
        others = 0.0 if record.others is None else record.others
        return jnp.sum(jax.lax.stop_gradient(others * _weight(lane, address, zero)) * jnp.expm1(zero))


def _weight(lane: Lane, address: str, zero: Array) -> Array | float:
    return lane.weight(lane.decomposition.controls[address], zero.ndim)


def _misfit(lane: Lane, address: str, zero: Array, parts: list[Part]) -> Array:
    """Half the square of what a fitted baseline misses, less its own value: it brings a gradient to the baseline."""
    _, baseline, signed, _ = lane.own(address)
    missed = lane.cost(parts, address, tuple(range(zero.ndim)))
    weight = _weight(lane, address, zero)  # what is missed has its own
    error = jax.lax.stop_gradient(baseline * weight - missed.reshape(missed.shape[: zero.ndim]))
    return jnp.sum(error * (signed - jax.lax.stop_gradient(signed)))


def _mean_of_others(values: Array, axis: int) -> Array:
    """Of every value, the mean of the rest; never by a difference, which minus infinity would spoil."""
    number = values.shape[axis]
    moved = jnp.moveaxis(values, axis, 0)
    own = jnp.eye(number, dtype=bool).reshape(number, number, *[1] * (moved.ndim - 1))
    means = jnp.sum(jnp.where(own, 0.0, moved[None]), axis=1) / (number - 1)
    return jnp.moveaxis(jnp.where(jnp.isfinite(means), means, 0.0), 0, axis)
