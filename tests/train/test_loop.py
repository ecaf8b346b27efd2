"""The optimisation loop: convergence, early stop, what it returns and refuses."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import bayeskit as bk
from bayeskit.train import minimise

TARGET = jnp.array([1.0, -2.0])


def noisy(parameters, key):
    return jnp.sum((parameters["w"] - TARGET + 0.1 * jax.random.normal(key, (2,))) ** 2)


def start():
    return {"w": jnp.zeros(2), "name": "kept as it is"}


def test_it_is_the_plain_loop():
    """Against optax step by step with the same keys."""
    key, optimizer = jax.random.key(0), optax.adam(0.05)
    done = minimise(noisy, start(), key=key, optimizer=optimizer, num_steps=250, block=100)
    w, losses = jnp.zeros(2), []
    state = optimizer.init(w)
    for i in range(250):
        value, gradient = jax.value_and_grad(lambda w, i=i: noisy({"w": w}, jax.random.fold_in(key, i)))(w)
        updates, state = optimizer.update(gradient, state, w)
        w, losses = optax.apply_updates(w, updates), [*losses, float(value)]
    np.testing.assert_allclose(done.parameters["w"], w, rtol=1e-10)
    np.testing.assert_allclose(done.losses, losses, rtol=1e-10)
    assert (done.parameters["name"], str(done.training.stopped), done.training.held_out.size) == (
        "kept as it is",
        "the number of steps is used up",
        0,
    )


def test_early_stop_returns_the_best_by_the_held_out_loss():
    """The held-out optimum lies on the way to the training optimum."""
    seen = []
    done = minimise(
        noisy,
        start(),
        key=jax.random.key(0),
        optimizer=optax.sgd(0.01),
        num_steps=5000,
        block=10,
        patience=3,
        held_out=lambda p: jnp.sum((p["w"] - TARGET / 2) ** 2),
        report=lambda steps, loss: seen.append((steps, loss)),
    )
    assert done.training.stopped == "the held-out loss no longer falls"
    assert done.losses.size == 10 * (done.training.held_out.size - 1) == seen[-1][0]
    assert done.training.held_out.argmin() == done.training.held_out.size - 4
    np.testing.assert_allclose(
        jnp.sum((done.parameters["w"] - TARGET / 2) ** 2), done.training.held_out.min(), rtol=1e-12
    )


def test_a_loss_that_is_not_finite_raises_and_says_where():
    def loss(w, key):
        return jnp.where(w < 0.95, jnp.nan, w)

    with pytest.raises(bk.errors.TrainingError, match="the loss is nan at step 1, and at 9 of the 10 steps from 0 on;"):
        minimise(loss, jnp.array(1.0), key=jax.random.key(0), optimizer=optax.sgd(0.1), num_steps=10)
