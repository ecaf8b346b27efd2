"""A bridge with given parameters: plan, paths, drift and costs against closed forms and slower twins."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax

import bayeskit as bk
from bayeskit.models import schrodinger_bridge
from bayeskit.models.schrodinger_bridge.objective import light_loss, matching_loss
from bayeskit.numerics.gaussian_mixture import GaussianMixture
from bayeskit.numerics.gaussian_mixture_covariance import Diagonal, LowRank, full_covariance

# of full covariances the mixture algebra is compared with dense matrices, in tests/numerics/test_gaussian_mixture.py
KINDS = [pytest.param("full", marks=pytest.mark.full), "diagonal", "low_rank"]


def potential(kind="full", k=3, d=2, seed=0, radius=2.0):
    """A mixture potential with rotated covariances."""
    generator = np.random.default_rng(seed)
    means = generator.normal(size=(k, d))
    means *= radius / np.linalg.norm(means, axis=1, keepdims=True)
    weights = jnp.log(jnp.asarray(generator.dirichlet(np.full(k, 5.0))))
    variance = generator.uniform(0.3, 1.5, size=(k, d))
    rotation = np.linalg.qr(generator.normal(size=(k, d, d)))[0]
    forms = {
        "full": full_covariance(jnp.asarray(np.einsum("kij,kj,klj->kil", rotation, variance, rotation))),
        "diagonal": Diagonal(jnp.asarray(variance)),
        "low_rank": LowRank(jnp.asarray(variance), jnp.asarray(0.5 * generator.normal(size=(k, d, 1)))),
    }
    return GaussianMixture(weights, jnp.asarray(means), forms[kind])


def bridge(kind="full", epsilon=0.5, **shape):
    if kind != "low_rank":
        return schrodinger_bridge.Bridge.from_potential(potential(kind, **shape), epsilon)
    p = potential(kind, **shape)
    return schrodinger_bridge.Bridge(jnp.asarray(epsilon), p.log_weights, p.means, p.covariance.affine(0.3, 0.0))


def normal(num, d=2, seed=0):
    return jax.random.normal(jax.random.key(seed), (num, d))


@jax.jit
def log_potential(b, y):
    return b.potential.log_density(y)


def z_scores(values, expected):
    """Of the mean of independent rows."""
    values = np.asarray(values)
    return (values.mean(0) - np.asarray(expected)) / (values.std(0) / len(values) ** 0.5)


@pytest.mark.covering
@pytest.mark.parametrize("kind", ["full", "diagonal", "low_rank"])
@pytest.mark.parametrize("epsilon", [0.1, 1.0, 10.0])
def test_exact_map_has_the_moments_of_bayes_rule(kind, epsilon):
    """π(y | x) ∝ N(y | x, εI) p(y) is denoising: the mixture algebra has its moments by another way."""
    p, x0 = potential(kind, d=3), normal(20, 3)
    exact = schrodinger_bridge.Bridge.from_potential(p, epsilon)
    mean, spread = exact.moments(x0)
    expected_mean, expected_spread = jax.jit(GaussianMixture.denoised)(p, x0, 1.0, epsilon)
    np.testing.assert_allclose(mean, expected_mean, atol=1e-10)
    np.testing.assert_allclose(spread, expected_spread, atol=1e-10)


@pytest.mark.covering
@pytest.mark.parametrize("kind", ["full", "diagonal"])
@pytest.mark.parametrize("epsilon", [0.1, 1.0])
def test_population_gradient_is_zero_at_the_truth(kind, epsilon):
    true = schrodinger_bridge.Bridge.from_potential(potential(kind), epsilon)
    num = 20_000
    x0, start = normal(num, seed=1), normal(num, seed=2)
    x1 = true.sample(start, key=3)

    def gradients(bridge, x0, x1):
        return jax.vmap(jax.grad(light_loss, allow_int=True), (None, 0, 0))(bridge, x0[:, None], x1[:, None])

    per_point = jax.jit(gradients)(true, x0, x1)
    lower = np.tril_indices(2) if kind == "full" else (slice(None),)
    of_maps = jax.tree.leaves(per_point.S)[0]
    of_maps = of_maps[:, :, lower[0], lower[1]] if kind == "full" else of_maps
    for leaf in (per_point.log_alpha, per_point.r, of_maps):
        assert np.abs(z_scores(leaf.reshape(num, -1), 0.0)).max() < 4


@pytest.mark.parametrize("kind", KINDS)
def test_plan_is_the_potential_over_the_normaliser(kind):
    """log π(y | x) = x'y / ε + log v(y) - log c(x), and its moments are those of its density on a grid."""
    b, x0 = bridge(kind), normal(6)
    x1 = b.sample(x0, key=1)
    expected = np.sum(x0 * x1, axis=-1) / b.epsilon + log_potential(b, x1) - b.log_normaliser(x0)
    np.testing.assert_allclose(b.log_density(x1, x0), expected, rtol=1e-9)
    one = bridge(kind, d=1) if kind != "low_rank" else bridge(kind, d=1, k=2)
    grid = np.linspace(-12.0, 12.0, 6001)[:, None]
    weight = np.exp(one.log_density(grid, np.full_like(grid, 0.7))) * (grid[1, 0] - grid[0, 0])
    np.testing.assert_allclose(np.sum(weight), 1.0, rtol=1e-9)
    np.testing.assert_allclose(one.mean(np.array([[0.7]]))[0, 0], weight @ grid[:, 0], rtol=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_draws_have_the_conditional_moments(kind):
    b, num = bridge(kind), 40_000
    x0 = jnp.tile(jnp.array([[0.4, -0.9]]), (num, 1))
    draws = np.asarray(b.sample(x0, key=5))
    mean, spread = b.moments(x0[:1])
    assert np.abs(z_scores(draws, mean[0])).max() < 4
    gap = draws - np.asarray(mean[0])
    assert np.abs(z_scores(gap[:, :, None] * gap[:, None], spread[0])).max() < 4


@pytest.mark.parametrize("t", [0.0, 0.3, 0.9])
def test_drift_is_the_conditional_velocity_on_a_grid(t):
    """g(x, t) = (E[X_1 | X_t = x] - x) / (1 - t), with the law of X_1 given X_t by brute force."""
    b = bridge(d=1, epsilon=0.7)
    y = np.linspace(-15.0, 15.0, 40_001)
    of_y = np.asarray(log_potential(b, y[:, None])) + y**2 / (2 * 0.7)
    for x in (-1.3, 0.2, 2.0):
        expected = (softmax(of_y - (y - x) ** 2 / (2 * 0.7 * (1 - t))) @ y - x) / (1 - t)
        np.testing.assert_allclose(b.drift(np.array([[x]]), t)[0, 0], expected, rtol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_drift_is_a_gradient_and_has_its_limits(kind):
    """At t = 0 it is E[X_1 | x] - x; at t = 1 the gradient of ε log v + |x|²/2; the forms agree with dense ones."""
    b, x = bridge(kind), normal(5)
    np.testing.assert_allclose(b.drift(x, 0.0), b.mean(x) - x, rtol=1e-9, atol=1e-10)
    score = jax.jit(lambda b: b.potential.score(x))(b)
    np.testing.assert_allclose(b.drift(x, 1.0), b.epsilon * score + x, rtol=1e-8, atol=1e-9)
    dense = schrodinger_bridge.Bridge(b.epsilon, b.log_alpha, b.r, full_covariance(b.S.dense()))
    np.testing.assert_allclose(b.drift(x, 0.6), dense.drift(x, 0.6), rtol=1e-9, atol=1e-10)


def test_euler_maruyama_with_the_drift_has_the_marginals_of_the_paths():
    b, num, steps = bridge(epsilon=0.5), 4000, 240
    x0 = normal(num, seed=11)

    def step(x, item):
        i, key = item
        noise = jnp.sqrt(b.epsilon / steps) * jax.random.normal(key, x.shape)
        x = x + b.drift(x, i / steps) / steps + noise
        return x, x

    keys = jax.random.split(jax.random.key(1), steps)
    walked = jax.jit(lambda x: jax.lax.scan(step, x, (jnp.arange(steps), keys))[1])(x0)
    direct = b.sample_path(normal(num, seed=12), [0.25, 0.5, 1.0], key=2)
    for column, at in enumerate((60, 120, 240)):
        one, two = np.asarray(walked[at - 1]), np.asarray(direct[:, column])
        for f in (lambda x: x, lambda x: x[:, :, None] * x[:, None], np.sin):
            a, c = f(one), f(two)
            z = (a.mean(0) - c.mean(0)) / np.sqrt((a.var(0) + c.var(0)) / num)
            assert np.abs(z).max() < 4


def test_paths_are_brownian_bridges_between_their_ends():
    """Given both ends: mean on the line, variance ε t (1 - t), covariance ε s (1 - t)."""
    b, num, (s, t) = bridge(epsilon=0.8), 40_000, (0.3, 0.8)
    x0 = np.asarray(normal(num, seed=3))
    path = np.asarray(b.sample_path(x0, [0.0, s, t, 1.0], key=4))
    np.testing.assert_array_equal(path[:, 0], x0)
    end = path[:, 3]
    early, late = (np.asarray(path[:, i]) - (1 - u) * x0 - u * end for i, u in ((1, s), (2, t)))
    for values, expected in (
        (early, 0.0),
        (late, 0.0),
        (early**2, 0.8 * s * (1 - s)),
        (late**2, 0.8 * t * (1 - t)),
        (early * late, 0.8 * s * (1 - t)),
    ):
        assert np.abs(z_scores(values, expected)).max() < 4
    np.testing.assert_array_less(np.abs(z_scores(end - b.sample(normal(num, seed=8), key=9), 0.0)), 4)


def test_costs_of_one_gaussian_in_closed_form():
    """π(y | x) = N(y | r + Sx, εS): cost and energy are sums over its moments."""
    b = bridge(k=1, epsilon=0.6)
    x0 = np.asarray(normal(4000, seed=6))
    S, r = np.asarray(b.S.dense()[0]), np.asarray(b.r[0])
    gap = np.sum((x0 @ S + r - x0) ** 2, axis=-1)
    np.testing.assert_allclose(b.transport_cost(x0).value, np.mean(gap + 0.6 * np.trace(S)) / 2, rtol=1e-10)
    divergence = (np.trace(S) - 2 - np.linalg.slogdet(S)[1] + gap / 0.6) / 2
    found = b.energy(x0, key=1)
    assert abs(found.value - 0.6 * np.mean(divergence)) < 4 * found.standard_error


def test_energy_is_the_integral_of_the_squared_drift():
    b, times = bridge(epsilon=0.6), np.linspace(0.005, 0.995, 100)
    x0 = normal(4000, seed=7)
    path = b.sample_path(x0, times, key=3)
    drifts = jax.jit(jax.vmap(b.drift, (1, 0)))(path, times)
    kinetic = (np.asarray(drifts) ** 2).sum(-1).mean(0) / 2
    found = b.energy(x0, key=1)
    error = np.sqrt(found.standard_error**2 + kinetic.var() / len(kinetic))
    assert abs(kinetic.mean() - found.value) < 4 * error


@pytest.mark.parametrize("kind", KINDS)
def test_matching_has_the_gradient_of_the_loss_for_any_coupling(kind):
    """Points paired at random: the gradient of bridge matching is that of E log c - E log v."""
    b, num = bridge(kind, epsilon=0.7), 15_000
    x0 = normal(num, seed=1)
    x1 = 1.0 + 0.5 * normal(num, seed=2)
    exact = jax.jit(jax.grad(light_loss))(b, x0, x1)
    keys = jax.random.split(jax.random.key(0), num)
    rows = jax.jit(jax.vmap(jax.grad(matching_loss), (None, 0, 0, 0)))(b, x0[:, None], x1[:, None], keys)
    for name in ("log_alpha", "r", "S"):
        for found, expected in zip(
            jax.tree.leaves(getattr(rows, name)), jax.tree.leaves(getattr(exact, name)), strict=True
        ):
            alive = np.asarray(found).reshape(num, -1).std(0) > 0  # the upper triangle of a factor is not used
            z = z_scores(np.asarray(found).reshape(num, -1)[:, alive], np.asarray(expected).ravel()[alive])
            assert np.abs(z).max() < 4


@pytest.mark.parametrize("kind", KINDS)
def test_translation(kind):
    """Plan and drift move with the points; mass does when both ends move alike."""
    b, x0 = bridge(kind), normal(6)
    x1, a, c = b.sample(x0, key=1), jnp.array([1.0, -2.0]), jnp.array([0.5, 3.0])
    moved = b.translated(a, c)
    np.testing.assert_allclose(moved.log_density(x1 + c, x0 + a), b.log_density(x1, x0), rtol=1e-9)
    np.testing.assert_allclose(moved.drift(x0 + a + 0.4 * (c - a), 0.4), b.drift(x0, 0.4) + c - a, rtol=1e-8, atol=1e-9)
    free = schrodinger_bridge.Bridge(b.epsilon, b.log_alpha, b.r, b.S, jnp.asarray(2.0))
    np.testing.assert_allclose(free.translated(a, a).mass(x0 + a), free.mass(x0), rtol=1e-9)


def test_small_epsilon_in_float32():
    """Exponents of some thousands: densities, moments and drift stay finite and right."""
    exact = schrodinger_bridge.Bridge.from_potential(potential(), 1e-3)
    x0 = normal(50)
    x1 = exact.sample(x0, key=1)
    with jax.enable_x64(False):
        single = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf), jnp.float32), exact)
        mean, drift = single.mean(np.asarray(x0)), single.drift(np.asarray(x0), 0.5)
        density = single.log_density(np.asarray(x1), np.asarray(x0))
    np.testing.assert_allclose(mean, exact.mean(x0), atol=2e-3)
    np.testing.assert_allclose(drift, exact.drift(x0, 0.5), atol=5e-3)
    np.testing.assert_allclose(density, exact.log_density(x1, x0), atol=0.1)


def test_bad_points_and_times_are_named():
    b, x0 = bridge(), normal(5)
    with pytest.raises(bk.errors.DataError, match="x0 has 3 dimensions where 2 are expected"):
        b.sample(normal(5, 3), key=0)
    with pytest.raises(bk.errors.DataError, match=r"x0 must have shape \(points, dimensions\)"):
        b.mean(x0[0])
    with pytest.raises(bk.errors.DataError, match="x1 has NaN or infinity in 1 rows, the first is row 2"):
        b.log_density(x0.at[2, 0].set(jnp.nan), x0)
    with pytest.raises(bk.errors.DataError, match="give one x0 for each x1"):
        b.log_density(x0, x0[:3])
    for times in ([0.5, 0.2], [-0.1], [1.2], []):
        with pytest.raises(bk.errors.DataError, match="times must be increasing"):
            b.sample_path(x0, times, key=0)
    with pytest.raises(bk.errors.DataError, match="t must be a time from 0 to 1"):
        b.drift(x0, 1.5)
