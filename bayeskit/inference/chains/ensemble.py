"""Methods whose chains adapt together: many short chains in lockstep, best on an accelerator."""

from __future__ import annotations

from abc import abstractmethod
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bayeskit._typing import Array, Values
from bayeskit.inference.chains.independent import has_spread_rows
from bayeskit.inference.method import Draws, Method
from bayeskit.target import Target
from bayeskit.xla.devices import gathered, replicated, spread
from bayeskit.xla.miscompilation import safe_jit


class EnsembleState(NamedTuple):
    """State of all chains: raw key, steps taken, BlackJAX's states, and the tuned parameters that they share."""

    key: Array
    step: Array
    position: Any
    tuned: Any


class Ensemble(Method):
    """A method with one set of tuned parameters for all chains, found by an atomic warmup."""

    @property
    def warmup_steps(self) -> int:
        """None: the warmup is one atomic call."""
        return 0

    @abstractmethod
    def start(self, key: Array, target: Target, positions: Array) -> tuple[Any, Any]:
        """States of all chains at positions ``(chain, size)``, and untuned parameters."""

    @abstractmethod
    def tune(self, key: Array, target: Target, positions: Array) -> tuple[Any, Any]:
        """Warm up from these positions: states of all chains, tuned parameters."""

    @abstractmethod
    def step(self, key: Array, target: Target, position: Any, tuned: Any) -> tuple[Any, dict[str, Array]]:
        """One step of one chain: its state, its sample statistics."""

    def init(self, key: Array, target: Target, positions: Values) -> EnsembleState:
        return _whole(_jit(_init)(self, target, jnp.asarray(key), _spread(self, target, positions)))

    def warmup(self, state: Any, target: Target) -> EnsembleState:
        return _whole(_jit(_warm)(self, target, _spread(self, target, state))) if self.num_warmup else state

    def advance(self, state: Any, target: Target, num_steps: int) -> tuple[EnsembleState, Draws]:
        return _whole(_jit(_partial(num_steps))(self, target, _spread(self, target, state)))


def _spread(method: Ensemble, target: Target, tree: Any) -> Any:
    """Chains over all devices, where these divide them and are not taken by rows of data; XLA adds the collectives."""
    devices = jax.device_count()
    if devices == 1 or method.num_chains % devices or has_spread_rows(target):
        return tree

    def place(leaf: Any) -> Any:
        return (spread if np.shape(leaf)[:1] == (method.num_chains,) else replicated)(leaf, "chain")

    return jax.tree.map(place, tree)


def _whole(tree: Any) -> Any:
    return gathered(tree) if jax.process_count() > 1 else tree


@cache
def _jit(function: Any) -> Any:
    return safe_jit(function, static_argnums=0)


@cache
def _partial(num_steps: int) -> Any:
    return partial(_advance, num_steps=num_steps)


def _init(method: Ensemble, target: Target, key: Array, positions: Values) -> EnsembleState:
    flat = jax.vmap(target.ravel)(positions)
    state, tuned = method.start(key, target, flat)
    return EnsembleState(key, jnp.zeros((), jnp.int32), state, tuned)


def _warm(method: Ensemble, target: Target, state: EnsembleState) -> EnsembleState:
    key = jax.random.fold_in(state.key, np.int32(2**31 - 1))
    position, tuned = method.tune(key, target, state.position.position)
    new = state._replace(position=position, tuned=tuned)
    return jax.tree.map(lambda fresh, old: jnp.asarray(fresh, old.dtype), new, state)


def _advance(method: Ensemble, target: Target, state: EnsembleState, *, num_steps: int) -> tuple[EnsembleState, Draws]:
    def one(state: EnsembleState, _: None) -> tuple[EnsembleState, tuple[Array, dict[str, Array]]]:
        keys = jax.random.split(jax.random.fold_in(state.key, state.step), method.num_chains)
        move = jax.vmap(lambda key, position: method.step(key, target, position, state.tuned))
        position, stats = move(keys, state.position)
        return state._replace(position=position, step=state.step + 1), (position.position, stats)

    state, (positions, stats) = jax.lax.scan(one, state, None, length=num_steps)
    positions, stats = jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), (positions, stats))
    constrain = jax.vmap(jax.vmap(lambda position: target.constrain(target.unravel(position))))
    return state, Draws(constrain(positions), stats, positions)
