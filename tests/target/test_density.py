"""The log density of a target against NumPyro's, over many kinds of model."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro import handlers
from numpyro.contrib.control_flow import scan
from numpyro.infer.reparam import LocScaleReparam, TransformReparam
from numpyro.infer.util import potential_energy

import bayeskit as bk

Y = jnp.array([0.4, -0.3, 1.2, 0.1, 0.8])
GROUP = jnp.array([0, 1, 1, 0, 1])
MASK = jnp.array([True, False, True, True, False])


def plates(y, group):
    mu = numpyro.sample("mu", dist.StudentT(4.0, 0.0, 1.0))
    tau = numpyro.sample("tau", dist.HalfCauchy(1.0))
    with numpyro.plate("group", 2):
        theta = numpyro.sample("theta", dist.Normal(mu, tau))
    with numpyro.plate("row", 5):
        numpyro.sample("y", dist.Normal(theta[group], 0.7), obs=y)


def two_plates(y):
    with numpyro.plate("col", 3, dim=-1):
        a = numpyro.sample("a", dist.Normal(0.0, 1.0))
        with numpyro.plate("row", 5, dim=-2):
            b = numpyro.sample("b", dist.Gamma(2.0, 1.0))
            numpyro.sample("y", dist.Normal(a + jnp.log(b), 1.0), obs=jnp.outer(y, jnp.ones(3)))


def simplex(y):
    with numpyro.plate("k", 2):
        p = numpyro.sample("p", dist.Dirichlet(jnp.array([1.0, 2.0, 3.0])))
    numpyro.sample("y", dist.Multinomial(7, p).to_event(1), obs=jnp.array([[3, 2, 2], [1, 5, 1]]))


def lkj(y):
    scale = numpyro.sample("scale", dist.LogNormal(0.0, 1.0).expand([3]).to_event(1))
    factor = numpyro.sample("factor", dist.LKJCholesky(3, 2.0))
    cholesky = numpyro.deterministic("cholesky", scale[:, None] * factor)
    with numpyro.plate("row", 5):
        numpyro.sample(
            "y", dist.MultivariateNormal(jnp.zeros(3), scale_tril=cholesky), obs=jnp.outer(y, jnp.arange(3.0))
        )


def masked(y):
    mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
    with numpyro.plate("row", 5), handlers.mask(mask=MASK):
        numpyro.sample("y", dist.Normal(mu, 1.0), obs=y)


def imputed(y):
    mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
    with numpyro.plate("row", 5):
        numpyro.sample("y", dist.Normal(mu, 1.0), obs=y, obs_mask=MASK)


def scaled(y):
    mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
    with handlers.scale(scale=2.5):
        tau = numpyro.sample("tau", dist.Exponential(1.0))
        numpyro.sample("y", dist.Normal(mu, tau), obs=y)


def factors(y):
    mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
    numpyro.deterministic("twice", 2 * mu)
    numpyro.factor("like", -0.5 * jnp.sum((y - mu) ** 2))
    bk.prior_factor("prior", -jnp.abs(mu))


def ordered(y):
    cut = numpyro.sample(
        "cut",
        dist.TransformedDistribution(dist.Normal(0.0, 1.0).expand([2]).to_event(1), dist.transforms.OrderedTransform()),
    )
    numpyro.sample("y", dist.OrderedLogistic(0.3, cut), obs=jnp.array([0, 2, 1]))


def bounded(y):
    tau = numpyro.sample("tau", dist.HalfNormal(1.0))
    x = numpyro.sample("x", dist.Uniform(0.0, tau))
    numpyro.sample("y", dist.Normal(x, 1.0), obs=y)


def steps(y):
    drift = numpyro.sample("drift", dist.Normal(0.0, 1.0))

    def step(level, value):
        level = numpyro.sample("level", dist.Normal(level + drift, 0.5))
        numpyro.sample("y", dist.Normal(level, 1.0), obs=value)
        return level, level

    scan(step, 0.0, y)


def positive_steps(y):
    def step(level, value):
        level = numpyro.sample("level", dist.LogNormal(jnp.log(level), 0.5))
        numpyro.sample("y", dist.Normal(level, 1.0), obs=value)
        return level, level

    scan(step, 1.0, y)


def counts(y):
    rate = numpyro.sample("rate", dist.Gamma(1.0, 1.0))
    p = numpyro.sample("p", dist.Beta(2.0, 2.0))
    numpyro.sample("n", dist.Poisson(rate), obs=jnp.array([3, 0, 2]))
    numpyro.sample("b", dist.Bernoulli(p), obs=jnp.array([True, False, True]))
    numpyro.sample("scalar", dist.Normal(rate, p), obs=y[0])


def improper(y):
    mu = numpyro.sample("mu", dist.ImproperUniform(dist.constraints.positive, (2,), ()))
    numpyro.sample("y", dist.Normal(mu.sum(), 1.0), obs=y)


def vectors(y):
    with numpyro.plate("row", 5):
        theta = numpyro.sample("theta", dist.MultivariateNormal(jnp.zeros(2), jnp.eye(2)))
        numpyro.sample("y", dist.Normal(theta.sum(-1), 1.0), obs=y)


MODELS = {
    "plates": (plates, {"y": Y, "group": GROUP}),
    "reparameterised": (
        handlers.reparam(plates, config={"theta": LocScaleReparam(0.0)}),
        {"y": Y, "group": GROUP},
    ),
    "partly reparameterised": (
        handlers.reparam(plates, config={"theta": LocScaleReparam(0.4)}),
        {"y": Y, "group": GROUP},
    ),
    "nested reparameterisations": (
        handlers.reparam(
            handlers.reparam(plates, config={"theta": LocScaleReparam(0.0)}),
            config={"theta_decentered": LocScaleReparam(0.5)},
        ),
        {"y": Y, "group": GROUP},
    ),
    "transform reparameterisation": (handlers.reparam(ordered, config={"cut": TransformReparam()}), {"y": Y}),
    **{
        model.__name__: (model, {"y": Y})
        for model in (
            two_plates,
            simplex,
            lkj,
            masked,
            imputed,
            scaled,
            factors,
            ordered,
            bounded,
            steps,
            positive_steps,
            counts,
            improper,
            vectors,
        )
    },
}


def target_of(name):
    model, data = MODELS[name]
    return bk.Target(bk.bind(model, data)), model, data


def point(target, seed=0, spread=0.7):
    return target.unravel(jnp.asarray(spread * np.random.default_rng(seed).normal(size=target.size)))


def left_flat(model, z):
    """The density of imputed elements that were observed, which NumPyro leaves out."""
    return dist.Normal(z["mu"], 1.0).log_prob(z["y_unobserved"])[MASK].sum() if model is imputed else 0.0


@functools.cache
def results(name):
    """At two points, from one program: what the target says of its density, what NumPyro says, and the terms."""
    target, model, data = target_of(name)

    @jax.jit
    def at(target, vector):
        z = target.unravel(vector)
        ours = jax.value_and_grad(target.log_density)(z)
        peer = jax.value_and_grad(lambda z: left_flat(model, z) - potential_energy(model, (), data, z))(z)
        return ours, peer, (target.log_prior(z), target.log_likelihood(z)), target.terms(z)

    vectors = 0.7 * np.random.default_rng(0).normal(size=(2, target.size))
    return target, [jax.tree.map(np.asarray, at(target, vector)) for vector in vectors]


@pytest.mark.parametrize("name", MODELS)
def test_log_density(name):
    for (value, slopes), (expected, expected_slopes), (prior, likelihood), _ in results(name)[1]:
        np.testing.assert_allclose(value, expected, rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(value, prior + likelihood, rtol=1e-12)
        assert all(np.isfinite(slope).all() for slope in slopes.values())
        for site in slopes:
            np.testing.assert_allclose(slopes[site], expected_slopes[site], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", [n for n in MODELS if n != "positive_steps"])
def test_unconstrain_inverts_constrain(name):
    target, _, _ = target_of(name)
    vector = 0.7 * np.random.default_rng(3).normal(size=target.size)

    @jax.jit
    def there(vector):
        z = target.unravel(vector)
        return z, target.constrain(z), target.ravel(z)

    z, constrained, again = there(vector)
    back = target.unconstrain({site: constrained[site] for site in target.latent_names})
    for site in target.latent_names:
        np.testing.assert_allclose(back[site], z[site], rtol=1e-6, atol=1e-8)
    np.testing.assert_array_equal(again, vector)


@pytest.mark.parametrize("name", MODELS)
def test_terms_add_up(name):
    target, points = results(name)
    (value, _), *_, terms = points[1]
    total = sum((t.scale * t.value).sum() for group in terms for t in group.values())
    np.testing.assert_allclose(total, value, rtol=1e-10)
    assert set(terms.likelihood) == {s.name for s in target.structure.of_kind("observed", "factor") if not s.is_prior}


def test_terms_are_unscaled_beside_their_scale():
    target, _, _ = target_of("scaled")
    z = {"mu": jnp.array(0.3), "tau": jnp.array(0.2)}
    terms = target.terms(z)
    np.testing.assert_allclose(terms.likelihood["y"].value, dist.Normal(0.3, jnp.exp(0.2)).log_prob(Y))
    assert float(terms.likelihood["y"].scale) == 2.5
    assert float(terms.prior["tau"].scale) == 2.5
    assert float(terms.prior["mu"].scale) == 1.0
    np.testing.assert_allclose(terms.jacobian["tau"].value, 0.2)
    assert float(terms.jacobian["tau"].scale) == 2.5


def test_factor_is_likelihood_and_prior_factor_is_prior():
    target, _, _ = target_of("factors")
    z = {"mu": jnp.array(-0.6)}
    np.testing.assert_allclose(target.log_likelihood(z), -0.5 * jnp.sum((Y + 0.6) ** 2))
    np.testing.assert_allclose(target.log_prior(z), dist.Normal().log_prob(-0.6) - 0.6)
    np.testing.assert_allclose(target.constrain(z)["twice"], -1.2)


def test_masked_elements_count_zero():
    target, _, _ = target_of("masked")
    value = target.terms({"mu": jnp.array(0.2)}).likelihood["y"].value
    np.testing.assert_allclose(value, jnp.where(MASK, dist.Normal(0.2, 1.0).log_prob(Y), 0.0))


def ceiling(y):
    theta = numpyro.sample("theta", dist.LogNormal(0.0, 1.0))
    with numpyro.plate("row", len(y)):
        numpyro.sample("y", dist.Uniform(0.0, theta), obs=y)


def test_observation_beyond_a_moving_support_has_density_zero():
    target = bk.Target(bk.bind(ceiling, {"y": [0.5, 2.0]}))
    below, above = {"theta": jnp.log(1.5)}, {"theta": jnp.log(2.5)}
    assert float(target.log_density(below)) == -np.inf
    np.testing.assert_array_equal(np.isfinite(target.terms(below).likelihood["y"].value), [True, False])
    expected = dist.LogNormal().log_prob(2.5) + jnp.log(2.5) - 2 * jnp.log(2.5)
    np.testing.assert_allclose(target.log_density(above), expected)
    start = bk.target.find_start(target, jax.random.PRNGKey(0), 8)
    assert (np.exp(start["theta"]) > 2.0).all()


def mixture(y):
    weights = numpyro.sample("weights", dist.Dirichlet(jnp.ones(2)))
    loc = numpyro.sample("loc", dist.Normal(0.0, 2.0).expand([2]).to_event(1))
    with numpyro.plate("row", len(y)):
        z = numpyro.sample("z", dist.Categorical(weights), infer={"enumerate": "parallel"})
        numpyro.sample("y", dist.Normal(loc[z], 0.5), obs=y)


def same_mixture(y):
    weights = numpyro.sample("weights", dist.Dirichlet(jnp.ones(2)))
    loc = numpyro.sample("loc", dist.Normal(0.0, 2.0).expand([2]).to_event(1))
    with numpyro.plate("row", len(y)):
        parts = dist.MixtureSameFamily(dist.Categorical(weights), dist.Normal(loc, 0.5))
        numpyro.sample("y", parts, obs=y)


def test_enumerated_mixture():
    summed, by_hand = (bk.Target(bk.bind(model, {"y": Y})) for model in (mixture, same_mixture))
    z = point(by_hand, 5)

    @jax.jit
    def rules(target):
        elements = target.terms(z).likelihood["y"].value
        return target.log_density(z), target.log_prior(z), elements, jax.grad(target.log_density)(z)

    (found, prior, elements, slopes), (expected, *by_hand_too) = rules(summed), rules(by_hand)
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    np.testing.assert_allclose(prior, by_hand_too[0], rtol=1e-10)
    assert elements.shape == (5,)
    np.testing.assert_allclose(elements, by_hand_too[1], rtol=1e-10)
    for site in slopes:
        np.testing.assert_allclose(slopes[site], by_hand_too[2][site], rtol=1e-8, atol=1e-10)


def shared(y):
    mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
    k = numpyro.sample("k", dist.Bernoulli(0.3), infer={"enumerate": "parallel"})
    with numpyro.plate("row", len(y)):
        numpyro.sample("y", dist.Normal(mu + 2 * k, 1.0), obs=y)


def test_discrete_site_shared_by_the_observations():
    target = bk.Target(bk.bind(shared, {"y": Y}))
    z = {"mu": jnp.array(0.4)}
    lanes = [jnp.log(p) + dist.Normal(0.4 + 2 * k, 1.0).log_prob(Y).sum() for k, p in ((0, 0.7), (1, 0.3))]
    expected = dist.Normal().log_prob(0.4) + jax.scipy.special.logsumexp(jnp.array(lanes))
    np.testing.assert_allclose(target.log_density(z), expected, rtol=1e-10)
    with pytest.raises(bk.errors.ModelError, match=r"'k'.*not in the same plates"):
        target.terms(z)


@pytest.mark.covering
@pytest.mark.parametrize("strategy", ["uniform", "prior"])
@pytest.mark.parametrize("name", ["plates", "lkj", "bounded", "steps"])
def test_start(name, strategy):
    target, _, _ = target_of(name)
    start = bk.target.find_start(target, jax.random.PRNGKey(1), 3, strategy=strategy)
    density = jax.jit(jax.vmap(target.log_density))(start)
    assert density.shape == (3,)
    assert np.isfinite(density).all()
    assert len(np.unique(density)) == 3
    if strategy == "uniform":
        assert all((np.abs(v) <= 2).all() for v in start.values())


def test_start_at_given_values():
    target, _, _ = target_of("bounded")
    start = bk.target.find_start(target, jax.random.PRNGKey(1), 2, given={"tau": [1.0, 3.0], "x": 0.5})
    there = jax.jit(jax.vmap(target.constrain))(start)
    np.testing.assert_allclose(there["tau"], [1.0, 3.0])
    np.testing.assert_allclose(there["x"], [0.5, 0.5])
    with pytest.raises(bk.errors.InitError, match=r"chain 0.*0.5.*'x'.*outside"):
        bk.target.find_start(target, jax.random.PRNGKey(1), 2, given={"tau": [0.4, 3.0], "x": 0.5})
    with pytest.raises(bk.errors.ModelError, match=r"'tau'.*outside"):
        target.unconstrain({"tau": -1.0, "x": 0.5})


def test_new_data_of_the_same_shapes_compile_nothing():
    traced = []

    @jax.jit
    def density(target, z):
        traced.append(target)
        return target.log_density(z)

    for y in (Y, Y + 1.0, 2.0 * Y):
        target = bk.Target(bk.bind(ceiling, {"y": jnp.abs(y)}))
        density(target, {"theta": jnp.array(3.0)})
    assert len(traced) == 1


def test_transforms_of_jax():
    target, _, _ = target_of("plates")
    vectors = 0.1 * np.arange(3.0)[:, None] * np.ones(target.size)
    plain = [target.log_density(target.unravel(jnp.asarray(vector))) for vector in vectors]
    batch = jax.jit(jax.vmap(lambda vector: target.log_density(target.unravel(vector))))(vectors)
    np.testing.assert_allclose(batch, plain, rtol=1e-12)
    targets = [bk.Target(bk.bind(plates, {"y": Y + i, "group": GROUP})) for i in range(2)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *targets)
    z = point(target)
    both = jax.jit(jax.vmap(lambda target: target.log_density(z)))(stacked)
    np.testing.assert_allclose(both, [t.log_density(z) for t in targets], rtol=1e-12)


def test_broadcast_that_is_meant():
    def model(y):
        theta = numpyro.sample("theta", dist.Normal(0.0, 1.0).expand([3]).to_event(1))
        numpyro.sample("y", dist.Normal(theta, 1.0), obs=y, infer={"allow_broadcast": True})

    target = bk.Target(bk.bind(model, {"y": np.ones((2, 1))}))
    z = {"theta": jnp.array([0.1, 0.2, 0.3])}
    expected = 2 * dist.Normal(z["theta"], 1.0).log_prob(1.0).sum()
    np.testing.assert_allclose(target.log_likelihood(z), expected)


def test_subsampling_plate_has_no_density():
    def model(y):
        mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
        with numpyro.plate("part", 5, subsample_size=2) as index:
            numpyro.sample("y", dist.Normal(mu, 1.0), obs=y[index])

    target = bk.Target(bk.bind(model, {"y": Y}))
    assert target.structure.subsampled == ("part",)
    with pytest.raises(bk.errors.ModelError, match="subsamples"):
        target.log_density({"mu": jnp.array(0.0)})
