"""Critics of rejax's agents with what a loss of TD errors needs: means of several heads, a scale and a shape.

A critic is called as rejax calls its own, and then gives the mean of its heads; `predict` gives all. Imported only
where an agent is trained, since flax belongs to the extra `rl`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import jax.numpy as jnp
from flax import linen as nn

from bayeskit._typing import Array
from bayeskit.models.td_error.heads import DECADES, SHAPES
from bayeskit.models.td_error.value_losses import ValuePrediction

__all__ = ["ActionCritic", "Critic", "StateCritic", "ValuesOfActions", "bounded"]


def bounded(of_scale: Array, of_shape: Array) -> tuple[Array, Array]:
    """Scale and shape from what a network puts out, within the bounds of `ValueHeads`."""
    half_scale, half_shape = DECADES * math.log(10.0), math.log(SHAPES[1] / SHAPES[0]) / 2
    scale = jnp.exp(half_scale * jnp.tanh(of_scale / half_scale))
    return scale, math.sqrt(SHAPES[0] * SHAPES[1]) * jnp.exp(half_shape * jnp.tanh(of_shape / half_shape))


class Critic(nn.Module):
    """Hidden layers, and from them the means of every head and two numbers of the noise; each of several values.

    Attributes:
        hidden_layer_sizes: of the layers that all share.
        activation: likewise.
        num_heads: heads.
        action_dim: values of a state, one for each of a few actions; rejax's name.
    """

    hidden_layer_sizes: Sequence[int]
    activation: Callable[[Array], Array]
    num_heads: int = 1
    action_dim: int = 1

    def setup(self) -> None:
        """The layers; the numbers of the noise are 0 at the start."""
        self.hidden = [nn.Dense(size) for size in self.hidden_layer_sizes]
        self.means = nn.Dense(self.num_heads * self.action_dim)
        self.noise = nn.Dense(2 * self.action_dim, kernel_init=nn.initializers.zeros)

    def outputs(self, x: Array) -> tuple[Array, Array]:
        """Means `(batch, heads, values)`, and numbers of the noise `(batch, 2, values)`."""
        x = x.reshape(x.shape[0], -1)
        for layer in self.hidden:
            x = self.activation(layer(x))
        means, noise = self.means(x), self.noise(x)
        return means.reshape(-1, self.num_heads, self.action_dim), noise.reshape(-1, 2, self.action_dim)


class StateCritic(Critic):
    """The value of a state."""

    def __call__(self, obs: Array) -> Array:
        """The mean of the heads."""
        return self.outputs(obs)[0].mean(axis=(1, 2))

    def predict(self, obs: Array) -> ValuePrediction:
        """What a loss takes."""
        means, noise = self.outputs(obs)
        return ValuePrediction(means[..., 0].T, *bounded(noise[:, 0, 0], noise[:, 1, 0]))


class ActionCritic(Critic):
    """The value of an action of real numbers. An agent has several of these, each of which is a head."""

    def __call__(self, obs: Array, action: Array) -> Array:
        """The value."""
        return self.both(obs, action)[0]

    def both(self, obs: Array, action: Array) -> tuple[Array, Array]:
        """The value `(batch,)`, and numbers of the noise `(batch, 2)`."""
        rows = jnp.concatenate([one.reshape(one.shape[0], -1) for one in (obs, action)], axis=-1)
        means, noise = self.outputs(rows)
        return means[:, 0, 0], noise[..., 0]


class ValuesOfActions(Critic):
    """The value of each of a few actions."""

    def __call__(self, obs: Array) -> Array:
        """The mean of the heads, shape `(batch, actions)`."""
        return self.outputs(obs)[0].mean(axis=1)

    def both(self, obs: Array, action: Array) -> tuple[Array, Array]:
        """Of the action taken: values `(batch, heads)`, and numbers of the noise `(batch, 2)`."""
        means, noise = self.outputs(obs)
        at = action[:, None, None]
        return jnp.take_along_axis(means, at, axis=2)[..., 0], jnp.take_along_axis(noise, at, axis=2)[..., 0]

    def take(self, obs: Array, action: Array) -> Array:
        """The mean of the heads, of the action taken."""
        return self.both(obs, action)[0].mean(axis=1)

    def predict(self, obs: Array, action: Array) -> ValuePrediction:
        """What a loss takes."""
        means, noise = self.both(obs, action)
        return ValuePrediction(means.T, *bounded(noise[:, 0], noise[:, 1]))
