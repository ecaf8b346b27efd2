"""`MarkovChain`: a chain with rewards that is given, its values, and trajectories drawn from it."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from numpyro.distributions import Distribution

from bayeskit._keepable import keepable
from bayeskit._keys import as_key
from bayeskit._settings import is_whole, require
from bayeskit._typing import Array, ArrayLike, Key
from bayeskit.errors import DataError
from bayeskit.models.td_error.checks import finite, within
from bayeskit.models.td_error.trajectories import Trajectories, check_discount
from bayeskit.xla.miscompilation import safe_jit

__all__ = ["MarkovChain", "random_walk"]

ROUNDING = 1e-6


@keepable("td_error.MarkovChain")
class MarkovChain(eqx.Module):
    r"""States, transitions and expected rewards.

    Args:
        transition: $P$, shape `(states, states)`; what a row lacks to one is the probability that the episode ends.
        rewards: expected on leaving each state, shape `(states,)`.
        discount: $\gamma$, from 0 to 1.
        start: probabilities of the first state, shape `(states,)`; uniform by default.
        features: of each state, shape `(states, features)`; by default indicators, so that values are a table.

    Raises:
        DataError: other shapes, probabilities outside of [0, 1] or with a sum that is not right, features that are not
            finite, or values that are not (without discount, an episode that may never end).
        MethodError: a discount outside of [0, 1].

    Example:
        >>> from bayeskit.models import td_error
        >>> chain = td_error.MarkovChain([[0.5, 0.5], [0.0, 0.0]], [1.0, 3.0], discount=0.5)
        >>> chain.values.round(3).tolist()  # v0 = 1 + (v0 + v1) / 4 with v1 = 3
        [2.333, 3.0]
    """

    transition: Float[Array, "states states"]
    rewards: Float[Array, " states"]
    discount: Float[Array, ""]
    start: Float[Array, " states"]
    features: Float[Array, "states features"]

    def __init__(
        self,
        transition: ArrayLike,
        rewards: ArrayLike,
        discount: ArrayLike = 0.99,
        start: ArrayLike | None = None,
        features: ArrayLike | None = None,
    ):
        double_or_single = jnp.result_type(float)
        self.transition = within(transition, "transition", 0.0, 1.0, double_or_single)
        size = len(self.transition) if self.transition.ndim else 0
        if self.transition.shape != (size, size) or size == 0:
            raise DataError(f"transition must have shape (states, states), got {self.transition.shape}")
        self.rewards = finite(rewards, "rewards", double_or_single)
        self.start = within(np.full(size, 1 / size) if start is None else start, "start", 0.0, 1.0, double_or_single)
        for name, array in (("rewards", self.rewards), ("start", self.start)):
            if array.shape != (size,):
                raise DataError(f"{name} must have shape ({size},), a number a state; got {array.shape}")
        rows = np.asarray(self.transition).sum(axis=1)
        if rows.max() > 1 + ROUNDING:
            raise DataError(
                f"transition must have rows with a sum of at most 1, got {rows.max():g} in row {rows.argmax()}"
            )
        if abs(float(self.start.sum()) - 1) > ROUNDING:
            raise DataError(f"start must have a sum of 1, got {float(self.start.sum()):g}")
        self.discount = check_discount(discount)
        self.features = finite(np.eye(size) if features is None else features, "features", double_or_single)
        if self.features.ndim != 2 or len(self.features) != size:
            raise DataError(f"features must have shape ({size}, features), a row a state; got {self.features.shape}")
        if float(self.discount) == 1 and not _may_end(np.asarray(self.transition, np.float64)).all():
            raise DataError("transition leaves episodes without an end, whose values need a discount below 1")

    @property
    def values(self) -> Float[Array, " states"]:
        r"""The exact values, $(I - \gamma P)^{-1} r$."""
        system = np.eye(len(self.rewards)) - float(self.discount) * np.asarray(self.transition, np.float64)
        return jnp.asarray(np.linalg.solve(system, np.asarray(self.rewards, np.float64)), self.rewards.dtype)

    def simulate(self, num_steps: int, *, noise: Distribution | None = None, key: Key) -> Trajectories:
        """Trajectories of so many steps in all; after the end of an episode comes a new start.

        Args:
            num_steps: transitions.
            noise: a law that is added to every reward; its mean should be zero.
            key: an integer seed or a JAX key.

        Raises:
            MethodError: no steps, or noise that is no distribution of single numbers.
        """
        require(is_whole(num_steps) and num_steps >= 1, "num_steps", num_steps, "a positive integer")
        scalar = noise is None or (isinstance(noise, Distribution) and noise.batch_shape == noise.event_shape == ())
        require(scalar, "noise", noise, "a distribution of single numbers, or None")
        of_states, of_noise = jax.random.split(as_key(key))
        states, after = _walk(self.transition, self.start, jax.random.split(of_states, num_steps))
        rewards = self.rewards[states]
        if noise is not None:
            rewards = rewards + noise.sample(of_noise, (num_steps,))
        padded = jnp.concatenate([self.features, jnp.zeros_like(self.features[:1])])
        ended = jnp.concatenate([jnp.ones(1, bool), after[:-1] == len(self.rewards)])
        return Trajectories(padded[states], rewards, padded[after], self.discount, ended)


def _may_end(transition: np.ndarray) -> np.ndarray:
    """Whether the end can be reached, from each state. Rows may lack rounding errors to one."""
    found = 1 - transition.sum(axis=1) > ROUNDING
    for _ in transition:
        found = found | (transition[:, found] > 0).any(axis=1)
    return found


@safe_jit
def _walk(transition: Array, start: Array, keys: Array) -> tuple[Array, Array]:
    """The state at each step and the one after it, which is the number of states where the episode ends."""
    size = len(start)
    end = jnp.maximum(1 - transition.sum(axis=1), 0.0)
    logits = jnp.log(jnp.concatenate([transition, jnp.where(end > ROUNDING, end, 0.0)[:, None]], axis=1))

    def step(state: Array, key: Array) -> tuple[Array, tuple[Array, Array]]:
        to_next, to_start = jax.random.split(key)
        state = jnp.where(state == size, jax.random.categorical(to_start, jnp.log(start)), state)
        after = jax.random.categorical(to_next, logits[state])
        return after, (state, after)

    return jax.lax.scan(step, jnp.asarray(size), keys)[1]


def random_walk(num_states: int = 19, discount: float = 1.0) -> MarkovChain:
    r"""A random walk along a line that ends at both ends, from the middle: the usual test of value estimates.

    The expected reward is $-\frac12$ at the first state and $\frac12$ at the last, from which every second step ends
    the episode, so that without discount the values lie on a line from almost -1 to almost 1.

    Args:
        num_states: an odd number.
        discount: $\gamma$.

    Raises:
        MethodError: an even number of states, or fewer than three.

    Example:
        >>> from bayeskit.models import td_error
        >>> td_error.random_walk(3).values.round(3).tolist()
        [-0.5, 0.0, 0.5]
    """
    ok = is_whole(num_states) and num_states >= 3 and num_states % 2 == 1
    require(ok, "num_states", num_states, "an odd number of at least 3")
    transition = (np.eye(num_states, k=1) + np.eye(num_states, k=-1)) / 2
    rewards = np.zeros(num_states)
    rewards[0], rewards[-1] = -0.5, 0.5
    return MarkovChain(transition, rewards, discount, np.eye(num_states)[num_states // 2])
