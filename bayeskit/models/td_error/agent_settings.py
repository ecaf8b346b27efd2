"""What the settings of rejax's agents may be. rejax takes nearly anything, and trains otherwise than was asked."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax

from bayeskit._settings import is_number, is_whole, require
from bayeskit._spelling import did_you_mean
from bayeskit.errors import MethodError

__all__ = ["check_batches", "check_settings"]

_OURS = frozenset(
    {
        *("env", "env_params", "error", "num_heads", "total_timesteps", "eval_freq", "eval_callback"),
        *("skip_initial_evaluation", "num_critics", "actor", "critic"),
    }
)
"""What `train` sets itself, and networks, which are described by `agent_kwargs`."""
_SHARES = ("gamma", "gae_lambda", "polyak", "reward_normalization_discount", "eps_start", "eps_end")
_NETWORKS = ("QNetwork", "DuelingQNetwork")
_NETWORK_SETTINGS = ("activation", "hidden_layer_sizes")


def check_settings(agent: str, plain: Any, functions: Any, settings: Mapping[str, Any], is_own: bool) -> None:
    """Settings are known, and of the kind that their default is.

    Args:
        agent: its name.
        plain: its class in rejax.
        functions: the module that has activation functions.
        settings: of the agent.
        is_own: whether the loss is that of rejax.

    Raises:
        MethodError: they are not.
    """
    fields = {field.name: field for field in dataclasses.fields(plain)}
    known = {*fields, "agent_kwargs"} - _OURS - (set() if is_own else {"agent"})
    for name, value in settings.items():
        if name not in known:
            raise MethodError(
                f"settings has {name!r}, which {agent} does not have or train sets itself{did_you_mean(name, known)}"
            )
        who = f"settings[{name!r}]"
        if name == "agent_kwargs":
            _check_network(agent, functions, value, is_own)
        elif name == "agent":
            require(value in _NETWORKS, who, value, "one of " + ", ".join(map(repr, _NETWORKS)))
        elif isinstance(fields[name].default, bool):
            require(isinstance(value, bool), who, value, "True or False")
        elif isinstance(fields[name].default, int):
            least = 0 if name == "fill_buffer" else 1
            require(is_whole(value) and value >= least, who, value, f"an integer of at least {least}")
        elif name in _SHARES:
            require(is_number(value) and 0 <= value <= 1, who, value, "a number from 0 to 1")
        else:
            is_any = name == "max_grad_norm" and value == float("inf")
            require(is_any or (is_number(value) and value >= 0), who, value, "a number that is not negative")


def _check_network(agent: str, functions: Any, given: object, is_own: bool) -> None:
    if not isinstance(given, Mapping):
        raise MethodError(f"settings['agent_kwargs'] must be a mapping, got {given!r}")
    for name in given:
        if name not in _NETWORK_SETTINGS:
            raise MethodError(
                f"settings['agent_kwargs'] has {name!r}{did_you_mean(name, _NETWORK_SETTINGS, 'networks have')}"
            )
    activation, sizes = given.get("activation", "relu"), given.get("hidden_layer_sizes", (64, 64))
    is_function = isinstance(activation, str) and all(
        callable(getattr(of, activation, None)) for of in (functions, jax.nn)
    )
    who = "settings['agent_kwargs']"
    require(is_function, f"{who}['activation']", activation, "the name of a function of flax.linen, such as 'tanh'")
    are_sizes = isinstance(sizes, list | tuple) and len(sizes) > 0 and all(is_whole(one) and one >= 1 for one in sizes)
    require(are_sizes, f"{who}['hidden_layer_sizes']", sizes, "a list of positive integers")
    if agent == "dqn" and is_own and "hidden_layer_sizes" in given:
        raise MethodError(f"{who} has 'hidden_layer_sizes', which dqn does not take with error='own': it has (64, 64)")


def check_batches(algorithm: Any, num_steps: int, least: float) -> None:
    """Batches are as large as weights need, made of what was seen, and there are some.

    Args:
        algorithm: the agent of rejax.
        num_steps: in the environment.
        least: the size of a batch that the loss needs.

    Raises:
        MethodError: they are not.
    """
    if hasattr(algorithm, "num_minibatches"):
        steps, parts = algorithm.num_envs * algorithm.num_steps, algorithm.num_minibatches
        if steps % parts:
            raise MethodError(f"num_envs * num_steps = {steps} steps cannot be divided into num_minibatches={parts}")
        size = steps // parts
    else:
        size, fill = algorithm.batch_size, algorithm.fill_buffer
        if fill >= num_steps:
            raise MethodError(
                f"with num_steps={num_steps} nothing would be learned: learning begins after fill_buffer={fill} steps; "
                "take more steps or a smaller fill_buffer"
            )
        # rejax fills a larger batch with zeros
        for name, most in (("fill_buffer", fill), ("buffer_size", algorithm.buffer_size)):
            if size > most:
                raise MethodError(f"batch_size={size} is larger than {name}={most}; give a smaller batch, or more room")
        if algorithm.num_envs > algorithm.buffer_size:
            raise MethodError(f"num_envs={algorithm.num_envs} is larger than buffer_size={algorithm.buffer_size}")
    if size < least:
        raise MethodError(
            f"a batch of the agent has {size} samples, fewer than min_effective_size={least:g}; "
            "give a smaller one or a larger batch"
        )
