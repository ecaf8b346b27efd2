"""The loop around an agent: training between evaluations, progress, checkpoint, Ctrl-C."""

from __future__ import annotations

import dataclasses
import json
import os
import time
import warnings
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bayeskit._keepable import keepable
from bayeskit._progress import ProgressBar
from bayeskit._typing import Array
from bayeskit.errors import StorageError, TrainingError
from bayeskit.storage import load, save
from bayeskit.xla.miscompilation import safe_jit

__all__ = ["Unfinished", "advance", "steps_of_evaluation"]


@keepable("td_error.UnfinishedAgents")
@dataclasses.dataclass(frozen=True)
class Unfinished:
    """A training that was interrupted, or has ended.

    Attributes:
        leaves: arrays of the state of all seeds.
        returns: of the episodes of each evaluation, shape `(seeds, evaluations, episodes)`.
        lengths: likewise.
        seconds: that had gone by at each evaluation.
        record: the settings, as JSON.
    """

    leaves: tuple[np.ndarray, ...]
    returns: np.ndarray
    lengths: np.ndarray
    seconds: np.ndarray
    record: str


def iterations(algorithm: Any) -> tuple[int, int]:
    """Iterations of an agent between evaluations, and steps of each."""
    each = algorithm.num_envs * (algorithm.num_steps if hasattr(algorithm, "num_minibatches") else 1)
    return -(-algorithm.eval_freq // each), each


def steps_of_evaluation(algorithm: Any) -> int:
    """Steps in the environment between evaluations."""
    number, each = iterations(algorithm)
    return number * each


def advance(
    algorithm: Any,
    raw: Array,
    num_seeds: int,
    num_evaluations: int,
    num_episodes: int,
    record: str,
    path: str | os.PathLike[str] | None,
    progress: bool,
) -> Unfinished:
    """Train and evaluate."""
    from rejax.evaluate import evaluate_single

    number, each = iterations(algorithm)
    start_key, episodes_key = jax.random.split(raw)
    episodes = jax.random.split(episodes_key, num_episodes)
    plain_env = getattr(algorithm.env, "plain", algorithm.env)
    params = algorithm.env_params

    def looked_at(state: Any) -> tuple[Any, Array, Array]:
        act = algorithm.make_act(state)
        of_one = lambda key: evaluate_single(act, plain_env, params, key, params.max_steps_in_episode)  # noqa: E731
        lengths, returns = jax.vmap(of_one)(episodes)
        return state, returns, lengths

    def iterate(state: Any) -> tuple[Any, Array, Array]:
        return looked_at(jax.lax.fori_loop(0, number, lambda _, now: algorithm.train_iteration(now), state))

    begin = safe_jit(jax.vmap(lambda key: looked_at(algorithm.init_state(key))))
    go_on = safe_jit(jax.vmap(iterate))
    keys = jax.random.split(start_key, num_seeds)
    kept, clock = _kept(path, record), time.perf_counter()
    if kept is None:
        state, *found = begin(keys)
        history = [(*map(np.asarray, found), time.perf_counter() - clock)]
    else:
        shapes = jax.eval_shape(begin, keys)[0]
        state = jax.tree.unflatten(jax.tree.structure(shapes), [jnp.asarray(leaf) for leaf in kept.leaves])
        each_of = (kept.returns.swapaxes(0, 1), kept.lengths.swapaxes(0, 1), kept.seconds)
        history = list(zip(*each_of, strict=True))
        clock -= float(kept.seconds[-1])

    def so_far(leaves: tuple[np.ndarray, ...] = ()) -> Unfinished:
        returns, lengths, seconds = zip(*history, strict=True)
        return Unfinished(leaves, np.stack(returns, 1), np.stack(lengths, 1), np.array(seconds), record)

    with ProgressBar(num_evaluations * number * each, progress) as bar:
        while len(history) <= num_evaluations:
            try:
                state, *found = go_on(state)
                values = [np.asarray(one) for one in found]
                history.append((*values, time.perf_counter() - clock))
                done = (len(history) - 1) * number * each
                _check_finite(values[0], state, done)
                bar.update("training", done)
                bar.say(f"return {values[0].mean():.1f}")
                if path is not None:
                    save(so_far(tuple(np.asarray(leaf) for leaf in jax.tree.leaves(state))), path)
            except KeyboardInterrupt:
                warnings.warn(
                    f"the training was stopped after {len(history) - 1} of {num_evaluations} evaluations; this is what "
                    "there is" + ("" if path is None else f", and train with checkpoint={os.fspath(path)!r} goes on"),
                    UserWarning,
                    stacklevel=3,
                )
                break
    return so_far()


def _kept(path: str | os.PathLike[str] | None, record: str) -> Unfinished | None:
    """What is at the path.

    Raises:
        StorageError: something else, or a training with other settings.
    """
    if path is None or not Path(path).exists():
        return None
    found = load(path)
    if not isinstance(found, Unfinished):
        raise StorageError(f"{os.fspath(path)} holds {type(found).__name__}, and not a training of td_error.train")
    if found.record != record:
        ours, theirs = json.loads(record), json.loads(found.record)
        other = [f"{name}={theirs[name]!r}, now {ours[name]!r}" for name in ours if ours[name] != theirs.get(name)]
        raise StorageError(
            f"{os.fspath(path)} is a training with other settings: {'; '.join(other)}; give another path, or delete it"
        )
    return found


def _check_finite(returns: np.ndarray, state: Any, step: int) -> None:
    """Returns and all numbers of the agents are finite.

    Raises:
        TrainingError: some are not.
    """
    bad = ~np.isfinite(returns).all(axis=1)
    what = "returns"
    if not bad.any():
        trained = [
            leaf for name in ("actor_ts", "critic_ts", "q_ts") for leaf in jax.tree.leaves(getattr(state, name, ()))
        ]
        for leaf in trained:
            if jnp.issubdtype(leaf.dtype, jnp.floating):
                bad |= ~np.isfinite(np.asarray(leaf).reshape(len(bad), -1)).all(axis=1)
        what = "parameters"
    if bad.any():
        raise TrainingError(
            f"{what} of seeds {np.flatnonzero(bad).tolist()} are not finite after {step:,} steps; is a reward or an "
            "observation of the environment NaN, or the learning rate too large?"
        )
