"""Chains, trajectories, and values that are evaluated from them."""

import re
import warnings
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

from bayeskit.errors import DataError, MethodError, TrainingError
from bayeskit.models import td_error
from bayeskit.models.td_error.value_model import pilot_of

WALK = td_error.random_walk(3, 0.8)


def laplace(num_steps, key=0):
    return WALK.simulate(num_steps, noise=dist.Laplace(0.0, 1.0), key=key)


@pytest.fixture(scope="module")
def chain():
    return laplace(3000)


def test_values_of_a_chain_that_is_given():
    np.testing.assert_allclose(td_error.random_walk(19).values, np.arange(-9, 10) / 10, atol=1e-12)
    generator = np.random.default_rng(0)
    transition, rewards = generator.dirichlet(np.ones(4), size=4), generator.normal(size=4)
    values = np.zeros(4)
    for _ in range(400):  # the values are the fixed point
        values = rewards + 0.9 * transition @ values
    np.testing.assert_allclose(td_error.MarkovChain(transition, rewards, 0.9).values, values, rtol=1e-10)


def test_trajectories_have_the_frequencies_of_the_chain():
    start = np.array([0.2, 0.8])
    given = td_error.MarkovChain([[0.5, 0.3], [0.1, 0.2]], [1.0, -1.0], 0.9, start)
    drawn = given.simulate(40_000, noise=dist.Normal(0.0, 0.5), key=1)
    now = np.asarray(drawn.features).argmax(axis=1)
    after = np.where(drawn.next_features.any(axis=1), np.asarray(drawn.next_features).argmax(axis=1), 2)
    first = np.asarray(drawn.starts)
    full = np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]])
    for expected, seen in ((full[0], after[now == 0]), (full[1], after[now == 1]), (start, now[first])):
        shares = np.bincount(seen, minlength=len(expected)) / len(seen)
        assert (np.abs(shares - expected) < 4 * np.sqrt(expected * (1 - expected) / len(seen))).all()
    np.testing.assert_array_equal(first[1:], after[:-1] == 2)
    np.testing.assert_array_equal(now[1:][~first[1:]], after[:-1][~first[1:]])
    noise = np.asarray(drawn.rewards) - np.where(now == 0, 1.0, -1.0)
    assert abs(noise.mean()) < 4 * 0.5 / 200
    assert abs(noise.std() / 0.5 - 1) < 4 / np.sqrt(2 * 40_000)


def test_least_squares_are_the_values_of_the_chain_that_was_seen(chain):
    now = np.asarray(chain.features)
    counts = now.T @ now
    transition = np.linalg.solve(counts, now.T @ np.asarray(chain.next_features))
    rewards = np.linalg.solve(counts, now.T @ np.asarray(chain.rewards))
    expected = np.linalg.solve(np.eye(3) - 0.8 * transition, rewards)
    np.testing.assert_allclose(td_error.evaluate(chain, "lstd").weights, expected, rtol=1e-9)


def test_with_full_traces_it_is_the_regression_of_returns(chain):
    end = int(np.flatnonzero(~np.asarray(chain.next_features).any(axis=1))[-1]) + 1
    parts = (chain.features[:end], chain.rewards[:end], chain.next_features[:end])
    ended = td_error.Trajectories(*parts, 0.8)
    returns, after = np.zeros(end), 0.0
    for t in reversed(range(end)):
        after = float(parts[1][t]) + 0.8 * after * bool(parts[2][t].any())
        returns[t] = after
    expected = np.linalg.lstsq(np.asarray(parts[0]), returns)[0]
    np.testing.assert_allclose(td_error.evaluate(ended, "lstd", lam=1.0).weights, expected, rtol=1e-9)


@pytest.mark.parametrize("lam", [0.0, 0.6])
def test_steps_arrive_at_least_squares(chain, lam):
    exact = td_error.evaluate(chain, "lstd", lam)
    found = td_error.evaluate(chain, "td", lam)
    assert (np.abs(found.weights - exact.weights) < 0.2 * exact.standard_errors(WALK.features)).all()
    assert found.distance < 0.05
    assert exact.distance < 1e-12


def test_light_tails_are_left_to_squares():
    """The response of a shape of 2 or more is the error itself."""
    drawn = WALK.simulate(3000, noise=dist.Uniform(-1.0, 1.0), key=0)
    squared = td_error.evaluate(drawn, "td")
    shaped = td_error.evaluate(drawn, "generalized_gaussian")
    assert shaped.shape > 2
    np.testing.assert_allclose(shaped.weights, squared.weights, rtol=1e-9)


@pytest.fixture(scope="module")
def replications():
    """Weights by method, the pilots, and mean squares of errors over standard errors, of 60 records."""

    def one(key):
        drawn = WALK.simulate(800, noise=dist.Laplace(0.0, 5.0), key=key)
        found = {}
        for name in ("td", "generalized_gaussian"):
            value = td_error.evaluate(drawn, name, num_passes=6)
            ratios = (value.weights - WALK.values) / jnp.sqrt(jnp.diag(value.covariance))
            found[name] = (value.weights, jnp.mean(ratios**2), value.symmetry_p_value)
        pilot, _ = pilot_of(drawn)
        gap = jnp.linalg.solve(pilot.root, pilot.weights - WALK.values)
        return found | {"pilot": (pilot.weights, jnp.mean(gap**2), jnp.zeros(()))}

    keys = jax.random.split(jax.random.key(5), 60)
    return jax.tree.map(np.asarray, jax.jit(lambda keys: jax.lax.map(one, keys))(keys))


def test_a_shape_has_nearly_half_of_the_error_on_laplace_noise(replications):
    squares = {name: ((found[0] - np.asarray(WALK.values)) ** 2).mean(axis=1) for name, found in replications.items()}
    for shaped in ("generalized_gaussian", "pilot"):
        gain = squares["td"] - 1.4 * squares[shaped]
        assert gain.mean() > 0
        assert squares["td"].mean() / squares[shaped].mean() < 2.3


def test_standard_errors_are_those_over_replications(replications):
    for _, ratios, _ in replications.values():
        assert abs(ratios.mean() - 1) < 4 * ratios.std() / len(ratios) ** 0.5
    p_values = replications["generalized_gaussian"][2]
    assert abs((p_values < 0.2).mean() - 0.2) < 4 * (0.16 / 60) ** 0.5


def test_dependent_features_are_refused_in_single_precision():
    rng = np.random.default_rng(0)
    x, rewards = rng.normal(size=(400, 2)).astype(np.float32), rng.normal(size=400).astype(np.float32)
    features = np.column_stack([x, x.sum(1)])
    text = (
        "features are linearly dependent in what was recorded, so that weights are not determined; leave columns out, "
    )
    text += "or, without discount, record trajectories that end; or, if they are so nearly, use 64-bit numbers"
    with jax.enable_x64(False):
        record = td_error.Trajectories(features, rewards, np.roll(features, -1, 0), 0.9)
        with pytest.raises(DataError, match=f"^{re.escape(text)} \\(jax_enable_x64\\)$"):
            td_error.evaluate(record, "lstd")
        td_error.evaluate(td_error.Trajectories(x, rewards, np.roll(x, -1, 0), 0.9), "lstd")


@pytest.mark.parametrize("states", [3, 7])
def test_a_chain_without_an_end_is_refused_in_single_precision(states):
    text = "transition leaves episodes without an end, whose values need a discount below 1"
    with jax.enable_x64(False), pytest.raises(DataError, match=f"^{text}$"):
        td_error.MarkovChain(np.full((states, states), 1 / states), np.arange(states), discount=1.0)


def test_without_noise_least_squares_have_arrived():
    """What is left of the errors is rounding; a warning is an error in tests."""
    table = np.eye(2, dtype=int)
    record = td_error.Trajectories(table[[0, 1] * 50], [0.3, 0.7] * 50, table[[1, 0] * 50], 0.9)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        value = td_error.evaluate(record, "lstd")
    np.testing.assert_allclose(value.weights, np.array([0.93, 0.97]) / 0.19, rtol=1e-12)
    assert (value.distance, value.symmetry_p_value) == (0, 1)


def test_skewed_errors_are_reported():
    rng = np.random.default_rng(0)
    drawn = WALK.simulate(3000, key=0)
    skewed = td_error.Trajectories(
        drawn.features, drawn.rewards + rng.exponential(size=3000) - 1, drawn.next_features, 0.8
    )
    text = (
        r"TD errors are skewed \(p = \S+ for symmetry\), so that the location of a generalised Gaussian is not their "
        r"mean and the values are biased; use method='lstd' or 'td'"
    )
    with pytest.warns(UserWarning, match=f"^{text}$"):
        td_error.evaluate(skewed, "generalized_gaussian")


def test_steps_that_have_not_arrived_are_reported(chain):
    text = (
        r"the steps of 'td' have not arrived: the sum that should vanish is \S+ standard errors from zero; take more "
        r"num_passes or a larger step_size, or use method='lstd'"
    )
    with pytest.warns(UserWarning, match=f"^{text}$"):
        td_error.evaluate(chain, "td", num_passes=2, step_size=1e-3)
    text = "the values of 'td' are no longer finite; step_size=50 is too large"
    with pytest.raises(TrainingError, match=f"^{re.escape(text)}$"):
        td_error.evaluate(chain, "td", num_passes=2, step_size=50.0)


EYE = np.eye(2)
ONES = np.ones(2)
RECORD = td_error.Trajectories(EYE, ONES, EYE[::-1], 0.9)
MATRIX = [[0.5, 0.5], [0.5, 0.5]]
REFUSED = {
    "rewards must be finite, got nan at 1": (DataError, partial(td_error.Trajectories, EYE, [0.0, np.nan], EYE)),
    "rewards must have shape (2,), a number a step; got (3,)": (
        DataError,
        partial(td_error.Trajectories, EYE, np.ones(3), EYE),
    ),
    "features must have shape (steps, features), with some of each; got (2,)": (
        DataError,
        partial(td_error.Trajectories, ONES, ONES, ONES),
    ),
    "next_features must have the shape of features, (2, 2); got (2, 1)": (
        DataError,
        partial(td_error.Trajectories, EYE, ONES, np.ones((2, 1))),
    ),
    "discount must be a number from 0 to 1, got 1.1": (
        MethodError,
        partial(td_error.Trajectories, EYE, ONES, EYE, 1.1),
    ),
    "starts must be True or False for each of the 2 steps; got bool of shape (1,)": (
        DataError,
        partial(td_error.Trajectories, EYE, ONES, EYE, 0.9, [True]),
    ),
    "method 'ltsd' is unknown; did you mean 'lstd'?": (MethodError, partial(td_error.evaluate, RECORD, "ltsd")),
    "method 'x' is unknown; there are td, lstd, generalized_gaussian": (
        MethodError,
        partial(td_error.evaluate, RECORD, "x"),
    ),
    "chain must be Trajectories, got int": (MethodError, partial(td_error.evaluate, 3)),
    "lam must be a number from 0 to 1, got 2": (MethodError, partial(td_error.evaluate, RECORD, lam=2)),
    "num_passes must be an integer of at least 2, or None, got 1": (
        MethodError,
        partial(td_error.evaluate, RECORD, num_passes=1),
    ),
    "features has a column 1 that is zero at every step, so that its weight is not determined; leave it out, or record "
    "a state that has it": (
        DataError,
        lambda: td_error.evaluate(td_error.Trajectories(EYE[[0, 0]], ONES, EYE[[0, 0]], 0.5), "lstd"),
    ),
    "features are linearly dependent in what was recorded, so that weights are not determined; leave columns out, or, "
    "without discount, record trajectories that end": (
        DataError,
        lambda: td_error.evaluate(td_error.Trajectories(np.ones((2, 2)), ONES, 0 * EYE, 0.5), "lstd"),
    ),
    "transition must have rows with a sum of at most 1, got 1.5 in row 0": (
        DataError,
        partial(td_error.MarkovChain, [[0.5, 1.0], [0.0, 0.0]], ONES),
    ),
    "transition must be between 0 and 1, got -0.5 at (0, 1)": (
        DataError,
        partial(td_error.MarkovChain, [[0.5, -0.5], [0.0, 0.0]], ONES),
    ),
    "transition must have shape (states, states), got (1, 2)": (
        DataError,
        partial(td_error.MarkovChain, [[0.5, 0.5]], ONES),
    ),
    "transition leaves episodes without an end, whose values need a discount below 1": (
        DataError,
        partial(td_error.MarkovChain, MATRIX, ONES, 1.0),
    ),
    "rewards must have shape (2,), a number a state; got (3,)": (
        DataError,
        partial(td_error.MarkovChain, MATRIX, np.ones(3)),
    ),
    "rewards must hold real numbers, got <U1": (DataError, partial(td_error.Trajectories, EYE, ["a", "b"], EYE)),
    "starts must be True or False for each of the 2 steps; got <U2 of shape ()": (
        DataError,
        partial(td_error.Trajectories, EYE, ONES, EYE, 0.5, "ab"),
    ),
    "transition must hold real numbers, got complex128": (DataError, partial(td_error.MarkovChain, 0.5j * EYE, ONES)),
    "discount must be a number from 0 to 1, got 'a'": (MethodError, partial(td_error.random_walk, 3, "a")),
    "discount must be a number from 0 to 1, got True": (
        MethodError,
        partial(td_error.Trajectories, EYE, ONES, EYE, True),
    ),
    "start must have a sum of 1, got 2": (DataError, partial(td_error.MarkovChain, MATRIX, ONES, 0.9, ONES)),
    "num_steps must be a positive integer, got 0": (MethodError, partial(WALK.simulate, 0, key=0)),
    "noise must be a distribution of single numbers, or None, got 0.5": (
        MethodError,
        partial(WALK.simulate, 5, noise=0.5, key=0),
    ),
    "num_states must be an odd number of at least 3, got 4": (MethodError, partial(td_error.random_walk, 4)),
    "features must have shape (states, 2), got (3, 3)": (
        DataError,
        lambda: td_error.evaluate(RECORD, "lstd").values(np.eye(3)),
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_bad_input(message):
    error, call = REFUSED[message]
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        call()
