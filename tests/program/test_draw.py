"""`draw` and `log_density`: their numbers, and what they refuse."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro import handlers
from numpyro.contrib import control_flow
from scipy import stats

import bayeskit as bk
from bayeskit._keys import as_key

NUM_ROWS = 6
X = np.array([0.3, -1.0, 2.0, 0.7, 1.1, -0.4])


def guide():
    z = numpyro.sample("z", dist.Normal(0.3, 1.5))
    with numpyro.plate("three", 3):
        w = numpyro.sample("w", dist.Gamma(2.0, 1.0 + z**2))
    k = numpyro.sample("k", dist.Categorical(probs=jnp.array([0.2, 0.8])))
    numpyro.deterministic("d", z + k)
    return w


def minibatches(x, size=NUM_ROWS, subsample_size=None):
    z = numpyro.sample("z", dist.Normal(0.0, 1.0))
    with numpyro.plate("rows", size, subsample_size=subsample_size) as rows:
        numpyro.sample("x", dist.Normal(z, 1.3), obs=x[rows])


def log_density(program, choices):
    """In one compiled program."""
    return jax.jit(lambda choices: bk.log_density(program, choices))(choices)


def drawn_and_scored(program, other=None):
    """Choices, their log density, that of them as given, and another number of them, in one compiled program."""

    @jax.jit
    def everything():
        choices, log_q = bk.draw(program, key=1)
        again = bk.log_density(program, choices)
        return (choices, log_q, again) if other is None else (choices, log_q, again, other(choices))

    return everything()


def over_keys(f, number):
    return jax.jit(jax.vmap(bk.expectation(f)))(jax.random.split(jax.random.key(0), number))


# ---------------------------------------------------------------- numbers


def test_values_and_density_of_a_draw():
    choices, log_q = bk.draw(guide, key=3)
    assert {name: value.shape for name, value in choices.items()} == {"z": (), "w": (3,), "k": ()}
    z, w, k = (np.asarray(choices[name]) for name in ("z", "w", "k"))
    by_hand = stats.norm(0.3, 1.5).logpdf(z) + stats.gamma(2.0, scale=1.0 / (1.0 + z**2)).logpdf(w).sum()
    by_hand += np.log([0.2, 0.8])[k]
    np.testing.assert_allclose(log_q, by_hand)
    np.testing.assert_allclose(bk.log_density(guide, choices), log_q)


def test_log_density_with_observations_and_factors():
    def model():
        z = numpyro.sample("z", dist.Normal(0.0, 2.0))
        numpyro.factor("f", -0.5 * z)
        numpyro.sample("x", dist.Poisson(jnp.exp(z)), obs=jnp.array([1, 3]))

    z = 0.4
    by_hand = stats.norm(0.0, 2.0).logpdf(z) - 0.5 * z + stats.poisson(np.exp(z)).logpmf([1, 3]).sum()
    np.testing.assert_allclose(log_density(model, {"z": z}), by_hand)


def test_a_bound_program():
    program = bk.bind(minibatches, {"x": X})
    by_hand = stats.norm(0, 1).logpdf(0.2) + stats.norm(0.2, 1.3).logpdf(X).sum()
    np.testing.assert_allclose(log_density(program, {"z": 0.2}), by_hand)


def test_scale_and_mask_of_the_program():
    keep = jnp.array([True, False, True])

    def program():
        with handlers.scale(scale=2.5), numpyro.plate("three", 3), handlers.mask(mask=keep):
            numpyro.sample("w", dist.Normal(0.0, 1.0))

    choices, log_q, again = drawn_and_scored(program)
    by_hand = 2.5 * np.sum(np.where(keep, stats.norm.logpdf(choices["w"]), 0.0))
    np.testing.assert_allclose(log_q, by_hand)
    np.testing.assert_allclose(again, by_hand)


@pytest.mark.parametrize(
    "distribution",
    [
        dist.Normal(0.0, 1.0).expand([2, 3]).to_event(1),
        dist.Normal(jnp.zeros(3), 1.0).mask(jnp.array([True, False, True])).to_event(1).expand([2]),
        dist.Dirichlet(jnp.ones(3)),
        dist.MultivariateNormal(jnp.zeros(2), jnp.eye(2)).expand([4]),
        pytest.param(dist.LKJCholesky(3, 2.0), marks=pytest.mark.full),
        dist.LogNormal(0.0, 1.0),
        dist.TransformedDistribution(dist.Normal(0.0, 1.0), dist.transforms.SigmoidTransform()),
        dist.MixtureSameFamily(dist.Categorical(probs=jnp.ones(2) / 2), dist.Normal(jnp.arange(2.0), 1.0)),
        dist.TruncatedNormal(0.0, 1.0, low=-0.5),
        dist.Multinomial(5, jnp.ones(3) / 3),
    ],
    ids=lambda d: type(d).__name__,
)
def test_shapes_and_densities_of_distributions(distribution):
    choices, log_q, again, by_hand = drawn_and_scored(
        lambda: numpyro.sample("x", distribution), lambda choices: distribution.log_prob(choices["x"]).sum()
    )
    assert choices["x"].shape == distribution.shape()
    assert log_q.shape == ()
    np.testing.assert_allclose(log_q, by_hand)
    np.testing.assert_allclose(again, log_q)


def test_sample_shape():
    choices, log_q, _ = drawn_and_scored(lambda: numpyro.sample("x", dist.Normal(0, 1), sample_shape=(4,)))
    assert choices["x"].shape == (4,)
    np.testing.assert_allclose(log_q, stats.norm.logpdf(choices["x"]).sum())


@pytest.mark.parametrize(
    ("distribution", "outside"),
    [
        (dist.Exponential(1.0), -0.1),
        (dist.Uniform(0.0, 2.0), 2.1),
        (dist.Bernoulli(0.3), 2),
        (dist.Poisson(3.0), -1),
        (dist.Categorical(probs=jnp.ones(3) / 3), 3),
        (dist.Exponential(1.0).expand([2]).to_event(1), jnp.array([0.1, -0.1])),
        (dist.LogNormal(0.0, 1.0), -1.0),
    ],
    ids=lambda value: type(value).__name__,
)
def test_minus_infinity_outside_of_the_support(distribution, outside):
    assert log_density(lambda: numpyro.sample("x", distribution), {"x": outside}) == -jnp.inf


def test_a_program_may_be_scored_elsewhere():
    """`grad`, `vmap` and `jit` of a log density inside an objective need no keys."""

    def model():
        z = numpyro.sample("z", dist.Normal(0, 1))
        numpyro.sample("x", dist.Normal(z, 1), obs=1.2)

    def f(loc):
        z = bk.draw(lambda: numpyro.sample("z", dist.Normal(loc, 1.0)))[0]["z"]
        slope = jax.grad(lambda z: bk.log_density(model, {"z": z}))(z)
        by_vmap = jax.vmap(jax.jit(lambda z: bk.log_density(model, {"z": z})))(jnp.stack([z, z]))
        return slope - (1.2 - 2 * z), by_vmap[1] - bk.log_density(model, {"z": z})

    np.testing.assert_allclose(jax.jit(bk.expectation(f))(0, 0.3), 0.0, atol=1e-12)
    gradient = jax.jit(jax.grad(lambda loc: bk.expectation(lambda m: f(m)[0] + 1.2 - 2 * m)(0, loc)))(0.3)
    np.testing.assert_allclose(gradient, -2.0)


# ---------------------------------------------------------------- data subsampling


@pytest.mark.parametrize("subsample_size", [1, 2, 3])
def test_the_average_over_disjoint_minibatches_is_the_whole(subsample_size):
    """Value and gradient of log_density."""

    def density(z, rows):
        program = bk.bind(minibatches, {"x": X, "subsample_size": subsample_size})
        return bk.log_density(program, {"z": z, "rows": rows})

    def whole(z):
        return bk.log_density(bk.bind(minibatches, {"x": X}), {"z": z})

    order = np.random.default_rng(0).permutation(NUM_ROWS).reshape(-1, subsample_size)
    both = jax.jit(jax.value_and_grad(density))
    parts = [both(0.4, jnp.asarray(rows)) for rows in order]
    np.testing.assert_allclose(np.mean(parts, 0), np.array(jax.jit(jax.value_and_grad(whole))(0.4)), rtol=1e-13)


def test_a_minibatch_is_drawn_afresh_for_each_key_and_use():
    program = bk.bind(minibatches, {"x": X, "subsample_size": 2})

    def f():
        return bk.log_density(program, {"z": 0.4}), bk.log_density(program, {"z": 0.4})

    first, second = over_keys(f, 3000)
    assert len(np.unique(np.round(first, 8))) == 15
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.08
    whole = stats.norm.logpdf(0.4) + stats.norm(0.4, 1.3).logpdf(X).sum()
    assert abs(np.mean(first) - whole) < 4 * np.std(first) / 3000**0.5
    assert np.std(first) / 3000**0.5 < 0.1


def test_a_drawn_minibatch_is_that_of_the_model():
    """A local guide: its plate's rows are among the choices, and the model uses them."""

    def model():
        with numpyro.plate("rows", NUM_ROWS, subsample_size=2) as rows:
            z = numpyro.sample("z", dist.Normal(0.0, 1.0))
            numpyro.sample("x", dist.Normal(z, 1.0), obs=jnp.asarray(X)[rows])

    def local_guide():
        with numpyro.plate("rows", NUM_ROWS, subsample_size=2) as rows:
            numpyro.sample("z", dist.Normal(jnp.asarray(X)[rows] / 2, 1.0))

    choices, log_q, _, log_p = drawn_and_scored(local_guide, lambda choices: bk.log_density(model, choices))
    rows, z = np.asarray(choices["rows"]), np.asarray(choices["z"])
    assert rows.shape == z.shape == (2,)
    assert len(set(rows.tolist())) == 2
    np.testing.assert_allclose(log_q, 3.0 * stats.norm(X[rows] / 2, 1.0).logpdf(z).sum())
    by_hand = 3.0 * (stats.norm.logpdf(z) + stats.norm(z, 1.0).logpdf(X[rows])).sum()
    np.testing.assert_allclose(log_p, by_hand)


def test_one_value_for_all_steps_of_a_scan_is_refused():
    def walk():
        bk.scan(lambda x, _: (numpyro.sample("x", dist.Normal(x, 1.0)), None), 0.0, length=5)

    assert np.isfinite(log_density(walk, {"x": jnp.ones(5)}))
    with pytest.raises(bk.errors.ModelError, match=r"site 'x' of 'walk' has shape \(5,\).*for it has shape \(\)"):
        bk.log_density(walk, {"x": jnp.ones(())})


@pytest.mark.parametrize(
    ("program", "value", "message"),
    [
        (lambda: numpyro.sample("z", dist.Normal(0.0, 1.0)), jnp.zeros(3), r"shape \(\), and the value.*\(3,\)"),
        (lambda: numpyro.sample("z", dist.Normal(jnp.zeros(3), 1.0)), jnp.zeros(()), r"shape \(3,\), and the value"),
        (lambda: numpyro.sample("z", dist.Dirichlet(jnp.ones(3))), jnp.ones((2, 3)) / 3, r"shape \(3,\), and the"),
        (lambda: numpyro.sample("z", dist.Normal(0.0, 1.0)), jnp.array(1, int), "'z'.*is continuous.*discrete guide"),
        (lambda: numpyro.sample("z", dist.Normal(0.0, 1.0)), jnp.array(jnp.nan), "site 'z'.*is NaN"),
    ],
    ids=["vector for scalar", "scalar for vector", "batch of events", "integer", "NaN"],
)
def test_values_that_are_not_of_their_site_are_refused(program, value, message):
    with pytest.raises(bk.errors.ModelError, match=message):
        bk.log_density(program, {"z": value})


def test_a_guide_of_another_shape_than_the_model_is_refused():
    model = lambda: numpyro.sample("z", dist.Normal(0.0, 1.0))  # noqa: E731
    guide = lambda: numpyro.sample("z", dist.Normal(jnp.zeros(3), 1.0))  # noqa: E731
    with pytest.raises(bk.errors.ModelError, match=r"site 'z'.*shape \(\).*\(3,\)"):
        bk.expectation(bk.objectives.ELBO())(0, model, guide)


def test_an_observation_that_broadcasts_is_refused():
    def model():
        z = numpyro.sample("z", dist.Normal(jnp.zeros(3), 1.0))
        numpyro.sample("x", dist.Normal(z, 1.0), obs=jnp.ones((3, 1)))

    with pytest.raises(bk.errors.ModelError, match=r"'x'.*\(3, 1\).*broadcast to \(3, 3\)"):
        bk.log_density(model, {"z": jnp.zeros(3)})


@pytest.mark.parametrize("key", [np.int64(3), np.uint32(3), jnp.array(3)], ids=repr)
def test_whole_numbers_are_seeds(key):
    coin = lambda: bk.draw(lambda: numpyro.sample("z", dist.Normal(0.0, 1.0)))[0]["z"]  # noqa: E731
    assert bk.expectation(coin)(key) == bk.expectation(coin)(3)


@pytest.mark.parametrize("key", [0.5, "0", None, jnp.zeros(3)], ids=repr)
def test_what_is_no_key_is_refused(key):
    with pytest.raises(bk.errors.ModelError, match=r"takes an integer seed or a key such as jax.random.key\(0\)"):
        as_key(key, "an expectation", bk.errors.ModelError)


def test_several_keys_are_refused():
    with pytest.raises(bk.errors.ModelError, match="takes one key, got an array of them"):
        bk.expectation(lambda: 0.0)(jax.random.split(jax.random.key(0), 3))


@pytest.mark.parametrize("size", [1, 2, 5])
def test_rows_of_a_minibatch_are_each_as_likely(size):
    data = {"x": jnp.arange(5.0), "y": jnp.arange(10.0).reshape(5, 2)}

    def f():
        batch, scale = bk.minibatch(data, size)
        return scale * batch["x"], scale * batch["y"]

    x, y = over_keys(f, 3000)
    np.testing.assert_allclose(y[..., 0], 2 * x, rtol=1e-6)
    sums = np.asarray(x).sum(1)
    assert abs(sums.mean() - 10.0) <= 4 * sums.std() / 3000**0.5 + 1e-4


@pytest.mark.parametrize(
    ("data", "size", "message"),
    [
        (jnp.zeros(4), 5, "between 1 and 4 rows, got 5"),
        (jnp.zeros(4), 0, "between 1 and 4 rows, got 0"),
        ((jnp.zeros(4), jnp.zeros(3)), 2, r"same number of rows, got \[3, 4\]"),
        (jnp.zeros(()), 1, "leading axis of rows"),
        ({}, 1, "leading axis of rows"),
    ],
)
def test_a_minibatch_that_cannot_be(data, size, message):
    with pytest.raises(bk.errors.ModelError, match=message):
        bk.expectation(lambda: bk.minibatch(data, size)[0])(0)


def test_a_minibatch_needs_a_key_or_its_rows():
    program = bk.bind(minibatches, {"x": X, "subsample_size": 2})
    with pytest.raises(bk.errors.ModelError, match=r"plate 'rows'.*bayeskit.expectation, or give its indices"):
        bk.log_density(program, {"z": 0.0})


def test_one_minibatch_for_all_lanes_of_a_users_vmap_is_refused():
    program = bk.bind(minibatches, {"x": X, "subsample_size": 2})
    with pytest.raises(bk.errors.ModelError, match="plate 'rows' is drawn inside a JAX transformation"):
        bk.expectation(lambda: jnp.sum(jax.vmap(lambda z: bk.log_density(program, {"z": z}))(jnp.arange(2.0))))(0)


# ---------------------------------------------------------------- keys


def test_one_key_gives_one_draw_and_two_draws_differ():
    def pair():
        numpyro.sample("k", dist.Bernoulli(jax.nn.sigmoid(numpyro.sample("z", dist.Normal(0.3, 1.5)))))

    def f():
        first, second = bk.draw(pair), bk.draw(pair)
        return first[0]["z"], second[0]["z"], first[1], second[1]

    estimate = jax.jit(bk.expectation(f))
    again = [estimate(5) for _ in range(2)]
    np.testing.assert_array_equal(*again)
    first, second, *_ = over_keys(f, 4000)
    assert abs(np.corrcoef(first, second)[0, 1]) < 4 / 4000**0.5
    assert np.all(first != second)


def test_sites_have_independent_values():
    def program():
        return [numpyro.sample(f"x{i}", dist.Normal(0, 1)) for i in range(3)]

    draws = jax.jit(jax.vmap(lambda key: bk.draw(program, key=key)[0]))(jax.random.split(jax.random.key(0), 4000))
    correlations = np.corrcoef([draws[f"x{i}"] for i in range(3)])
    assert np.abs(correlations - np.eye(3)).max() < 4 / 4000**0.5


def test_raw_typed_and_integer_keys_agree():
    draws = [bk.draw(guide, key=key)[1] for key in (7, jax.random.PRNGKey(7), jax.random.key(7))]
    np.testing.assert_array_equal(draws, draws[0])


def test_a_draw_needs_a_key():
    with pytest.raises(bk.errors.ModelError, match=r"bayeskit.draw needs a key.*expectation, or pass key="):
        bk.draw(guide)


def test_a_key_of_its_own_within_an_expectation_is_refused():
    """It would lose the gradient terms of its choices."""
    with pytest.raises(bk.errors.ModelError, match="a gradient would lose"):
        bk.expectation(lambda: bk.draw(guide, key=0)[1])(0)


# ---------------------------------------------------------------- refused


def test_missing_unknown_and_misspelt_sites():
    choices = {"z": 0.1, "w": jnp.ones(3), "k": 0}
    with pytest.raises(bk.errors.ModelError, match=r"choices lack site 'w', which 'guide' needs \(given: z, k\)"):
        bk.log_density(guide, {"z": 0.1, "k": 0})
    with pytest.raises(
        bk.errors.ModelError, match=r"choices name 'v', which 'guide' does not have; it has z, three, w"
    ):
        bk.log_density(guide, {**choices, "v": 0.1})
    with pytest.raises(bk.errors.ModelError, match=r"choices name 'zz'.*did you mean 'z'"):
        bk.log_density(guide, {**choices, "zz": 0.1})


def test_observations_and_factors_cannot_be_drawn():
    with pytest.raises(bk.errors.ModelError, match="site 'x' of 'minibatches' has an observation"):
        bk.draw(bk.bind(minibatches, {"x": X}), key=0)
    with pytest.raises(bk.errors.ModelError, match=r"site 'f'.*factor"):
        bk.draw(lambda: numpyro.factor("f", 1.0), key=0)
    with pytest.raises(bk.errors.ModelError, match=r"site 'z' of .* has an observation"):
        bk.draw(handlers.condition(guide, {"z": 0.0}), key=0)


def test_a_site_drawn_twice():
    def twice():
        numpyro.sample("x", dist.Normal(0, 1))
        numpyro.sample("x", dist.Normal(0, 1))

    with pytest.raises(bk.errors.ModelError, match="site 'x' is drawn twice"):
        bk.draw(twice, key=0)


def test_a_program_drawn_inside_of_a_drawn_program():
    """Its density would be left out of the outer one in silence."""

    def outer():
        numpyro.sample("y", dist.Normal(bk.draw(guide)[0]["z"], 1.0))

    with pytest.raises(bk.errors.ModelError, match="'guide' is drawn inside a program that is drawn"):
        bk.draw(outer, key=0)


@pytest.mark.parametrize(
    "transform",
    [
        lambda f: jax.jit(f)(),
        lambda f: jax.vmap(lambda _: f())(jnp.ones(3)).sum(),
        lambda f: jax.grad(lambda x: x * f())(1.0),
        lambda f: jax.lax.scan(lambda c, _: (c + f(), None), 0.0, length=3)[0],
        lambda f: jax.lax.cond(jnp.array(True), f, lambda: 0.0),
        lambda f: jax.lax.fori_loop(0, 3, lambda _, c: c + f(), 0.0),
        lambda f: jax.lax.while_loop(lambda c: c < 1, lambda c: c + jnp.abs(f()), 0.0),
        lambda f: jax.lax.map(lambda _: f(), jnp.ones(3)).sum(),
        lambda f: jax.checkpoint(f)(),
    ],
    ids=["jit", "vmap", "grad", "scan", "cond", "fori_loop", "while_loop", "map", "checkpoint"],
)
@pytest.mark.parametrize("inside", [True, False], ids=["in the program", "around draw"])
def test_transformations_of_the_users_around_choices_are_refused(transform, inside):
    def value():
        return numpyro.sample("x", dist.Normal(0.0, 1.0))

    def f():
        if inside:
            out = []
            bk.draw(lambda: out.append(transform(value)))
            return out[0]
        return transform(lambda: bk.draw(value)[0]["x"])

    match = "site 'x' is drawn" if inside else "a program is drawn"
    with pytest.raises(bk.errors.ModelError, match=f"{match} inside a JAX transformation"):
        bk.expectation(f)(0)


def test_numpyros_scan_is_scored_and_not_drawn():
    def chain():
        def step(x, _):
            x = numpyro.sample("x", dist.Normal(0.5 * x, 1.0))
            return x, x

        control_flow.scan(step, 0.3, None, length=4)

    x = jnp.array([0.1, -0.2, 0.5, 1.0])
    by_hand = stats.norm(0.5 * np.r_[0.3, x[:-1]], 1.0).logpdf(x).sum()
    np.testing.assert_allclose(log_density(chain, {"x": x}), by_hand)
    np.testing.assert_allclose(jax.jit(bk.expectation(lambda: bk.log_density(chain, {"x": x})))(0), by_hand)
    with pytest.raises(bk.errors.ModelError, match=r"'chain' uses NumPyro's scan or cond.*bayeskit.scan"):
        bk.draw(chain, key=0)


# ---------------------------------------------------------------- estimators from outside


def test_estimators_from_outside():
    def f(p):
        program = bk.with_estimators(lambda: numpyro.sample("b", dist.Bernoulli(p)), {"b": bk.estimators.Enumeration()})
        return (2 * bk.draw(program)[0]["b"] + 1) ** 2.0

    value, gradient = jax.jit(jax.value_and_grad(bk.expectation(f), argnums=1))(0, 0.3)
    np.testing.assert_allclose([value, gradient], [3.4, 8.0])


def test_estimators_from_outside_replace_those_at_the_site_and_reach_into_loops():
    def f(p):
        def program():
            def step(c, _):
                b = numpyro.sample("b", dist.Bernoulli(p), infer={"estimator": bk.estimators.Score()})
                return c + b, None

            bk.scan(step, 0, length=3)

        choices, _ = bk.draw(bk.with_estimators(program, {"b": bk.estimators.Enumeration()}))
        return jnp.sum(choices["b"]) ** 2.0

    both = jax.jit(jax.value_and_grad(bk.expectation(f), argnums=1))
    np.testing.assert_allclose(both(0, 0.3), [1.44, 6.6])


def test_estimators_of_misspelt_sites():
    with pytest.raises(
        bk.errors.ModelError, match=r"estimators name 'ww', a site that 'guide' lacks; did you mean 'w'"
    ):
        bk.draw(bk.with_estimators(guide, {"ww": bk.estimators.Score()}), key=0)


def test_what_is_no_estimator():
    with pytest.raises(
        bk.errors.ModelError, match=r"site 'z': infer=.*such as bayeskit.estimators.Score\(\), got 'score'"
    ):
        bk.draw(lambda: numpyro.sample("z", dist.Normal(0, 1), infer={"estimator": "score"}), key=0)


# ---------------------------------------------------------------- numpyro.param


def with_parameter():
    numpyro.sample("z", dist.Normal(numpyro.param("loc", 0.0), 1.0))


@pytest.mark.parametrize(
    "f",
    [
        lambda: bk.draw(with_parameter)[1],
        lambda: bk.log_density(with_parameter, {"z": 0.3}),
    ],
)
def test_parameter_without_a_value_raises(f):
    """Its first value would be used in silence, and have no gradient."""
    with pytest.raises(bk.errors.ModelError, match=r"parameter 'loc' of 'with_parameter' has no value.*substitute"):
        bk.expectation(f)(0)


@pytest.mark.parametrize("inside", [True, False])
def test_parameter_from_a_handler_has_its_gradient(inside):
    def f(loc):
        substituted = numpyro.handlers.substitute(data={"loc": loc})
        if inside:
            program = numpyro.handlers.substitute(with_parameter, data={"loc": loc})
            return bk.draw(program)[0]["z"] + bk.log_density(program, {"z": 3.0})
        with substituted:
            return bk.draw(with_parameter)[0]["z"] + bk.log_density(with_parameter, {"z": 3.0})

    gradient = jax.jit(jax.grad(bk.expectation(f), argnums=1))(0, 1.0)
    assert np.isclose(gradient, 1.0 + (3.0 - 1.0))


def test_a_draw_inside_a_program_that_is_scored_raises():
    """Its log density would be random, and the gradient would lose the terms of the choice."""

    def f(p):
        def program():
            coin, _ = bk.draw(lambda: numpyro.sample("b", dist.Bernoulli(p)))
            numpyro.sample("y", dist.Normal(2.0 * coin["b"], 1.0), obs=1.5)

        return bk.log_density(program, {})

    with pytest.raises(bk.errors.ModelError, match=r"drawn inside a program whose log density is taken.*marginal"):
        bk.expectation(f)(0, 0.3)
