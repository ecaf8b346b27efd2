"""`scan`, `cond` and `replicate`: drawn, scored, and under NumPyro's own handlers."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro import handlers
from numpyro.infer.util import log_density as numpyro_log_density
from scipy import stats

import bayeskit as bk


def walk(length=4):
    def step(x, drift):
        x = numpyro.sample("x", dist.Normal(x + drift, 1.0))
        return x, 2 * x

    return bk.scan(step, 0.3, jnp.arange(float(length)))


def fork():
    a = numpyro.sample("a", dist.Bernoulli(0.4))
    return bk.cond(
        a > 0,
        lambda: numpyro.sample("b", dist.Normal(1.0, 2.0)),
        lambda: numpyro.sample("b", dist.Normal(-1.0, 0.5)),
    )


def walk_density(x):
    return stats.norm(np.r_[0.3, x[:-1]] + np.arange(len(x)), 1.0).logpdf(x).sum()


def fork_density(a, b):
    branch = stats.norm(1.0, 2.0) if a else stats.norm(-1.0, 0.5)
    return stats.bernoulli(0.4).logpmf(a) + branch.logpdf(b)


def drawn(program):
    """Choices, their log density and what the program returns, compiled, as a function of a key."""

    @jax.jit
    def one(key):
        result = []
        choices, log_q = bk.draw(lambda: result.append(program()), key=key)
        return choices, log_q, result[0]

    return lambda key=0: one(jax.random.key(key))


def over_keys(f):
    return jax.jit(jax.vmap(f))(jax.random.split(jax.random.key(0), 4000))


# ---------------------------------------------------------------- scan


def test_a_drawn_scan():
    choices, log_q, (last, ys) = drawn(walk)()
    assert choices["x"].shape == (4,)
    np.testing.assert_allclose(ys, 2 * choices["x"])
    np.testing.assert_allclose(last, choices["x"][-1])
    np.testing.assert_allclose(log_q, walk_density(choices["x"]))
    np.testing.assert_allclose(bk.log_density(walk, choices), log_q)


def test_a_scan_is_numpyros_outside_of_a_draw():
    trace = handlers.trace(handlers.seed(walk, 0)).get_trace()
    x = trace["x"]["value"]
    assert x.shape == (4,)
    peer, ours = jax.jit(lambda x: (numpyro_log_density(walk, (), {}, x)[0], bk.log_density(walk, x)))({"x": x})
    np.testing.assert_allclose([peer, ours], walk_density(x))


def test_the_passes_of_a_scan_have_keys_of_their_own():
    def program():
        bk.scan(lambda c, _: (c, numpyro.sample("x", dist.Normal(0.0, 1.0))), 0.0, length=3)

    x = over_keys(lambda key: bk.draw(program, key=key)[0]["x"])
    assert x.shape == (4000, 3)
    assert np.abs(np.corrcoef(x.T) - np.eye(3)).max() < 4 / 4000**0.5


def test_two_scans_and_two_replications_differ():
    def f():
        def value():
            return bk.draw(lambda: numpyro.sample("x", dist.Normal(0.0, 1.0)))[0]["x"]

        scans = [bk.scan(lambda c, _: (c, value()), 0.0, length=2)[1] for _ in range(2)]
        return jnp.concatenate([*scans, bk.replicate(2, value), bk.replicate(2, value), value()[None]])

    x = over_keys(bk.expectation(f))
    assert np.abs(np.corrcoef(x.T) - np.eye(9)).max() < 5 / 4000**0.5


def test_carries_of_every_kind():
    def program():
        def step(carry, x):
            count, key, tree = carry
            v = numpyro.sample("v", dist.Normal(x["mean"], 1.0))
            return (count + 1, key, {"sum": tree["sum"] + v, "none": None}), v

        init = (0, jax.random.key(0), {"sum": 0.0, "none": None})
        return bk.scan(step, init, {"mean": jnp.arange(3.0)})

    choices, _, ((count, _, tree), ys) = drawn(program)()
    assert count == 3
    assert jnp.issubdtype(count.dtype, jnp.integer)
    np.testing.assert_allclose(tree["sum"], choices["v"].sum())
    np.testing.assert_allclose(ys, choices["v"])


def test_a_plate_in_a_scan_and_around_one():
    def inside():
        def step(c, _):
            with numpyro.plate("three", 3):
                return c, numpyro.sample("x", dist.Normal(0.0, 2.0))

        bk.scan(step, 0.0, length=2)

    def outside():
        with numpyro.plate("three", 3):
            bk.scan(lambda c, _: (c, numpyro.sample("x", dist.Normal(0.0, 2.0))), 0.0, length=2)

    for program in (inside, outside):
        choices, log_q, _ = drawn(program)()
        assert choices["x"].shape == (2, 3)
        np.testing.assert_allclose(log_q, stats.norm(0.0, 2.0).logpdf(choices["x"]).sum())
        if program is inside:
            np.testing.assert_allclose(jax.jit(lambda x: bk.log_density(inside, x))(choices), log_q)
    with pytest.raises(NotImplementedError, match="move those `plate` statements into the control flow body"):
        bk.log_density(outside, choices)


def test_a_scan_needs_a_length():
    with pytest.raises(bk.errors.ModelError, match="needs xs or length"):
        bk.draw(lambda: bk.scan(lambda c, _: (c, None), 0.0), key=0)


def test_a_site_of_a_scan_drawn_twice():
    def program():
        walk()
        walk()

    with pytest.raises(bk.errors.ModelError, match="site 'x' is drawn twice"):
        bk.draw(program, key=0)


# ---------------------------------------------------------------- cond


def test_a_drawn_cond():
    draw, density, seen = drawn(fork), jax.jit(lambda choices: bk.log_density(fork, choices)), set()
    for key in range(8):
        choices, log_q, result = draw(key)
        a, b = int(choices["a"]), choices["b"]
        seen.add(a)
        np.testing.assert_allclose(result, b)
        np.testing.assert_allclose(log_q, fork_density(a, b))
        np.testing.assert_allclose(density(choices), log_q)
    assert seen == {0, 1}


@pytest.mark.parametrize("a", [0, 1])
def test_a_scored_cond(a):
    np.testing.assert_allclose(bk.log_density(fork, {"a": a, "b": 0.7}), fork_density(a, 0.7))
    np.testing.assert_allclose(numpyro_log_density(fork, (), {}, {"a": a, "b": 0.7})[0], fork_density(a, 0.7))


def test_branches_with_sites_of_their_own():
    def program():
        a = numpyro.sample("a", dist.Bernoulli(0.5))
        bk.cond(
            a > 0,
            lambda: numpyro.sample("left", dist.Normal(1.0, 2.0)),
            lambda: jnp.sum(numpyro.sample("right", dist.Gamma(2.0, 1.0).expand([3]))),
        )

    draw = drawn(program)
    for key in range(6):
        choices, log_q, _ = draw(key)
        assert {name: value.shape for name, value in choices.items()} == {"a": (), "left": (), "right": (3,)}
        if choices["a"]:
            taken = stats.norm(1.0, 2.0).logpdf(choices["left"])
            np.testing.assert_array_equal(choices["right"], 0.0)
        else:
            taken = stats.gamma(2.0).logpdf(choices["right"]).sum()
            assert choices["left"] == 0
        np.testing.assert_allclose(log_q, taken + np.log(0.5))


def test_operands_and_pytrees_of_branches():
    def f(x):
        return bk.cond(x > 0, lambda u, v: {"r": u + v}, lambda u, v: {"r": u - v}, x, jnp.array(2.0))["r"]

    assert bk.expectation(f)(0, 1.0) == 3.0
    assert bk.expectation(f)(0, -1.0) == -3.0
    result = []
    bk.draw(lambda: result.append(f(jnp.array(1.0))), key=0)
    assert result == [3.0]


def test_branches_must_agree_on_the_shape_of_a_site():
    def program():
        bk.cond(
            jnp.array(True),
            lambda: jnp.sum(numpyro.sample("x", dist.Normal(0, 1))),
            lambda: jnp.sum(numpyro.sample("x", dist.Normal(0, 1).expand([2]))),
        )

    with pytest.raises(bk.errors.ModelError, match="site 'x' has different shapes in the branches"):
        bk.draw(program, key=0)


# ---------------------------------------------------------------- replicate


def test_replications_are_independent():
    def f():
        return bk.replicate(3, lambda scale: bk.draw(lambda: numpyro.sample("x", dist.Normal(0, scale)))[0], 2.0)["x"]

    x = over_keys(bk.expectation(f))
    assert x.shape == (4000, 3)
    assert np.abs(np.corrcoef(x.T) - np.eye(3)).max() < 4 / 4000**0.5
    np.testing.assert_allclose(x.std(), 2.0, rtol=0.04)


@pytest.mark.parametrize("num", [0, -1, True])
def test_the_number_of_replications(num):
    with pytest.raises(bk.errors.ModelError, match="positive integer"):
        bk.expectation(lambda: bk.replicate(num, lambda: 0.0))(0)


def test_replicate_is_for_objectives():
    with pytest.raises(bk.errors.ModelError, match=r"in a program use a plate or bayeskit.scan"):
        bk.draw(lambda: bk.replicate(2, lambda: numpyro.sample("x", dist.Normal(0, 1))), key=0)
    with pytest.raises(bk.errors.ModelError, match=r"bayeskit.replicate needs a key"):
        bk.replicate(2, lambda: 0.0)


# ---------------------------------------------------------------- together


def test_a_program_is_scored_inside_of_a_drawn_one():
    """A guide may use the density of a model with loops, and its gradient: a step of Langevin's, say."""

    def guide():
        x = numpyro.sample("x", dist.Normal(jnp.zeros(4), 1.0).to_event(1))
        slope = jax.grad(lambda x: bk.log_density(walk, {"x": x}))(x)
        height = bk.log_density(walk, {"x": x}) + bk.log_density(fork, {"a": 1, "b": x[0]})
        numpyro.sample("y", dist.Normal(slope + height, 1.0).to_event(1))

    choices, log_q, _ = drawn(guide)()
    x, y = np.asarray(choices["x"]), np.asarray(choices["y"])
    steps = x - np.r_[0.3, x[:-1]] - np.arange(4)
    mean = np.r_[steps[1:], 0.0] - steps + walk_density(x) + fork_density(1, x[0])
    np.testing.assert_allclose(log_q, stats.norm.logpdf(x).sum() + stats.norm(mean, 1).logpdf(y).sum())


@pytest.mark.parametrize("loop", [bk.scan, bk.cond, bk.replicate])
@pytest.mark.parametrize(
    "transform", [jax.jit, lambda f: jax.vmap(lambda _: f()), jax.checkpoint], ids=["jit", "vmap", "checkpoint"]
)
def test_loops_inside_of_a_users_transformation_are_refused(loop, transform):
    def value():
        return bk.draw(lambda: numpyro.sample("x", dist.Normal(0.0, 1.0)))[0]["x"]

    def f():
        if loop is bk.scan:
            return bk.scan(lambda c, _: (c + value(), None), 0.0, length=2)[0]
        if loop is bk.cond:
            return bk.cond(jnp.array(True), value, value)
        return jnp.sum(bk.replicate(2, value))

    wrapped = transform(f)
    with pytest.raises(bk.errors.ModelError, match=f"bayeskit.{loop.__name__} is drawn inside a JAX transformation"):
        bk.expectation(lambda: jnp.sum(wrapped() if transform in (jax.jit, jax.checkpoint) else wrapped(jnp.ones(2))))(
            0
        )


def test_a_raw_loop_inside_of_a_bayeskit_loop_is_refused():
    def program():
        def step(c, _):
            def raw(d, _):
                return d + numpyro.sample("x", dist.Normal(0, 1)), None

            return jax.lax.scan(raw, c, length=2)[0], None

        bk.scan(step, 0.0, length=2)

    with pytest.raises(bk.errors.ModelError, match="site 'x' is drawn inside a JAX transformation"):
        bk.draw(program, key=0)
