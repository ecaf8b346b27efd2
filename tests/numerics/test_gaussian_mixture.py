"""Gaussian mixtures: each rule against a slower twin (dense matrices, automatic derivatives, sums over a grid)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from bayeskit.errors import DataError
from bayeskit.numerics.gaussian_mixture import GaussianMixture
from bayeskit.numerics.gaussian_mixture_covariance import Diagonal, LowRank, full_covariance
from bayeskit.numerics.gaussian_mixture_fit import em, k_means, k_means_plus_plus, weighted_moments

KINDS = ["full", "diagonal", "low_rank"]


def covariance(kind, k, d, generator):
    if kind == "full":
        root = generator.normal(size=(k, d, d))
        return full_covariance(jnp.asarray(root @ root.swapaxes(1, 2) + 0.3 * np.eye(d)))
    variance = jnp.asarray(generator.uniform(0.3, 1.5, size=(k, d)))
    return (
        Diagonal(variance) if kind == "diagonal" else LowRank(variance, jnp.asarray(generator.normal(size=(k, d, 2))))
    )


def mixture(kind="full", k=3, d=4, seed=0):
    generator = np.random.default_rng(seed)
    weights = jnp.log(jnp.asarray(generator.uniform(0.2, 1.0, size=k)))
    return GaussianMixture(weights, jnp.asarray(generator.normal(size=(k, d))), covariance(kind, k, d, generator))


def points(n=7, d=4, seed=5):
    return jnp.asarray(2 * np.random.default_rng(seed).normal(size=(n, d)))


def by_scipy(p, x):
    dense = np.asarray(p.covariance.dense())
    terms = [
        np.exp(w) * scipy.stats.multivariate_normal(m, c).pdf(x)
        for w, m, c in zip(np.asarray(p.log_weights), np.asarray(p.means), dense, strict=True)
    ]
    return np.log(np.sum(terms, axis=0))


@pytest.mark.parametrize("kind", KINDS)
def test_forms_agree_with_dense_matrices(kind):
    form, x, v = mixture(kind).covariance, points(), points(7 * 3).reshape(7, 3, 4)
    dense = form.dense()
    np.testing.assert_allclose(form.log_det(), jnp.linalg.slogdet(dense)[1], rtol=1e-12)
    np.testing.assert_allclose(form.quadratic(x), jnp.einsum("nd,kde,ne->nk", x, dense, x), rtol=1e-12)
    np.testing.assert_allclose(form.times(x), jnp.einsum("kde,ne->nkd", dense, x), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(jnp.einsum("kde,nke->nkd", dense, form.solve(v)), v, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(form.affine(0.3, 2.0).dense(), 0.3 * dense + 2.0 * jnp.eye(4), rtol=1e-12, atol=1e-12)
    means = mixture(kind).means
    gap = x[:, None] - means
    np.testing.assert_allclose(form.mahalanobis(x, means), jnp.sum(gap * form.solve(gap), axis=-1), rtol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_noise_has_the_covariance_of_its_component(kind):
    form, num = mixture(kind).covariance, 40_000
    draws = form.noise(jax.random.key(0), jnp.repeat(jnp.arange(3), num)).reshape(3, num, 4)
    dense = np.asarray(form.dense())
    products = np.asarray(draws[..., :, None] * draws[..., None, :])
    z = (products.mean(1) - dense) / (products.std(1) / num**0.5)
    assert np.abs(z).max() < 4


@pytest.mark.parametrize("kind", KINDS)
def test_density_and_score(kind):
    p, x = mixture(kind), points()
    np.testing.assert_allclose(p.log_density(x), by_scipy(p, x), rtol=1e-10)
    by_derivative = jax.vmap(jax.grad(lambda row: p.log_density(row[None])[0]))(x)
    np.testing.assert_allclose(p.score(x), by_derivative, rtol=1e-9, atol=1e-10)


def test_far_tails_in_float32():
    """Fifty standard deviations out the density underflows, its logarithm and score do not."""
    p = mixture()
    x = 50.0 * points()
    with jax.enable_x64(False):
        single = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf), jnp.float32), p)
        x32 = jnp.asarray(np.asarray(x), jnp.float32)
        assert single.log_density(x32).dtype == jnp.float32
        log_density, score = single.log_density(x32), single.score(x32)
    np.testing.assert_allclose(log_density, p.log_density(x), rtol=1e-4)
    np.testing.assert_allclose(score, p.score(x), rtol=1e-3, atol=1e-3 * float(jnp.abs(p.score(x)).max()))


@pytest.mark.parametrize("kind", KINDS)
def test_conditioning_factorises_the_density(kind):
    """p(x) = p(x_given) p(x_rest | x_given), and the mass of the conditional is p(x_given)."""
    p, x = mixture(kind), points()
    for row in x[:3]:
        conditional = p.condition([2, 0], row[jnp.array([2, 0])])
        np.testing.assert_allclose(
            conditional.log_density(row[jnp.array([1, 3])][None])[0], p.log_density(row[None])[0], rtol=1e-10
        )
        marginal = p.marginal([2, 0]).log_density(row[jnp.array([2, 0])][None])[0]
        np.testing.assert_allclose(conditional.log_mass, marginal, rtol=1e-10)


def test_product_is_the_pointwise_product_and_its_mass_the_integral():
    p, q, x = mixture(seed=0), mixture("diagonal", seed=1), points()
    product = p.product(q)
    np.testing.assert_allclose(product.log_density(x), p.log_density(x) + q.log_density(x), rtol=1e-9)
    np.testing.assert_allclose(product.log_mass, p.log_inner(q), rtol=1e-10)
    one, two = mixture(d=1, seed=2), mixture(d=1, seed=3)
    grid = jnp.linspace(-15.0, 15.0, 4001)[:, None]
    by_sum = jnp.sum(jnp.exp(one.log_density(grid) + two.log_density(grid))) * (grid[1, 0] - grid[0, 0])
    np.testing.assert_allclose(jnp.exp(one.log_inner(two)), by_sum, rtol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_denoising_is_tweedies_formula(kind):
    """E[a x | y] = y + v score(y) and Cov[a x | y] = v (I + v Hessian of log p(y))."""
    p, y, a, v = mixture(kind), points(), 0.8, 0.6
    mean, spread = p.denoised(y, a, v)
    noised = p.noised(a, v)
    np.testing.assert_allclose(a * mean, y + v * noised.score(y), rtol=1e-9, atol=1e-10)
    hessian = jax.vmap(jax.hessian(lambda row: noised.log_density(row[None])[0]))(y)
    np.testing.assert_allclose(a**2 * spread, v * (jnp.eye(4) + v * hessian), rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_draws_have_the_moments_of_the_mixture(kind):
    p, num = mixture(kind), 50_000
    draws = np.asarray(p.sample(jax.random.key(3), num))
    z = (draws.mean(0) - p.mean()) / (draws.std(0) / num**0.5)
    assert np.abs(z).max() < 4
    centred = draws - np.asarray(p.mean())
    products = centred[:, :, None] * centred[:, None]
    z = (products.mean(0) - p.second_moments()) / (products.std(0) / num**0.5)
    assert np.abs(z).max() < 4


def test_k_means_plus_plus_takes_points_that_differ():
    x = jnp.repeat(jnp.eye(4), 25, axis=0)
    centres = k_means_plus_plus(jax.random.key(0), x, 4)
    assert len(np.unique(np.asarray(centres), axis=0)) == 4
    found, group = k_means(jax.random.key(0), x, 4)
    np.testing.assert_allclose(found[group], x)


def test_weighted_moments_of_far_points_in_float32():
    generator = np.random.default_rng(0)
    x, weights = generator.normal(size=(500, 3)) + 1e3, generator.uniform(size=(500, 2))
    with jax.enable_x64(False):
        found = weighted_moments(jnp.asarray(weights, jnp.float32), jnp.asarray(x, jnp.float32))
    for k in range(2):
        expected = np.cov(x.T, aweights=weights[:, k], ddof=0)
        np.testing.assert_allclose(found.covariance[k], expected, atol=2e-3)
        np.testing.assert_allclose(found.mean[k], np.average(x, axis=0, weights=weights[:, k]), rtol=1e-6)
    narrow = weighted_moments(jnp.asarray(weights), jnp.asarray(x), diagonal=True)
    np.testing.assert_allclose(narrow.covariance[0], np.cov(x.T, aweights=weights[:, 0], ddof=0).diagonal(), rtol=1e-8)


@pytest.mark.parametrize("kind", ["full", "diagonal"])
def test_em_never_loses_likelihood_and_its_moments_are_those_of_the_points(kind):
    x = mixture("diagonal").sample(jax.random.key(8), 3000)
    fit, trace = em(jax.random.key(0), x, 3, kind=kind, num_steps=60, prior_count=0.0)
    assert np.diff(trace).min() > -1e-10
    np.testing.assert_allclose(fit.mean(), x.mean(0), rtol=1e-8)
    found, expected = fit.second_moments(), np.cov(x.T, ddof=0)
    compare = (found, expected) if kind == "full" else (jnp.diagonal(found), np.diagonal(expected))
    np.testing.assert_allclose(*compare, rtol=1e-8, atol=1e-10)


def test_bad_input_is_named():
    with pytest.raises(DataError, match="2 points cannot have 3 components"):
        em(jax.random.key(0), jnp.ones((2, 2)), 3)
    with pytest.raises(DataError, match="closed steps for kind='full'"):
        em(jax.random.key(0), jnp.ones((5, 2)), 2, kind="low_rank")
    for bad in ([0, 0], [4], [], [-1]):
        with pytest.raises(DataError, match="coordinates must be distinct"):
            mixture().condition(bad, jnp.zeros(len(bad)))
