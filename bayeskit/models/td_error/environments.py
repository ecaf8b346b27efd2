"""Environments around those of gymnax. Imported only where an agent is trained."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import numpyro.distributions as dist

from bayeskit._typing import Array

__all__ = ["NoisyRewards"]


class NoisyRewards:
    """An environment whose rewards have noise.

    Attributes:
        plain: the environment without.
        noise: the law of what is added to every reward.
    """

    def __init__(self, plain: Any, noise: dist.Distribution):
        self.plain, self.noise = plain, noise

    def __getattr__(self, name: str) -> Any:
        if name == "plain":  # asked for while a copy is made
            raise AttributeError(name)
        return getattr(self.plain, name)

    @partial(jax.jit, static_argnums=(0,))
    def step(self, key: Array, state: Any, action: Array, params: Any = None) -> tuple[Any, Any, Array, Array, Any]:
        """As that of the environment."""
        step_key, noise_key = jax.random.split(key)
        obs, state, reward, done, info = self.plain.step(step_key, state, action, params)
        return obs, state, reward + self.noise.sample(noise_key), done, info

    @partial(jax.jit, static_argnums=(0,))
    def reset(self, key: Array, params: Any = None) -> tuple[Any, Any]:
        """As that of the environment."""
        return self.plain.reset(key, params)
