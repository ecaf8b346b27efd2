"""DisARM, fitted baselines, implicit gradients of mixtures, and arithmetic on estimates."""

from __future__ import annotations

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import bayeskit as bk

WEIGHTS = jnp.array([0.5, -1.0, 2.0])


def coins(logits, estimator):
    return bk.draw(
        lambda: numpyro.sample("b", dist.Bernoulli(logits=logits).to_event(1), infer={"estimator": estimator})
    )[0]["b"]


def product(theta, estimator):
    """Depends on all elements together."""
    return (1.0 + jnp.sum(WEIGHTS * coins(theta * jnp.arange(1.0, 4.0), estimator))) ** 2


def separate(theta, estimator):
    return jnp.sum(jnp.exp(WEIGHTS * coins(theta * jnp.arange(1.0, 4.0), estimator)))


@cache
def exact(f):
    return jax.jit(jax.value_and_grad(lambda theta: bk.expectation(f)(0, theta, bk.estimators.Enumeration())))(0.3)


# ---------------------------------------------------------------- DisARM


@pytest.mark.parametrize(("f", "error"), [(product, 0.12), (separate, 0.06)])
def test_disarm(estimate, f, error):
    value, gradient = exact(f)
    got = estimate(lambda theta: f(theta, bk.estimators.DisARM()), 0.3)
    got.check(value, gradient, value_error=0.08, gradient_error=error)


def test_disarm_of_one_coin_against_its_formula(estimate):
    """At p = 1/2 the two values differ always, and the gradient has no variance."""
    f = lambda theta: (2.0 * coins(theta[None], bk.estimators.DisARM())[0] + 1.0) ** 2  # noqa: E731
    estimate(f, 0.0).check(5.0, 2.0, value_error=0.07, gradient_error=0.0)


def test_disarm_in_particles_and_before_other_choices(estimate):
    def f(theta, estimator):
        def program():
            with numpyro.plate("n", 3):
                b = numpyro.sample("b", dist.Bernoulli(logits=theta * WEIGHTS), infer={"estimator": estimator})
                return numpyro.sample(
                    "c", dist.Bernoulli(logits=theta + b), infer={"estimator": bk.estimators.Enumeration()}
                )

        numbers = []
        bk.draw(lambda: numbers.append(jnp.sum(jnp.cos(program()) * WEIGHTS)))
        return numbers[0]

    value, gradient = exact(f)
    got = estimate(lambda theta: bk.average(2, lambda: f(theta, bk.estimators.DisARM())), 0.3)
    got.check(value, gradient, value_error=0.01, gradient_error=0.01)


def test_disarm_in_a_loop_that_remembers_raises():
    def step(total, _):
        b = numpyro.sample("b", dist.Bernoulli(logits=total), infer={"estimator": bk.estimators.DisARM()})
        return total + b, None

    def f(theta):
        totals = []
        bk.draw(lambda: totals.append(bk.scan(step, theta, length=3)[0]))
        return totals[0] ** 2

    with pytest.raises(bk.errors.ModelError, match="site 'b': DisARM would be biased in a loop"):
        jax.eval_shape(bk.expectation(f), 0, 0.3)


def test_disarm_is_for_coins():
    with pytest.raises(
        bk.errors.ModelError, match="site 'x': DisARM is for Bernoulli distributions, and this is Normal"
    ):
        bk.expectation(
            lambda: bk.draw(
                lambda: numpyro.sample("x", dist.Normal(0.0, 1.0), infer={"estimator": bk.estimators.DisARM()})
            )[0]["x"]
        )(0)


def test_second_derivatives_of_disarm_raise():
    with pytest.raises(bk.errors.ModelError, match="second derivatives"):
        jax.eval_shape(jax.hessian(lambda theta: bk.expectation(separate)(0, theta, bk.estimators.DisARM())), 0.3)


# ---------------------------------------------------------------- baselines


def with_baseline(theta, baseline, objective="maximize"):
    return product(theta, bk.estimators.Score(bk.estimators.FittedBaseline(lambda: baseline, objective=objective)))


def test_fitted_baseline_leaves_the_gradient_alone(estimate):
    value, gradient = exact(product)
    estimate(lambda theta: with_baseline(theta, 2.0), 0.3).check(value, gradient, value_error=0.09, gradient_error=0.4)


@pytest.mark.parametrize(("objective", "sign"), [("maximize", 1.0), ("minimize", -1.0)])
def test_gradient_of_a_fitted_baseline_leads_to_the_mean_cost(objective, sign):
    """Three coins share one cost, so the gradient is three times the mean cost less the baseline."""
    keys = jax.random.split(jax.random.PRNGKey(2), 4000)
    slope = jax.grad(bk.expectation(lambda theta, b: with_baseline(theta, b, objective)), argnums=2)
    slopes = np.asarray(jax.jit(jax.vmap(slope, (0, None, None)))(keys, 0.3, 1.5))
    truth = sign * 3.0 * (exact(product)[0] - 1.5)
    assert abs(slopes.mean() - truth) < 4.0 * slopes.std() / np.sqrt(len(keys)) < 1.2


def test_baselines_of_each_element(estimate):
    value, gradient = exact(separate)
    each = estimate(lambda theta: separate(theta, bk.estimators.Score(1.0 + WEIGHTS)), 0.3)
    each.check(value, gradient, value_error=0.06, gradient_error=0.2)


def test_baseline_of_a_shape_that_does_not_fit():
    with pytest.raises(
        bk.errors.ModelError, match=r"a baseline has shape \(2,\), and the choice has \(3,\) independent"
    ):
        jax.eval_shape(lambda: bk.expectation(separate)(0, 0.3, bk.estimators.Score(jnp.zeros(2))))


def test_unknown_objective_of_a_baseline():
    with pytest.raises(bk.errors.ModelError, match="objective must be 'maximize' or 'minimize', got 'up'"):
        bk.estimators.FittedBaseline(lambda: 0.0, objective="up")


# ---------------------------------------------------------------- mixtures


def mixture(theta, component=dist.Normal):
    loc = jnp.array([-1.0, 2.0]) * theta[0]
    return dist.MixtureSameFamily(
        dist.Categorical(logits=jnp.array([0.0, 1.0]) * theta[1]), component(loc, jnp.exp(theta[2]) * jnp.ones(2))
    )


@pytest.mark.parametrize(
    "component",
    [
        pytest.param(dist.Normal, marks=pytest.mark.full),  # as in the next test
        dist.Laplace,
        pytest.param(dist.Logistic, marks=pytest.mark.full),
    ],
)
def test_implicit_gradients_of_a_mixture(estimate, component):
    """E sin(x), whose gradient with respect to weights, locations and scale is found by quadrature."""
    theta = jnp.array([0.7, -0.4, 0.2])
    grid = jnp.linspace(-60.0, 60.0, 60_001)

    def truth(theta):
        return jnp.sum(jnp.exp(mixture(theta, component).log_prob(grid)) * jnp.sin(grid)) * (grid[1] - grid[0])

    f = lambda theta: jnp.sin(  # noqa: E731
        bk.draw(lambda: numpyro.sample("x", mixture(theta, component), infer={"estimator": bk.estimators.Pathwise()}))[
            0
        ]["x"]
    )
    value, gradient = jax.jit(jax.value_and_grad(truth))(theta)
    estimate(f, theta).check(value, gradient, value_error=0.012, gradient_error=0.04)


def test_elbo_of_a_mixture_guide(estimate):
    """The gradient of an ELBO passes a mixture's weights, by default."""
    theta = jnp.array([0.7, -0.4, 0.2])
    grid = jnp.linspace(-12.0, 12.0, 20_001)
    model = dist.Normal(0.5, 1.0)

    def truth(theta):
        log_q = mixture(theta).log_prob(grid)
        return jnp.sum(jnp.exp(log_q) * (model.log_prob(grid) - log_q)) * (grid[1] - grid[0])

    f = lambda theta: bk.objectives.ELBO()(  # noqa: E731
        lambda: numpyro.sample("x", model), lambda: numpyro.sample("x", mixture(theta))
    )
    value, gradient = jax.jit(jax.value_and_grad(truth))(theta)
    estimate(f, theta).check(value, gradient, value_error=0.03, gradient_error=0.06)


# ---------------------------------------------------------------- arithmetic on estimates


def coin(p):
    return jnp.asarray(bk.draw(lambda: numpyro.sample("b", dist.Bernoulli(p)))[0]["b"], float)


def normal(m):
    return bk.draw(lambda: numpyro.sample("x", dist.Normal(m, 0.5)))[0]["x"]


ARITHMETIC = {
    "sum": (lambda p: bk.unbiased(coin, p) + bk.unbiased(normal, p) + 1.0, lambda p: 2 * p + 1.0),
    "difference": (lambda p: 1.0 - bk.unbiased(coin, p) - 2.0 * bk.unbiased(normal, p), lambda p: 1.0 - 3 * p),
    "product": (lambda p: bk.unbiased(coin, p) * bk.unbiased(normal, p) / 2.0, lambda p: p**2 / 2.0),
    "power": (lambda p: bk.unbiased(normal, p) ** 3, lambda p: p**3),
    "exponential": (lambda p: bk.unbiased(normal, p).exp(), np.exp),
    "exponential of a square": (lambda p: (bk.unbiased(normal, p) ** 2).exp(0.5), lambda p: np.exp(p**2)),
    "nested": (lambda p: bk.unbiased(lambda: bk.unbiased(normal, p) ** 2) * p, lambda p: p**3),
}


# by default a difference also stands for a sum, and the exponential of a square for those of each
ARITHMETIC_ROWS = [
    pytest.param(name, marks=pytest.mark.full if name in ("sum", "power", "exponential") else ()) for name in ARITHMETIC
]


@pytest.mark.parametrize("name", ARITHMETIC_ROWS)
def test_arithmetic_on_estimates(estimate, name):
    f, truth = ARITHMETIC[name]
    estimate(f, 0.4).check_against(truth, 0.4, value_error=0.03, gradient_error=0.11)


@pytest.mark.parametrize(
    ("f", "what"),
    [
        (lambda u: u.log(), "the log"),
        (lambda u: 1.0 / u, "a quotient"),
        (lambda u: u / u, "a quotient"),
        (lambda u: u**-1, "the power -1"),
        (lambda u: u**0.5, r"the power 0\.5"),
        (lambda u: 2.0**u, "a power"),
        (lambda u: float(u), "a number made"),
        (lambda u: 1.0 if u else 0.0, "a decision"),
        (lambda u: u == 0.3, "a comparison"),
        (lambda u: np.sqrt(np.asarray(u)), "a function"),
    ],
    ids=["log", "reciprocal", "quotient", "inverse", "root", "exponent", "float", "if", "equal", "numpy"],
)
def test_what_would_be_biased_raises(f, what):
    with pytest.raises(bk.errors.ModelError, match=f"{what}.* would be biased"):
        bk.expectation(lambda: f(bk.unbiased(coin, 0.3)))(0)


def test_functions_of_jax_take_no_estimates():
    with pytest.raises(TypeError, match="Unbiased"):
        bk.expectation(lambda: jnp.log(bk.unbiased(coin, 0.3)))(0)


def test_rate_of_the_series():
    with pytest.raises(bk.errors.ModelError, match=r"rate must be a number in \(0, 8\], got 9.0"):
        bk.unbiased(coin, 0.3).exp(9.0)


def test_an_estimate_is_one_number():
    with pytest.raises(bk.errors.ModelError, match="takes a function that returns a number"):
        bk.expectation(lambda: bk.unbiased(lambda: jnp.zeros(3)))(0)
