"""Agents of rejax with our losses: their own updates where the loss is theirs, checkpoints, and what is refused."""

from __future__ import annotations

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

from bayeskit.errors import MethodError, StorageError, TrainingError
from bayeskit.models import td_error
from bayeskit.models.td_error import agent_training

SMALL = {"num_envs": 4, "num_steps": 16, "num_minibatches": 2, "num_epochs": 1}
PPO = {"num_steps": 192, "num_evaluations": 3, "num_seeds": 2, "num_episodes": 2, "key": 0, "progress": False}


def ppo(path, **more):
    asked = {**PPO, "settings": SMALL, "reward_noise": dist.Laplace(0.0, 1.0), "checkpoint": path, **more}
    return td_error.train("ppo", "CartPole-v1", error="inverse_variance_generalized_gaussian", **asked)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A training, and what its checkpoint was after the first evaluation."""
    folder = tmp_path_factory.mktemp("agents")
    plain = agent_training.save

    def copied(thing, path):
        found = plain(thing, path)
        if not (folder / "early.zarr").exists():
            shutil.copytree(path, folder / "early.zarr")
        return found

    agent_training.save = copied
    try:
        return ppo(folder / "run.zarr"), folder
    finally:
        agent_training.save = plain


def test_returns_by_seed_step_and_episode(trained):
    returns = trained[0]["training/episode_return"]
    assert returns.dims == ("seed", "step", "episode")
    assert returns["step"].values.tolist() == [0, 64, 128, 192]
    assert returns.shape == (2, 4, 2)
    np.testing.assert_array_equal(returns, trained[0]["training/episode_length"])  # a reward of one, without noise
    assert not np.array_equal(returns[0], returns[1])


def test_an_interrupted_training_goes_on_to_the_same_bits(trained, monkeypatch):
    whole, folder = trained
    plain = agent_training.save

    def stopped(thing, path):
        plain(thing, path)
        raise KeyboardInterrupt

    monkeypatch.setattr(agent_training, "save", stopped)
    with pytest.warns(UserWarning, match="stopped after 2 of 3 evaluations; this is what there is, and train with"):
        part = ppo(folder / "early.zarr")
    np.testing.assert_array_equal(part["training/episode_return"], whole["training/episode_return"][:, :3])
    monkeypatch.undo()
    again = ppo(folder / "run.zarr")  # which has ended
    np.testing.assert_array_equal(again["training/episode_return"], whole["training/episode_return"])
    with pytest.raises(StorageError, match=r"other settings: num_episodes=2, now 3; give another path, or delete it"):
        ppo(folder / "run.zarr", num_episodes=3)


def transplanted(ours, theirs, layers):
    """Our parameters with those of rejax's network in them; its layers have other names."""
    ours = jax.tree.map(jnp.copy, ours)
    for name, other in layers.items():
        ours["params"][name] = theirs["params"][other]
    return ours


LAYERS = {"hidden_0": "Dense_0", "hidden_1": "Dense_1", "means": "Dense_2"}


@pytest.mark.parametrize(
    ("agent", "environment"), [("ppo", "CartPole-v1"), ("dqn", "CartPole-v1"), ("sac", "Pendulum-v1")]
)
def test_with_squared_error_a_step_is_that_of_rejax(agent, environment):
    """With the same weights, where rejax's clipping of the value does nothing."""
    from rejax.algos.ppo import AdvantageMinibatch, Trajectory
    from rejax.buffers import Minibatch

    from bayeskit.models.td_error.agent_updates import AGENTS, PLAIN

    size = 8
    config = {"env": environment, "total_timesteps": 100, "num_envs": 2}
    config |= {"clip_eps": 1e9} if agent == "ppo" else {"buffer_size": 16}
    heads = {} if agent == "sac" else {"num_heads": 1}
    one, other = PLAIN[agent].create(**config), AGENTS[agent].create(**config, **heads, error=td_error.SquaredError())
    theirs, ours = one.init_state(jax.random.key(0)), other.init_state(jax.random.key(0))
    where = "q_ts" if agent == "dqn" else "critic_ts"
    params = transplanted(getattr(ours, where).params, getattr(theirs, where).params, LAYERS)
    changed = {where: getattr(ours, where).replace(params=params), "rng": theirs.rng}
    if agent != "ppo":
        target = "q_target_params" if agent == "dqn" else "critic_target_params"
        changed |= {target: transplanted(getattr(ours, target), getattr(theirs, target), LAYERS)}
    if agent == "sac":
        changed |= {"actor_ts": theirs.actor_ts}
    ours = ours.replace(**changed)
    rng = np.random.default_rng(0)
    obs, after = rng.normal(size=(2, size, *one.obs_space.shape)).astype(np.float32)
    action = rng.integers(2, size=size) if agent != "sac" else rng.uniform(-1, 1, size=(size, 1)).astype(np.float32)
    reward, done = rng.normal(size=size).astype(np.float32), rng.random(size) < 0.3
    if agent == "ppo":
        batch = AdvantageMinibatch(Trajectory(obs, action, reward, reward, reward, done), reward, 2 * reward)
    else:
        batch = Minibatch(obs=obs, action=action, reward=reward, next_obs=after, done=done)
    step = "update" if agent == "dqn" else "update_critic"
    theirs, ours = (jax.jit(getattr(who, step))(state, batch) for who, state in ((one, theirs), (other, ours)))
    for mine, name in LAYERS.items():
        found, wanted = (getattr(state, where).params["params"] for state in (ours, theirs))
        for leaf in ("kernel", "bias"):
            np.testing.assert_allclose(found[mine][leaf], wanted[name][leaf], atol=2e-6)
            assert np.abs(np.asarray(found[mine][leaf]) - np.asarray(params["params"][mine][leaf])).max() > 1e-5


@pytest.mark.full
@pytest.mark.parametrize(
    ("agent", "environment"), [("dqn", "CartPole-v1"), ("sac", "Pendulum-v1"), ("sac", "CartPole-v1")]
)
@pytest.mark.parametrize("error", ["own", "inverse_variance_generalized_gaussian"])
def test_agents_with_a_memory_train(agent, environment, error):
    settings = {"fill_buffer": 32, "batch_size": 32, "num_envs": 4}
    asked = {"num_steps": 96, "num_evaluations": 1, "num_episodes": 2, "key": 0, "progress": False}
    curves = td_error.train(agent, environment, error=error, settings=settings, **asked)
    assert np.isfinite(curves["training/episode_return"]).all()


@pytest.mark.full
def test_a_reward_that_is_nan_is_named():
    with pytest.raises(TrainingError, match=r"parameters of seeds \[0\] are not finite after 64 steps; is a reward or"):
        td_error.train(
            "ppo",
            "CartPole-v1",
            num_steps=64,
            num_evaluations=1,
            key=0,
            reward_noise=dist.Delta(jnp.nan, validate_args=False),
            settings=SMALL,
            progress=False,
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"agent": "pppo"}, "agent must be one of 'dqn', 'ppo', 'sac', got 'pppo'"),
        (
            {"agent": "dqn", "environment": "Pendulum-v1"},
            "the environment has the action space Box; dqn needs Discrete; take",
        ),
        ({"environment": "CartPole"}, "environment 'CartPole' is not known to gymnax or Gymnasium: CartPole is not in"),
        ({"error": "gausian"}, "'inverse_variance_generalized_gaussian'; got 'gausian'; did you mean 'gaussian'?"),
        ({"num_steps": 0}, "num_steps must be a positive integer, got 0"),
        ({"num_seeds": 1.5}, "num_seeds must be a positive integer, got 1.5"),
        ({"num_heads": 3, "error": "own"}, "num_heads belongs to losses of td_error; error='own' leaves ppo as it is"),
        (
            {"num_heads": 1, "error": "inverse_variance_gaussian"},
            "num_heads must be at least 2 for a loss with weights",
        ),
        ({"reward_noise": 0.1}, "reward_noise must be a NumPyro distribution of one number, got 0.1"),
        (
            {"settings": {"gama": 0.9}},
            "settings has 'gama', which ppo does not have or train sets itself; did you mean 'gamma'?",
        ),
        (
            {"settings": {**SMALL, "num_minibatches": 8}, "error": "inverse_variance_gaussian"},
            "a batch of the agent has 8 samples, fewer than min_effective_size=16; give a smaller one or a larger",
        ),
    ],
)
def test_refused(change, message):
    asked = {"agent": "ppo", "environment": "CartPole-v1", "num_steps": 64, "key": 0, **change}
    with pytest.raises(MethodError) as refused:
        td_error.train(asked.pop("agent"), asked.pop("environment"), **asked)
    assert message in str(refused.value)


def test_an_environment_without_a_fitting_space():
    from gymnax.environments import spaces
    from gymnax.environments.classic_control.cartpole import CartPole

    class Odd(CartPole):
        def observation_space(self, params):
            return spaces.Dict({"a": super().observation_space(params)})

    with pytest.raises(MethodError, match="the environment has the observation space Dict; ppo needs Box"):
        td_error.train("ppo", Odd(), num_steps=64, key=0)
