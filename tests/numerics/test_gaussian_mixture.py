"""Gaussian mixtures: each rule against a slower twin (dense matrices, automatic derivatives, sums over a grid)."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from bayeskit.errors import DataError
from bayeskit.numerics.gaussian_mixture import GaussianMixture
from bayeskit.numerics.gaussian_mixture_covariance import Diagonal, Full, LowRank
from bayeskit.numerics.gaussian_mixture_fit import em, k_means, k_means_plus_plus, weighted_moments

KINDS = ["full", "diagonal", "low_rank"]


def covariance(kind, k, d, generator):
    if kind == "full":
        root = generator.normal(size=(k, d, d))
        return Full(jnp.asarray(np.linalg.cholesky(root @ root.swapaxes(1, 2) + 0.3 * np.eye(d))))
    variance = jnp.asarray(generator.uniform(0.3, 1.5, size=(k, d)))
    return (
        Diagonal(variance) if kind == "diagonal" else LowRank(variance, jnp.asarray(generator.normal(size=(k, d, 2))))
    )


def mixture(kind="full", k=3, d=4, seed=0):
    generator = np.random.default_rng(seed)
    weights = jnp.asarray(np.log(generator.uniform(0.2, 1.0, size=k)))
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
    x, v, means = points(), points(7 * 3).reshape(7, 3, 4), mixture(kind).means

    @jax.jit
    def rules(form):
        moved, gap = form.affine(0.3, 2.0).dense(), x[:, None] - means
        by_solving = jnp.sum(gap * form.solve(gap), axis=-1)
        return (
            form.dense(),
            (form.log_det(), form.quadratic(x), form.times(x), form.solve(v), moved),
            (form.mahalanobis(x, means), by_solving),
        )

    found = jax.tree.map(np.asarray, rules(mixture(kind).covariance))
    dense, (log_det, quadratic, times, solved, moved), (mahalanobis, by_solving) = found
    np.testing.assert_allclose(log_det, np.linalg.slogdet(dense)[1], rtol=1e-12)
    np.testing.assert_allclose(quadratic, np.einsum("nd,kde,ne->nk", x, dense, x), rtol=1e-12)
    np.testing.assert_allclose(times, np.einsum("kde,ne->nkd", dense, x), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(np.einsum("kde,nke->nkd", dense, solved), v, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(moved, 0.3 * dense + 2.0 * np.eye(4), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(mahalanobis, by_solving, rtol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_noise_has_the_covariance_of_its_component(kind):
    num = 40_000
    component = jnp.asarray(np.repeat(np.arange(3), num))
    draws, dense = jax.jit(lambda form: (form.noise(jax.random.key(0), component), form.dense()))(
        mixture(kind).covariance
    )
    draws = np.asarray(draws).reshape(3, num, 4)
    products = draws[..., :, None] * draws[..., None, :]
    z = (products.mean(1) - dense) / (products.std(1) / num**0.5)
    assert np.abs(z).max() < 4


@pytest.mark.parametrize("kind", KINDS)
def test_density_and_score(kind):
    p, x = mixture(kind), points()

    @jax.jit
    def rules(p):
        (log_density, pull) = jax.vjp(p.log_density, x)
        return log_density, p.score(x), pull(jnp.ones(len(x)))[0]

    log_density, score, by_derivative = rules(p)
    np.testing.assert_allclose(log_density, by_scipy(p, x), rtol=1e-10)
    np.testing.assert_allclose(score, by_derivative, rtol=1e-9, atol=1e-10)


def test_far_tails_in_float32():
    """Fifty standard deviations out the density underflows, its logarithm and score do not."""

    def rules(p, x):
        return p.log_density(x), p.score(x)

    p, x = mixture(), 50.0 * points()
    exact_density, exact_score = jax.tree.map(np.asarray, jax.jit(rules)(p, x))
    with jax.enable_x64(False):
        log_density, score = jax.jit(rules)(*jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), (p, x)))
        assert log_density.dtype == jnp.float32
    np.testing.assert_allclose(log_density, exact_density, rtol=1e-4)
    np.testing.assert_allclose(score, exact_score, rtol=1e-3, atol=1e-3 * np.abs(exact_score).max())


@pytest.mark.parametrize("kind", KINDS)
def test_conditioning_factorises_the_density(kind):
    """p(x) = p(x_given) p(x_rest | x_given), and the mass of the conditional is p(x_given)."""
    p, x = mixture(kind), points()

    @jax.jit
    @jax.vmap
    def rules(row):
        given = row[jnp.array([2, 0])]
        conditional = p.condition([2, 0], given)
        of_rest = conditional.log_density(row[jnp.array([1, 3])][None])[0]
        of_given = p.marginal([2, 0]).log_density(given[None])[0]
        return of_rest, p.log_density(row[None])[0], conditional.log_mass, of_given

    of_rest, whole, mass, of_given = rules(x[:3])
    np.testing.assert_allclose(of_rest, whole, rtol=1e-10)
    np.testing.assert_allclose(mass, of_given, rtol=1e-10)


def test_product_is_the_pointwise_product_and_its_mass_the_integral():
    @jax.jit
    def rules(p, q, x):
        product = p.product(q)
        return product.log_density(x), p.log_density(x) + q.log_density(x), product.log_mass, p.log_inner(q)

    found, expected, mass, inner = rules(mixture(seed=0), mixture("diagonal", seed=1), points())
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    np.testing.assert_allclose(mass, inner, rtol=1e-10)
    grid = np.linspace(-15.0, 15.0, 4001)[:, None]
    one, two = mixture(d=1, seed=2), mixture(d=1, seed=3)
    by_sum = np.exp(by_scipy(one, grid) + by_scipy(two, grid)).sum() * (grid[1, 0] - grid[0, 0])
    np.testing.assert_allclose(np.exp(jax.jit(GaussianMixture.log_inner)(one, two)), by_sum, rtol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_denoising_is_tweedies_formula(kind):
    """E[a x | y] = y + v score(y) and Cov[a x | y] = v (I + v Hessian of log p(y))."""
    y, a, v = points(), 0.8, 0.6

    @jax.jit
    def rules(p):
        noised = p.noised(a, v)
        hessian = jax.vmap(jax.hessian(lambda row: noised.log_density(row[None])[0]))(y)
        return *p.denoised(y, a, v), noised.score(y), hessian

    mean, spread, score, hessian = jax.tree.map(np.asarray, rules(mixture(kind)))
    np.testing.assert_allclose(a * mean, y + v * score, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(a**2 * spread, v * (np.eye(4) + v * hessian), rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_draws_have_the_moments_of_the_mixture(kind):
    num = 50_000
    found = jax.jit(lambda p: (p.sample(jax.random.key(3), num), p.mean(), p.second_moments()))(mixture(kind))
    draws, mean, spread = (np.asarray(x) for x in found)
    z = (draws.mean(0) - mean) / (draws.std(0) / num**0.5)
    assert np.abs(z).max() < 4
    centred = draws - mean
    products = centred[:, :, None] * centred[:, None]
    z = (products.mean(0) - spread) / (products.std(0) / num**0.5)
    assert np.abs(z).max() < 4


def test_k_means_plus_plus_takes_points_that_differ():
    x = np.repeat(np.eye(4), 25, axis=0)
    key = jax.random.key(0)
    centres, (found, group) = jax.jit(lambda x: (k_means_plus_plus(key, x, 4), k_means(key, x, 4)))(x)
    assert len(np.unique(np.asarray(centres), axis=0)) == 4
    np.testing.assert_allclose(np.asarray(found)[np.asarray(group)], x)


def test_weighted_moments_of_far_points_in_float32():
    generator = np.random.default_rng(0)
    x, weights = generator.normal(size=(500, 3)) + 1e3, generator.uniform(size=(500, 2))
    with jax.enable_x64(False):
        found = jax.jit(weighted_moments)(weights.astype(np.float32), x.astype(np.float32))
    for k in range(2):
        expected = np.cov(x.T, aweights=weights[:, k], ddof=0)
        np.testing.assert_allclose(found.covariance[k], expected, atol=2e-3)
        np.testing.assert_allclose(found.mean[k], np.average(x, axis=0, weights=weights[:, k]), rtol=1e-6)
    narrow = jax.jit(partial(weighted_moments, diagonal=True))(weights, x)
    np.testing.assert_allclose(narrow.covariance[0], np.cov(x.T, aweights=weights[:, 0], ddof=0).diagonal(), rtol=1e-8)


@pytest.fixture(scope="module")
def mixture_points():
    return jax.jit(lambda p: p.sample(jax.random.key(8), 3000))(mixture("diagonal"))


@pytest.mark.parametrize("kind", ["full", "diagonal"])
def test_em_never_loses_likelihood_and_its_moments_are_those_of_the_points(kind, mixture_points):
    x = mixture_points
    fit, trace = em(jax.random.key(0), x, 3, kind=kind, num_steps=60, prior_count=0.0)
    assert np.diff(trace).min() > -1e-10
    mean, found = jax.jit(lambda fit: (fit.mean(), fit.second_moments()))(fit)
    np.testing.assert_allclose(mean, np.mean(x, axis=0), rtol=1e-8)
    expected = np.cov(np.asarray(x).T, ddof=0)
    compare = (found, expected) if kind == "full" else (np.diagonal(found), np.diagonal(expected))
    np.testing.assert_allclose(*compare, rtol=1e-8, atol=1e-10)


def test_bad_input_is_named():
    with pytest.raises(DataError, match="2 points cannot have 3 components"):
        em(jax.random.key(0), jnp.ones((2, 2)), 3)
    with pytest.raises(DataError, match="closed steps for kind='full'"):
        em(jax.random.key(0), jnp.ones((5, 2)), 2, kind="low_rank")
    for bad in ([0, 0], [4], [], [-1]):
        with pytest.raises(DataError, match="coordinates must be distinct"):
            mixture().condition(bad, jnp.zeros(len(bad)))
