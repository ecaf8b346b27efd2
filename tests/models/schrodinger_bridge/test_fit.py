"""Fits against closed forms and against Sinkhorn's algorithm on a grid."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.stats import norm

import bayeskit as bk
from bayeskit.models import schrodinger_bridge
from bayeskit.models.schrodinger_bridge import choose_num_components
from bayeskit.models.schrodinger_bridge.objective import light_loss
from bayeskit.numerics.gaussian_mixture_covariance import Full

SIZE = 2000
"""Points of most samples here: fits of the same shapes share their compiled programs."""


def normal(num, d=2, seed=0):
    return np.random.default_rng(seed).normal(size=(num, d))


def two_clusters(num, d=2, seed=1):
    generator = np.random.default_rng(seed)
    return 3 * np.sign(generator.normal(size=(num, 1))) + 0.6 * generator.normal(size=(num, d))


@pytest.fixture(scope="module")
def plain():
    """Two samples and a fit to them."""
    x0, x1 = normal(SIZE), two_clusters(SIZE)
    return x0, x1, schrodinger_bridge.LightBridge(2, 0.5).fit(x0, x1, key=0)


@jax.jit
def slopes(bridge, x0, x1):
    """Of the loss in every parameter."""
    return jax.grad(light_loss)(bridge, x0, x1)


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 10.0])
def test_one_gaussian_to_another_in_closed_form(epsilon):
    x0 = normal(400, 3) @ np.array([[1.0, 0.3, 0.0], [0.0, 0.7, 0.2], [0.0, 0.0, 1.4]]) + [3.0, 0.0, -1.0]
    x1 = normal(500, 3, seed=1) @ np.array([[0.5, 0.0, 0.1], [0.4, 1.2, 0.0], [0.0, 0.3, 0.9]]) - 2.0
    bridge = schrodinger_bridge.LightBridge(1, epsilon).fit(x0, x1, key=0).bridge
    (m0, a), (m1, b) = ((x.mean(0), np.cov(x.T, ddof=0)) for x in (x0, x1))
    half, eye = sqrtm(a), np.eye(3)
    inverse = np.linalg.inv(half)
    expected = inverse @ (sqrtm(half @ b @ half + epsilon**2 / 4 * eye) - epsilon / 2 * eye) @ inverse
    np.testing.assert_allclose(bridge.S.dense()[0], expected, atol=1e-8)
    np.testing.assert_allclose(bridge.r[0], m1 - expected @ m0, atol=1e-8)
    gradient = slopes(bridge, x0, x1)
    assert max(float(jnp.abs(leaf).max()) for leaf in (gradient.r, gradient.S.cholesky)) < 1e-8


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_fixed_point_is_a_stationary_point_of_the_loss(covariance):
    """Without a prior on the covariances, the derivative of the loss by every parameter is zero at the end."""
    x0, x1 = normal(SIZE), two_clusters(SIZE)
    settings = schrodinger_bridge.LightBridge(
        2, 0.5, covariance=covariance, prior_count=0.0, num_steps=400, tolerance=1e-15
    )
    fit = settings.fit(x0, x1, key=0)
    assert np.diff(fit.losses).max() <= 0
    gradient = slopes(fit.bridge, x0, x1)
    assert (
        max(float(jnp.abs(leaf).max()) for leaf in (gradient.log_alpha, gradient.r, *jax.tree.leaves(gradient.S)))
        < 1e-5
    )


def quantiles(num):
    """Points that stand for N(0, 1) and for a mixture of N(-2, .5²) and N(1.5, .8²)."""
    levels = (np.arange(num) + 0.5) / num
    grid = np.linspace(-8.0, 8.0, 20_001)
    cdf = 0.4 * norm.cdf(grid, -2.0, 0.5) + 0.6 * norm.cdf(grid, 1.5, 0.8)
    return norm.ppf(levels)[:, None], np.interp(levels, cdf, grid)[:, None]


@pytest.mark.parametrize("epsilon", [pytest.param(0.3, marks=pytest.mark.full), 1.0])
def test_conditional_means_are_those_of_sinkhorn_on_a_grid(epsilon):
    x0, x1 = quantiles(1500)
    kernel = np.exp(-((x0 - x1.T) ** 2) / (2 * epsilon))
    right = np.ones(len(x1))
    for _ in range(5000):
        left = 1 / (kernel @ right)
        right, before = 1 / (left @ kernel), right
        if np.abs(right / before - 1).max() < 1e-9:
            break
    plan = left[:, None] * kernel * right
    np.testing.assert_allclose(plan.sum(1), 1.0, rtol=1e-6)
    expected = (plan @ x1 / plan.sum(1, keepdims=True))[:, 0]
    settings = schrodinger_bridge.LightBridge(12, epsilon, num_steps=400, tolerance=1e-9, prior_count=0.1)
    found = settings.fit(x0, x1, key=0).bridge.mean(x0)[:, 0]
    inside = slice(10, -10)  # the grid ends at its outermost points, the mixture goes on
    np.testing.assert_allclose(found[inside], expected[inside], atol=1e-2)


def test_unbalanced_fit_is_generalised_sinkhorn_on_a_grid():
    """Masses and conditional means; the reference measure of the entropy is P0 x Lebesgue, as documented."""
    epsilon, tau, num = 0.5, 2.0, 400
    x0, x1 = quantiles(num)
    y = np.linspace(-7.0, 7.0, 701)
    width = y[1] - y[0]
    density = 0.4 * norm.pdf(y, -2.0, 0.5) + 0.6 * norm.pdf(y, 1.5, 0.8)
    kernel, damp, right = np.exp(-((x0 - y) ** 2) / (2 * epsilon)), tau / (epsilon + tau), np.ones(y.size)
    for _ in range(100):
        left = (kernel @ right * width) ** -damp
        right = (density * num / (left @ kernel)) ** damp
    plan = left[:, None] * kernel * right * width
    settings = schrodinger_bridge.LightBridge(12, epsilon, tau=tau, num_steps=400, tolerance=1e-9, prior_count=0.1)
    bridge = settings.fit(x0, x1, key=0).bridge
    middle = slice(10, -10)  # the outermost points carry little mass, and the mixture little shape there
    np.testing.assert_allclose(bridge.mass(x0)[middle], plan.sum(1)[middle], rtol=0.02)
    np.testing.assert_allclose(bridge.mean(x0)[middle, 0], (plan @ y / plan.sum(1))[middle], atol=2e-2)


def test_unbalanced_tends_to_balanced(plain):
    x0, x1, balanced = plain[0], plain[1], plain[2].bridge
    nearly = schrodinger_bridge.LightBridge(2, 0.5, tau=1e5).fit(x0, x1, key=0).bridge
    np.testing.assert_allclose(nearly.mean(x0), balanced.mean(x0), atol=2e-3)
    np.testing.assert_allclose(nearly.mass(x0), 1.0, atol=1e-3)
    assert bool((balanced.mass(x0) == 1.0).all())


@pytest.mark.parametrize("options", [{"num_restarts": 3}, {"annealing": (10.0, 3.0)}, {"validation_fraction": 0.2}])
def test_small_epsilon_in_float32_with_every_kind_of_start(options):
    """ε a hundredth of the variance of the target, in single precision: the target is met."""
    num = round(4000 / (1 - options.get("validation_fraction", 0.0)))  # 4000 to learn from: the programs are the same
    with jax.enable_x64(False):
        x0, x1 = normal(num).astype(np.float32), two_clusters(num).astype(np.float32)
        fit = schrodinger_bridge.LightBridge(4, 0.01, **options).fit(x0, x1, key=0)
        moved = np.asarray(fit.bridge.sample(x0, key=1))
    assert moved.dtype == np.float32
    assert fit.losses[-1] < fit.losses[0]
    for f in (lambda x: x, lambda x: x**2, lambda x: x > 0):
        a, b = f(moved), f(x1)
        z = (a.mean(0) - b.mean(0)) / np.sqrt((a.var(0) + b.var(0)) / num)
        assert np.abs(z).max() < 4


def test_standardised_fit_is_the_same_fit_in_other_units(plain):
    x0, x1, plain = plain
    scale = np.concatenate([x0, x1]).std(0).mean()
    settings = schrodinger_bridge.LightBridge(2, 0.5 / scale**2, standardize=True)
    large = settings.fit(100 * x0, 100 * x1, key=0)
    assert (plain.scale, pytest.approx(100 * scale)) == (1.0, large.scale)
    np.testing.assert_allclose(large.bridge.mean(100 * x0), 100 * plain.bridge.mean(x0), atol=1e-4)
    np.testing.assert_allclose(large.bridge.epsilon, 0.5e4, rtol=1e-6)


def test_samplers_and_a_start_of_ones_own():
    def start(key, num):
        return jax.random.normal(key, (num, 2))

    def end(key, num):
        return 2.0 + 0.5 * jax.random.normal(key, (num, 2))

    settings = schrodinger_bridge.LightBridge(1, 1.0, num_samples=1600)
    fit = settings.fit(start, end, key=0)
    mean = np.asarray(fit.bridge.sample(normal(10_000), key=1)).mean(0)
    assert np.abs(mean - 2.0).max() < 4 * (0.5 / 10_000**0.5 + 0.5 / 1600**0.5)
    again = settings.fit(start, end, key=0, init=fit.bridge)
    assert again.losses[0] == pytest.approx(fit.losses[-1], abs=1e-9)


def test_gradient_steps_bring_low_rank_maps_nearer_than_their_start():
    """Rank one in six dimensions where the true map is diagonal plus rank one."""
    x0 = normal(4000, 6)
    x1 = normal(4000, 6, seed=3) * 0.5 + normal(4000, 1, seed=4) * np.array([2.0, 2.0, 0.0, 0.0, -2.0, 1.0])
    common = {"covariance": "low_rank", "rank": 1, "validation_fraction": 0.2}
    fit = schrodinger_bridge.LightBridge(1, 0.5, num_gradient_steps=1000, learning_rate=3e-3, **common).fit(
        x0, x1, key=0
    )
    full = schrodinger_bridge.LightBridge(1, 0.5, validation_fraction=0.2).fit(x0, x1, key=0)
    start = fit.held_out[len(full.held_out)]
    assert fit.held_out.min() <= start
    assert fit.held_out.min() < full.held_out.min() + 0.05  # nats; the full map has 21 numbers, this one 12
    assert fit.bridge.S.factor.shape == (1, 6, 1)


def test_matching_finds_the_bridge_of_the_marginals_from_an_independent_coupling():
    x0, x1 = normal(SIZE), two_clusters(SIZE)
    exact = schrodinger_bridge.LightBridge(2, 1.0).fit(x0, x1, key=0).bridge
    settings = schrodinger_bridge.LightBridge(2, 1.0, num_gradient_steps=1500, learning_rate=5e-3, batch_size=256)
    matched = settings.match(x0, x1, key=1).bridge
    gap = np.asarray(matched.mean(x0) - exact.mean(x0))
    assert (gap**2).sum(1).mean() < 0.01 * np.asarray(exact.mean(x0)).var(0).sum()


def test_number_of_components_by_held_out_loss():
    settings = schrodinger_bridge.LightBridge(1, 0.5, validation_fraction=0.2)
    best, losses = choose_num_components(settings, [1, 2], normal(SIZE), two_clusters(SIZE), key=0)
    assert best.num_components == 2
    assert losses[2] < losses[1]
    with pytest.raises(bk.errors.MethodError, match="validation_fraction must be positive"):
        choose_num_components(schrodinger_bridge.LightBridge(1, 0.5), [1, 2], normal(50), normal(50), key=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epsilon": 0.0}, "epsilon must be a positive number, got 0.0"),
        ({"epsilon": -1.0}, "epsilon must be a positive number"),
        ({"epsilon": float("nan")}, "epsilon must be a positive number"),
        ({"num_components": 0}, "num_components must be a positive integer"),
        ({"tau": 0.0}, "tau must be a positive number, or None"),
        ({"validation_fraction": 1.0}, "validation_fraction must be at least 0 and below 1"),
        ({"annealing": (0.5,)}, "annealing must be factors above one"),
    ],
)
def test_impossible_settings_are_named(settings, message):
    with pytest.raises(bk.errors.MethodError, match=message):
        schrodinger_bridge.LightBridge(**{"num_components": 2, "epsilon": 1.0, **settings})


def with_nan(x):
    x = x.copy()
    x[3, 1] = np.nan
    return x


@pytest.mark.parametrize(
    ("x0", "x1", "message"),
    [
        (normal(50), normal(50, 3), "x0 has 2 dimensions and x1 has 3"),
        (normal(50), normal(4), "x1 has 4 points for 5 components"),
        (with_nan(normal(50)), normal(50), "x0 has NaN or infinity in 1 rows, the first is row 3"),
        (normal(50), np.zeros((0, 2)), "x1 is empty"),
        (normal(50) * [1, 0] + [0, 7], normal(50), r"x0 is constant in coordinate\(s\) \[1\]"),
        (normal(50), normal(50)[:, :1] @ np.ones((1, 2)), "the covariance of x1 is singular: its rank is 1 in 2"),
        (normal(50)[:, 0], normal(50), r"x0 must have shape \(points, dimensions\)"),
    ],
)
def test_bad_samples_are_named(x0, x1, message):
    with pytest.raises(bk.errors.DataError, match=message):
        schrodinger_bridge.LightBridge(5, 1.0).fit(x0, x1, key=0)


def test_points_far_from_the_origin_are_refused_in_single_precision_only():
    x0, x1 = normal(SIZE) + 1e3, two_clusters(SIZE) + 1e3
    settings = schrodinger_bridge.LightBridge(2, 0.1)
    with jax.enable_x64(False), pytest.raises(bk.errors.DataError, match="x0 has points so far from the origin"):
        settings.fit(x0.astype(np.float32), x1.astype(np.float32), key=0)
    near = settings.fit(x0 - 1e3, x1 - 1e3, key=0).bridge
    far = settings.fit(x0, x1, key=0).bridge
    np.testing.assert_allclose(far.mean(x0) - 1e3, near.mean(x0 - 1e3), atol=1e-5)


def test_a_rank_that_is_not_low_is_named():
    with pytest.raises(bk.errors.DataError, match="rank = 2 is not low in 2 dimensions"):
        schrodinger_bridge.LightBridge(1, 1.0, covariance="low_rank", rank=2).fit(normal(50), normal(50), key=0)


def test_bad_couplings_and_starts_are_named():
    settings = schrodinger_bridge.LightBridge(1, 1.0)
    with pytest.raises(bk.errors.DataError, match="a coupling pairs rows"):
        settings.match(normal(50), normal(40), key=0)
    with pytest.raises(bk.errors.MethodError, match="match needs tau=None"):
        schrodinger_bridge.LightBridge(1, 1.0, tau=1.0).match(normal(50), normal(50), key=0)
    bridge = schrodinger_bridge.Bridge(1.0, jnp.zeros(1), jnp.zeros((1, 2)), Full(jnp.eye(2)[None]))
    with pytest.raises(bk.errors.DataError, match="init has 1 components in 2 dimensions and full maps"):
        schrodinger_bridge.LightBridge(2, 1.0).fit(normal(50), normal(50), key=0, init=bridge)
    with pytest.raises(bk.errors.MethodError, match="covariance must be one of"):
        schrodinger_bridge.LightBridge(1, 1.0, covariance="banded")


def names(fit):
    return {finding.name: finding.severity for finding in bk.check(fit, quiet=True).findings}


def test_the_record_of_a_fit_is_judged():
    x0, x1 = normal(SIZE), two_clusters(SIZE)
    fit = schrodinger_bridge.LightBridge(2, 0.5, validation_fraction=0.2, num_steps=200).fit(x0, x1, key=0)
    assert bk.check(fit, quiet=True).findings == bk.check(fit.tree, quiet=True).findings == ()
    assert fit.tree.attrs["converged"] == 1
    assert fit.tree.attrs["method"] == "LightBridge"
    again = schrodinger_bridge.LightBridge.from_settings(json.loads(fit.tree.attrs["method_settings"]))
    assert again == schrodinger_bridge.LightBridge(2, 0.5, validation_fraction=0.2, num_steps=200)
    np.testing.assert_array_equal(fit.tree["training/look"][:3], [0, 1, 2])


def test_a_fit_cut_short_is_called_so():
    x0, x1 = normal(SIZE), two_clusters(SIZE)
    assert names(schrodinger_bridge.LightBridge(2, 0.5, num_steps=1).fit(x0, x1, key=0)) == {"not_converged": "warning"}
    slow = schrodinger_bridge.LightBridge(
        2, 1.0, num_gradient_steps=400, learning_rate=1e-3, batch_size=256, num_steps=0
    )
    far = schrodinger_bridge.LightBridge(2, 1.0).fit(x0, x1 + 20.0, key=0).bridge
    fit = slow.fit(x0, x1, key=0, init=far)
    assert names(fit) == {"not_converged": "warning"}
    assert json.loads(fit.tree.attrs["phases"]) == {"fixed point": 1, "gradient": 400}


def test_a_fit_that_learns_noise_is_warned_of():
    """Ten components for forty points: the held-out loss rises while that of the fit falls."""
    settings = schrodinger_bridge.LightBridge(10, 0.05, validation_fraction=0.3, patience=40)
    fit = settings.fit(normal(60), two_clusters(60), key=0)
    assert fit.held_out[-1] > fit.held_out.min() + 0.01
    assert names(fit)["held_out_rises"] == "warning"
