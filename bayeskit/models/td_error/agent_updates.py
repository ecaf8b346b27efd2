"""rejax's agents, whose critics learn by one of our losses; all else is theirs.

Each class overrides the update of the critic, with the targets that rejax computes there, and which network that is.
Imported only where an agent is trained, since rejax belongs to the extra `rl`.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct
from gymnax.environments import spaces
from rejax import DQN, PPO, SAC
from rejax.networks import EpsilonGreedyPolicy

from bayeskit._typing import Array
from bayeskit.models.td_error.agent_networks import ActionCritic, StateCritic, ValuesOfActions, bounded
from bayeskit.models.td_error.value_losses import SquaredError, ValueLoss, ValuePrediction

__all__ = ["AGENTS", "FUNCTIONS", "PLAIN", "ErrorDQN", "ErrorPPO", "ErrorSAC"]


class ErrorPPO(PPO):
    """Its critic's errors are the advantages' targets minus the value; the value is not clipped."""

    error: ValueLoss = struct.field(pytree_node=False, default=SquaredError())

    @classmethod
    def create_agent(cls, config: dict[str, Any], env: Any, env_params: Any) -> dict[str, Any]:
        """The actor of PPO, and a critic with heads."""
        num_heads = config.pop("num_heads")
        given = dict(config.get("agent_kwargs", {}))
        found = super().create_agent(config, env, env_params)
        return {**found, "critic": StateCritic(**_layers(given, "swish"), num_heads=num_heads)}

    def update_critic(self, ts: Any, batch: Any) -> Any:
        """One step."""

        def loss(params: Any) -> Array:
            prediction = self.critic.apply(params, batch.trajectories.obs, method="predict")
            return self.vf_coef * self.error(prediction, batch.targets)

        return ts.replace(critic_ts=ts.critic_ts.apply_gradients(grads=jax.grad(loss)(ts.critic_ts.params)))


class ErrorSAC(SAC):
    """Its critics are the heads; their numbers of the noise are averaged."""

    error: ValueLoss = struct.field(pytree_node=False, default=SquaredError())

    @classmethod
    def create_agent(cls, config: dict[str, Any], env: Any, env_params: Any) -> dict[str, Any]:
        """The actor of SAC, and critics with noise."""
        given = dict(config.get("agent_kwargs", {}))
        given.setdefault("hidden_layer_sizes", config.get("hidden_layer_sizes", (64, 64)))
        found = super().create_agent(config, env, env_params)
        layers = _layers(given, "relu")
        if isinstance(env.action_space(env_params), spaces.Discrete):
            return {**found, "critic": ValuesOfActions(**layers, action_dim=env.action_space(env_params).n)}
        return {**found, "critic": ActionCritic(**layers)}

    def update_critic(self, ts: Any, mb: Any) -> Any:
        """One step."""
        rng, action_rng = jax.random.split(ts.rng)
        ts = ts.replace(rng=rng)
        alpha = jnp.exp(ts.alpha_ts.params["log_alpha"])
        if self.discrete:
            law = self.actor.apply(ts.actor_ts.params, mb.next_obs, method="_action_dist")
            log_prob = jnp.log(law.probs)
            soft = self.vmap_critic(ts.critic_target_params, mb.next_obs).min(axis=0) - alpha * log_prob
            next_value = jnp.sum(law.probs * soft, axis=1)
        else:
            action, log_prob = self.actor.apply(ts.actor_ts.params, mb.next_obs, action_rng, method="action_log_prob")
            next_value = self.vmap_critic(ts.critic_target_params, mb.next_obs, action).min(axis=0) - alpha * log_prob
        target = mb.reward + self.gamma * (1 - mb.done) * next_value

        def loss(params: Any) -> Array:
            each = jax.vmap(lambda one: self.critic.apply(one, mb.obs, mb.action, method="both"))
            means, noise = each(params)
            means = means.reshape(self.num_critics, -1)  # with a few actions each critic has a head of its own
            middle = noise.mean(axis=0)
            prediction = ValuePrediction(means, *bounded(middle[:, 0], middle[:, 1]))
            return self.num_critics * self.error(prediction, target)

        return ts.replace(critic_ts=ts.critic_ts.apply_gradients(grads=jax.grad(loss)(ts.critic_ts.params)))


class ErrorDQN(DQN):
    """Its network has heads; actions are chosen by their mean."""

    error: ValueLoss = struct.field(pytree_node=False, default=SquaredError())

    @classmethod
    def create_agent(cls, config: dict[str, Any], env: Any, env_params: Any) -> dict[str, Any]:
        """A network with heads and noise."""
        layers = _layers(dict(config.pop("agent_kwargs", {})), "swish")
        actions = env.action_space(env_params).n
        network = EpsilonGreedyPolicy(ValuesOfActions)
        return {"agent": network(**layers, num_heads=config.pop("num_heads"), action_dim=actions)}

    def update(self, ts: Any, mb: Any) -> Any:
        """One step."""
        rewards = self.normalize_rew(ts.rew_rms_state, mb.reward) if self.normalize_rewards else mb.reward
        next_values = self.agent.apply(ts.q_target_params, mb.next_obs)
        chosen = jax.lax.cond(
            self.ddqn,
            lambda: self.agent.apply(ts.q_ts.params, mb.next_obs),
            lambda: next_values,
        ).argmax(axis=1)
        next_value = jnp.take_along_axis(next_values, chosen[:, None], axis=1)[:, 0]
        target = rewards + jnp.logical_not(mb.done) * self.gamma * next_value

        def loss(params: Any) -> Array:
            return self.error(self.agent.apply(params, mb.obs, mb.action, method="predict"), target)

        return ts.replace(q_ts=ts.q_ts.apply_gradients(grads=jax.grad(loss)(ts.q_ts.params)))


AGENTS: dict[str, Any] = {"dqn": ErrorDQN, "ppo": ErrorPPO, "sac": ErrorSAC}
"""With our losses."""
PLAIN: dict[str, Any] = {"dqn": DQN, "ppo": PPO, "sac": SAC}
"""As rejax has them."""
FUNCTIONS: Any = nn
"""Activation functions by name."""


def _layers(given: dict[str, Any], activation: str) -> dict[str, Any]:
    """Hidden layers as rejax's settings describe them."""
    sizes = tuple(given.get("hidden_layer_sizes", (64, 64)))
    return {"hidden_layer_sizes": sizes, "activation": getattr(nn, given.get("activation", activation))}
