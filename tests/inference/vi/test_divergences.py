"""Divergences as objectives: value and gradient against quadrature and enumeration."""

import itertools
import math
from decimal import Decimal, localcontext

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy import stats

import bayeskit as bk
from bayeskit.inference.vi.objectives.csiszar import FUNCTIONS, POWERS, dual_of

FORMULAS = {  # f(u), with a log and constants of its own type, and the power
    "kl_forward": (lambda u, log, _: u * log(u) - (u - 1), None),
    "kl_reverse": (lambda u, log, _: -log(u) + (u - 1), None),
    "jeffreys": (lambda u, log, _: (u - 1) * log(u) / 2, None),
    "jensen_shannon": (lambda u, log, _: u * log(u) - (1 + u) * log((1 + u) / 2), None),
    "arithmetic_geometric": (lambda u, log, n: (1 + u) * log((1 + u) / (2 * u ** n("0.5"))), None),
    "total_variation": (lambda u, *_: abs(u - 1) / 2, None),
    "pearson": (lambda u, *_: (u - 1) ** 2, None),
    "chi_square": (lambda u, *_: u**2 - 1, None),
    "squared_hellinger": (lambda u, _, n: (u ** n("0.5") - 1) ** 2, None),
    "triangular": (lambda u, *_: (u - 1) ** 2 / (u + 1), None),
    "log1p_abs": (lambda u, *_: (u + 1 / u + abs(u - 1 / u)) / 2 - 1, None),
    "modified_gan": (lambda u, log, _: log(1 + u) - log(u) + (u - 1) / 2, None),
    "amari_alpha": (lambda u, _, n: ((u ** n("0.4") - 1) - n("0.4") * (u - 1)) / (n("0.4") * n("-0.6")), 0.4),
    "t_power": (lambda u, _, n: -(u ** n("0.3") - 1 - n("0.3") * (u - 1)), 0.3),
}


def f_of(name, u, log=jnp.log):
    return FORMULAS[name][0](u, log, float)


def some(rows, default):
    """By default the rows of some functions: `test_functions_of_very_uneven_weights` has value and slope of all."""
    return [
        pytest.param(*row if isinstance(row, tuple) else [row], marks=() if row in default else pytest.mark.full)
        for row in rows
    ]


by_function = pytest.mark.parametrize("name", FORMULAS)
POINT = jnp.array([0.5, -0.25, 0.1])  # mean and log scale of the guide, mean of the prior
GRID = jnp.linspace(-6.0, 7.0, 521)
STEP = GRID[1] - GRID[0]


def sample(name, distribution, estimator=None, **given):
    return numpyro.sample(name, distribution, infer={} if estimator is None else {"estimator": estimator}, **given)


def model(p):
    def run():
        z = sample("z", dist.Normal(p[2], 1.0))
        sample("x", dist.Normal(z, 1.0), obs=1.2)

    return run


def guide(p, estimator=None):
    return lambda: sample("z", dist.Normal(p[0], jnp.exp(p[1])), estimator)


def posterior(mean=0.0):
    return lambda: sample("z", dist.Normal((mean + 1.2) / 2, 0.5**0.5))


def log_densities(p):
    """Of the model (not normalised) and of the guide, on the grid."""
    log_p = dist.Normal(p[2], 1.0).log_prob(GRID) + dist.Normal(GRID, 1.0).log_prob(1.2)
    return log_p, dist.Normal(p[0], jnp.exp(p[1])).log_prob(GRID)


def mean_of_two(number, p, *, fixed):
    """Of ``number(log_p, log_q, log_r)`` over all pairs of values, those having shape `(2, grid, grid)`.

    The density of the pairs is differentiated, or the gradient is that of the number alone where they are held fixed.
    """
    log_p, log_q = log_densities(p)
    log_r = jax.lax.stop_gradient(log_q) if fixed else log_q
    pairs = [jnp.stack(jnp.broadcast_arrays(log[:, None], log)) for log in (log_p, log_q, log_r)]
    return jnp.sum(jnp.exp(pairs[2].sum(0)) * number(*pairs)) * STEP**2


# ---------------------------------------------------------------- f-divergences


def of(name, num, **settings):
    return bk.objectives.FDivergence(name, num, power=FORMULAS[name][1], **settings)


@pytest.mark.parametrize(
    ("name", "dual"),
    some([*((name, False) for name in FORMULAS), ("t_power", True)], [("jensen_shannon", False), ("t_power", True)]),
)
def test_f_divergence_of_unnormalised_weights(estimate, name, dual):
    def truth(p):
        log_p, log_q = log_densities(p)
        u = jnp.exp(log_p - log_q)
        return -jnp.sum(jnp.exp(log_q) * (u * f_of(name, 1 / u) if dual else f_of(name, u))) * STEP

    value, gradient = jax.jit(jax.value_and_grad(truth))(POINT)
    found = estimate(lambda p: of(name, 3, dual=dual, self_normalized=False)(model(p), guide(p)), POINT, n=10_000)
    size = 1.0 + abs(value)
    found.check(value, gradient, value_error=0.01 * size, gradient_error=0.04 * size)


@pytest.mark.parametrize("name", some(FORMULAS, {"kl_forward", "total_variation"}))
def test_f_divergence_of_two_self_normalised_weights(estimate, name):
    def number(log_p, log_q, log_r):
        del log_r
        w = jnp.exp(log_p - log_q)
        return -jnp.mean(f_of(name, w / jnp.mean(w, 0)), 0)

    value, gradient = jax.jit(jax.value_and_grad(lambda p: mean_of_two(number, p, fixed=False)))(POINT)
    found = estimate(lambda p: of(name, 2)(model(p), guide(p)), POINT, n=10_000)
    found.check(value, gradient, value_error=0.01, gradient_error=0.03)


@pytest.mark.parametrize(
    ("estimator", "self_normalized"),
    [
        (bk.estimators.Score(), True),
        (bk.estimators.Enumeration(), False),
        *(
            pytest.param(estimator, self_normalized, marks=pytest.mark.full)
            for estimator, self_normalized in [
                (bk.estimators.Score(), False),
                (bk.estimators.Enumeration(), True),
                (bk.estimators.MeasureValued(), False),
                (bk.estimators.MeasureValued(), True),
            ]
        ),
    ],
    ids=repr,
)
def test_f_divergence_of_a_coin(estimate, estimator, self_normalized):
    def coin_model():
        z = sample("z", dist.Bernoulli(0.3))
        sample("x", dist.Normal(2.0 * z, 1.0), obs=0.8)

    joint = np.array([0.7, 0.3]) * stats.norm([0.0, 2.0], 1.0).pdf(0.8)

    def truth(q):
        probabilities = np.stack([1 - q, q])
        total = 0.0
        for pair in itertools.product((0, 1), repeat=2):
            u = np.stack([joint[i] / probabilities[i] for i in pair])
            u = u / u.mean() if self_normalized else u
            total -= probabilities[pair[0]] * probabilities[pair[1]] * np.mean(f_of("jensen_shannon", u, np.log))
        return total

    objective = bk.objectives.FDivergence("jensen_shannon", 2, self_normalized=self_normalized)
    found = estimate(lambda q: objective(coin_model, lambda: sample("z", dist.Bernoulli(q), estimator)), 0.4)
    exact = estimator == bk.estimators.Enumeration()
    found.check_against(truth, 0.4, value_error=0.0 if exact else 0.005, gradient_error=0.0 if exact else 0.02)


def test_f_divergence_of_the_users_own(estimate):
    """Given as a function of log u, the dual of its divergence is that of the name; so is the divergence itself."""
    own = lambda log_u: jnp.exp(log_u) * log_u - jnp.expm1(log_u)  # noqa: E731
    pair = (bk.objectives.FDivergence(function, 3, dual=True) for function in (own, "kl_forward"))
    first, second = (estimate(lambda p, o=o: o(model(p), guide(p)), POINT, n=20) for o in pair)
    np.testing.assert_allclose(first.values, second.values, atol=1e-12)
    np.testing.assert_allclose(first.gradients, second.gradients, atol=1e-12)
    plain = [bk.objectives.FDivergence(function, 3).f for function in (own, "kl_forward")]
    np.testing.assert_allclose(*jax.jit(lambda log_u: [f(log_u) for f in plain])(np.linspace(-4.0, 4.0, 9)), atol=1e-12)


EVERY = [(name, *pair) for name, pair in FUNCTIONS.items()]
EVERY += [("amari_alpha", POWERS["amari_alpha"](a), POWERS["amari_alpha"](1 - a)) for a in (-1.0, 0.0, 0.4, 2.0)]
EVERY += [("t_power", POWERS["t_power"](t), POWERS["t_power"](1 - t)) for t in (-0.5, 0.3, 2.0)]
by_every_function = pytest.mark.parametrize("row", range(len(EVERY)), ids=[name for name, *_ in EVERY])


@pytest.fixture(scope="module")
def numbers_of_all():
    """Of every function: its dual, the dual that is derived from it, the value at one, slopes; in one program."""

    def numbers(f, dual, log_u):
        slopes = jax.vmap(jax.grad(lambda u: f(jnp.log(u))))(jnp.exp(log_u))
        return dual(log_u), dual_of(f)(log_u), f(jnp.zeros(())), slopes

    return jax.jit(lambda log_u: [numbers(f, dual, log_u) for _, f, dual in EVERY])(np.linspace(-4.0, 4.0, 41))


@by_every_function
def test_duals_convexity_and_the_value_at_one(numbers_of_all, row):
    dual, derived, at_one, slopes = numbers_of_all[row]
    np.testing.assert_allclose(dual, derived, rtol=1e-9, atol=1e-14)
    assert at_one == (math.log(2.0) if EVERY[row][0] == "modified_gan" else 0.0)
    assert np.all(np.diff(slopes) > -1e-9)


UNEVEN = np.array([-200.0, 200.0, -1e-4, 1e-4])


@pytest.fixture(scope="module")
def at_uneven_weights():
    """Value and slope of every function and of its dual, in one program."""
    objectives = {name: [of(name, 2, dual=dual) for dual in (False, True)] for name in FORMULAS}
    both = jax.jit(lambda at: jax.tree.map(lambda one: jax.vmap(jax.value_and_grad(one.f))(at), objectives))
    return both(UNEVEN)


@by_function
def test_functions_of_very_uneven_weights(at_uneven_weights, name):
    """Value and slope of a function and its dual against the formulas in 400 digits."""
    formula, _ = FORMULAS[name]

    def exact(of_log, at):
        step = Decimal(10) ** -100
        log = Decimal(at)
        return of_log(log), (of_log(log + step) - of_log(log - step)) / (2 * step)

    def f(log):
        return formula(log.exp(), Decimal.ln, Decimal)

    with localcontext() as context:
        context.prec = 400
        truths = [[exact(g, float(at)) for at in UNEVEN] for g in (f, lambda log: log.exp() * f(-log))]
    for found, truth in zip(at_uneven_weights[name], truths, strict=True):
        np.testing.assert_allclose(np.stack(found, axis=1), np.array(truth, float), rtol=1e-12, atol=4e-15)


@pytest.fixture(scope="module")
def numbers_in_both_precisions():
    """Of every function and its dual, in one program for each precision."""
    log_u = np.array([-np.inf, -200.0, -90.0, -1.0, 1.0, 80.0, 200.0])

    def run(log_u):
        return jax.jit(lambda log_u: [(f(log_u), dual(log_u)) for _, f, dual in EVERY])(log_u)

    with jax.enable_x64(False):
        single = run(log_u.astype(np.float32))
    return single, run(log_u)


@by_every_function
def test_functions_in_single_precision(numbers_in_both_precisions, row):
    """Infinite where the number is too large, and never a difference or product that is not a number."""
    for found, exact in zip(*(numbers[row] for numbers in numbers_in_both_precisions), strict=True):
        assert found.dtype == np.float32
        with np.errstate(over="ignore"):
            truth = np.asarray(exact).astype(np.float32)
        np.testing.assert_allclose(found, truth, rtol=3e-5, atol=2e-7)


# ---------------------------------------------------------------- the others


def by_estimator(default):
    """Each objective with one estimator, each estimator with two objectives; the other pairs in the full tier."""
    estimators = bk.estimators.Pathwise(), bk.estimators.Score()
    marks = [() if one == default else pytest.mark.full for one in estimators]
    rows = [pytest.param(one, marks=mark) for one, mark in zip(estimators, marks, strict=True)]
    return pytest.mark.parametrize("estimator", rows, ids=repr)


def normalised(log_w):
    return jax.nn.softmax(log_w, axis=0)


def forward_kl(log_p, log_q, log_r):
    """For the guide: normalised weights, held fixed, times log q; for the model: the weights move."""
    del log_q
    share = normalised(log_p - log_r)
    return -jnp.sum(share * jnp.log(2 * share), 0)


def forward_kl_of_the_guide(log_p, log_q, log_r):
    share = jax.lax.stop_gradient(normalised(log_p - log_r))
    return jnp.sum(share * log_q, 0)


def cauchy_schwarz(log_p, log_q, log_r):
    del log_r
    p, q = jnp.exp(log_p), jnp.exp(log_q)
    return jnp.log(p.mean(0) ** 2 / ((p**2 / q).mean(0) * q.mean(0)))


def log_variance(log_p, log_q, log_r):
    del log_r
    log_w = log_p - log_q
    return -0.25 * (log_w[0] - log_w[1]) ** 2


@by_estimator(bk.estimators.Score())
def test_forward_kl(estimate, estimator):
    value, for_model = jax.jit(jax.value_and_grad(lambda p: mean_of_two(forward_kl, p, fixed=True)))(POINT)
    for_guide = jax.jit(jax.grad(lambda p: mean_of_two(forward_kl_of_the_guide, p, fixed=True)))(POINT)
    found = estimate(lambda p: bk.objectives.ForwardKL(2)(model(p), guide(p, estimator)), POINT, n=20_000)
    found.check(value, [*for_guide[:2], for_model[2]], value_error=0.002, gradient_error=0.01)


@pytest.mark.parametrize("num", [1000, pytest.param(10_000, marks=pytest.mark.full)])
def test_forward_kl_approaches_the_divergence(estimate, num):
    """The divergence of normals, and its gradient; K times the bias is .02, and at most .25 in the gradient."""

    def truth(p):
        mean, scale = (p[2] + 1.2) / 2, jnp.exp(p[1])
        return -(jnp.log(scale / 0.5**0.5) + (0.5 + (mean - p[0]) ** 2) / (2 * scale**2) - 0.5)

    value, gradient = jax.jit(jax.value_and_grad(truth))(POINT)
    found = estimate(lambda p: bk.objectives.ForwardKL(num)(model(p), guide(p)), POINT, n=100)
    assert np.all(np.abs(found.value - value) < 4 * found.value_error + 0.02 / num)
    assert np.all(np.abs(found.gradient - gradient) < 4 * found.gradient_error + 0.25 / num)
    assert np.all(found.gradient_error < 0.14 / num**0.5)


@by_estimator(bk.estimators.Pathwise())
def test_symmetric_kl(estimate, estimator):
    """The reverse half is the mean of log w; in the forward one the evidence is left out."""

    def forward(log_p, log_q, log_r):
        share = normalised(log_p - log_r)
        return -jnp.sum(share * (log_p - log_q), 0)

    def truth(p):
        log_p, log_q = log_densities(p)
        return jnp.sum(jnp.exp(log_q) * (log_p - log_q)) * STEP + mean_of_two(forward, p, fixed=True)

    value, gradient = jax.jit(jax.value_and_grad(truth))(POINT)
    found = estimate(lambda p: bk.objectives.SymmetricKL(2)(model(p), guide(p, estimator)), POINT, n=20_000)
    found.check(value, gradient, value_error=0.005, gradient_error=0.02)


@by_estimator(bk.estimators.Score())
def test_cauchy_schwarz(estimate, estimator):
    value, gradient = jax.jit(jax.value_and_grad(lambda p: mean_of_two(cauchy_schwarz, p, fixed=False)))(POINT)
    found = estimate(lambda p: bk.objectives.CauchySchwarz(2)(model(p), guide(p, estimator)), POINT, n=20_000)
    found.check(value, gradient, value_error=0.002, gradient_error=0.01)


def test_cauchy_schwarz_approaches_the_divergence(estimate):
    """Of two normals: log N(0; 0, 2 s²)^½ N(0; 0, 2 t²)^½ / N(m - n; 0, s² + t²), twice."""

    def truth(p):
        s, t = jnp.exp(p[1]), 0.5**0.5
        log = lambda gap, variance: dist.Normal(0.0, variance**0.5).log_prob(gap)  # noqa: E731
        return 2 * log(p[0] - (p[2] + 1.2) / 2, s**2 + t**2) - log(0.0, 2 * s**2) - log(0.0, 2 * t**2)

    value, gradient = jax.jit(jax.value_and_grad(truth))(POINT)
    found = estimate(lambda p: bk.objectives.CauchySchwarz(10_000)(model(p), guide(p)), POINT, n=25)
    assert np.all(np.abs(found.value - value) < 4 * found.value_error + 1e-4)
    assert np.all(np.abs(found.gradient - gradient) < 4 * found.gradient_error + 1e-4)
    assert np.all(found.gradient_error < 1e-3)


@by_estimator(bk.estimators.Pathwise())
def test_log_variance(estimate, estimator):
    value, gradient = jax.jit(jax.value_and_grad(lambda p: mean_of_two(log_variance, p, fixed=True)))(POINT)

    def elbo(p):
        log_p, log_q = log_densities(p)
        return jnp.sum(jnp.exp(log_q) * (log_p - log_q)) * STEP

    np.testing.assert_allclose(
        gradient[:2], jax.jit(jax.grad(elbo))(POINT)[:2], rtol=1e-6
    )  # the guide's is that of the ELBO
    found = estimate(lambda p: bk.objectives.LogVariance(2)(model(p), guide(p, estimator)), POINT, n=20_000)
    found.check(value, gradient, value_error=0.003, gradient_error=0.01)


def test_log_variance_has_the_leave_one_out_gradient(estimate):
    """Three draws of two coins have finitely many outcomes: both gradients take the same values, equally often.

    Sticking the landing leaves out the score itself, whose mean is zero and which VarGrad does not have.
    """

    def two(q):
        with numpyro.plate("two", 2):
            return sample("z", dist.Bernoulli(q), bk.estimators.Score())

    def model():
        with numpyro.plate("two", 2):
            z = sample("z", dist.Bernoulli(0.3))
        sample("x", dist.Normal(z[0] + 2.0 * z[1], 1.0), obs=0.8)

    def gradients(objective, key):
        f = lambda q: objective(model, bk.bind(two, {"q": q}))  # noqa: E731
        return np.round(estimate(f, jnp.array([0.4, 0.2]), n=4000, key=key).gradients[:, 1], 8)

    ours, counts = np.unique(gradients(bk.objectives.LogVariance(3), 0), return_counts=True)
    theirs, other = np.unique(gradients(bk.objectives.ELBO(3, sticking_the_landing=True), 1), return_counts=True)
    assert len(ours) > 5
    np.testing.assert_allclose(ours, theirs, atol=2e-8)
    shares = np.stack([counts, other]) / 4000
    assert np.all(np.abs(shares[0] - shares[1]) < 4 * np.sqrt((shares * (1 - shares)).sum(0) / 4000))


# those of tests/conformance/test_objectives.py, which has them by default, and the same rule for each function
EXACT = [
    pytest.param(of(name, 4), marks=() if name == "t_power" else pytest.mark.full)
    for name in FORMULAS
    if name not in ("total_variation", "log1p_abs", "modified_gan")
]
EXACT += [
    pytest.param(one, marks=pytest.mark.full) for one in (bk.objectives.CauchySchwarz(4), bk.objectives.LogVariance(4))
]


@pytest.mark.parametrize("objective", EXACT, ids=repr)
def test_no_noise_at_the_posterior(estimate, objective):
    def f(p):
        return objective(model(jnp.zeros(3)), guide(p))

    found = estimate(f, [0.6, math.log(0.5) / 2], n=50)
    np.testing.assert_allclose(found.values, 0.0, atol=1e-12)
    np.testing.assert_allclose(found.gradients, 0.0, atol=1e-12)


@pytest.mark.parametrize(
    "objective",
    [
        bk.objectives.ForwardKL(16),
        pytest.param(bk.objectives.WakeGuide(16), marks=pytest.mark.full),  # a half of the next
        bk.objectives.ReweightedWakeSleep(16),
    ],
    ids=repr,
)
def test_a_choice_that_the_model_forbids_counts_nothing_forward(estimate, objective):
    """Half of the guide's values have no weight: no term of theirs is 0 times infinity."""

    def half():
        z = sample("z", dist.HalfNormal(1.0))
        sample("x", dist.Normal(z, 1.0), obs=1.2)

    found = estimate(lambda loc: objective(half, lambda: sample("z", dist.Normal(loc, 1.0))), 0.0, n=200)
    assert np.isfinite(found.values).all()
    assert np.isfinite(found.gradients).all()
    assert found.gradient > 4 * found.gradient_error  # towards the posterior


def test_a_pathwise_choice_outside_of_the_support_is_not_a_number(estimate):
    """The gradient would miss what crosses the boundary at zero; by the score it is that of quadrature."""

    def half():
        z = sample("z", dist.HalfNormal(1.0))
        sample("x", dist.Normal(z, 1.0), obs=1.2)

    def truth(loc):
        log_q = -0.5 * (grid - loc) ** 2 - 0.5 * np.log(2 * np.pi)
        log_p = stats.halfnorm.logpdf(np.abs(grid)) + stats.norm.logpdf(1.2, grid)
        roots = np.where(grid > 0, np.exp(0.5 * (log_p - log_q)), 0.0)
        return -np.sum(np.exp(log_q) * (roots - 1) ** 2) * 1e-3

    def f(loc, estimator):
        objective = bk.objectives.FDivergence("squared_hellinger", 1, self_normalized=False)
        return objective(half, lambda: sample("z", dist.Normal(loc, 1.0), estimator))

    grid = np.arange(-8, 8, 1e-3) + 5e-4
    found = estimate(lambda p: f(p, bk.estimators.Score()), 0.3, n=20_000)
    found.check_against(truth, 0.3, value_error=0.005, gradient_error=0.01)
    pathwise = estimate(lambda p: f(p, bk.estimators.Pathwise()), 0.3, n=1000)
    outside = np.isnan(pathwise.values[:, 0])
    assert abs(outside.mean() - 0.382) < 4 * (0.382 * 0.618 / 1000) ** 0.5  # P(N(.3, 1) < 0)
    np.testing.assert_array_equal(np.isnan(pathwise.gradients[:, 0]), outside)
    pairs = estimate(
        lambda p: bk.objectives.CauchySchwarz(2)(half, lambda: sample("z", dist.Normal(p, 1.0))),
        0.3,
        n=200,
        gradient=False,
    )
    assert 0 < np.isnan(pairs.values).sum() < 200


ESTIMATED = [
    bk.objectives.FDivergence("pearson", 2),
    bk.objectives.ForwardKL(2),
    bk.objectives.SymmetricKL(2),
    bk.objectives.CauchySchwarz(2),
]


@pytest.mark.parametrize("objective", [*ESTIMATED, bk.objectives.LogVariance(2)], ids=repr)
def test_an_estimated_density_is_refused(objective):
    def joint():
        sample("z", dist.Normal(sample("u", dist.Normal(0.0, 1.0)), 1.0))

    hidden = bk.marginal(
        joint, ["z"], bk.integrators.ImportanceSampling(2, lambda _: lambda: sample("u", dist.Normal(0.0, 1.0)))
    )
    with pytest.raises(bk.errors.ModelError, match="use bayeskit"):
        jax.eval_shape(lambda: bk.expectation(objective)(0, posterior(), hidden))


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: bk.objectives.FDivergence("hellinger", 4), "function must be one of 'kl_forward'"),
        (lambda: bk.objectives.FDivergence("pearson", 1), "num_particles must be an integer of at least 2"),
        (
            lambda: bk.objectives.FDivergence("pearson", 0, self_normalized=False),
            "num_particles must be a positive integer",
        ),
        (lambda: bk.objectives.FDivergence("pearson", 4, power=2.0), "power must be absent for 'pearson'"),
        (lambda: bk.objectives.FDivergence("amari_alpha", 4), "power must be a number"),
        (lambda: bk.objectives.FDivergence("t_power", 4, power=1.0), "power must be a number, not 0 or 1"),
        (lambda: bk.objectives.FDivergence(jnp.exp, 4, power=1.0), "power must be absent with a function"),
        (lambda: bk.objectives.ForwardKL(1), "num_particles"),
        (lambda: bk.objectives.SymmetricKL(True), "num_particles"),
        (lambda: bk.objectives.CauchySchwarz(1), "num_particles"),
        (lambda: bk.objectives.LogVariance(1), "num_particles"),
    ],
)
def test_impossible_settings_are_named(make, match):
    with pytest.raises(bk.errors.MethodError, match=match):
        make()
