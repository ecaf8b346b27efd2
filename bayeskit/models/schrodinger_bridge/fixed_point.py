"""The fixed-point fit: a start from k-means++, restarts, annealing, the line search and early stop."""

from __future__ import annotations

import math
import time
from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from bayeskit._progress import ProgressBar
from bayeskit._typing import Array
from bayeskit.errors import DataError
from bayeskit.models.schrodinger_bridge.bridge import Bridge
from bayeskit.models.schrodinger_bridge.fit_data import FitData, Settings
from bayeskit.models.schrodinger_bridge.moment_matching import Blocks, advanced, balanced, matched
from bayeskit.numerics.gaussian_mixture_fit import Moments, k_means, weighted_moments
from bayeskit.train import Stopped, Training
from bayeskit.train.early_stop import EarlyStop
from bayeskit.train.settling import Window, settled
from bayeskit.xla.miscompilation import safe_jit

__all__ = ["Found", "begin_from", "iterate", "solve"]

FOR_START = 20_000
"""Points of each sample that the start looks at."""
TRIAL_STEPS = 5
"""Steps of each restart before the best goes on."""
SMALLEST_STEP = 1e-3


class Found(NamedTuple):
    """A bridge, and how it was found."""

    bridge: Bridge
    training: Training


def solve(settings: Settings, key: Array, data: FitData, bar: ProgressBar) -> Found:
    """The fixed point from k-means++: restarts and annealing on a part of the points, then all of them."""
    few = data.thinned(FOR_START, settings) if max(len(data.start.train), len(data.end.train)) > FOR_START else data
    starts = begin_from(settings, key, few)
    if few is not data:
        starts = [iterate(settings, starts, few._replace(held_out=None), None).bridge]
    return iterate(settings, starts, data, bar)


def begin_from(settings: Settings, key: Array, data: FitData) -> list[Bridge]:
    """Bridges to start from: one a restart, or the one that annealing has led to."""
    factors = [*settings.annealing, 1.0]
    x0, x1 = data.start.train[:FOR_START], data.end.train[:FOR_START]
    epsilon, count = (
        jnp.asarray(number, x1.dtype) for number in (settings.epsilon * factors[0], max(settings.prior_count, 1.0))
    )
    tau = None if settings.tau is None else jnp.asarray(settings.tau, x1.dtype)
    starts = [
        k_means_start(
            own, x0, x1, data.blocks[0], epsilon, tau, count, settings.num_components, settings.covariance == "diagonal"
        )
        for own in jax.random.split(key, settings.num_restarts)
    ]
    for factor in factors[1:]:
        found = iterate(settings, starts, data._replace(held_out=None), None)
        now = data.assess(found.bridge)  # what each component carries stays, the maps are those of the next ε
        epsilon = jnp.asarray(settings.epsilon * factor, now.bridge.r.dtype)
        goal = matched(now.start, now.end, now.bridge.log_alpha, epsilon, now.bridge.tau)
        starts = [balanced(goal, data.blocks[0], now.end.total / jnp.sum(now.end.total))]
    return starts


@partial(safe_jit, compile=eqx.filter_jit)
def k_means_start(
    key: Array,
    x0: Float[Array, "n d"],
    x1: Float[Array, "m d"],
    start: Blocks,
    epsilon: Array,
    tau: Array | None,
    count: Array,
    num: int,
    diagonal: bool,
) -> Bridge:
    """Components that carry the whole first sample to each cluster of the second.

    Args:
        key: a JAX key.
        x0: points of the first sample.
        x1: points of the second.
        start: the first sample in blocks, for the weights.
        epsilon: of the bridge.
        tau: of the bridge.
        count: how many points the covariance within all clusters is worth beside those of one.
        num: number of components.
        diagonal: the form of the covariances.
    """
    member = jax.nn.one_hot(k_means(key, x1, num)[1], num, dtype=x1.dtype)
    whole = [weighted_moments(jnp.ones((len(x), 1), x.dtype), x, diagonal=diagonal) for x in (x0, x1)]
    # a cluster of few points has the covariance of all clusters together, not that of the sample around their centres
    apart = weighted_moments(member, x1, diagonal=diagonal)
    share = apart.total / jnp.sum(apart.total)
    within = jnp.tensordot(share, apart.covariance, axes=1)[None]
    prior = Moments(jnp.ones(1, x1.dtype), whole[1].mean, within)
    clusters = weighted_moments(member, x1, diagonal=diagonal, prior=prior, count=count)
    first = Moments(*(jnp.repeat(leaf, num, axis=0) for leaf in whole[0]))
    return balanced(matched(first, clusters, jnp.log(share), epsilon, tau), start, share)


def iterate(settings: Settings, bridges: list[Bridge], data: FitData, bar: ProgressBar | None) -> Found:
    """Fixed-point steps from the best of several starts.

    Raises:
        DataError: a start has no finite loss, so a covariance must be singular.
    """
    begin = time.perf_counter()
    searches = [Search(data, bridge) for bridge in bridges]
    if len(searches) > 1:
        for search in searches:
            for _ in range(min(TRIAL_STEPS, settings.num_steps)):
                search.step()
    search = min(searches, key=lambda search: search.loss)
    bridge = search.now.bridge
    best = EarlyStop(bridge, float(data.judge(bridge)), settings.patience) if data.held_out else None
    stopped = Stopped.USED_UP
    while len(search.losses) <= settings.num_steps:
        before = search.loss
        taken = search.step()
        if bar is not None:
            bar.update("fixed point", len(search.losses) - 1)
        if best is not None and taken:
            best.look(search.now.bridge, float(data.judge(search.now.bridge)), len(search.losses) - 1)
            if best.over:
                stopped = Stopped.HELD_OUT
                break
        flat = taken and settled(Window(before), Window(search.loss), settings.tolerance)
        if search.step_size < SMALLEST_STEP or flat:
            stopped = Stopped.SETTLED
            break
    training = Training(
        losses=np.array(search.losses),
        gradient_norms=np.full(len(search.losses), np.nan),
        held_out=np.array(best.losses if best else []),
        looks=np.array(best.steps if best else [], int),
        stopped=stopped,
        has_rule=True,
        seconds=time.perf_counter() - begin,
        phases=(("fixed point", len(search.losses)),),
    )
    return Found(best.best if best else search.now.bridge, training)


class Search:
    """Steps towards the matched bridge, as long as the loss falls.

    The moments of what a component carries depend on all components: with small ε a full step can overshoot. A step
    that does not lower the loss is not taken, and the next is half as long; after one that does, the next is longer.
    """

    # not optimistix.fixed_point, which knows the map and not the loss: it takes every step in full, or by a fixed
    # share, and with ε a hundredth of the variance of the data every other full step raises the loss, by hundreds

    def __init__(self, data: FitData, bridge: Bridge):
        self.data, self.step_size = data, 1.0
        self.now = data.assess(bridge)
        self.losses = [float(self.now.loss)]
        if not math.isfinite(self.loss):
            raise DataError(
                "the loss of the first bridge is not finite: a covariance is singular, or epsilon is too small for the "
                "scale of the data; standardize, use covariance='diagonal', or raise prior_count or epsilon"
            )

    @property
    def loss(self) -> float:
        """The loss of the bridge so far."""
        return float(self.now.loss)

    def step(self) -> bool:
        """Try a step; says whether it was taken."""
        trial = self.data.assess(advanced(self.now, jnp.asarray(self.step_size, self.now.loss.dtype)))
        taken = float(trial.loss) <= self.loss  # false for NaN
        if taken:
            self.now, self.step_size = trial, min(1.0, 1.3 * self.step_size)
        else:
            self.step_size *= 0.5
        self.losses.append(self.loss)
        return taken
