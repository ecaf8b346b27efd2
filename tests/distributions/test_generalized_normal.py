"""`GeneralizedNormal` against SciPy, numbers of 60 digits, its Fisher information and its special cases."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from numpyro.distributions import constraints
from scipy import integrate, optimize, special, stats

from bayeskit.distributions import GeneralizedNormal
from bayeskit.errors import ModelError

POWERS = [0.2, 0.5, 1.0, 1.5, 2.0, 4.0, 20.0]
X = np.array([-1e3, -30, -7, -3, -1.3, -1, -0.5, -1e-3, -1e-9, 0, 1e-9, 1e-3, 0.2, 1, 1.1, 2, 8, 100])
MASS = np.array([1e-100, 1e-12, 1e-4, 0.1, 0.3, 0.49999, 0.5, 0.5001, 0.7, 0.9, 1 - 1e-9])


def standard(power):
    return GeneralizedNormal(0.0, 1.0, power)


@jax.jit
def rules(power):
    law = standard(power)
    functions = law.log_prob(X), law.cdf(X), law.log_cdf(X), law.log_survival(X), law.icdf(MASS)
    return functions, (law.entropy(), law.variance, law.kurtosis)


@pytest.mark.parametrize("power", POWERS)
def test_against_scipy(power):
    (log_prob, below, log_below, log_above, at), (entropy, variance, _) = rules(power)
    reference = stats.gennorm(power)
    close = partial(np.testing.assert_allclose, rtol=1e-12)
    is_number = reference.cdf(X) > 1e-290
    close(log_prob, reference.logpdf(X))
    close(below[is_number], reference.cdf(X)[is_number])
    close(log_below[is_number], reference.logcdf(X)[is_number], atol=1e-15)
    close(log_above[is_number[::-1]], reference.logsf(X)[is_number[::-1]], atol=1e-15)
    close(at, reference.ppf(MASS))
    close(entropy, reference.entropy())
    close(variance, reference.var())


FAR = {  # by U(1 - a, 1 - a, z) with 60 digits
    (0.2, 1e18): -3951.7846761998548,
    (0.5, 1e8): -9991.4827068135834,
    (1.5, 500.0): -11184.443518814996,
    (2.0, 50.0): -2505.1777350290113,
    (4.0, 12.0): -20745.435925821205,
    (20.0, 1.6): -12101.850370056159,
}


def test_far_tails_whose_mass_is_no_number():
    power, x = (np.array(column) for column in zip(*FAR, strict=True))
    law = GeneralizedNormal(0.5, 3.0, power)
    tails = jax.jit(lambda law: (law.log_survival(0.5 + 3 * x), law.log_cdf(0.5 - 3 * x)))
    np.testing.assert_allclose(tails(law), [list(FAR.values())] * 2, rtol=1e-12)
    with jax.enable_x64(False):
        found = tails(GeneralizedNormal(0.5, 3.0, power))
    assert found[0].dtype == jnp.float32
    np.testing.assert_allclose(found, [list(FAR.values())] * 2, rtol=1e-4)


@pytest.mark.parametrize(
    ("power", "variance", "kurtosis"),
    [(0.5, 120, 22.2), (1.0, 2, 3), (1.5, 0.7385, 0.762), (2.0, 0.5, 0), (4.0, 0.338, -0.812)],
)
def test_moments(power, variance, kurtosis):
    _, (_, found_variance, found_kurtosis) = rules(power)
    assert found_variance == pytest.approx(variance, abs=1e-3)
    assert found_kurtosis == pytest.approx(kurtosis, abs=1e-3)
    np.testing.assert_allclose(found_kurtosis, stats.gennorm(power).stats("k"), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(
    ("power", "other"),
    [(1.0, dist.Laplace(0.3, 0.7)), (2.0, dist.Normal(0.3, 0.7 / np.sqrt(2)))],
    ids=["Laplace", "normal"],
)
def test_special_cases(power, other):
    law = GeneralizedNormal(0.3, 0.7, power)
    x = np.linspace(-3.0, 4.0, 30)
    log_prob, below, again = jax.jit(lambda law: (law.log_prob(x), law.cdf(x), law.icdf(law.cdf(x))))(law)
    np.testing.assert_allclose(log_prob, other.log_prob(x), rtol=1e-13)
    np.testing.assert_allclose(below, other.cdf(x), rtol=1e-12)
    np.testing.assert_allclose(again[x < 1], x[x < 1], rtol=1e-12)  # far above, masses near one have lost it
    of_law, of_other = ([each.mean, each.variance, each.entropy()] for each in (law, other))
    np.testing.assert_allclose(of_law, of_other, rtol=1e-13)
    assert law.mode == 0.3


# ---------------------------------------------------------------- derivatives

RULES = {
    "log_prob": lambda x, *parameters: GeneralizedNormal(*parameters).log_prob(x),
    "cdf": lambda x, *parameters: GeneralizedNormal(*parameters).cdf(x),
    "log_cdf": lambda x, *parameters: GeneralizedNormal(*parameters).log_cdf(x),
    "log_survival": lambda x, *parameters: GeneralizedNormal(*parameters).log_survival(x),
    "entropy": lambda x, *parameters: GeneralizedNormal(*parameters).entropy() + 0 * x,
}


def everything(*arguments):
    return {name: rule(*arguments) for name, rule in RULES.items()}


slopes = jax.jit(jax.vmap(jax.jacfwd(everything, (0, 1, 2, 3))))
slopes_of_quantile = jax.jit(
    jax.vmap(jax.grad(lambda q, *parameters: GeneralizedNormal(*parameters).icdf(q), argnums=(0, 1, 2, 3)))
)


def columns(*values):
    return tuple(np.array(column) for column in zip(*itertools.product(*values), strict=True))


def test_no_derivative_is_infinite_in_single_precision():
    x = [-1e30, -1e6, -100.0, -1.0, -1e-3, -1e-20, 0.0, 1e-38, 1e-20, 1e-3, 1.0, 30.0, 1e10, 1e38]
    powers = [0.1, 0.3, 0.7, 1.0, 1.5, 2.0, 5.0, 20.0]
    points = columns(x, [0.0], [1e-3, 1.0, 50.0, 1e3], powers)
    quantiles = columns([1e-30, 1e-6, 0.1, 0.49, 0.5, 0.500001, 0.7, 0.9999999], [0.0], [1e-3, 1.0, 1e3], powers)
    with jax.enable_x64(False):
        # backwards, where what is not chosen counts too
        reverse = jax.jit(jax.vmap(lambda *each: {name: jax.grad(RULES[name], (0, 1, 2, 3))(*each) for name in RULES}))
        found = reverse(*(jnp.float32(column) for column in points))
        found["icdf"] = slopes_of_quantile(*(jnp.float32(column) for column in quantiles))
        law = GeneralizedNormal(0.0, 1.0, np.float32(powers))
        total = jax.jit(jax.grad(lambda law: law.sample(jax.random.key(0), (5000,)).sum()))
        found["sample"] = total(law)
    for name, each in found.items():
        for leaf in jax.tree.leaves(each):
            assert leaf.dtype == jnp.float32
            assert np.isfinite(leaf).all(), name


def test_derivatives_are_those_of_the_functions():
    points = columns([-8.0, -2.0, -0.3, -1e-3, 0.4, 1.2, 3.0], [0.1], [0.5, 1.3], [0.1, 0.3, 0.7, 1.1, 2.0, 5.0])
    found = slopes(*points)
    values = jax.jit(jax.vmap(everything))
    for position in range(4):
        moved = [[column + sign * (place == position) for place, column in enumerate(points)] for sign in (1e-6, -1e-6)]
        up, down = (values(*each) for each in moved)
        for name in RULES:
            difference = (up[name] - down[name]) / 2e-6
            np.testing.assert_allclose(found[name][position], difference, rtol=1e-7, atol=1e-7)


def test_derivatives_of_quantiles_are_those_of_the_inverse():
    points = columns([1e-3, 0.1, 0.49, 0.501, 0.7, 0.9, 0.99], [0.2], [0.1, 5.0], [0.1, 0.3, 0.7, 1.0, 2.0, 20.0])
    at = jax.jit(jax.vmap(lambda q, *parameters: GeneralizedNormal(*parameters).icdf(q)))(*points)
    of_cdf = slopes(at, *points[1:])["cdf"]
    found = slopes_of_quantile(*points)
    np.testing.assert_allclose(found[0], 1 / of_cdf[0], rtol=1e-10)
    for position in (1, 2, 3):
        np.testing.assert_allclose(found[position], -of_cdf[position] / of_cdf[0], rtol=1e-9, atol=1e-12)


def test_where_a_value_is_the_location():
    """The log density has no slope there for powers up to one: it is the middle of both sides. The rest is smooth."""
    powers = np.array([0.1, 0.5, 1.0, 2.0, 20.0])
    found = slopes(*(np.resize(item, 84) for item in (0.3, 0.3, 2.0, powers)))
    found = {name: [leaf[:5] for leaf in each] for name, each in found.items()}
    assert not np.any([found["log_prob"][0], found["log_prob"][1]])
    density = np.exp(GeneralizedNormal(0.3, 2.0, powers).log_prob(0.3))
    np.testing.assert_allclose(found["cdf"][0], density, rtol=1e-13)
    np.testing.assert_allclose(found["log_survival"][0], -2 * density, rtol=1e-13)
    assert not np.any([found["cdf"][2], found["cdf"][3]])


def test_second_derivatives_of_a_censored_observation():
    """Newton's method and Laplace's approximation need them."""

    @jax.jit
    def both(parameters):
        def total(parameters):
            return GeneralizedNormal(parameters[0], parameters[1], parameters[2]).log_survival(X[4:]).sum()

        steps = 1e-5 * jnp.eye(3)
        difference = jax.vmap(lambda step: jax.grad(total)(parameters + step) - jax.grad(total)(parameters - step))
        return jax.hessian(total)(parameters), difference(steps) / 2e-5

    np.testing.assert_allclose(*both(jnp.array([0.1, 0.8, 1.4])), rtol=1e-6, atol=1e-6)


# ---------------------------------------------------------------- draws

NUM = 100_000


@pytest.mark.parametrize(("precise", "num"), [(True, NUM // 10), (False, NUM)], ids=["double", "single"])
def test_draws_have_the_distribution_function(precise, num):
    powers = np.array([0.1, 0.5, 20.0] if num == NUM else [0.1, 0.5, 1.5, 20.0])
    with jax.enable_x64(precise):
        law = GeneralizedNormal(1.0, 2.0, powers)
        draws = np.asarray(jax.jit(lambda law: law.sample(jax.random.key(0), (num,)))(law))
    assert draws.dtype == (np.float64 if precise else np.float32)
    for power, column in zip(powers, draws.T, strict=True):
        assert stats.kstest(column, stats.gennorm(power, 1.0, 2.0).cdf).pvalue > 1e-4


def test_pathwise_derivatives_are_those_of_the_moments():
    def squares(parameters):
        loc, scale, power = parameters
        return GeneralizedNormal(loc, scale, power).sample(jax.random.key(1), (NUM // 8,)) ** 2

    parameters = jnp.array([0.4, 1.0, 1.5])
    by_draw = np.asarray(jax.jit(jax.jacfwd(squares))(parameters))
    exact = jax.jit(jax.grad(lambda p: GeneralizedNormal(p[0], p[1], p[2]).variance + p[0] ** 2))(parameters)
    assert exact[2] == pytest.approx(-0.849, abs=5e-4)
    assert np.abs((by_draw.mean(0) - exact) / (by_draw.std(0) / np.sqrt(len(by_draw)))).max() < 4


def test_draws_move_along_their_quantile():
    @jax.jit
    def both(power):
        def draw(power):
            return standard(power).sample(jax.random.key(2), (1000,))

        draws, move = jax.jvp(draw, (power,), (1.0,))
        by_power = jax.jvp(lambda power: standard(power).cdf(draws), (power,), (1.0,))[1]
        return move, -by_power / jnp.exp(standard(power).log_prob(draws))

    for power in (0.1, 1.0, 20.0):
        np.testing.assert_allclose(*both(power), rtol=1e-8, atol=1e-10)


# ---------------------------------------------------------------- likelihood


@partial(jax.jit, static_argnums=0)
def minimised(loss, start, data):
    """By Newton's steps, downhill and no longer than 0.7."""

    def step(_, at):
        curvatures, axes = jnp.linalg.eigh(jax.hessian(loss)(at, data))
        move = axes @ (axes.T @ jax.grad(loss)(at, data) / jnp.maximum(jnp.abs(curvatures), 1e-3))
        return at - move * jnp.minimum(1.0, 0.7 / jnp.max(jnp.abs(move)))

    return jax.lax.fori_loop(0, 10, step, start)


def negative_log_likelihood(logs, data):
    return -GeneralizedNormal(0.0, jnp.exp(logs[1]), jnp.exp(logs[0])).log_prob(data).mean()


def without_the_power(log_power, data):
    """The error: the distance is multiplied by the power, not raised to it. The scale is one."""
    power = jnp.exp(log_power[0])
    return (jnp.abs(data) * power).mean() - log_power[0] + jax.scipy.special.gammaln(1 / power)


def information(power):
    """Of scale and power, at scale one; the mean of minus the second derivatives of the log density."""
    a, psi, of_trigamma = 1 / power, special.digamma(1 / power + 1), special.polygamma(1, [1 / power, 1 / power + 1])
    of_both = -a * (1 + psi)
    log_gamma = of_trigamma[0] * a**4 + 2 * special.digamma(a) * a**3
    of_power = a**3 * (of_trigamma[1] + psi**2) + a**2 + log_gamma
    return np.array([[power, of_both], [of_both, of_power]])


@pytest.mark.parametrize("power", [0.5, 1.0, 1.5, 2.0, 4.0])
def test_maximum_likelihood_finds_scale_and_power(power):
    data = stats.gennorm(power).rvs(NUM, random_state=1)
    start = jnp.array([0.0, np.log(np.abs(data).mean())])
    found, scale = np.exp(minimised(negative_log_likelihood, start, data))
    errors = np.sqrt(np.diag(np.linalg.inv(information(power))) / NUM)
    assert abs(scale - 1) < 3 * errors[0]
    assert abs(found - power) < 3 * errors[1]


@pytest.mark.parametrize(("power", "wrong"), [(0.5, 0.42), (1.0, 0.77), (1.5, 0.88), (2.0, 0.92)])
def test_a_product_in_place_of_a_power_gives_another_shape(power, wrong):
    """With scale one in the data and in the loss; it would be found from the mean distance alone."""
    data = stats.gennorm(power).rvs(NUM, random_state=1)
    found = float(jnp.exp(minimised(without_the_power, jnp.zeros(1), data))[0])
    assert found == pytest.approx(wrong, abs=0.006)
    assert abs(found - power) > 0.07


def location_information(power):
    return power**2 * special.gamma(2 - 1 / power) / special.gamma(1 / power)


EFFICIENCY = {0.7: 8.45, 0.8: 4.22, 1.0: 2.00, 1.5: 1.096, 2.0: 1.0, 3.0: 1.13, 4.0: 1.37}


def test_how_much_better_than_the_mean_its_location_is():
    power = np.array(list(EFFICIENCY))
    ratio = standard(power).variance * location_information(power)
    np.testing.assert_allclose(ratio, list(EFFICIENCY.values()), rtol=0.01)
    # the information is the mean squared slope; at nodes that are dense where it is steep
    smooth = power[power >= 1]
    log_z, width = np.linspace(-40.0, 4.5, 1000, retstep=True)

    @jax.jit
    def squared_slope(smooth):
        x = jnp.exp(log_z[:, None] / smooth)
        slope = jax.grad(lambda x: standard(smooth).log_prob(x).sum())(x)
        return (2 * jnp.exp(standard(smooth).log_prob(x)) * slope**2 * x / smooth * width).sum(0)

    np.testing.assert_allclose(squared_slope(smooth), location_information(smooth), rtol=1e-6)


@pytest.mark.parametrize("power", [1.5, 3.0])
def test_simulated_locations_are_as_good(power):
    draws = stats.gennorm(power).rvs((4000, 200), random_state=3)

    @jax.jit
    def locations(draws):
        by_loc = jax.grad(lambda loc: GeneralizedNormal(loc[:, None], 1.0, power).log_prob(draws).sum())
        step = 1 / (draws.shape[1] * location_information(power))
        return jax.lax.fori_loop(0, 8, lambda _, loc: loc + step * by_loc(loc), draws.mean(1))

    ratio = draws.mean(1).var() / np.var(locations(draws))
    assert ratio == pytest.approx(EFFICIENCY[power], rel=0.05)


# ---------------------------------------------------------------- divergence


def test_divergence_of_one_location_is_closed():
    p, q = GeneralizedNormal(1.0, 2.0, 1.5), GeneralizedNormal(1.0, 0.7, np.array([0.5, 1.5, 3.0]))
    order = np.asarray(q.power)
    moment = (2.0 / 0.7) ** order * special.gamma((order + 1) / 1.5) / special.gamma(1 / 1.5)
    exact = moment + np.log(1.4 * special.gamma(1 + 1 / order)) - p.entropy()
    np.testing.assert_allclose(dist.kl_divergence(p, q), exact, rtol=1e-12)
    assert dist.kl_divergence(p, p) == pytest.approx(0.0, abs=1e-14)


def test_divergence_of_normal_laws():
    scales = np.array([0.5, 1.0, 3.0])
    p, q = GeneralizedNormal(0.0, scales, 2.0), GeneralizedNormal(np.array([1e-4, 1.0, -40.0]), 1.0, 2.0)
    normal = dist.kl_divergence(*(dist.Normal(law.loc, law.scale / np.sqrt(2)) for law in (p, q)))
    np.testing.assert_allclose(dist.kl_divergence(p, q), normal, rtol=1e-12)
    together = dist.kl_divergence(p.to_event(1), q.to_event(1))
    np.testing.assert_allclose(together, normal.sum(), rtol=1e-12)


@pytest.mark.parametrize(("power", "other", "loc"), [(1.0, 3.0, 0.4), (3.0, 0.5, -1.0), (1.3, 0.9, 5.0)])
def test_divergence_of_other_locations(power, other, loc):
    p, q = GeneralizedNormal(loc, 1.2, power), GeneralizedNormal(0.0, 0.8, other)
    mine, its = stats.gennorm(power, loc, 1.2), stats.gennorm(other, 0.0, 0.8)

    def integrand(x):
        return mine.pdf(x) * (mine.logpdf(x) - its.logpdf(x))

    exact, _ = integrate.quad(integrand, loc - 40, loc + 40, points=[0.0, loc], limit=500, epsabs=1e-11)
    assert dist.kl_divergence(p, q) == pytest.approx(exact, rel=1e-8)


@jax.jit
def divergence_and_slopes(parameters):
    def divergence(parameters):
        p, q = parameters
        return dist.kl_divergence(GeneralizedNormal(*p), GeneralizedNormal(*q))

    return divergence(parameters), jax.grad(divergence)(parameters)


def test_divergence_has_slopes():
    """One break of the integral lies on another here, and the kink of the energy on the mode."""
    there = np.array([[1.0, 1.0, 2.0], [0.0, 1.0, 1.5]])
    _, slopes = divergence_and_slopes(there)
    numerical = optimize.approx_fprime(there.ravel(), lambda p: divergence_and_slopes(p.reshape(2, 3))[0], 1e-7)
    np.testing.assert_allclose(slopes.ravel(), numerical, atol=1e-5)
    value, slopes = divergence_and_slopes(np.array([[0.3, 1.0, 1.5], [0.3, 1.0, 1.5]]))
    assert value == pytest.approx(0.0, abs=1e-14)
    np.testing.assert_allclose(slopes, 0.0, atol=1e-12)


# ---------------------------------------------------------------- NaN


def test_nan_stays_nan():
    """In a compiled program nothing else tells."""

    @jax.jit
    def of_each(bad):
        laws = [
            GeneralizedNormal(*row, validate_args=False) for row in ((bad, 1.0, 1.5), (0.0, bad, 1.5), (0.0, 1.0, bad))
        ]
        good = GeneralizedNormal(0.0, 1.0, 1.5, validate_args=False)
        found = [good.log_prob(bad), jax.grad(good.log_prob)(bad), good.cdf(bad), good.icdf(bad)]
        for law in laws:
            found += [law.log_prob(0.0), law.log_prob(1.0), law.cdf(0.7), law.icdf(0.3)]
            found += [dist.kl_divergence(law, good), dist.kl_divergence(good, law)]
        return jnp.stack([*found, laws[2].icdf(0.5), laws[2].icdf(1.0)])

    assert np.isnan(of_each(jnp.nan)).all()
    assert np.isfinite(of_each(0.4)[:-1]).all()


# ---------------------------------------------------------------- a distribution of NumPyro


def test_batches_and_constraints():
    law = GeneralizedNormal(np.zeros((3, 1)), 1, np.arange(1, 3))
    assert law.batch_shape == (3, 2)
    assert law.shape((4,)) == (4, 3, 2)
    assert law.support is constraints.real
    assert law.has_rsample
    q = np.array([0.1, 0.5])[:, None, None]
    draws, at, *moments = jax.eval_shape(
        lambda: (law.sample(jax.random.key(0), (4,)), law.icdf(q), law.mean, law.variance, law.kurtosis, law.entropy())
    )
    assert draws.shape == (4, 3, 2)
    assert at.shape == (2, 3, 2)
    assert {moment.shape for moment in moments} == {(3, 2)}
    mapped = jax.vmap(lambda law: law.log_prob(0.3))(GeneralizedNormal(np.zeros(2), np.ones(2), np.ones(2)))
    np.testing.assert_allclose(mapped, -0.3 - np.log(2), rtol=1e-14)


def test_the_ends_of_what_is_allowed():
    both = jax.jit(lambda power, x: (standard(power).log_prob(x), standard(power).cdf(x)))
    log_prob, below = both(1.5, np.array([-np.inf, 0.0, np.inf]))
    np.testing.assert_array_equal(log_prob[::2], -np.inf)
    np.testing.assert_array_equal(below, [0.0, 0.5, 1.0])
    at = jax.jit(lambda q: standard(1.5).icdf(q))(np.array([0.0, 1.0, 1.5, -0.5]))
    np.testing.assert_array_equal(at, [-np.inf, np.inf, np.nan, np.nan])
    log_prob, below = both(0.005, np.ones(3))
    assert np.isfinite(log_prob).all()
    assert np.isnan(below).all()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ((np.nan, 1.0, 1.0), "GeneralizedNormal distribution got invalid loc parameter."),
        ((0.0, 0.0, 1.0), "GeneralizedNormal distribution got invalid scale parameter."),
        ((0.0, np.nan, 1.0), "GeneralizedNormal distribution got invalid scale parameter."),
        ((0.0, 1.0, np.array([1.0, -2.0])), "GeneralizedNormal distribution got invalid power parameter."),
        ((0.0, 1.0, np.nan), "GeneralizedNormal distribution got invalid power parameter."),
    ],
)
def test_bad_parameters(parameters, message):
    with pytest.raises(ValueError) as caught:
        GeneralizedNormal(*parameters, validate_args=True)
    assert str(caught.value) == message


def test_shapes_that_do_not_broadcast():
    with pytest.raises(ModelError) as caught:
        GeneralizedNormal(np.zeros(2), 1.0, np.ones(3))
    assert str(caught.value) == "loc, scale and power must broadcast, got shapes (2,), () and (3,)"


@pytest.mark.parametrize(("scale", "power"), [(-1.0, 1.5), (0.0, 1.5), (1.0, -1.5), (1.0, 0.0)])
def test_impossible_parameters_of_a_trace_are_nan_throughout(scale, power):
    @jax.jit
    def everything(scale, power):
        law = GeneralizedNormal(0.0, scale, power)
        draw = law.sample(jax.random.key(0))
        of_value = (law.log_prob(0.0), law.log_prob(1.0), law.cdf(1.0), law.log_cdf(-1.0), law.log_survival(1.0))
        return *of_value, law.icdf(0.3), draw, law.variance, law.entropy()

    assert np.isnan(np.array(everything(scale, power))).all()
