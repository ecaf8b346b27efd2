"""Agents of rejax with our losses: their own updates where the loss is theirs, checkpoints, and what is refused."""

from __future__ import annotations

import json
import re
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import bayeskit as bk
from bayeskit.errors import MethodError, StorageError, TrainingError
from bayeskit.models import td_error
from bayeskit.models.td_error import agent_training, agents

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
        ({"environment": 3}, "environment must be a name or an environment of gymnax, got 3"),
        ({"environment": "gymnasium/Cart"}, "environment 'gymnasium/Cart' is not known to gymnax or Gymnasium: "),
        ({"error": ["gaussian"]}, "got ['gaussian']"),
        ({"settings": 3}, "settings must be a mapping of names to values, got 3"),
        ({"settings": {"gamma": 2.0}}, "settings['gamma'] must be a number from 0 to 1, got 2.0"),
        ({"settings": {"num_envs": 2.5}}, "settings['num_envs'] must be an integer of at least 1, got 2.5"),
        (
            {"settings": {"learning_rate": "fast"}},
            "settings['learning_rate'] must be a number that is not negative, got 'fast'",
        ),
        (
            {"settings": {"normalize_rewards": 1}},
            "settings['normalize_rewards'] must be True or False, got 1",
        ),
        (
            {"settings": {**SMALL, "num_minibatches": 3}},
            "num_envs * num_steps = 64 steps cannot be divided into num_minibatches=3",
        ),
        (
            {"agent": "dqn", "settings": {"agent_kwargs": {"hidden_layer_size": [8]}}},
            "settings['agent_kwargs'] has 'hidden_layer_size'; did you mean 'hidden_layer_sizes'?",
        ),
        (
            {"settings": {"agent_kwargs": {"hidden_layer_sizes": 8}}},
            "settings['agent_kwargs']['hidden_layer_sizes'] must be a list of positive integers, got 8",
        ),
        (
            {"settings": {"agent_kwargs": {"activation": "tnh"}}},
            "settings['agent_kwargs']['activation'] must be the name of a function of flax.linen, such as 'tanh', got",
        ),
        (
            {"agent": "dqn", "error": "own", "settings": {"agent_kwargs": {"hidden_layer_sizes": [8]}}},
            "settings['agent_kwargs'] has 'hidden_layer_sizes', which dqn does not take with error='own'",
        ),
        (
            {"agent": "sac", "settings": {"num_critics": 3}},
            "settings has 'num_critics', which sac does not have or train sets itself",
        ),
        (
            {"agent": "dqn"},
            "with num_steps=64 nothing would be learned: learning begins after fill_buffer=2048 steps; take",
        ),
        (
            {"agent": "dqn", "settings": {"fill_buffer": 16, "batch_size": 32}},
            "batch_size=32 is larger than fill_buffer=16; give a smaller batch, or more room",
        ),
        (
            {"agent": "sac", "settings": {"fill_buffer": 32, "buffer_size": 16, "batch_size": 32}},
            "batch_size=32 is larger than buffer_size=16; give a smaller batch, or more room",
        ),
        (
            {"reward_noise": dist.ImproperUniform(dist.constraints.real, (), ())},
            "reward_noise: nothing can be drawn from ImproperUniform: ",
        ),
        ({"checkpoint": 3}, "checkpoint must be a path, got 3"),
    ],
)
def test_refused(change, message):
    asked = {"agent": "ppo", "environment": "CartPole-v1", "num_steps": 64, "key": 0, **change}
    with pytest.raises(MethodError) as refused:
        td_error.train(asked.pop("agent"), asked.pop("environment"), **asked)
    assert message in str(refused.value)


def test_a_checkpoint_that_could_not_be_written_is_refused_before_the_training():
    text = "cannot tell the format of agents.pkl: the suffix is .zarr for a folder or .nc for a NetCDF file"
    with pytest.raises(StorageError, match=f"^{re.escape(text)}$"):
        td_error.train("ppo", "CartPole-v1", num_steps=64, key=0, checkpoint="agents.pkl")


@pytest.mark.parametrize(("environment", "error"), [("Pendulum-v1", "own"), ("CartPole-v1", "gaussian")])
def test_sac_has_the_layers_that_are_asked_for(environment, error):
    settings = {"agent_kwargs": {"hidden_layer_sizes": [8, 16], "activation": "tanh"}}
    loss = agents.ERRORS[error]
    built = agents._algorithm("sac", environment, loss, 2, None, 5000, 1, settings)
    for network in (built.actor, built.critic):
        assert tuple(network.hidden_layer_sizes) == (8, 16)
        assert network.activation is jax.nn.tanh


def test_a_record_tells_laws_and_environments_apart():
    """Else a checkpoint would go on with other noise."""
    from gymnax.environments.classic_control.cartpole import CartPole

    def scaled(factor):
        return dist.TransformedDistribution(dist.Normal(0.0, 1.0), dist.transforms.AffineTransform(0.0, factor))

    def mixed(sd):
        return dist.MixtureSameFamily(dist.Categorical(jnp.array([0.5, 0.5])), dist.Normal(0.0, jnp.array([1.0, sd])))

    laws = [dist.Normal(0.0, 1.0), dist.Normal(0.0, 2.0), dist.Laplace(0.0, 1.0), scaled(2.0), scaled(3.0), mixed(2.0)]
    laws += [mixed(3.0), dist.TruncatedNormal(0.0, 1.0, low=-1.0), dist.TruncatedNormal(0.0, 2.0, low=-1.0)]
    records = [json.dumps(agents._described(law)) for law in laws]
    assert len(set(records)) == len(laws)
    assert records[3] == json.dumps(agents._described(scaled(2.0)))

    class Light(CartPole):
        @property
        def default_params(self):
            return super().default_params.replace(gravity=1.6)

    assert agents._named(CartPole()) != agents._named(Light())


def test_a_checkpoint_that_is_cut_short_is_refused(tmp_path):
    path = tmp_path / "run.zarr"
    numbers = np.zeros((1, 1, 2))
    bk.save(agent_training.Unfinished((numbers,), numbers, numbers, np.zeros(1), "{}"), path)
    assert agent_training._kept(path, "{}").record == "{}"
    largest = max((each for each in path.rglob("*") if each.is_file()), key=lambda each: each.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:10])
    with pytest.raises(StorageError, match=re.escape(str(path))):
        agent_training._kept(path, "{}")


def test_an_environment_without_a_fitting_space():
    from gymnax.environments import spaces
    from gymnax.environments.classic_control.cartpole import CartPole

    class Odd(CartPole):
        def observation_space(self, params):
            return spaces.Dict({"a": super().observation_space(params)})

    with pytest.raises(MethodError, match="the environment has the observation space Dict; ppo needs Box"):
        td_error.train("ppo", Odd(), num_steps=64, key=0)
