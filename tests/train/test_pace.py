"""How a training is divided: by steps, by a budget, and after an interruption."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bayeskit.errors import MethodError, StorageError
from bayeskit.train import Stopped, loop, minimise, pace


class Clock:
    """Every block takes one second, the first two ten."""

    def __init__(self):
        self.now, self.took = 0.0, itertools.chain([10.0, 10.0], itertools.repeat(1.0))

    def __call__(self):
        return self.now

    def block(self):
        self.now += next(self.took)


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(pace.time, "perf_counter", made)
    return made


def run(one, clock):
    shares = []
    while not one.over:
        shares.append(one.next())
        clock.block()
        one.tick()
    return np.concatenate(shares)


def test_steps_share_a_training_evenly(clock):
    shares = run(pace.Pace(10, None, 4), clock)
    np.testing.assert_allclose(shares, np.arange(10) / 10)


def test_a_budget_is_kept_and_its_shares_run_evenly_to_one(clock):
    one = pace.Pace(10**9, 60.0, 5)
    shares = run(one, clock)
    assert 58.0 <= one.seconds <= 61.0
    assert one.done == len(shares)
    assert (np.diff(shares) >= 0).all()
    assert shares[10] < 0.11
    assert shares[-1] > 0.99
    steps = np.diff(shares[20::5])
    np.testing.assert_allclose(steps, steps.mean(), rtol=0.2)


def test_a_budget_that_compiling_has_used_up_ends_after_a_block(clock):
    one = pace.Pace(10**9, 5.0, 5)
    assert len(run(one, clock)) == 10
    assert one.over


def loss(w, key):
    return jnp.sum((w - 1.0 + 0.1 * jax.random.normal(key)) ** 2)


def settings(**more):
    return {"key": jax.random.key(0), "optimizer": optax.adam(0.1), "num_steps": 60, "block": 20, **more}


def test_it_goes_on_from_a_checkpoint_to_the_same_bits():
    kept = []
    schedule = lambda share: 1.0 - share  # noqa: E731
    whole = minimise(loss, jnp.zeros(3), keep=kept.append, schedule=schedule, **settings())
    again = minimise(loss, jnp.zeros(3), checkpoint=kept[0], schedule=schedule, **settings())
    assert [one.done for one in kept] == [20, 40, 60]
    np.testing.assert_array_equal(again.parameters, whole.parameters)
    np.testing.assert_array_equal(again.losses, whole.losses)
    assert again.training.stopped == Stopped.USED_UP
    with pytest.raises(StorageError, match="of a training with other parameters or another optimiser"):
        minimise(loss, jnp.zeros(4), checkpoint=kept[0], **settings())


def test_a_schedule_scales_the_updates():
    still = minimise(loss, jnp.zeros(3), schedule=lambda share: 0.0 * share, **settings())
    np.testing.assert_array_equal(still.parameters, np.zeros(3))
    half = minimise(loss, jnp.zeros(3), schedule=lambda share: jnp.where(share < 0.5, 1.0, 0.0), **settings(block=30))
    first = minimise(loss, jnp.zeros(3), **settings(num_steps=30, block=30))
    np.testing.assert_array_equal(half.parameters, first.parameters)


def test_an_end_is_needed_and_a_held_out_loss_cannot_be_kept():
    with pytest.raises(MethodError, match="give num_steps, or a budget in seconds"):
        minimise(loss, jnp.zeros(3), **settings(num_steps=None))
    with pytest.raises(MethodError, match="a training with a held-out loss cannot be kept and gone on with"):
        minimise(loss, jnp.zeros(3), held_out=jnp.sum, keep=print, **settings())


def interrupted_at(block, monkeypatch):
    plain = loop._compiled.__wrapped__

    def compiled(*settings):
        advance, calls = plain(*settings), itertools.count(1)

        def once(*given):
            if next(calls) == block:
                raise KeyboardInterrupt
            return advance(*given)

        return once

    compiled.__wrapped__ = compiled
    monkeypatch.setattr(loop, "_compiled", compiled)


def test_ctrl_c_ends_a_training_with_what_it_has(monkeypatch):
    two = minimise(loss, jnp.zeros(3), **settings(num_steps=40))
    interrupted_at(3, monkeypatch)
    found = minimise(loss, jnp.zeros(3), interruptible=True, **settings())
    np.testing.assert_array_equal(found.parameters, two.parameters)
    np.testing.assert_array_equal(found.losses, two.losses)
    assert found.training.stopped == Stopped.BY_HAND
    assert found.training.phases == (("gradient", 40),)
    with pytest.raises(KeyboardInterrupt):
        minimise(loss, jnp.zeros(3), **settings())


def test_before_the_first_block_there_is_nothing_to_keep(monkeypatch):
    interrupted_at(1, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        minimise(loss, jnp.zeros(3), interruptible=True, **settings())
