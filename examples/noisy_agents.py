# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Agents with noisy rewards
#
# CartPole, with Student noise of three degrees of freedom on every reward of the training. The critic of PPO learns
# what a state is worth from errors that have such tails. Does it help to learn their shape? Needs
# `pip install "bayeskit[rl]"`.

# %%
import os

import numpyro.distributions as dist

from bayeskit.models import td_error

SMALL = os.environ.get("BAYESKIT_EXAMPLE_SIZE") == "small"  # for tests of this notebook

# %% [markdown]
# Four agents each, all in one program. This is a short training, to look at; `benchmarks/td_error_agents.py` has ten
# agents, longer trainings, and Pendulum.

# %%
NOISE = dist.StudentT(3.0, 0.0, 1.0)
few = {"num_envs": 32, "num_steps": 64, "num_minibatches": 8, "num_epochs": 4, "learning_rate": 1e-3}
curves = {
    error: td_error.train(
        "ppo",
        "CartPole-v1",
        error=error,
        num_steps=4_096 if SMALL else 40_960,
        num_evaluations=2 if SMALL else 5,
        num_episodes=8,
        num_seeds=4,
        reward_noise=NOISE,
        settings=few,
        key=0,
        progress=False,
    )
    for error in ("squared_error", "generalized_gaussian")
}

# %%
axes = td_error.plot_learning_curves(curves)
axes.set_title("CartPole, noisy rewards in training")

# %% [markdown]
# Four agents say little: the difference has a wide interval.

# %%
td_error.interquartile_difference(curves["generalized_gaussian"], curves["squared_error"]).to_dataframe().round(1)
