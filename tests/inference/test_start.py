"""Where chains start, and how the sampler is told what is known: strategies of NumPyro, blocks, a first step size."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.infer import init_to_feasible, init_to_median, init_to_sample, init_to_uniform, init_to_value

import bayeskit as bk
from bayeskit.errors import InitError, MethodError, ModelError
from bayeskit.inference.mcmc.blackjax_adaptation import find_adaptation
from bayeskit.target import find_start, find_start_by

Y = np.array([0.3, -1.0, 2.0, 1.5])


def model(y):
    scale = numpyro.sample("scale", dist.HalfNormal(1.0))
    mean = numpyro.sample("mean", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
    slope = numpyro.sample("slope", dist.Normal(0.0, 1.0))
    numpyro.sample("y", dist.Normal(mean.sum() + slope, scale), obs=y)


def test_strategies_of_numpyro():
    target = bk.Target(bk.bind(model, {"y": Y}))
    key = jax.random.PRNGKey(0)
    given = find_start_by(init_to_value(values={"scale": 0.7, "mean": jnp.array([1.0, 2.0])}), target, key, 2)
    np.testing.assert_allclose(given["scale"], np.log(0.7), rtol=1e-12)
    np.testing.assert_allclose(given["mean"], [[1.0, 2.0]] * 2, rtol=1e-12)
    assert given["slope"][0] != given["slope"][1]
    for strategy in (init_to_median, init_to_sample, init_to_uniform(radius=0.1), init_to_feasible):
        start = find_start_by(strategy, target, key, 2)
        assert {name: value.shape for name, value in start.items()} == {"scale": (2,), "mean": (2, 2), "slope": (2,)}
    assert (np.abs(find_start_by(init_to_uniform(radius=0.1), target, key, 2)["mean"]) < 0.1).all()


def moving_average(y):
    """Invertible for |theta| < 1; beyond, the errors grow by powers of theta."""
    theta = numpyro.sample("theta", dist.Normal(0.0, 2.0))
    _, errors = jax.lax.scan(lambda error, value: (value - theta * error,) * 2, 0.0, y)
    numpyro.factor("errors", dist.Normal(0.0, 1.0).log_prob(errors).sum())


def test_chains_start_at_the_likeliest_of_eight_points():
    target = bk.Target(bk.bind(moving_average, {"y": np.random.default_rng(0).normal(size=100)}))
    key = jax.random.PRNGKey(0)
    density = jax.vmap(target.log_density)
    first = find_start(target, key, 20, strategy="uniform")
    best = find_start(target, key, 20)
    assert (np.abs(first["theta"]) > 1).any()
    assert (np.abs(best["theta"]) < 1).all()
    assert len(set(np.asarray(best["theta"]))) == 20
    kept = np.asarray(best["theta"]) == np.asarray(first["theta"])
    assert (np.asarray(density(best)) >= np.asarray(density(first))).all()
    assert 0 < kept.sum() < 10


def test_no_try_at_all():
    with pytest.raises(InitError) as error:
        find_start(bk.Target(bk.bind(model, {"y": Y})), jax.random.PRNGKey(0), 2, max_tries=0)
    assert str(error.value) == "max_tries must be at least 1, got 0"


def test_a_strategy_that_names_no_site():
    method = bk.NUTS(num_chains=1, num_warmup=5, num_draws=5)
    with pytest.raises(ModelError, match=r"'means' is not a continuous latent site; did you mean 'mean'?"):
        bk.infer(model, {"y": Y}, method, key=0, init=init_to_value(values={"means": 0.0}), progress=False)
    with pytest.raises(InitError, match="the strategy broken given as init failed: ValueError: no value"):
        bk.infer(model, {"y": Y}, method, key=0, init=broken, progress=False)


def broken(site):
    if site["name"] == "mean":
        raise ValueError("no value")


def test_a_metric_is_dense_within_blocks():
    """Against the dense metric of each block alone."""
    random = np.random.default_rng(0)
    pairs = random.normal(size=(12, 2, 4)) @ random.normal(size=(4, 4))

    def metric(name, columns):
        adaptation = find_adaptation(name, len(columns), 12, 1)
        update = jax.jit(lambda state, pair, estimate: adaptation.update(state, None, pair, estimate, False))
        state = adaptation.init(jnp.zeros(len(columns)), jnp.ones(len(columns)))
        for number, pair in enumerate(pairs):
            state = update(state, jnp.asarray(pair[:, columns]), number == 11)
        return np.asarray(state.inverse_mass_matrix.inverse_mass_matrix)

    blocks = metric((((0, 1), (3, 4)), ((1, 2),)), [0, 1, 2, 3])
    expected = np.zeros((4, 4))
    for part in ([0, 3], [1], [2]):
        expected[np.ix_(part, part)] = metric("dense", part)
    np.testing.assert_allclose(blocks, expected, rtol=1e-6, atol=1e-12)
    assert abs(expected[0, 3]) > 0.01


def test_blocks_are_of_sites():
    method = bk.NUTS(num_chains=2, num_warmup=100, num_draws=100, adaptation=[["mean", "slope"]], initial_step_size=0.5)
    assert method.adaptation == (("mean", "slope"),)
    assert method._coordinates(bk.Target(bk.bind(model, {"y": Y}))) == (((1, 3), (3, 4)),)
    assert bk.NUTS.from_settings(method.settings()) == method
    post = bk.infer(model, {"y": Y}, method, key=0, progress=False)
    assert np.isfinite(post["posterior/mean"]).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"adaptation": ["mean", "slope"]}, r"adaptation must be a name, or blocks of different sites such as"),
        ({"adaptation": [("mean",), ("mean", "slope")]}, r"adaptation must be a name, or blocks of different sites"),
        ({"adaptation": []}, r"adaptation must be a name, or blocks of different sites"),
        ({"adaptation": [("mean",)], "backend": "numpyro"}, "backend must be 'blackjax' where adaptation is blocks"),
        ({"initial_step_size": 0.0}, "initial_step_size must be a positive number, or None, got 0.0"),
    ],
)
def test_impossible_settings(settings, message):
    with pytest.raises(MethodError, match=message):
        bk.NUTS(**settings)


def test_a_block_of_an_unknown_site():
    with pytest.raises(ModelError, match=r"adaptation: 'means' is not a continuous latent site; did you mean 'mean'?"):
        bk.infer(model, {"y": Y}, bk.NUTS(adaptation=[("means",)]), key=0, progress=False)


@pytest.mark.parametrize("method", [bk.NUTS(backend="numpyro"), bk.HMC(), bk.NUTS()], ids=["numpyro", "hmc", "nuts"])
def test_the_first_step_size_is_the_given_one(method):
    target = bk.Target(bk.bind(model, {"y": Y}))
    small = dataclasses.replace(method, initial_step_size=0.125, num_warmup=0)
    state = small.init_chain(jax.random.PRNGKey(0), target, jnp.zeros(target.size))
    found = state.step_size if method == bk.NUTS() else state.adapt_state.step_size
    assert float(found) == 0.125
