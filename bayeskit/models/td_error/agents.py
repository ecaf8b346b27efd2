r"""`train`: agents of rejax, whose critics learn by one of the losses of TD errors.

An agent is PPO, DQN or SAC as rejax has it; the loss of its critic is exchanged, and nothing else. All seeds are
trained in one program. Between evaluations the program returns, so that there is a progress bar, a checkpoint and
Ctrl-C.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
import numpyro.distributions as dist

from bayeskit._keys import raw_key
from bayeskit._settings import check_choice, is_whole, require
from bayeskit._spelling import did_you_mean
from bayeskit._typing import Key
from bayeskit.errors import MethodError
from bayeskit.models.td_error.agent_settings import check_batches, check_settings
from bayeskit.models.td_error.agent_training import advance, steps_of_evaluation
from bayeskit.models.td_error.value_losses import (
    Gaussian,
    GeneralizedGaussian,
    InverseErrorVariance,
    SquaredError,
    ValueLoss,
)
from bayeskit.storage import make_tree
from bayeskit.storage.files import check_replaceable
from bayeskit.storage.provenance import provenance

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["ERRORS", "train"]

AGENTS = ("dqn", "ppo", "sac")
ERRORS: dict[str, ValueLoss | None] = {
    "own": None,
    "squared_error": SquaredError(),
    "gaussian": Gaussian(),
    "inverse_variance_gaussian": InverseErrorVariance(Gaussian()),
    "generalized_gaussian": GeneralizedGaussian(),
    "inverse_variance_generalized_gaussian": InverseErrorVariance(GeneralizedGaussian()),
}
"""By name; `own` leaves the agent as it is."""
NUM_HEADS = 5
"""Of the ensemble, where a loss weighs by its variance."""
_MOST_KEPT = 100_000
"""Transitions in the memory of DQN and SAC."""


def train(
    agent: str,
    environment: Any,
    *,
    error: str | ValueLoss = "generalized_gaussian",
    num_steps: int,
    key: Key,
    num_seeds: int = 1,
    num_heads: int | None = None,
    reward_noise: dist.Distribution | None = None,
    num_evaluations: int = 20,
    num_episodes: int = 32,
    settings: Mapping[str, Any] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> xr.DataTree:
    """Train an agent from several seeds at once, and record the returns of episodes on the way.

    Needs rejax and gymnax: ``pip install "bayeskit[rl]"``.

    Args:
        agent: ``"ppo"``, ``"dqn"`` or ``"sac"``, of rejax.
        environment: a name of gymnax such as ``"CartPole-v1"``, one of Gymnasium as ``"gymnasium/CartPole-v1"``, or a
            gymnax environment.
        error: what the critic minimises: ``"squared_error"``, ``"gaussian"``, ``"generalized_gaussian"``, the latter
            two with ``"inverse_variance_"`` before them for weights by the variance of an ensemble; ``"own"`` for the
            loss that the agent has in rejax; or a loss of this module.
        num_steps: steps in the environment of each seed; rounded up to whole evaluations. DQN and SAC begin to learn
            after the first 2,048, or ``fill_buffer`` of the settings.
        key: an integer seed or a JAX key.
        num_seeds: how many agents.
        num_heads: value heads of PPO and DQN, critics of SAC; 5 for a loss that weighs by the variance over them, or
            else as many as the agent has in rejax.
        reward_noise: added to rewards in training, and not in evaluation.
        num_evaluations: evaluations after the first, which is before training.
        num_episodes: of an evaluation, each from a start of its own, the same ones for all evaluations.
        settings: further settings of the agent, by rejax's names, such as ``{"learning_rate": 1e-3, "num_envs": 16}``.
        checkpoint: a path, ``.zarr`` or ``.nc``, at which to keep where the training is after each evaluation. Where
            there is one with the same settings the training goes on from there, to the same bits.
        progress: show a progress bar.

    Returns:
        A `DataTree` with the group ``training``: ``episode_return`` and ``episode_length``, dimensions
        ``(seed, step, episode)``, and ``seconds`` that had gone by at a ``step``. Ctrl-C returns what there is, with a
        warning.

    Raises:
        MethodError: an unknown name, an impossible setting, spaces that the agent does not have, or rejax is missing.
        TrainingError: returns that are not finite, as where a reward is NaN.
        StorageError: the checkpoint is of other settings, or cannot be written.

    Example:
        >>> from bayeskit.models import td_error
        >>> curves = td_error.train("ppo", "CartPole-v1", num_steps=4096, key=0)  # doctest: +SKIP
        >>> td_error.interquartile_mean(curves)  # doctest: +SKIP

    References:
        Kim, Jeon, Koo, Lee and Cho (2024), "Generalized Gaussian temporal difference error for uncertainty-aware
        reinforcement learning", arXiv 2408.02295. Liesen, Lu and Lange (2024), "rejax".
    """
    check_choice("agent", agent, AGENTS)
    loss = _loss(error)
    for name, value in (
        ("num_steps", num_steps),
        ("num_seeds", num_seeds),
        ("num_evaluations", num_evaluations),
        ("num_episodes", num_episodes),
    ):
        require(is_whole(value) and value >= 1, name, value, "a positive integer")
    _check_noise(reward_noise)
    if settings is not None and not isinstance(settings, Mapping):
        raise MethodError(f"settings must be a mapping of names to values, got {settings!r}")
    if checkpoint is not None:
        require(isinstance(checkpoint, str | os.PathLike), "checkpoint", checkpoint, "a path")
        check_replaceable(checkpoint)
    heads = _heads(agent, loss, num_heads)
    algorithm = _algorithm(agent, environment, loss, heads, reward_noise, num_steps, num_evaluations, settings or {})
    check_batches(algorithm, num_steps, loss.min_effective_size if isinstance(loss, InverseErrorVariance) else 1)
    record = json.dumps(
        {
            "agent": agent,
            "environment": environment if isinstance(environment, str) else _named(environment),
            "error": "own" if loss is None else loss.as_record(),
            "num_steps": num_steps,
            "num_seeds": num_seeds,
            "num_heads": heads,
            "reward_noise": None if reward_noise is None else _described(reward_noise),
            "num_evaluations": num_evaluations,
            "num_episodes": num_episodes,
            "settings": {name: repr(value) for name, value in (settings or {}).items()},
            "key": raw_key(key).tolist(),
        },
        sort_keys=True,
    )
    done = advance(algorithm, raw_key(key), num_seeds, num_evaluations, num_episodes, record, checkpoint, progress)
    each = steps_of_evaluation(algorithm)
    steps = each * np.arange(done.returns.shape[1])
    return make_tree(
        {"training": {"episode_return": done.returns, "episode_length": done.lengths, "seconds": done.seconds}},
        dims={
            "episode_return": ("seed", "step", "episode"),
            "episode_length": ("seed", "step", "episode"),
            "seconds": ("step",),
        },
        coords={"step": steps, "seed": np.arange(num_seeds)},
        attrs={
            **provenance({"rejax": _version("rejax"), "gymnax": _version("gymnax")}),
            "method": "td_error.train",
            "method_settings": record,
            "wall_time": float(done.seconds[-1]),
        },
    )


# ---------------------------------------------------------------- what is trained


def _loss(error: str | ValueLoss) -> ValueLoss | None:
    if isinstance(error, ValueLoss):
        return error
    if not isinstance(error, str) or error not in ERRORS:
        raise MethodError(
            f"error must be a loss of td_error or one of {', '.join(map(repr, ERRORS))}; got {error!r}"
            f"{did_you_mean(error, ERRORS)}"
        )
    return ERRORS[error]


def _heads(agent: str, loss: ValueLoss | None, num_heads: int | None) -> int:
    """How many heads.

    Raises:
        MethodError: fewer than the loss needs, or heads for an agent that is left as it is.
    """
    weighs = isinstance(loss, InverseErrorVariance)
    usual = 2 if agent == "sac" else 1
    if num_heads is None:
        return NUM_HEADS if weighs else usual
    require(is_whole(num_heads) and num_heads >= 1, "num_heads", num_heads, "a positive integer")
    if weighs and num_heads < 2:
        raise MethodError("num_heads must be at least 2 for a loss with weights by the variance over heads, got 1")
    if loss is None and num_heads != usual:
        raise MethodError(f"num_heads belongs to losses of td_error; error='own' leaves {agent} as it is")
    return num_heads


def _algorithm(
    agent: str,
    environment: Any,
    loss: ValueLoss | None,
    heads: int,
    noise: dist.Distribution | None,
    num_steps: int,
    num_evaluations: int,
    settings: Mapping[str, Any],
) -> Any:
    """The agent of rejax.

    Raises:
        MethodError: rejax is missing, an unknown environment or setting, or spaces that the agent does not have.
    """
    try:
        import rejax.compat

        from bayeskit.models.td_error import agent_updates
        from bayeskit.models.td_error.environments import NoisyRewards
    except ImportError as missing:
        raise MethodError(f'td_error.train needs rejax and gymnax: pip install "bayeskit[rl]" ({missing})') from None
    if isinstance(environment, str):
        try:
            env, params = rejax.compat.create(environment)
        except Exception as error:  # each of these libraries has its own
            raise MethodError(f"environment {environment!r} is not known to gymnax or Gymnasium: {error}") from None
    elif all(hasattr(environment, name) for name in ("default_params", "step", "reset", "action_space")):
        env, params = environment, environment.default_params
    else:
        raise MethodError(f"environment must be a name or an environment of gymnax, got {environment!r}")
    _check_spaces(agent, env, params)
    check_settings(agent, agent_updates.PLAIN[agent], agent_updates.FUNCTIONS, settings, loss is None)
    config: dict[str, Any] = {
        "env": env if noise is None else NoisyRewards(env, noise),
        "env_params": params,
        "total_timesteps": num_steps,
        "eval_freq": -(-num_steps // num_evaluations),
        "skip_initial_evaluation": True,
        **settings,
    }
    if agent != "ppo" and "buffer_size" not in settings:
        config["buffer_size"] = min(num_steps, _MOST_KEPT)
    if agent == "sac":
        config["num_critics"] = heads
        # where rejax looks for them
        config["hidden_layer_sizes"] = tuple(settings.get("agent_kwargs", {}).get("hidden_layer_sizes", (64, 64)))
    elif loss is not None:
        config["num_heads"] = heads
    if loss is None:
        return agent_updates.PLAIN[agent].create(**config)
    return agent_updates.AGENTS[agent].create(**config, error=loss)


def _check_spaces(agent: str, env: Any, params: Any) -> None:
    from gymnax.environments import spaces

    action, observation = env.action_space(params), env.observation_space(params)
    fitting = {
        "ppo": (spaces.Discrete, spaces.Box),
        "sac": (spaces.Discrete, spaces.Box),
        "dqn": (spaces.Discrete,),
    }[agent]
    names = " or ".join(one.__name__ for one in fitting)
    if not isinstance(action, fitting):
        raise MethodError(
            f"the environment has the action space {type(action).__name__}; {agent} needs {names}"
            f"{'; take ppo or sac' if agent == 'dqn' and isinstance(action, spaces.Box) else ''}"
        )
    if not isinstance(observation, spaces.Box):
        raise MethodError(f"the environment has the observation space {type(observation).__name__}; {agent} needs Box")


def _check_noise(law: object) -> None:
    if law is None:
        return
    if not isinstance(law, dist.Distribution) or law.shape() != ():
        raise MethodError(f"reward_noise must be a NumPyro distribution of one number, got {law!r}")
    try:
        jax.eval_shape(law.sample, jax.random.key(0))
    except (TypeError, ValueError, AttributeError, NotImplementedError) as error:
        raise MethodError(f"reward_noise: nothing can be drawn from {type(law).__name__}: {error}") from None


def _described(law: dist.Distribution) -> list[object]:
    """Of all its parts, such as the base of a transformed distribution."""
    numbers, structure = jax.tree.flatten(law)
    return [type(law).__name__, str(structure), *(np.asarray(number).tolist() for number in numbers)]


def _named(environment: Any) -> str:
    return f"{type(environment).__name__}({environment.default_params})"


def _version(package: str) -> str:
    import importlib.metadata

    return importlib.metadata.version(package)
