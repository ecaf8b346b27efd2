"""The posterior over values: its likelihood is that of two-stage least squares, and it goes through inference."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
import xarray as xr
from numpyro import handlers

import bayeskit as bk
from bayeskit.errors import DataError, MethodError
from bayeskit.models import td_error
from bayeskit.models.td_error.value_model import pilot_of

WALK = td_error.random_walk(3, 0.8)


@pytest.fixture(scope="module")
def chain():
    return WALK.simulate(800, noise=dist.Laplace(0.0, 1.0), key=2)


@pytest.fixture(scope="module")
def model(chain):
    return td_error.value_model(chain)


def with_prior(chain, **settings):
    return td_error.value_model(chain, prior=dist.Normal(jnp.zeros(3), 1.0).to_event(1), **settings)


def rewards_law(model, chain, weights, scale=1.0, shape=2.0):
    pilot, _ = pilot_of(chain)
    unit = 2 / len(chain.rewards) ** 0.5
    noise = jnp.log(jnp.stack([scale / pilot.scale, shape / pilot.shape])) / unit
    values = {"weights": weights, "whitened_noise": noise, "scale_change_sd": 1.0, "scale_change": SLOPES}
    given = handlers.substitute(handlers.seed(model, 0), values)
    return handlers.trace(given).get_trace(**chain.data)["rewards"]["fn"]


SLOPES = jnp.array([0.3, -0.2, 0.0])


def test_at_the_pilot_the_noise_is_the_error(chain):
    pilot, _ = pilot_of(chain)
    law = rewards_law(with_prior(chain), chain, pilot.weights)
    np.testing.assert_allclose(chain.rewards - law.loc, chain.errors(pilot.weights), rtol=1e-10, atol=1e-12)


def test_for_normal_noise_it_is_centred_at_least_squares_with_their_covariance(chain):
    """Whatever the pilot, which here is that of a shape near one."""
    scale = 1.3
    exact, model = td_error.evaluate(chain, "lstd"), with_prior(chain)

    def log_likelihood(weights):
        return rewards_law(model, chain, weights, scale * 2**0.5).log_prob(chain.rewards).sum()

    now, after = np.asarray(chain.features), np.asarray(chain.next_features)
    matrix = now.T @ (now - 0.8 * after)
    precision = matrix.T @ np.linalg.solve(now.T @ now, matrix) / scale**2
    np.testing.assert_allclose(jax.jit(jax.grad(log_likelihood))(exact.weights), 0.0, atol=1e-9)
    np.testing.assert_allclose(-jax.jit(jax.hessian(log_likelihood))(exact.weights), precision, rtol=1e-9)


def test_the_pilot_solves_the_equation_of_its_shape(chain):
    pilot, _ = pilot_of(chain)
    exact = td_error.evaluate(chain, "lstd")
    value = td_error.evaluate(chain, "generalized_gaussian")
    errors = value.standard_errors(WALK.features)
    assert (np.abs(value.weights - pilot.weights) < 0.4 * errors).all()
    assert (errors < exact.standard_errors(WALK.features)).all()


def test_the_plain_regression_is_biased_and_this_is_not():
    drawn = WALK.simulate(800, noise=dist.Normal(0.0, 0.2), key=0)
    differences = np.asarray(drawn.features - 0.8 * drawn.next_features)
    plain = np.linalg.lstsq(differences, np.asarray(drawn.rewards))[0]
    pilot, _ = pilot_of(drawn)
    errors = np.sqrt(np.diag(pilot.root @ pilot.root.T))
    assert np.abs((plain - WALK.values) / errors).max() > 6
    assert np.abs((pilot.weights - WALK.values) / errors).max() < 4


def test_a_scale_that_varies_is_that_of_the_features(chain):
    law = rewards_law(with_prior(chain, heteroscedastic=True), chain, jnp.zeros(3), 2.0)
    np.testing.assert_allclose(law.scale, 2.0 * np.exp(np.asarray(chain.features) @ SLOPES), rtol=1e-12)


@pytest.fixture(scope="module")
def post(chain, model):
    method = bk.NUTS(num_chains=1, num_warmup=200, num_draws=600)
    return bk.infer(model, chain.data, method, key=0, progress=False)


def test_the_posterior_is_around_the_estimate_with_its_standard_errors(chain, post):
    value = td_error.evaluate(chain, "generalized_gaussian")
    errors = np.asarray(value.standard_errors(WALK.features))
    draws = post["posterior/value"].to_numpy().reshape(-1, 3)
    assert (np.abs(draws.mean(axis=0) - value.weights) < 0.5 * errors).all()
    assert (np.abs(np.log(draws.std(axis=0) / errors)) < 0.25).all()
    assert abs(post["posterior/error_variance"].mean() / value.error_variance - 1) < 0.15


def test_the_variance_is_split_into_noise_and_values(post):
    parts = td_error.uncertainty(post)
    assert parts.sizes == {"state": 3}
    np.testing.assert_allclose(parts.aleatoric, post["posterior/error_variance"].mean(), rtol=1e-6)
    draws = post["posterior/value"].to_numpy().reshape(-1, 3)
    np.testing.assert_allclose(parts.epistemic, draws.var(axis=0, ddof=1), rtol=1e-6)
    np.testing.assert_allclose(parts.total, parts.aleatoric + parts.epistemic, rtol=1e-12)


@pytest.mark.full  # VI has its own tests; the posterior is compared with the estimate by chains
def test_it_goes_through_variational_inference(chain, model, post):
    found = bk.infer(model, chain.data, bk.VI(num_steps=1200, num_draws=400), key=0, progress=False)
    draws, exact = (each["posterior/value"].to_numpy().reshape(-1, 3) for each in (found, post))
    assert (np.abs(draws.mean(axis=0) - exact.mean(axis=0)) < 0.5 * exact.std(axis=0)).all()


def test_errors_of_another_size_in_another_state_are_reported():
    drawn = WALK.simulate(800, key=0)
    loud = jnp.where(drawn.features[:, 0] > 0, 2.0, 0.1)
    noise = jax.random.laplace(jax.random.key(1), (800,))
    uneven = td_error.Trajectories(drawn.features, drawn.rewards + loud * noise, drawn.next_features, 0.8)
    text = (
        r"the size of TD errors depends on the features \(p = \S+ for one law\), so that intervals of values are too "
        r"narrow in some states and too wide in others; use heteroscedastic=True"
    )
    with pytest.warns(UserWarning, match=f"^{text}$"):
        td_error.value_model(uneven)


def deterministic():
    return td_error.Trajectories(np.eye(2), np.ones(2), [[0.0, 1.0], [0.0, 0.0]], 0.5)


def result(value, noise):
    names = ("chain", "draw", "state", "more")
    sites = {"value": (names[: value.ndim], value), "error_variance": (names[: noise.ndim], noise)}
    return xr.DataTree.from_dict({"posterior": xr.Dataset(sites)})


def test_uncertainty_keeps_nan():
    value = np.arange(8.0).reshape(1, 4, 2)
    value[0, 1, 1] = np.nan
    np.testing.assert_array_equal(
        np.isnan(td_error.uncertainty(result(value, np.ones((1, 4)))).epistemic), [False, True]
    )


REFUSED = {
    "post has a single draw, which has no variance": (
        DataError,
        lambda _: td_error.uncertainty(result(np.ones((1, 1, 2)), np.ones((1, 1)))),
    ),
    "value must have dimensions (chain, draw, state), and error_variance these or (chain, draw); got shapes (1, 3) and "
    "(1, 3); it must be a result of value_model": (
        DataError,
        lambda _: td_error.uncertainty(result(np.ones((1, 3)), np.ones((1, 3)))),
    ),
    "next_features must have the shape of features, (4, 3); got (1, 3)": (
        DataError,
        lambda chain: numpyro.handlers.seed(td_error.value_model(chain), 0)(np.ones((4, 3)), np.ones((1, 3))),
    ),
    "chain must be Trajectories, got NoneType": (MethodError, lambda _: td_error.value_model(None)),
    "states must have shape (states, 3), got (3,)": (
        DataError,
        lambda chain: td_error.value_model(chain, states=np.ones(3)),
    ),
    "rewards have no noise that could be seen, so that there is no likelihood; use method='lstd'": (
        DataError,
        lambda _: td_error.value_model(deterministic()),
    ),
    "heteroscedastic must be True or False, got 1": (
        MethodError,
        lambda chain: td_error.value_model(chain, heteroscedastic=1),
    ),
    "prior must be a distribution with event shape (3,), got 2.0": (
        MethodError,
        lambda chain: td_error.value_model(chain, prior=2.0),
    ),
    "post has no site 'value' in its posterior; it must be a result of value_model": (
        DataError,
        lambda _: td_error.uncertainty(xr.DataTree()),
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_bad_input(message, chain):
    error, call = REFUSED[message]
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        call(chain)
