"""The optimisation loop: convergence, early stop, what it returns and refuses."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import bayeskit as bk
from bayeskit.train import Stopped, minimise

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
        report=lambda block: seen.append((block.done, block.loss)),
    )
    assert done.training.stopped == Stopped.HELD_OUT
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


def test_single_steps_that_are_not_finite_are_left_out_and_recorded():
    def loss(w, key):
        return jnp.where(jax.random.uniform(key) < 0.1, jnp.nan, 1.0) * jnp.sum((w - TARGET) ** 2)

    done = minimise(loss, jnp.zeros(2), key=jax.random.key(0), optimizer=optax.adam(0.1), num_steps=300)
    np.testing.assert_allclose(done.parameters, TARGET, atol=1e-3)
    skipped = np.flatnonzero(~np.isfinite(done.losses))
    assert 10 < skipped.size < 60
    np.testing.assert_array_equal(skipped, np.flatnonzero(~np.isfinite(done.training.gradient_norms)))
    (finding,) = bk.check(done.tree, quiet=True).findings
    assert (finding.name, finding.severity) == ("skipped_steps", "error")
    assert f"at {skipped.size} of 300 steps" in finding.meaning


def test_without_a_held_out_loss_a_tolerance_stops():
    settings = {"key": jax.random.key(0), "optimizer": optax.adam(0.05), "num_steps": 5000, "block": 50}
    done = minimise(noisy, start(), tolerance=0.01, **settings)
    assert done.training.stopped == Stopped.SETTLED
    assert 100 < done.losses.size < 1000
    np.testing.assert_allclose(done.parameters["w"], TARGET, atol=0.1)
    assert bk.check(done, quiet=True).findings == ()
    falling = minimise(lambda w, key: w, jnp.array(0.0), tolerance=0.01, **{**settings, "num_steps": 500})
    assert falling.training.stopped == Stopped.USED_UP
    (finding,) = bk.check(falling, quiet=True).findings
    assert (finding.name, finding.severity) == ("not_converged", "error")
    assert "the loss still fell by" in finding.meaning.lower()


def test_a_loss_that_still_falls_without_a_rule_is_warned_of():
    done = minimise(noisy, start(), key=jax.random.key(0), optimizer=optax.sgd(1e-3), num_steps=400)
    verdict = bk.check(done, quiet=True)
    assert verdict.ok
    (finding,) = verdict.findings
    assert (finding.name, finding.severity) == ("not_converged", "warning")


def test_a_held_out_loss_that_rises_is_warned_of():
    done = minimise(
        noisy,
        start(),
        key=jax.random.key(0),
        optimizer=optax.sgd(0.01),
        num_steps=300,
        block=10,
        patience=1000,
        held_out=lambda p: jnp.sum((p["w"] - TARGET / 2) ** 2),
    )
    names = {finding.name: finding for finding in bk.check(done, quiet=True).findings}
    assert names["held_out_rises"].severity == "warning"
    best = done.training.held_out.argmin()
    assert f"look {best} of {done.training.held_out.size}" in names["held_out_rises"].meaning


def test_the_record_says_what_was_done_and_survives_a_file(tmp_path):
    done = minimise(noisy, start(), key=jax.random.key(0), optimizer=optax.adam(0.1), num_steps=120)
    tree = done.training.tree("Toy", {"width": 3}, key="[0, 0]")
    bk.save(tree, tmp_path / "toy.nc")
    again = bk.load(tmp_path / "toy.nc")
    np.testing.assert_array_equal(again["training/loss"], done.losses)
    assert again["training/loss"].dims == ("step",)
    wanted = {"method": "Toy", "method_settings": '{"width": 3}', "key": "[0, 0]", "phases": '{"gradient": 120}'}
    assert wanted.items() <= again.attrs.items()
    assert again.attrs["stopped"] == "the number of steps is used up"
    assert {"bayeskit_version", "created_at", "versions", "device", "float_dtype", "wall_time"} <= set(again.attrs)
    assert "converged" not in again.attrs
    assert str(bk.check(again, quiet=True)).startswith("OK: no sign of trouble in 120 steps of training")


def test_a_progress_bar(capsys):
    minimise(noisy, start(), key=jax.random.key(0), optimizer=optax.adam(0.1), num_steps=200, progress=True)
    assert "200/200" in capsys.readouterr().out
