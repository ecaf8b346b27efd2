r"""The no-U-turn sampler of BlackJAX, with its warmup, as one pure transition over explicit state.

One step is one transition of BlackJAX's kernel (multinomial sampling along a trajectory that doubles until it turns;
Hoffman and Gelman 2014, Betancourt 2017). While `state.step < num_warmup` the step also adapts

* the step size $\epsilon$, by Nesterov's dual averaging of the acceptance rate (Hoffman and Gelman 2014, section 3.2);
* the rate $\delta$ that it aims at, upwards from `target_accept` as long as trajectories break down (`_less_slack`);
* the metric $M^{-1}$, see `bayeskit.inference.mcmc.blackjax_adaptation`.

From the last step of the warmup on, $\epsilon$ is the average that dual averaging has arrived at, and nothing changes
any more. So one `jax.lax.scan` over `step_chain`, compiled once, serves warmup and sampling, in chunks of any size.

    state = init_chain(settings, key, log_density, position)
    state, statistics = step_chain(settings, state, log_density)

Positions are flat: one vector of unconstrained values. Keys are raw (`uint32`) key data, so that a state can be stored.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import blackjax
import jax
import jax.numpy as jnp
from blackjax.adaptation.step_size import DualAveragingAdaptationState, dual_averaging_adaptation
from blackjax.mcmc.hmc import HMCState
from blackjax.mcmc.nuts import NUTSInfo

from bayeskit._typing import Array
from bayeskit.inference.mcmc.blackjax_adaptation import Adaptation, Blocks, History, blackjax_metric, find_adaptation
from bayeskit.xla.cpu_kernel import has_single_kernel, kernel_options, single_kernel
from bayeskit.xla.scatters import with_loops

__all__ = ["ChainState", "NUTSSettings", "init_chain", "step_chain"]

LogDensity = Callable[[Array], Array]

BREAKDOWN = 20.0
"""During warmup a trajectory is given up where the error of its energy exceeds this: its end would be drawn with
probability $e^{-20}$, and beside a neck such errors are ten times more frequent than divergences in the usual sense."""

MOST_BREAKDOWNS = 0.0003
"""A well-conditioned posterior has fewer at an acceptance rate of 0.8; one with a neck has 0.03 to 0.15."""

LESS_SLACK = 0.5
"""What one breakdown multiplies $1 - \\delta$ by."""

LEAST_SLACK = 0.03
"""$1 - \\delta$ does not become smaller than this part of `1 - target_accept`."""

UNHEEDED, UNHEEDED_STEPS = 0.2, 100
"""In this first part of the warmup, and in so many steps, breakdowns are due to the metric and the step size of the
beginning."""

SEARCH = 100
"""So do steps not count in which dual averaging, just begun, still tries steps that are far too long."""


@dataclass(frozen=True)
class NUTSSettings:
    """Settings of one chain.

    Args:
        num_warmup: steps during which step size and metric are adapted.
        target_accept: acceptance rate that the step size is tuned for, averaged over the trajectory; more than that
            where trajectories break down at it.
        max_tree_depth: a trajectory has at most `2**max_tree_depth - 1` leapfrogs.
        adaptation: one of `blackjax_adaptation.ADAPTATIONS`, or blocks of coordinates within which the metric is dense.
        max_rank: rank of the correction when `adaptation="low_rank"`.
        divergence_threshold: error of the energy above which a transition counts as divergent.
        initial_step_size: where the search for the step size starts, in units of the first metric.
        single_kernel: the caller compiles for the CPU with `cpu_kernel.kernel_options`; a transition is then one
            kernel wherever the log density allows it, which is several times faster for small models.
    """

    num_warmup: int = 1000
    target_accept: float = 0.8
    max_tree_depth: int = 10
    adaptation: str | Blocks = "auto"
    max_rank: int = 10
    divergence_threshold: float = 1000.0
    initial_step_size: float = 0.1
    single_kernel: bool = False


class ChainState(NamedTuple):
    """Everything that the next step depends on.

    `key`: raw key data of the chain, the same at every step. `step`: steps taken so far, `int32`. `position`:
    BlackJAX's state, with log density and gradient. `step_size`: in use at the next step. `metric`: state of the
    metric's adaptation, with the field `inverse_mass_matrix`. `history`: draws that the metric is estimated from, where
    it needs them. `slack`: one minus the acceptance rate that is aimed at now, as a part of `1 - target_accept`.
    """

    key: Array
    step: Array
    position: HMCState
    step_size: Array
    dual_averaging: DualAveragingAdaptationState
    metric: Any
    history: History | None
    slack: Array


def init_chain(settings: NUTSSettings, key: Array, log_density_fn: LogDensity, position: Array) -> ChainState:
    """State before the first step.

    `key` is a JAX key, typed or raw; `position` is a vector of shape `(d,)`. The first metric is $1/|g_i|$ on the
    diagonal, with $g$ the gradient at `position`.
    """
    state = blackjax.nuts.init(position, log_density_fn)
    adaptation = _adaptation(settings, position)
    metric = adaptation.init(position, state.logdensity_grad)
    history = History.empty(position, adaptation.rows) if adaptation.rows else None
    step_size = jnp.asarray(settings.initial_step_size, position.dtype)
    raw = jax.random.key_data(key) if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else key
    averaging = _restart(settings, step_size)
    step, slack = jnp.zeros((), jnp.int32), jnp.ones_like(step_size)
    return ChainState(raw, step, state, step_size, averaging, metric, history, slack)


def step_chain(
    settings: NUTSSettings, state: ChainState, log_density_fn: LogDensity
) -> tuple[ChainState, dict[str, Array]]:
    """One transition, and one step of the adaptation during warmup.

    The statistics are those of the documentation, scalars; `step_size` is the one that was used.
    """
    key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
    transition = _transition(settings, log_density_fn, state.position.position)
    warm = min(BREAKDOWN, settings.divergence_threshold)
    threshold = jnp.where(state.step < settings.num_warmup, warm, settings.divergence_threshold)
    metric = state.metric.inverse_mass_matrix
    position, info = transition(key, state.position, state.step_size, metric, threshold.astype(state.step_size.dtype))
    moved = state._replace(position=position)
    if settings.num_warmup > 0:
        moved = _adapt(settings, moved, info)
    return moved._replace(step=state.step + 1), _statistics(position, info, state.step_size)


def _transition(settings: NUTSSettings, log_density_fn: LogDensity, position: Array) -> Callable:
    def transition(
        key: Array, state: HMCState, step_size: Array, inverse_mass: Any, threshold: Array
    ) -> tuple[HMCState, NUTSInfo]:
        metric = blackjax_metric(inverse_mass)
        kernel = blackjax.nuts.build_kernel(divergence_threshold=threshold)
        return kernel(key, state, log_density_fn, step_size, metric, settings.max_tree_depth)

    if not settings.single_kernel:
        return transition
    looped = log_density_fn if kernel_options() else with_loops(log_density_fn, position)
    if has_single_kernel(jax.value_and_grad(looped), position):
        log_density_fn = looped
        return single_kernel(transition)
    return transition


def _adapt(settings: NUTSSettings, state: ChainState, info: NUTSInfo) -> ChainState:
    """What follows a transition; does nothing from step `num_warmup` on.

    The history is large and written outside the branches: a branch that returned it would copy it at every step.
    """
    adaptation = _adaptation(settings, state.position.position)
    warm = state.step < settings.num_warmup
    row = jnp.minimum(state.step, settings.num_warmup - 1)
    collect, estimate, close = (jnp.asarray(table)[row] & warm for table in adaptation.schedule)
    pair = jnp.stack([state.position.position, state.position.logdensity_grad])
    history = None if state.history is None else state.history.write(pair, collect)
    metric = jax.lax.cond(
        collect,
        lambda: adaptation.update(state.metric, history, pair, estimate, close),
        lambda: state.metric,
    )
    step_size, averaging, slack = jax.lax.cond(
        warm,
        lambda: _adapt_step_size(settings, state, info, close & adaptation.restarts),
        lambda: (state.step_size, state.dual_averaging, state.slack),
    )
    return state._replace(step_size=step_size, dual_averaging=averaging, metric=metric, history=history, slack=slack)


def _adapt_step_size(
    settings: NUTSSettings, state: ChainState, info: NUTSInfo, restart: Array
) -> tuple[Array, DualAveragingAdaptationState, Array]:
    slack = _less_slack(settings, state, info.is_divergent)
    _, update, final = dual_averaging_adaptation(1.0 - (1.0 - settings.target_accept) * slack)
    averaging = jax.tree.map(_like, update(state.dual_averaging, info.acceptance_rate), state.dual_averaging)
    averaging = jax.lax.cond(restart, lambda: _restart(settings, final(averaging)), lambda: averaging)
    last = state.step == settings.num_warmup - 1
    return jnp.where(last, final(averaging), jnp.exp(averaging.log_step_size)), averaging, slack


def _less_slack(settings: NUTSSettings, state: ChainState, broken: Array) -> Array:
    r"""The slack after one trajectory more: less after a breakdown, a little more after any other.

    The mean acceptance rate says little about the tails: beside a narrow neck nearly all trajectories are accepted, and
    some break down. With $p$ the share of these, the logarithm of the slack moves by
    $p \log \text{LESS\_SLACK} + (1 - p) \varepsilon$ a step, which is zero at $p = \text{MOST\_BREAKDOWNS}$.
    """
    growth = -MOST_BREAKDOWNS / (1 - MOST_BREAKDOWNS) * math.log(LESS_SLACK)
    slack = state.slack * jnp.where(broken, LESS_SLACK, math.exp(growth))
    searching = state.dual_averaging.step < SEARCH
    heeded = (state.step >= max(UNHEEDED * settings.num_warmup, UNHEEDED_STEPS)) & ~searching
    slack = jnp.where(heeded, slack, state.slack)
    return jnp.clip(slack, LEAST_SLACK, 1.0).astype(state.slack.dtype)


def _adaptation(settings: NUTSSettings, position: Array) -> Adaptation:
    return find_adaptation(settings.adaptation, position.shape[0], settings.num_warmup, settings.max_rank)


def _restart(settings: NUTSSettings, step_size: Array) -> DualAveragingAdaptationState:
    init, _, _ = dual_averaging_adaptation(settings.target_accept)
    log_step_size, average, step, error, mu = init(step_size)
    floats = (jnp.asarray(x, step_size.dtype) for x in (log_step_size, average, error, mu))
    log_step_size, average, error, mu = floats
    return DualAveragingAdaptationState(log_step_size, average, jnp.asarray(step, jnp.int32), error, mu)


def _like(new: Array, old: Array) -> Array:
    return jnp.asarray(new, old.dtype)


def _statistics(position: HMCState, info: NUTSInfo, step_size: Array) -> dict[str, Array]:
    return {
        "diverging": info.is_divergent,
        "energy": info.energy,
        "lp": position.logdensity,
        "acceptance_rate": info.acceptance_rate,
        "step_size": step_size,
        "tree_depth": info.num_trajectory_expansions,
        "n_steps": info.num_integration_steps,
        "reached_max_treedepth": ~(info.is_divergent | info.is_turning),
    }
