"""Sums over discrete sites: right against sums by hand, or refused."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro import handlers
from numpyro.contrib.control_flow import scan
from scipy import stats
from scipy.special import logsumexp

import bayeskit as bk
from bayeskit.errors import ModelError
from bayeskit.inference.discrete import Discrete

Y = np.array([0.3, -1.0, 2.0, 1.5])
TRANSITION = np.array([[0.8, 0.2], [0.3, 0.7]])
LEFT_TO_RIGHT = np.array([[0.6, 0.4, 0.0], [0.0, 0.6, 0.4], [0.0, 0.0, 1.0]])
MEAN = 0.3


def by_hand(transition, emission, steps=4):
    """Log density of all paths, and the paths; `emission(path)` is the log density of the observations."""
    paths = np.array(list(itertools.product(range(len(transition)), repeat=steps)))
    with np.errstate(divide="ignore"):
        prior = np.log([[transition[a, b] for a, b in itertools.pairwise((0, *path))] for path in paths]).sum(1)
    return stats.norm.logpdf(MEAN) + prior + np.array([emission(path) for path in paths]), paths


def density(model, y=Y):
    target = bk.Target(bk.bind(model, {"y": y}))
    return jax.value_and_grad(target.log_density)({"mean": jnp.array(MEAN)})


def chain(transition, start=0, outside=None, **options):
    def model(y):
        mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))
        extra = 0 if outside is None else numpyro.sample("outside", dist.Bernoulli(0.3))

        def step(state, y):
            probs = jnp.asarray(transition)[state]
            if outside == "both":
                probs = probs + 0.0 * jnp.expand_dims(extra, -1)
            state = numpyro.sample("state", dist.Categorical(probs))
            numpyro.sample("y", dist.Normal(mean + state - extra, 1.0), obs=y)
            return state, None

        scan(step, start, y, **options)

    return model


@pytest.mark.covering
@pytest.mark.parametrize("transition", [TRANSITION, LEFT_TO_RIGHT], ids=["all", "left to right"])
@pytest.mark.parametrize("steps", [1, 2, 4])
def test_chains_with_and_without_impossible_steps(transition, steps):
    y = Y[:steps]
    logs, paths = by_hand(transition, lambda path: stats.norm.logpdf(y, MEAN + path).sum(), steps)
    value, slope = density(chain(transition), y)
    np.testing.assert_allclose(value, logsumexp(logs), rtol=1e-12)
    weights = np.exp(logs - logsumexp(logs))
    np.testing.assert_allclose(slope["mean"], -MEAN + weights @ (y - MEAN - paths).sum(1), rtol=1e-9)
    target = bk.Target(bk.bind(chain(transition), {"y": y}))
    keys = jax.random.split(jax.random.PRNGKey(0), 500)[None]
    probs = Discrete(target, "probabilities")(np.full((1, 1, 1), MEAN), keys[:, :1])["state_probs"][0, 0]
    for value in range(len(transition)):
        np.testing.assert_allclose(probs[:, value], weights @ (paths == value), rtol=1e-9, atol=1e-15)
    drawn = Discrete(target, "sample")(np.full((1, 500, 1), MEAN), keys)["state"][0]
    possible = {tuple(path) for path, log in zip(paths.tolist(), logs, strict=True) if log > -np.inf}
    assert {tuple(path) for path in drawn.tolist()} <= possible


def test_what_cannot_be_is_minus_infinity():
    def model(y):
        mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))

        def step(state, y):
            state = numpyro.sample("state", dist.Categorical(jnp.eye(2)[state]))
            numpyro.sample("y", dist.Poisson(jnp.where(state == 0, 0.0, jnp.exp(mean))), obs=y)
            return state, None

        scan(step, 0, y)

    target = bk.Target(bk.bind(model, {"y": np.array([0, 0, 1])}))
    assert float(target.log_density({"mean": jnp.array(MEAN)})) == -np.inf


def test_a_site_outside_of_a_scan_that_only_observations_depend_on():
    """NumPyro gives -5.438, and the sum is -7.460."""
    message = (
        "site 'y' in a scan depends on the discrete site 'outside' outside of it, which would be summed out at every"
    )
    with pytest.raises(ModelError, match=message):
        bk.Target(bk.bind(chain(TRANSITION, outside="observations"), {"y": Y}))


def test_the_remedy_is_right():
    expected = logsumexp(
        [
            np.log(weight)
            + logsumexp(by_hand(TRANSITION, lambda p, s=shift: stats.norm.logpdf(Y, MEAN + p - s).sum())[0])
            for shift, weight in ((0, 0.7), (1, 0.3))
        ]
    )
    value, _ = density(chain(TRANSITION, outside="both"))
    np.testing.assert_allclose(value, expected, rtol=1e-12)


def test_a_state_used_after_its_scan():
    def model(y):
        mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))

        def step(state, _):
            return numpyro.sample("state", dist.Categorical(jnp.asarray(TRANSITION)[state])), None

        state, _ = scan(step, 0, jnp.arange(4))
        numpyro.sample("y", dist.Normal(mean + state, 1.0), obs=y[0])

    with pytest.raises(ModelError, match="site 'y' depends on the state of a scan that it is not part of, and states"):
        bk.Target(bk.bind(model, {"y": Y}))


def test_a_dependence_on_the_step_before_that_no_state_has():
    def model(y):
        mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))

        def step(before, y):
            state = numpyro.sample("state", dist.Bernoulli(0.3))
            numpyro.sample("y", dist.Normal(mean + before, 1.0), obs=y)
            return state, None

        scan(step, 0, y)

    with pytest.raises(
        ModelError, match="depends on 'state' of the step before, but no discrete site of the scan does"
    ):
        bk.Target(bk.bind(model, {"y": Y}))


def test_a_scan_in_reverse():
    with pytest.raises(ModelError, match="'state' would be summed out in the wrong order in a scan with reverse=True"):
        bk.Target(bk.bind(chain(TRANSITION, reverse=True), {"y": Y}))


def test_crossed_plates():
    def model(y):
        mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))
        rows, columns = numpyro.plate("row", 2, dim=-2), numpyro.plate("column", 2, dim=-1)
        with rows:
            a = numpyro.sample("a", dist.Bernoulli(0.3))
        with columns:
            b = numpyro.sample("b", dist.Bernoulli(0.3))
        with rows, columns:
            numpyro.sample("y", dist.Normal(mean + a + b, 1.0), obs=y)

    with pytest.raises(ModelError, match=r"model 'model' failed .*: ValueError: intractable!"):
        bk.Target(bk.bind(model, {"y": Y.reshape(2, 2)}))


@pytest.mark.parametrize(
    ("distribution", "message"),
    [
        (
            dist.DiscreteUniform(1, 4),
            r"'k' \(DiscreteUniform\) takes the values 1 to 4, .*starts at 0, and add 1 where",
        ),
        (
            dist.Binomial(np.array([1, 2, 3, 2]), 0.4),
            r"'k' \(BinomialProbs\) is a discrete latent whose values cannot be",
        ),
    ],
)
def test_values_that_numpyro_would_number_from_zero(distribution, message):
    def model(y):
        mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))
        with numpyro.plate("row", 4):
            k = numpyro.sample("k", distribution)
            numpyro.sample("y", dist.Normal(mean + k, 1.0), obs=y)

    with pytest.raises(ModelError, match=message):
        bk.Target(bk.bind(model, {"y": Y}))


def test_jacobians_under_a_scope_are_no_likelihood():
    def part(y):
        scale = numpyro.sample("scale", dist.HalfNormal(1.0))
        numpyro.sample("y", dist.Normal(0.0, scale), obs=y)

    def model(y):
        with handlers.scope(prefix="a"):
            part(y)

    scoped, plain = bk.Target(bk.bind(model, {"y": Y})), bk.Target(bk.bind(part, {"y": Y}))
    z = jnp.array(0.4)
    np.testing.assert_allclose(scoped.log_likelihood({"a/scale": z}), plain.log_likelihood({"scale": z}), rtol=1e-12)
    np.testing.assert_allclose(scoped.log_prior({"a/scale": z}), plain.log_prior({"scale": z}), rtol=1e-12)
