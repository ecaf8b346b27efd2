"""`ScaleMixture` where everything is closed, and the integral where it is not."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from numpyro.distributions import constraints
from scipy import stats
from tinygp import kernels

from bayeskit.distributions import BurrXII, MultivariateStudentT
from bayeskit.models import nngp

KERNEL = 1.3 * kernels.Matern32(0.8, kernels.distance.L2Distance())
NOISE = 0.05
NUM = 4_000  # draws


def data(size, seed=0, num_new=6):
    generator = np.random.default_rng(seed)
    x, x_new = generator.normal(size=(size, 2)), generator.normal(size=(num_new, 2))
    return x, np.sin(x[:, 0]) + 0.3 * generator.standard_t(3, size=size), x_new, generator.normal(size=num_new)


def disguised(alpha, beta):
    """The inverse gamma under another name, so that it is integrated."""
    identity = dist.transforms.AffineTransform(0.0, 1.0, domain=constraints.positive)
    return dist.TransformedDistribution(dist.InverseGamma(alpha, beta), identity)


def gram(x, z=None):
    return np.asarray(KERNEL(jnp.asarray(x), jnp.asarray(x if z is None else z)))


def test_evidence_is_a_multivariate_student_t():
    x, y, *_ = data(15)
    mixture = nngp.ScaleMixture(KERNEL, dist.InverseGamma(1.5, 2.5), noise_variance=NOISE)
    reference = stats.multivariate_t(np.zeros(15), 2.5 / 1.5 * (gram(x) + NOISE * np.eye(15)), df=3.0)
    assert float(mixture.log_marginal_likelihood(x, y)) == pytest.approx(reference.logpdf(y), abs=1e-10)
    assert float(mixture.prior(x).log_prob(y)) == pytest.approx(reference.logpdf(y), abs=1e-10)
    assert float(mixture.condition(x, y).log_marginal_likelihood) == pytest.approx(reference.logpdf(y), abs=1e-10)


@pytest.mark.parametrize(
    ("prior", "noise"),
    [
        pytest.param(dist.InverseGamma(1.5, 2.5), "inside", id="closed-inside"),
        pytest.param(BurrXII(2.0, 1.0), "inside", id="burr-inside"),
        pytest.param(1.7, "outside", id="fixed-outside"),
        pytest.param(1.7, "inside", id="fixed-inside", marks=pytest.mark.full),  # what a fixed scale makes of outside
        pytest.param(dist.InverseGamma(1.5, 2.5), "outside", id="closed-outside", marks=pytest.mark.slow),
        pytest.param(BurrXII(2.0, 1.0), "outside", id="burr-outside", marks=pytest.mark.slow),
    ],
)
def test_predictive_density_is_joint_minus_marginal(prior, noise):
    """Noisy responses at the data and at the new inputs, by two factorisations that share nothing."""
    x, y, x_new, y_new = data(15)
    mixture = nngp.ScaleMixture(KERNEL, prior, noise=noise, noise_variance=NOISE)
    both = mixture.log_marginal_likelihood(np.concatenate([x, x_new]), np.concatenate([y, y_new]))
    joint_minus_marginal = float(both - mixture.log_marginal_likelihood(x, y))
    posterior = mixture.condition(x, y)
    law = posterior.predict(x_new, include_noise=True)
    assert law.event_shape == (6,)
    assert float(law.log_prob(y_new)) == pytest.approx(joint_minus_marginal, abs=1e-10)
    one = mixture.log_marginal_likelihood(np.concatenate([x, x_new[:1]]), np.concatenate([y, y_new[:1]]))
    each = posterior.predict_each(x_new, include_noise=True)
    assert each.batch_shape == (6,)
    expected = float(one - mixture.log_marginal_likelihood(x, y))
    assert float(each.log_prob(y_new)[0]) == pytest.approx(expected, abs=1e-10)


@pytest.mark.smoke
def test_inverse_gamma_prediction_is_that_of_scipy():
    """MVT(joint) - MVT(marginal), both SciPy's."""
    x, y, x_new, y_new = data(12)
    alpha, beta = 2.0, 0.7
    full = beta / alpha * gram(np.concatenate([x, x_new]))
    joint = stats.multivariate_t(np.zeros(18), full, df=2 * alpha).logpdf(np.concatenate([y, y_new]))
    marginal = stats.multivariate_t(np.zeros(12), full[:12, :12], df=2 * alpha).logpdf(y)
    law = nngp.ScaleMixture(KERNEL, dist.InverseGamma(alpha, beta)).condition(x, y).predict(x_new)
    assert isinstance(law, MultivariateStudentT)
    assert float(law.df) == 2 * alpha + 12
    assert float(law.log_prob(y_new)) == pytest.approx(joint - marginal, abs=1e-10)


@pytest.mark.parametrize("size", [*(pytest.param(size, marks=pytest.mark.slow) for size in (1, 2, 30)), 400])
@pytest.mark.parametrize(("alpha", "beta"), [(0.05, 3.0), (0.5, 0.01), (300.0, 1000.0)])
def test_quadrature_is_the_closed_form(size, alpha, beta):
    x, y, x_new, y_new = data(size)
    closed = nngp.ScaleMixture(KERNEL, dist.InverseGamma(alpha, beta), noise_variance=NOISE).condition(x, y)
    integral = nngp.ScaleMixture(KERNEL, disguised(alpha, beta), noise_variance=NOISE).condition(x, y)
    assert isinstance(integral.scale, nngp.QuadratureScale)
    error = closed.log_marginal_likelihood - integral.log_marginal_likelihood
    assert abs(float(error)) < 1e-10 * max(1, size / 30)  # the evidence itself is in the hundreds there
    for one, other in [(closed.predict(x_new), integral.predict(x_new))] + [
        (closed.predict_each(x_new), integral.predict_each(x_new))
    ]:
        np.testing.assert_allclose(one.log_prob(y_new), other.log_prob(y_new), atol=1e-10 * max(1, size / 30))
        np.testing.assert_allclose(one.mean, other.mean, atol=1e-12)
    _same_law(closed.scale, integral.scale, alpha + size / 2)


def _same_law(closed, integral, shape):
    for name, exists in [("mean", shape > 1), ("variance", shape > 2)]:
        ours = float(getattr(integral, name))
        if shape == 1.05 and name == "mean":  # it exists, but its integrand falls like exp(-t / 20): that is said
            assert np.isnan(ours)
        else:
            assert ours == pytest.approx(float(getattr(closed, name)), rel=1e-9) if exists else np.isinf(ours)
    rate = float(closed.rate)
    s = stats.invgamma(shape, scale=rate).ppf([1e-6, 0.1, 0.5, 0.9, 0.999])
    np.testing.assert_allclose(integral.cdf(s), [1e-6, 0.1, 0.5, 0.9, 0.999], rtol=1e-8)
    np.testing.assert_allclose(integral.icdf(np.array([1e-6, 0.1, 0.5, 0.9, 0.999])), s, rtol=1e-8)
    np.testing.assert_allclose(integral.log_prob(s), stats.invgamma(shape, scale=rate).logpdf(s), rtol=1e-9, atol=1e-9)


@pytest.mark.slow
def test_quadrature_is_the_closed_form_for_thousands():
    x, y, *_ = data(4000)
    for alpha, beta in [(0.05, 3.0), (300.0, 1000.0)]:
        closed = nngp.ScaleMixture(KERNEL, dist.InverseGamma(alpha, beta), noise_variance=NOISE)
        integral = nngp.ScaleMixture(KERNEL, disguised(alpha, beta), noise_variance=NOISE)
        values = closed.log_marginal_likelihood(x, y), integral.log_marginal_likelihood(x, y)
        assert abs(float(values[0] - values[1])) < 1e-10 * abs(float(values[0])) ** 0.5


@pytest.mark.covering
@pytest.mark.parametrize("alpha", [1e9, 1e12])
@pytest.mark.parametrize("size", [15, 200])
def test_a_certain_scale_is_the_gaussian_process(size, alpha):
    x, y, x_new, y_new = data(size)
    certain = nngp.ScaleMixture(KERNEL, dist.InverseGamma(alpha, alpha), noise_variance=NOISE).condition(x, y)
    fixed = nngp.ScaleMixture(KERNEL, 1.0, noise_variance=NOISE).condition(x, y)
    reference = stats.multivariate_normal(np.zeros(size), gram(x) + NOISE * np.eye(size)).logpdf(y)
    assert float(fixed.log_marginal_likelihood) == pytest.approx(reference, abs=1e-8)
    tolerance = 1e-6 + size**2 / alpha
    assert float(certain.log_marginal_likelihood) == pytest.approx(reference, abs=tolerance)
    ours, theirs = certain.predict(x_new).log_prob(y_new), fixed.predict(x_new).log_prob(y_new)
    assert float(ours) == pytest.approx(float(theirs), abs=tolerance)


@pytest.mark.parametrize("noise", [pytest.param("inside", marks=pytest.mark.slow), "outside"])
@pytest.mark.parametrize(
    "prior",
    [dist.HalfCauchy(1.0), dist.LogNormal(0.0, 1.5), pytest.param(dist.Uniform(0.1, 3.0), marks=pytest.mark.slow)],
    ids=lambda prior: type(prior).__name__,
)
def test_any_law_against_a_brute_force_integral(prior, noise):
    x, y, *_ = data(8)
    mixture = nngp.ScaleMixture(KERNEL, prior, noise=noise, noise_variance=NOISE)
    t = np.linspace(-60, 60, 60_001)
    law = stats.multivariate_normal
    values, vectors = np.linalg.eigh(gram(x))
    projected = vectors.T @ y
    added = NOISE * np.exp(t)[:, None] if noise == "inside" else NOISE
    variances = np.exp(t)[:, None] * values + added
    log_likelihood = law(np.zeros(1), np.eye(1)).logpdf(0.0) * 8 - 0.5 * np.sum(
        np.log(variances) + projected**2 / variances, axis=1
    )
    inside = np.asarray(prior.support(jnp.exp(t)))
    density = np.where(inside, np.asarray(prior.log_prob(jnp.where(inside, jnp.exp(t), 1.0))), -np.inf)
    brute = np.log(np.sum(np.exp(log_likelihood + density + t)) * (t[1] - t[0]))
    tolerance = 1e-3 if isinstance(prior, dist.Uniform) else 1e-10  # brute force sees a jump
    assert float(mixture.log_marginal_likelihood(x, y)) == pytest.approx(brute, abs=tolerance)


def test_a_narrow_law_and_a_steep_likelihood_are_found():
    x, y, *_ = data(400)
    narrow = nngp.ScaleMixture(KERNEL, dist.LogNormal(1.0, 1e-5), noise="outside", noise_variance=NOISE)
    fixed = nngp.ScaleMixture(KERNEL, float(np.exp(1.0)), noise="outside", noise_variance=NOISE)
    ours, theirs = narrow.log_marginal_likelihood(x, y), fixed.log_marginal_likelihood(x, y)
    assert float(ours) == pytest.approx(float(theirs), abs=1e-5)


def test_without_noise_inside_and_outside_are_the_same():
    x, y, x_new, y_new = data(10)
    for prior in (dist.InverseGamma(2.0, 2.0), dist.HalfCauchy(1.0)):
        inside, outside = (
            nngp.ScaleMixture(KERNEL, prior, noise=noise).condition(x, y) for noise in ("inside", "outside")
        )
        assert float(inside.predict(x_new).log_prob(y_new)) == float(outside.predict(x_new).log_prob(y_new))


def test_the_function_is_known_at_noiseless_data():
    x, y, *_ = data(10)
    each = nngp.ScaleMixture(KERNEL, dist.HalfCauchy(1.0)).condition(x, y).predict_each(x)
    np.testing.assert_allclose(each.mean, y, atol=1e-8)
    assert float(jnp.max(each.variance)) < 1e-10


@pytest.mark.parametrize("noise", [pytest.param("inside", marks=pytest.mark.slow), "outside"])
def test_each_is_the_diagonal_of_the_joint_law_and_blocks_change_nothing(noise):
    x, y, x_new, _ = data(20)
    for prior in (dist.HalfCauchy(1.0), 2.0):
        posterior = nngp.ScaleMixture(KERNEL, prior, noise=noise, noise_variance=NOISE).condition(x, y)
        for include_noise in (False, True):
            joint = posterior.predict(x_new, include_noise=include_noise)
            each = posterior.predict_each(x_new, include_noise=include_noise)
            np.testing.assert_allclose(joint.mean, each.mean, rtol=1e-10)
            np.testing.assert_allclose(joint.variance, each.variance, rtol=1e-9)
    many = posterior.predict_each(np.tile(x_new, (400, 1)))  # 2,400 points: three blocks
    np.testing.assert_allclose(many.variance, np.tile(posterior.predict_each(x_new).variance, 400), rtol=1e-10)


@pytest.mark.parametrize(
    ("prior", "noise"),
    [
        pytest.param(dist.InverseGamma(2.0, 2.0), "inside", marks=pytest.mark.slow),
        pytest.param(dist.LogNormal(0.0, 0.5), "inside", marks=pytest.mark.slow),
        pytest.param(dist.LogNormal(0.0, 0.5), "outside", marks=pytest.mark.slow),
    ],
)
def test_draws_have_the_moments_that_the_law_has(prior, noise):
    x, y, x_new, _ = data(20)
    mixture = nngp.ScaleMixture(KERNEL, prior, noise=noise, noise_variance=NOISE)
    posterior = mixture.condition(x, y)
    laws = [mixture.prior(x_new), posterior.predict(x_new), posterior.predict_each(x_new)]
    for law in laws:
        draws = np.asarray(law.sample(jax.random.key(0), (NUM,)))
        error = draws.std(axis=0) / NUM**0.5
        assert (np.abs(draws.mean(axis=0) - law.mean) < 4 * error).all()
        spread = np.std((draws - law.mean) ** 2, axis=0) / NUM**0.5
        assert (np.abs(((draws - law.mean) ** 2).mean(axis=0) - law.variance) < 4 * spread).all()
    scales = np.asarray(posterior.scale.sample(jax.random.key(1), (NUM,)))
    assert stats.kstest(np.asarray(posterior.scale.cdf(scales)), stats.uniform.cdf).pvalue > 1e-3


def test_prior_draws_share_their_scale():
    """Far apart, the responses are uncorrelated but not independent: their tails come together."""
    far = np.array([[0.0], [1e6]])
    mixture = nngp.ScaleMixture(kernels.ExpSquared(1.0), dist.InverseGamma(2.0, 2.0))
    draws = np.abs(np.asarray(mixture.prior(far).sample(jax.random.key(0), (50_000,))))
    share, truth = np.mean((draws > 5).all(axis=1)), 1.2963e-3
    assert abs(share - truth) < 4 * (truth / 50_000) ** 0.5


def test_distribution_functions_of_numbers():
    x, y, x_new, _ = data(20)
    for noise in ("inside", "outside"):
        each = nngp.ScaleMixture(KERNEL, dist.HalfCauchy(1.0), noise=noise, noise_variance=NOISE)
        law = each.condition(x, y).predict_each(x_new)
        v = jnp.linspace(-3.0, 3.0, 7)[:, None] * jnp.ones(6)

        @jax.jit
        def both(law, v):
            return jax.jvp(law.cdf, (v,), (jnp.ones_like(v),)), law.log_prob(v[:-1])

        (mass, slopes), densities = both(law, jnp.concatenate([v, jnp.full((1, 6), 1e6)]))
        np.testing.assert_allclose(slopes[:-1], np.exp(densities), rtol=1e-7)
        np.testing.assert_allclose(mass[-1], 1.0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 12])
def test_every_draw_of_a_prediction_has_a_density(size):
    """With noise outside the density is a sum that checks itself: it must pass for what the law itself draws."""
    x, y, x_new, _ = data(size)
    for prior in (dist.HalfCauchy(1.0), BurrXII(2.0, 3.0)):
        posterior = nngp.ScaleMixture(KERNEL, prior, noise="outside", noise_variance=NOISE).condition(x, y)
        for law in (posterior.predict(x_new), posterior.predict_each(x_new)):
            draws = law.sample(jax.random.key(0), (200,))
            assert jnp.isfinite(law.log_prob(draws)).all()
