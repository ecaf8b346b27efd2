r"""How the metric is adapted during warmup, one draw at a time, for BlackJAX's kernels.

A few draws are enough for the metrics of `bayeskit.inference.mcmc.metrics`. They are therefore renewed from the first
draws on, in windows that grow by one half, and the moments of a window are kept through the next one (foreground and
background), so that early draws are forgotten: the schedule of Seyboldt, Carlson and Carpenter (2026, section 3.2).

An `Adaptation` is two pure functions over explicit state and the tables that say what happens at which step. Everything
here is for one chain; `vmap` it for several.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from blackjax.adaptation.low_rank_adaptation import build_growing_window_schedule
from blackjax.adaptation.metric_recipes import lookup_recipe
from blackjax.adaptation.window_adaptation import build_schedule
from blackjax.mcmc.metrics import Metric

from bayeskit._typing import Array
from bayeskit.inference.mcmc.metrics import (
    DenseMetric,
    LowRankMetric,
    Moments,
    dense_metric,
    diagonal_metric,
    low_rank_metric,
    rescaled,
)

__all__ = ["ADAPTATIONS", "Adaptation", "History", "MetricState", "blackjax_metric", "find_adaptation"]

ADAPTATIONS = ("auto", "diagonal", "dense", "low_rank", "window")

MAX_DENSE = 32
"""`"auto"` is dense up to this dimension: there the matrix costs less than the leapfrogs that it saves."""

MAX_LOW_RANK = 5000
"""`"auto"` is of low rank up to this dimension, and diagonal above, so that a chain's state stays small."""

MIN_DRAWS = 3

MAX_HISTORY = 256
"""A low rank is estimated from at most this many draws."""

EARLY_STRIDE = 5
"""Of the short windows at the beginning, every fifth brings a new low-rank metric."""

InverseMass = Array | DenseMetric | LowRankMetric

Blocks = tuple[tuple[tuple[int, int], ...], ...]
"""Of each block the ranges of coordinates (from, to) that it is made of."""


class MetricState(NamedTuple):
    """`inverse_mass_matrix` in use; the moments of this and the last window, and of this window alone."""

    inverse_mass_matrix: InverseMass
    foreground: Moments
    background: Moments


class History(NamedTuple):
    """The latest draws and gradients, for the metrics that moments do not suffice for.

    `pairs` has shape `(2, rows + 1, d)`: draw `i` is in row `i % rows`; the last row is where the others go. `written`:
    how many draws there were. It is written outside any branch, so that the loop over steps can do so in place.
    """

    pairs: Array
    written: Array

    @classmethod
    def empty(cls, position: Array, rows: int) -> History:
        """Of no draws yet."""
        return cls(jnp.zeros((2, rows + 1, position.size), position.dtype), jnp.zeros((), jnp.int32))

    def write(self, pair: Array, collect: Array) -> History:
        """With one draw more where `collect` is true and it is finite."""
        rows = self.pairs.shape[1] - 1
        good = collect & jnp.isfinite(pair).all()
        row = jnp.where(good, self.written % rows, rows)
        pairs = jax.lax.dynamic_update_index_in_dim(self.pairs, pair, row, axis=1)
        return History(pairs, self.written + good.astype(jnp.int32))

    def latest(self, count: Array) -> Array:
        """Which rows hold the latest `count` draws, shape `(rows + 1,)`."""
        rows = self.pairs.shape[1] - 1
        index = jnp.arange(rows + 1)
        return ((self.written - 1 - index) % rows < count) & (index < jnp.minimum(self.written, rows))


class Schedule(NamedTuple):
    """What happens after step `t`, boolean tables of length `num_warmup`.

    `collect`: the draw enters the estimate. `estimate`: the metric is computed anew. `close`: a window ends.
    """

    collect: np.ndarray
    estimate: np.ndarray
    close: np.ndarray


class Adaptation(NamedTuple):
    """How a metric is adapted.

    `init(position, gradient) -> state`, and `update(state, history, pair, estimate, close) -> state` with the new draw
    and its gradient, shape `(2, d)`, and two boolean scalars out of the `schedule`; every state has the field
    `inverse_mass_matrix`. `restarts`: whether the search for the step size starts again at the end of a window.
    `rows`: how many draws the history must hold, or zero.
    """

    init: Callable[[Array, Array], Any]
    update: Callable[[Any, History | None, Array, Array, Array], Any]
    schedule: Schedule
    restarts: bool = False
    rows: int = 0


def find_adaptation(name: str | Blocks, dimension: int, num_warmup: int, max_rank: int) -> Adaptation:
    """The adaptation of that name, one of `ADAPTATIONS`, or dense within blocks of coordinates.

    `"auto"` is `"dense"` up to `MAX_DENSE` dimensions and `"low_rank"` up to `MAX_LOW_RANK`, and
    `"diagonal"` above. `"window"` is the variance of the draws in windows that double, as in Stan.
    """
    if not isinstance(name, str):
        return _from_moments(True, num_warmup, _within(name, dimension))
    if name == "auto":
        name = "dense" if dimension <= MAX_DENSE else "low_rank" if dimension <= MAX_LOW_RANK else "diagonal"
    if name in ("diagonal", "dense"):
        return _from_moments(name == "dense", num_warmup)
    if name == "low_rank":
        return _low_rank(num_warmup, max(1, min(max_rank, dimension // 2)))
    if name == "window":
        return _window(num_warmup)
    raise ValueError(f"adaptation={name!r} is not one of {', '.join(ADAPTATIONS)}")


def blackjax_metric(inverse_mass: InverseMass) -> Array | Metric:
    """What BlackJAX's kernels take; a matrix is spelled out, so that a kernel need not factorise it."""
    if isinstance(inverse_mass, DenseMetric):
        matrix, root = inverse_mass
        return _metric(lambda momentum: matrix @ momentum, lambda noise: root @ noise)
    if isinstance(inverse_mass, LowRankMetric):
        scale, vectors, values = inverse_mass

        def correct(vector: Array, factors: Array) -> Array:
            corrected = lambda: vector + vectors @ ((factors - 1.0) * (vectors.T @ vector))  # noqa: E731
            return jax.lax.cond(jnp.any(factors != 1.0), corrected, lambda: vector)

        return _metric(
            lambda momentum: scale * correct(scale * momentum, values),
            lambda noise: correct(noise, 1.0 / jnp.sqrt(values)) / scale,
        )
    return inverse_mass


def _metric(velocity: Callable[[Array], Array], from_noise: Callable[[Array], Array]) -> Metric:
    r"""BlackJAX's interface to $M$, from $p \mapsto M^{-1} p$ and $\varepsilon \mapsto M^{1/2} \varepsilon$."""

    def sample_momentum(key: Array, position: Array) -> Array:
        return from_noise(jax.random.normal(key, position.shape, position.dtype))

    def kinetic_energy(momentum: Array, position: Array | None = None) -> Array:
        del position
        return _half_square(velocity, momentum)

    def check_turning(left: Array, right: Array, total: Array, *_: Array) -> Array:
        direction = velocity(total - 0.5 * (left + right))
        return (jnp.dot(left, direction) <= 0) | (jnp.dot(right, direction) <= 0)

    def scale(position: Array, element: Array, *, inv: bool, trans: bool) -> Array:
        del position
        if not inv:
            return jax.linear_transpose(from_noise, element)(element)[0] if trans else from_noise(element)
        # M^{-1/2} = M^{1/2}ᵀ M^{-1}, and its transpose is M^{-1} M^{1/2}
        return (
            velocity(from_noise(element)) if trans else jax.linear_transpose(from_noise, element)(velocity(element))[0]
        )

    return Metric(sample_momentum, kinetic_energy, check_turning, scale)


def _half_square(velocity: Callable[[Array], Array], momentum: Array) -> Array:
    r"""$\tfrac12 p^\top M^{-1} p$, whose gradient $M^{-1} p$ has been computed on the way."""

    @jax.custom_vjp
    def energy(momentum: Array) -> Array:
        return 0.5 * jnp.dot(momentum, velocity(momentum))

    def forward(momentum: Array) -> tuple[Array, Array]:
        speed = velocity(momentum)
        return 0.5 * jnp.dot(momentum, speed), speed

    energy.defvjp(forward, lambda speed, slope: (slope * speed,))
    return energy(momentum)


def _first_diagonal(gradient: Array) -> Array:
    """A guess at the scales before there are draws: the inverse of the size of the gradient."""
    size = jnp.clip(jnp.abs(gradient), 1e-10, 1e10)
    return jnp.where(jnp.isfinite(size), 1.0 / size, 1.0)


def _collect(state: MetricState, pair: Array, close: Array) -> MetricState:
    """The moments with one draw more; at the end of a window the background becomes the foreground."""
    good = jnp.isfinite(pair).all()
    foreground = _choose(good, state.foreground.add(pair), state.foreground)
    background = _choose(good, state.background.add(pair), state.background)
    empty = Moments.empty(pair[0], outer=foreground.deviations.ndim == 3)
    return MetricState(
        state.inverse_mass_matrix, _choose(close, background, foreground), _choose(close, empty, background)
    )


def _within(blocks: Blocks, dimension: int) -> np.ndarray:
    """Which pairs of coordinates are in one block, shape `(dimension, dimension)`; each is with itself."""
    number = np.arange(dimension)
    for block in blocks:
        number[[i for start, stop in block for i in range(start, stop)]] = dimension + block[0][0]
    return np.asarray(number[:, None] == number, float)


def _from_moments(dense: bool, num_warmup: int, within: np.ndarray | None = None) -> Adaptation:
    """Diagonal, renewed with each draw, or dense, renewed with each window; dense within blocks only, if given."""
    collect, close = _table(build_growing_window_schedule, num_warmup)

    def estimator(moments: Moments, previous: Any) -> InverseMass:
        if not dense:
            return diagonal_metric(moments, previous)
        # the geometric mean of matrices with these blocks has these blocks
        deviations = moments.deviations if within is None else moments.deviations * within
        return dense_metric(moments._replace(deviations=deviations), previous)

    def init(position: Array, gradient: Array) -> MetricState:
        diagonal = _first_diagonal(gradient)
        first = DenseMetric(jnp.diag(diagonal), jnp.diag(1.0 / jnp.sqrt(diagonal))) if dense else diagonal
        empty = Moments.empty(position, outer=dense)
        return MetricState(first, empty, empty)

    def update(state: MetricState, _: History | None, pair: Array, estimate: Array, close: Array) -> MetricState:
        state = _collect(state, pair, close)
        metric = jax.lax.cond(
            estimate & (state.foreground.count >= MIN_DRAWS),
            lambda: estimator(state.foreground, state.inverse_mass_matrix),
            lambda: state.inverse_mass_matrix,
        )
        return state._replace(inverse_mass_matrix=metric)

    return Adaptation(init, update, Schedule(collect, close if dense else collect, close))


def _low_rank(num_warmup: int, rank: int) -> Adaptation:
    """The scale is renewed with each draw, the correction with each window."""
    collect, close = _table(build_growing_window_schedule, num_warmup)
    ends = np.flatnonzero(close)
    short = np.diff(ends, prepend=-1) <= 10
    estimates = close.copy()
    estimates[ends[short & (np.arange(len(ends)) % EARLY_STRIDE != EARLY_STRIDE - 1)]] = False

    def init(position: Array, gradient: Array) -> MetricState:
        scale = jnp.sqrt(_first_diagonal(gradient))
        identity = jnp.eye(position.size, rank, dtype=position.dtype), jnp.ones(rank, position.dtype)
        empty = Moments.empty(position, outer=False)
        return MetricState(LowRankMetric(scale, *identity), empty, empty)

    def update(state: MetricState, history: History | None, pair: Array, estimate: Array, close: Array) -> MetricState:
        state = _collect(state, pair, close)
        moments, previous = state.foreground, state.inverse_mass_matrix
        if history is None or not isinstance(previous, LowRankMetric):
            raise TypeError("a low-rank metric is estimated from a history")
        enough = moments.count >= MIN_DRAWS
        metric = jax.lax.cond(
            estimate & enough,
            lambda: low_rank_metric(history.pairs, history.latest(moments.count), moments, previous),
            lambda: _choose(enough, rescaled(moments, previous), previous),
        )
        return state._replace(inverse_mass_matrix=metric)

    return Adaptation(init, update, Schedule(collect, estimates, close), rows=min(num_warmup, MAX_HISTORY))


def _window(num_warmup: int) -> Adaptation:
    """Stan's windows around BlackJAX's estimate of the variances, which start anew in each window."""
    collect, close = _table(build_schedule, num_warmup)
    core = lookup_recipe("welford_diag").build_core()

    def init(position: Array, gradient: Array) -> Any:
        del gradient
        state = jax.tree.map(jnp.asarray, core.init(position.size))
        return jax.tree.map(lambda leaf: leaf.astype(position.dtype) if leaf.dtype.kind == "f" else leaf, state)

    def update(state: Any, _: History | None, pair: Array, estimate: Array, close: Array) -> Any:
        del estimate
        state = core.update(state, *pair)
        like = lambda new: jax.tree.map(lambda a, b: jnp.asarray(a, b.dtype), new, state)  # noqa: E731
        return jax.lax.cond(close, lambda: like(core.final(state)), lambda: state)

    return Adaptation(init, update, Schedule(collect, close, close), restarts=True)


@cache
def _table(build: Callable[[int], Array], num_warmup: int) -> np.ndarray:
    """BlackJAX's schedule as constants: whether a draw is collected, and whether a window ends. Shape `(2, steps)`."""
    with jax.ensure_compile_time_eval():
        return np.asarray(build(num_warmup), dtype=bool).reshape(num_warmup, 2).T


def _choose(condition: Array, yes: Any, no: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)
