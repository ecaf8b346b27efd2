"""Wake and sleep phases: each gradient against quadrature or a closed form, and no other gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy import stats

import bayeskit as bk

POINT = jnp.array([0.5, -0.25, 0.1])  # mean and log scale of the guide, mean of the prior
GRID = jnp.linspace(-6.0, 7.0, 521)
STEP = GRID[1] - GRID[0]
by_estimator = pytest.mark.parametrize(
    "estimator",
    [  # the draws are held fixed, so that nothing of an estimator may be left: a score would show at once
        pytest.param(bk.estimators.Pathwise(), marks=pytest.mark.full),
        bk.estimators.Score(),
        pytest.param(bk.estimators.MeasureValued(), marks=pytest.mark.full),
    ],
    ids=repr,
)


def sample(name, distribution, estimator=None, **given):
    return numpyro.sample(name, distribution, infer={} if estimator is None else {"estimator": estimator}, **given)


def model(p):
    def run():
        z = sample("z", dist.Normal(p[2], 1.0))
        sample("x", dist.Normal(z, 1.0), obs=1.2)

    return run


def guide(p, estimator=None):
    return lambda: sample("z", dist.Normal(p[0], jnp.exp(p[1])), estimator)


def pairs(p):
    """Log densities of the model and the guide at pairs of values, and the pairs' probabilities, held fixed."""
    log_p = dist.Normal(p[2], 1.0).log_prob(GRID) + dist.Normal(GRID, 1.0).log_prob(1.2)
    log_q = dist.Normal(p[0], jnp.exp(p[1])).log_prob(GRID)
    log_p, log_q = (jnp.stack(jnp.broadcast_arrays(log[:, None], log)) for log in (log_p, log_q))
    return log_p, log_q, jax.lax.stop_gradient(jnp.exp(log_q.sum(0)) * STEP**2)


def for_guide(p):
    log_p, log_q, probability = pairs(p)
    share = jax.lax.stop_gradient(jax.nn.softmax(log_p - log_q, axis=0))
    return jnp.sum(probability * jnp.sum(share * log_q, 0))


def for_model(p):
    log_p, log_q, probability = pairs(p)
    log_w = log_p - jax.lax.stop_gradient(log_q)
    return jnp.sum(probability * (jax.nn.logsumexp(log_w, axis=0) - jnp.log(2.0)))


@by_estimator
def test_wake_phases_of_two_particles(estimate, estimator):
    bound, model_gradient = jax.jit(jax.value_and_grad(for_model))(POINT)
    value, guide_gradient = jax.jit(jax.value_and_grad(for_guide))(POINT)
    assert model_gradient[0] == guide_gradient[2] == 0.0
    for objective, number, gradient in (
        (bk.objectives.WakeGuide(2), value, guide_gradient),
        (bk.objectives.WakeModel(2), bound, model_gradient),
        (bk.objectives.ReweightedWakeSleep(2), bound, model_gradient + guide_gradient),
    ):
        found = estimate(lambda p, o=objective: o(model(p), guide(p, estimator)), POINT, n=20_000)
        found.check(number, gradient, value_error=0.005, gradient_error=0.01)


def test_model_half_is_the_gradient_of_the_bound(estimate):
    """Without a guide that learns, the importance-weighted bound has the same gradient: E w̃ ∇ log p for five."""
    objectives = bk.objectives.WakeModel(5), bk.objectives.ImportanceWeightedELBO(5)
    ours, theirs = (estimate(lambda m, o=o: o(model([0.0, 0.0, m]), guide(POINT)), 0.1, n=20_000) for o in objectives)
    error = np.hypot(ours.gradient_error, theirs.gradient_error)
    assert error < 0.005
    assert abs(ours.gradient - theirs.gradient) < 4 * error


def test_guide_with_an_estimated_density():
    """A guide with a hidden choice has proper weights, and its gradient reaches the parameter."""

    def reverse(p):
        return lambda kept: lambda: sample("u", dist.Normal(p * kept["z"], 0.8))

    def joint(p):
        return lambda: sample("z", dist.Normal(sample("u", dist.Normal(0.3, 0.7)) * p, 0.8))

    def f(p, objective):
        hidden = bk.marginal(joint(p), ["z"], bk.integrators.ImportanceSampling(2, reverse(p)))
        return objective(model(POINT), hidden)

    keys = jax.random.split(jax.random.key(0), 5000)
    both = jax.value_and_grad(bk.expectation(lambda p: f(p, bk.objectives.ReweightedWakeSleep(3))), argnums=1)
    bounds, gradients = jax.jit(jax.vmap(both, (0, None)))(keys, 0.9)
    plain = jax.jit(jax.vmap(bk.expectation(lambda p: f(p, bk.objectives.ImportanceWeightedELBO(3))), (0, None)))(
        keys, 0.9
    )
    error = np.hypot(bounds.std(), plain.std()) / 5000**0.5
    assert abs(bounds.mean() - plain.mean()) < 4 * error
    assert bounds.mean() < stats.norm(0.1, 2**0.5).logpdf(1.2)
    assert np.isfinite(gradients).all()
    assert abs(gradients.mean()) > 4 * gradients.std() / 5000**0.5


# ---------------------------------------------------------------- sleep


def generative(mean, estimator=None):
    def run():
        z = sample("z", dist.Normal(mean, 1.0), estimator)
        sample("x", dist.Normal(z, 1.0))

    return run


@by_estimator
@pytest.mark.parametrize("num", [pytest.param(1, marks=pytest.mark.full), 4])
def test_sleep_of_normals(estimate, estimator, num):
    """E log N(z; a x + b, s) with z ~ N(m, 1), x ~ N(z, 1): only a, b and s have a gradient."""

    def truth(p):
        a, b, log_s, mean = p[0], p[1], p[2], 0.5
        gap = (1 - a) ** 2 * (1 + mean**2) - 2 * (1 - a) * b * mean + b**2 + a**2
        return -0.5 * np.log(2 * np.pi) - log_s - gap / (2 * np.exp(2 * log_s))

    def f(p):
        given = lambda data: lambda: sample("z", dist.Normal(p[0] * data["x"] + p[1], jnp.exp(p[2])))  # noqa: E731
        return bk.objectives.Sleep(["x"], num)(generative(p[3], estimator), given)

    point = np.array([0.4, 0.2, -0.3, 0.5])
    found = estimate(f, point, n=20_000)
    found.check_against(truth, point, value_error=0.01, gradient_error=0.03)


def test_sleep_with_several_data(estimate):
    """Bernoulli z with two data; the posterior's probability of a sum has no gradient left."""

    def coins():
        z = sample("z", dist.Bernoulli(0.3))
        with numpyro.plate("two", 2):
            sample("x", dist.Normal(2.0 * z, 1.0))

    def f(p):
        def given(data):
            assert data["x"].shape == (2,)
            return lambda: sample("z", dist.Bernoulli(logits=jnp.log(0.3 / 0.7) + p * (data["x"].sum() - 2.0)))

        return bk.objectives.Sleep(["x"])(coins, given)

    exact, wrong = estimate(f, 2.0, n=20_000), estimate(f, 1.0, n=20_000)
    assert exact.gradient_error < 0.01
    assert abs(exact.gradient) < 4 * exact.gradient_error
    assert wrong.gradient > 4 * wrong.gradient_error
    assert exact.value > wrong.value


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: bk.objectives.WakeModel(0), "num_particles must be a positive integer"),
        (lambda: bk.objectives.ReweightedWakeSleep(1), "num_particles must be an integer of at least 2"),
        (lambda: bk.objectives.Sleep("x"), "observed must be a list of site names"),
        (lambda: bk.objectives.Sleep([]), "observed must be a list of site names"),
        (lambda: bk.objectives.Sleep(["x"], 0), "num_particles"),
        (lambda: bk.VI.from_settings({"objective": "wake_model"}), "objective must be"),  # leaves the guide as it is
    ],
)
def test_impossible_settings_are_named(make, match):
    with pytest.raises(bk.errors.MethodError, match=match):
        make()


def test_data_that_are_not_drawn_are_named():
    with pytest.raises(bk.errors.ModelError, match=r"observed names 'y'.*\['x', 'z'\]"):
        jax.eval_shape(
            lambda: bk.expectation(bk.objectives.Sleep(["y"]))(0, generative(0.0), lambda data: guide(POINT))
        )
