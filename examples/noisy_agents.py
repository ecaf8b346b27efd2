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
# Does an agent learn better from noisy rewards when its critic learns the shape of the noise?
#
# CartPole, with Student noise of three degrees of freedom on every reward of the training. The critic of PPO learns
# what a state is worth from errors that have such tails: by their squares, or as a generalised Gaussian, which learns
# how heavy the tails are. Needs `pip install "bayeskit[rl]"`.

# %%
import os

import matplotlib.pyplot as plt
import numpyro.distributions as dist

from bayeskit.models import td_error

SMALL = os.environ.get("BAYESKIT_EXAMPLE_SIZE") == "small"  # for tests of this notebook

# %% [markdown]
# ## The training
#
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

# %% [markdown]
# ## Learning curves
#
# What an agent earns when it is looked at, without noise: interquartile means over the agents, which one agent that
# fails does not decide, with intervals from bootstrapping them.

# %% tags=["cover"]
axes = td_error.plot_learning_curves(curves)
axes.set_title("CartPole, noisy rewards in training")
plt.show()

# %% [markdown]
# ## The difference
#
# Four agents say little: it has a wide interval.

# %%
td_error.interquartile_difference(curves["generalized_gaussian"], curves["squared_error"]).to_dataframe().round(1)

# %% [markdown]
# ## What we saw, and what to try
#
# * With four agents an interval of the difference that holds zero is what an honest comparison says; a single curve of
#   each would have said more than is known.
# * Try `num_seeds=20` and a longer training, normal noise in place of Student's, and the state values of a chain whose
#   truth is known, in [Values from temporal differences](../docs/td_error.md).
