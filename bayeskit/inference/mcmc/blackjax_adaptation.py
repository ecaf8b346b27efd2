r"""Metric adaptation for Hamiltonian Monte Carlo, one draw at a time.

The kinetic energy is $\tfrac12 p^\top M^{-1} p$. Sampling is fastest where the target, seen through $M^{-1/2}$, looks
like a standard normal. Seyboldt, Carlson and Carpenter (2026, "Preconditioning Hamiltonian Monte Carlo by minimizing
Fisher divergence") choose $M^{-1}$ so that the gradients of $\log\pi$ differ least from those of
$\mathcal N(\mu, M^{-1})$, in the mean square weighted by $M^{-1}$. The sampler has computed those gradients anyway.
With $C_x$ and $C_g$ the covariances of draws and of gradients,

* diagonal: $M^{-1}_{ii} = \sqrt{C_{x,ii} / C_{g,ii}}$ (their section 3.1);
* dense: $M^{-1} = C_x \mathbin{\#} C_g^{-1}$, the geometric mean of positive definite matrices (their theorem 2.3),
  which is the covariance where the target is normal, since then $C_g = C_x^{-1}$.

For a normal target, $d + 1$ draws give the matrix exactly (and two the diagonal, if it is independent), where the
variance of ten draws is off by half. The metric is therefore renewed from the first draws on, in windows that grow by
one half, and the moments of a window are kept through the next one (foreground and background), so that early draws are
forgotten.

An `Adaptation` is two pure functions over explicit state and the tables that say what happens at which step. Everything
here is for one chain; `vmap` it for several.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from blackjax.adaptation.low_rank_adaptation import build_growing_window_schedule
from blackjax.adaptation.metric_recipes import lookup_recipe
from blackjax.adaptation.window_adaptation import build_schedule
from blackjax.mcmc.metrics import LowRankInverseMassMatrix, Metric

from bayeskit._typing import Array

__all__ = ["ADAPTATIONS", "Adaptation", "DenseMetric", "MetricState", "blackjax_metric", "find_adaptation"]

ADAPTATIONS = ("auto", "diagonal", "dense", "low_rank", "window")
MAX_DENSE = 32
"""`"auto"` is dense up to this dimension: there the matrix costs less than the leapfrogs that it saves."""

_MIN_DRAWS = 3
_REGULARISATION = 1e-5


class DenseMetric(NamedTuple):
    """Inverse mass matrix, shape `(d, d)`, and a root of the mass matrix: `root @ root.T` is its inverse."""

    inverse_mass_matrix: Array
    root: Array


InverseMass: TypeAlias = Array | DenseMetric | LowRankInverseMassMatrix


class Moments(NamedTuple):
    """Running moments of draws and gradients (Welford 1962); leading axis `(draw, gradient)`.

    `deviations` is the sum of squares, shape `(2, d)`, or of outer products, shape `(2, d, d)`.
    """

    count: Array  # type: ignore[assignment]
    mean: Array
    deviations: Array


class MetricState(NamedTuple):
    """`inverse_mass_matrix` in use; the moments of this and the last window, and of this window alone."""

    inverse_mass_matrix: InverseMass
    foreground: Moments
    background: Moments


class Schedule(NamedTuple):
    """What happens after step `t`, boolean tables of length `num_warmup`.

    `collect`: the draw enters the estimate. `estimate`: the metric is computed anew. `close`: a window ends.
    """

    collect: np.ndarray
    estimate: np.ndarray
    close: np.ndarray


class Adaptation(NamedTuple):
    """How a metric is adapted.

    `init(position, gradient) -> state`, and `update(state, position, gradient, estimate, close) -> state` with two
    boolean scalars out of the `schedule`; every state has the field `inverse_mass_matrix`.
    `restarts`: whether the search for the step size starts again at the end of a window.
    """

    init: Callable[[Array, Array], Any]
    update: Callable[[Any, Array, Array, Array, Array], Any]
    schedule: Schedule
    restarts: bool


def find_adaptation(name: str, dimension: int, num_warmup: int, max_rank: int = 10) -> Adaptation:
    """The adaptation of that name, one of `ADAPTATIONS`.

    `"auto"` is `"dense"` up to `MAX_DENSE` dimensions and `"diagonal"` above. `"low_rank"` and `"window"` (the
    variances of the draws in windows that double, as in Stan) are BlackJAX's.
    """
    if name == "auto":
        name = "dense" if dimension <= MAX_DENSE else "diagonal"
    if name in ("diagonal", "dense"):
        return _fisher(name == "dense", num_warmup)
    if name in ("low_rank", "window"):
        return _from_blackjax(name, num_warmup, max_rank)
    raise ValueError(f"adaptation={name!r} is not one of {', '.join(ADAPTATIONS)}")


def blackjax_metric(inverse_mass: InverseMass) -> InverseMass | Metric:
    """What BlackJAX's kernels take: a dense metric is spelled out, so that a kernel need not factorise it."""
    if not isinstance(inverse_mass, DenseMetric):
        return inverse_mass
    matrix, root = inverse_mass

    def sample_momentum(key: Array, position: Array) -> Array:
        return root @ jax.random.normal(key, position.shape, position.dtype)

    def kinetic_energy(momentum: Array, position: Array | None = None) -> Array:
        del position
        return 0.5 * jnp.dot(momentum, matrix @ momentum)

    def check_turning(left: Array, right: Array, total: Array, *_: Array) -> Array:
        velocity = matrix @ (total - 0.5 * (left + right))
        return (jnp.dot(left, velocity) <= 0) | (jnp.dot(right, velocity) <= 0)

    def scale(position: Array, element: Array, *, inv: bool, trans: bool) -> Array:
        del position
        map_by = (lambda x: jnp.linalg.solve(root, x)) if inv else (lambda x: root @ x)
        return jax.linear_transpose(map_by, element)(element)[0] if trans else map_by(element)

    return Metric(sample_momentum, kinetic_energy, check_turning, scale)


def _fisher(dense: bool, num_warmup: int) -> Adaptation:
    """Draws and gradients, in windows that grow by one half and overlap."""
    collect, close = _table(build_growing_window_schedule, num_warmup)
    schedule = Schedule(collect, close if dense else collect, close)
    estimate_metric: Callable[[Moments, Any], InverseMass] = dense_metric if dense else diagonal_metric

    def init(position: Array, gradient: Array) -> MetricState:
        size = jnp.clip(jnp.abs(gradient), 1e-10, 1e10)
        diagonal = jnp.where(jnp.isfinite(size), 1.0 / size, 1.0)
        first = DenseMetric(jnp.diag(diagonal), jnp.diag(jnp.sqrt(1.0 / diagonal))) if dense else diagonal
        empty = _empty(position, dense)
        return MetricState(first, empty, empty)

    def update(state: MetricState, position: Array, gradient: Array, estimate: Array, close: Array) -> MetricState:
        pair = jnp.stack([position, gradient])
        foreground, background = _add(state.foreground, pair), _add(state.background, pair)
        foreground = _choose(close, background, foreground)
        background = _choose(close, _empty(position, dense), background)
        metric = jax.lax.cond(
            estimate & (foreground.count >= _MIN_DRAWS),
            lambda: estimate_metric(foreground, state.inverse_mass_matrix),
            lambda: state.inverse_mass_matrix,
        )
        return MetricState(metric, foreground, background)

    return Adaptation(init, update, schedule, restarts=False)


def diagonal_metric(moments: Moments, previous: Array) -> Array:
    r"""$\sqrt{C_{x,ii} / C_{g,ii}}$, shape `(d,)`; `previous` where that is not a positive number."""
    ratio = jnp.sqrt(moments.deviations[0] / moments.deviations[1])
    return jnp.where(jnp.isfinite(ratio) & (ratio > 0), ratio, previous)


def dense_metric(moments: Moments, previous: DenseMetric) -> DenseMetric:
    r"""$C_x \mathbin{\#} C_g^{-1}$, shape `(d, d)`, after scaling to unit diagonal; `previous` where it is not finite.

    With $B = V \operatorname{diag}(b) V^\top$, the geometric mean is
    $A \mathbin{\#} B^{-1} = B^{-1/2} (B^{1/2} A B^{1/2})^{1/2} B^{-1/2}$. A small multiple of the identity on both
    sides leaves directions without draws as they are.
    """
    variances = jnp.diagonal(moments.deviations, axis1=1, axis2=2)
    scale = (variances[0] / variances[1]) ** 0.25
    outer, ridge = jnp.outer(scale, scale), _REGULARISATION * jnp.eye(scale.shape[0])
    mean = _geometric_mean(moments.deviations[0] / outer + ridge, moments.deviations[1] * outer + ridge)
    values, vectors = jnp.linalg.eigh(mean)
    candidate = DenseMetric(mean * outer, vectors / jnp.sqrt(values) / scale[:, None])
    finite = jax.tree.reduce(jnp.logical_and, jax.tree.map(lambda x: jnp.all(jnp.isfinite(x)), candidate))
    return _choose(finite, candidate, previous)


def _geometric_mean(a: Array, b: Array) -> Array:
    """Of `a` and the inverse of `b`, both symmetric and positive definite."""
    values, vectors = jnp.linalg.eigh(b)
    root = jnp.sqrt(jnp.maximum(values, jnp.finfo(b.dtype).eps * values[-1]))
    forward, backward = (vectors * root) @ vectors.T, (vectors / root) @ vectors.T
    values, vectors = jnp.linalg.eigh(forward @ a @ forward)
    middle = (vectors * jnp.sqrt(jnp.maximum(values, jnp.finfo(a.dtype).eps * values[-1]))) @ vectors.T
    return backward @ middle @ backward


def _from_blackjax(name: str, num_warmup: int, max_rank: int) -> Adaptation:
    """Stan's windows around one of BlackJAX's recipes, which start anew in each window."""
    collect, close = _table(build_schedule, num_warmup)
    window = int(np.max(np.diff(np.flatnonzero(close), prepend=0), initial=1))
    if name == "window":
        core = lookup_recipe("welford_diag").build_core()
    else:
        recipe = lookup_recipe("fisher_low_rank")
        core = replace(recipe, max_rank=max_rank).build_core(buffer_size=window)

    def init(position: Array, gradient: Array) -> Any:
        del gradient
        state = jax.tree.map(jnp.asarray, core.init(position.shape[0]))
        return jax.tree.map(lambda x: x.astype(position.dtype) if x.dtype.kind == "f" else x, state)

    def update(state: Any, position: Array, gradient: Array, estimate: Array, close: Array) -> Any:
        del estimate
        state = core.update(state, position, gradient)
        return jax.lax.cond(close, lambda: _like(core.final(state), state), lambda: state)

    return Adaptation(init, update, Schedule(collect, close, close), restarts=True)


@cache
def _table(build: Callable[[int], Array], num_warmup: int) -> np.ndarray:
    """BlackJAX's schedule as constants: whether a draw is collected, and whether a window ends. Shape `(2, steps)`."""
    with jax.ensure_compile_time_eval():
        return np.asarray(build(num_warmup), dtype=bool).reshape(num_warmup, 2).T


def _empty(position: Array, dense: bool) -> Moments:
    mean = jnp.zeros((2, *position.shape), position.dtype)
    deviations = jnp.zeros((2, *position.shape, *position.shape), position.dtype) if dense else mean
    return Moments(jnp.zeros((), position.dtype), mean, deviations)


def _add(moments: Moments, pair: Array) -> Moments:
    """One draw and its gradient more, unless one of them is not finite."""
    count = moments.count + 1
    before = pair - moments.mean
    mean = moments.mean + before / count
    after = pair - mean
    squares = after[:, :, None] * before[:, None, :] if moments.deviations.ndim == 3 else after * before
    return _choose(jnp.all(jnp.isfinite(pair)), Moments(count, mean, moments.deviations + squares), moments)


def _like(new: Any, old: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.asarray(a, b.dtype), new, old)


def _choose(condition: Array, yes: Any, no: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)
