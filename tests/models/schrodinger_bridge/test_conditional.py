"""The plan as a NumPyro distribution, and posteriors over bridges."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy.stats import chi2

import bayeskit as bk
from bayeskit.models import schrodinger_bridge
from bayeskit.numerics.gaussian_mixture_covariance import Diagonal, Full

EPSILON = 0.5


def parameters(k=2, d=2, seed=0):
    generator = np.random.default_rng(seed)
    root = np.tril(0.3 * generator.normal(size=(k, d, d)), -1) + 0.7 * np.eye(d)
    return jnp.asarray(generator.normal(size=k)), jnp.asarray(generator.normal(size=(k, d))), jnp.asarray(root)


def starts(num, d=2, seed=0):
    return jax.random.normal(jax.random.key(seed), (num, d))


@pytest.mark.parametrize("kind", ["full", "diagonal"])
def test_it_is_the_plan_of_the_bridge(kind):
    log_alpha, r, root = parameters()
    x0 = starts(7)
    maps = {"S_tril": root} if kind == "full" else {"S_diag": jnp.asarray(np.diagonal(root, axis1=1, axis2=2))}
    bridge = schrodinger_bridge.Bridge(
        jnp.asarray(EPSILON), log_alpha, r, Full(root) if kind == "full" else Diagonal(maps["S_diag"])
    )
    plan = schrodinger_bridge.BridgeConditional(x0, EPSILON, log_alpha, r, **maps, validate_args=True)
    assert (plan.batch_shape, plan.event_shape) == ((7,), (2,))
    draws = plan.sample(jax.random.key(1), (5, 3))
    assert draws.shape == (5, 3, 7, 2)
    found, draws = np.asarray(plan.log_prob(draws)), np.asarray(draws)
    np.testing.assert_allclose(found[2, 1], bridge.log_density(draws[2, 1], x0), rtol=1e-12)
    np.testing.assert_allclose(plan.mean, bridge.mean(x0), rtol=1e-12)
    many, mean, variance = (
        np.asarray(x) for x in (plan.sample(jax.random.key(2), (20_000,)), plan.mean, plan.variance)
    )
    assert np.abs((many.mean(0) - mean) / (many.std(0) / 20_000**0.5)).max() < 4
    square = (many - mean) ** 2
    assert np.abs((square.mean(0) - variance) / (square.std(0) / 20_000**0.5)).max() < 4


def test_the_likelihood_does_not_depend_on_the_pairing():
    """Two parameter values: the difference of their log likelihoods is the same for any order of the ends."""
    x0, x1 = starts(30), 1.0 + starts(30, seed=1)
    one, two = parameters(seed=0), parameters(seed=1)

    @jax.jit
    def difference(x1):
        a, b = (
            schrodinger_bridge.BridgeConditional(x0, EPSILON, p[0], p[1], S_tril=p[2]).log_prob(x1).sum()
            for p in (one, two)
        )
        return a - b

    np.testing.assert_allclose(difference(x1), difference(x1[::-1]), rtol=1e-10)


def test_wrong_shapes_are_named():
    log_alpha, r, root = parameters()
    with pytest.raises(bk.errors.DataError, match="exactly one of S_tril and S_diag"):
        schrodinger_bridge.BridgeConditional(starts(3), EPSILON, log_alpha, r)
    with pytest.raises(bk.errors.DataError, match=r"must have shapes \(n, d\), \(k,\), \(k, d\)"):
        schrodinger_bridge.BridgeConditional(starts(3, 4), EPSILON, log_alpha, r, S_tril=root)


def one_component(x0, x1=None):
    r = numpyro.sample("r", dist.Normal(0.0, 1.0))
    s = numpyro.sample("s", dist.LogNormal(0.0, 0.5))
    with numpyro.plate("point", len(x0)):
        plan = schrodinger_bridge.BridgeConditional(x0, EPSILON, jnp.zeros(1), r[None, None], S_diag=s[None, None])
        numpyro.sample("x1", plan, obs=x1)


@pytest.mark.full
def test_posterior_of_one_component_is_calibrated():
    """Simulation-based calibration (Talts et al. 2018): ranks of the true values among posterior draws are uniform.

    All simulations are one model, whose posterior is the product of theirs.
    """
    simulations, bins, kept = 96, 8, 63
    x0 = starts(15, 1, seed=3)

    def plan(r, s):
        return schrodinger_bridge.BridgeConditional(x0, EPSILON, jnp.zeros(1), r[None, None], S_diag=s[None, None])

    def simulations_at_once(x1):
        with numpyro.plate("simulation", simulations):
            r = numpyro.sample("r", dist.Normal(0.0, 1.0))
            s = numpyro.sample("s", dist.LogNormal(0.0, 0.5))
            numpyro.factor("x1", jax.vmap(lambda r, s, x1: plan(r, s).log_prob(x1).sum())(r, s, x1))

    @jax.jit
    @jax.vmap
    def simulate(key):
        of_r, of_s, of_plan = jax.random.split(key, 3)
        r, s = jax.random.normal(of_r), jnp.exp(0.5 * jax.random.normal(of_s))
        return {"r": r, "s": s}, plan(r, s).sample(of_plan)

    true, x1 = simulate(jax.random.split(jax.random.key(0), simulations))
    method = bk.NUTS(num_chains=1, num_warmup=300, num_draws=4 * kept)
    post = bk.infer(simulations_at_once, {"x1": np.asarray(x1)}, method, key=0, thin=4, progress=False)
    for name, values in true.items():
        ranks = (post[f"posterior/{name}"].values[0] < np.asarray(values)).sum(0)
        counts = np.bincount(ranks * bins // (kept + 1), minlength=bins)
        statistic = ((counts - simulations / bins) ** 2).sum() / (simulations / bins)
        assert statistic < chi2.isf(1e-4, bins - 1), (name, counts)


@pytest.mark.full  # by default the density is compared with that of the bridge, and is a site of a model
def test_posterior_agrees_between_nuts_and_vi_and_with_the_fit():
    """The maximum-likelihood bridge lies within the posterior, whose draws agree between the two methods."""
    x0 = np.asarray(starts(300, 1))
    x1 = np.asarray(
        schrodinger_bridge.BridgeConditional(
            x0, EPSILON, jnp.zeros(1), jnp.ones((1, 1)), S_diag=0.6 * jnp.ones((1, 1))
        ).sample(jax.random.key(5))
    )
    data = {"x0": x0, "x1": x1}
    nuts = bk.infer(one_component, data, bk.NUTS(num_chains=2, num_warmup=300, num_draws=500), key=0, progress=False)
    fitted = bk.infer(one_component, data, bk.VI(guide=bk.guides.FullRank(), num_steps=2000), key=1, progress=False)
    assert bk.check(nuts, quiet=True).ok
    mle = schrodinger_bridge.LightBridge(1, EPSILON, prior_count=0.0).fit(x0, x1, key=0).bridge
    for name, value in (("r", mle.r[0, 0]), ("s", mle.S.dense()[0, 0, 0])):
        draws, approximate = nuts[f"posterior/{name}"].values.ravel(), fitted[f"posterior/{name}"].values.ravel()
        low, high = np.quantile(draws, [0.025, 0.975])
        assert low < float(value) < high
        assert abs(draws.mean() - approximate.mean()) < 0.25 * draws.std()
        assert 0.75 < approximate.std() / draws.std() < 1.33
