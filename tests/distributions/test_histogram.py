"""The histogram distribution against quadrature, its own inverse, and the prior that its bars come from."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy.stats import norm

from bayeskit.distributions import Histogram
from bayeskit.distributions.histogram import equal_mass_edges
from bayeskit.errors import DataError

EDGES = np.array([-3.0, -1.0, -0.2, 0.1, 1.5, 2.0])
LOGITS = np.random.default_rng(0).normal(size=(2, 5))


@pytest.fixture(scope="module")
def law():
    with jax.enable_x64(True):
        yield Histogram(EDGES, LOGITS)


def test_it_integrates_to_one_and_has_its_moments(law):
    nodes, weights = np.polynomial.legendre.leggauss(200)
    ends = np.array([-60.0, -15.0, *EDGES[1:-1], 15.0, 60.0])
    low, high = ends[:-1, None], ends[1:, None]
    at = ((low + high) / 2 + (high - low) / 2 * nodes).ravel()
    mass = ((high - low) / 2 * weights).ravel()[:, None] * np.exp(law.log_prob(jnp.asarray(at)[:, None]))
    total, mean, square = ((at[:, None] ** order * mass).sum(axis=0) for order in range(3))
    np.testing.assert_allclose(total, 1.0, atol=1e-10)
    np.testing.assert_allclose(law.mean, mean, rtol=1e-9)
    np.testing.assert_allclose(law.variance, square - mean**2, rtol=1e-9)


def test_cdf_is_the_integral_of_the_density(law):
    points = jnp.linspace(-6.0, 4.0, 41)[:, None]
    slope = jax.vmap(jax.vmap(jax.grad(lambda v: Histogram(EDGES, LOGITS[0]).cdf(v))))(points + 0.013)
    np.testing.assert_allclose(slope[:, 0], np.exp(law.log_prob(points + 0.013))[:, 0], rtol=1e-6)


@pytest.mark.smoke
def test_icdf_inverts_cdf(law):
    q = jnp.linspace(1e-6, 1 - 1e-6, 501)[:, None]
    np.testing.assert_allclose(law.cdf(law.icdf(q)), np.broadcast_to(q, (501, 2)), atol=1e-9)
    assert np.isnan(law.icdf(jnp.array(1.5))).all()


def test_half_of_a_tail_lies_within_the_outermost_edges(law):
    probs = np.asarray(law.probs)
    np.testing.assert_allclose(law.cdf(jnp.array(EDGES[0])), probs[:, 0] / 2, rtol=1e-9)
    np.testing.assert_allclose(1 - law.cdf(jnp.array(EDGES[-1])), probs[:, -1] / 2, rtol=1e-9)


def test_draws_have_its_mean_and_their_slopes_are_those_of_the_mean(law):
    num = 40_000
    draws = np.asarray(law.sample(jax.random.key(0), (num,)))
    z = (draws.mean(axis=0) - law.mean) / np.sqrt(np.asarray(law.variance) / num)
    assert np.abs(z).max() < 4
    keys = jax.random.split(jax.random.key(1), 4000)
    slopes = jax.vmap(jax.grad(lambda logits, key: Histogram(EDGES, logits).sample(key)), (None, 0))(LOGITS[0], keys)
    exact = jax.grad(lambda logits: Histogram(EDGES, logits).mean)(LOGITS[0])
    assert np.abs((slopes.mean(axis=0) - exact) / (slopes.std(axis=0) / np.sqrt(len(keys)))).max() < 4


def test_single_precision_is_its_own_inverse_too():
    edges = equal_mass_edges(np.random.default_rng(0).normal(size=20_000), 1000)
    with jax.enable_x64(False):
        law = Histogram(edges, np.random.default_rng(1).normal(size=1000))
        q = jnp.linspace(0.001, 0.999, 999)
        assert law.logits.dtype == jnp.float32
        np.testing.assert_allclose(law.cdf(law.icdf(q)), q, atol=2e-6)
        assert abs(float(law.probs.sum()) - 1) < 1e-6


def test_a_thousand_bars_are_fine_enough():
    """The divergence of the best histogram from a normal predictive, on bars of equal mass under N(0, 1)."""
    edges = equal_mass_edges(norm.ppf((np.arange(10**6) + 0.5) / 10**6), 1000)
    for means, sd, bar in ((np.array([0.0]), 1.0, 0.0016), (np.linspace(-2, 2, 9), 0.01, 0.04)):
        below = np.column_stack([0 * means, norm.cdf(edges[1:-1], means[:, None], sd), 0 * means + 1])
        law = Histogram(edges, np.log(np.maximum(np.diff(below), 1e-30)))
        points = norm.ppf((np.arange(4000) + 0.5) / 4000)[:, None] * sd + means
        over = norm.logpdf(points, means, sd) - np.asarray(law.log_prob(jnp.asarray(points)))
        assert 0 <= np.average(over.mean(axis=0), weights=norm.pdf(means)) < bar


def test_edges_of_equal_mass_are_quantiles_of_the_draws():
    draws = np.random.default_rng(2).gamma(2.0, size=5000)
    edges = equal_mass_edges(draws, 10)
    counts = np.histogram(draws, edges)[0]
    assert np.all(np.abs(counts[1:-1] - 500) <= 1)
    assert np.all(np.abs(counts[[0, -1]] - 250) <= 1)


def test_mixtures_are_histograms(law):
    both = Histogram.mixture([law, Histogram(EDGES, LOGITS[::-1])], [3.0, 1.0])
    at = jnp.array([[-4.0], [0.3], [5.0]])
    parts = np.exp(law.log_prob(at)), np.exp(Histogram(EDGES, LOGITS[::-1]).log_prob(at))
    np.testing.assert_allclose(np.exp(both.log_prob(at)), 0.75 * parts[0] + 0.25 * parts[1], rtol=1e-9)


def test_it_is_a_distribution_of_numpyro(law):
    assert law.batch_shape == (2,)
    assert law.event_shape == ()
    assert isinstance(law, dist.Distribution)
    assert jax.tree.map(lambda leaf: leaf, law).log_prob(0.0).shape == (2,)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Histogram([0.0, 1.0, 2.0], [0.0, 0.0]),
            "edges must be a vector of at least 4 numbers, got shape (3,)",
        ),
        (lambda: Histogram([0.0, 1.0, 1.0, 2.0], np.zeros(3)), "edges must be finite and increase"),
        (
            lambda: Histogram(EDGES, np.zeros(4)),
            "6 edges make 5 bars, but logits have shape (4,); their last axis must be the bars",
        ),
        (lambda: Histogram.mixture([]), "a mixture needs at least one histogram"),
        (
            lambda: Histogram.mixture([Histogram(EDGES, np.zeros(5))], [-1.0]),
            "weights must be 1 numbers of at least 0, not all of them 0; got [-1.0]",
        ),
        (lambda: equal_mass_edges([1.0, np.nan], 3), "draws must be finite numbers, at least one"),
        (
            lambda: equal_mass_edges(np.repeat([0.0, 1.0], 50), 4),
            "the draws have too few different values for 4 bars of equal mass; take fewer bars, more draws, or a head "
            "for classes if they are counts",
        ),
    ],
)
def test_what_is_no_histogram_is_refused(make, message):
    with pytest.raises(DataError) as error:
        make()
    assert str(error.value) == message
