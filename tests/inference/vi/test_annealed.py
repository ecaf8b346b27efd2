"""The bound of annealed importance sampling."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy import stats

import bayeskit as bk

POINT = jnp.array([0.4, -0.1, 0.2])  # mean and log scale of the guide, mean of the prior
LOG_EVIDENCE = stats.norm(0.2, 2**0.5).logpdf(1.2)


def sample(name, distribution, estimator=None, **given):
    return numpyro.sample(name, distribution, infer={} if estimator is None else {"estimator": estimator}, **given)


def model(mean):
    def run():
        z = sample("z", dist.Normal(mean, 1.0))
        sample("x", dist.Normal(z, 1.0), obs=1.2)

    return run


def guide(p, estimator=None):
    return lambda: sample("z", dist.Normal(p[0], jnp.exp(p[1])), estimator)


@pytest.mark.parametrize(
    "estimator", [bk.estimators.Pathwise(), pytest.param(bk.estimators.Score(), marks=pytest.mark.full)], ids=repr
)
def test_one_step_against_quadrature(estimate, estimator):
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    weights = weights / weights.sum()
    size = 0.1

    def truth(p):
        z = (p[0] + np.exp(p[1]) * nodes)[:, None]
        drift = lambda z: size * ((p[2] - z) + (1.2 - z))  # noqa: E731
        kernel = lambda z, to: -((to - z - drift(z)) ** 2) / (4 * size)  # noqa: E731
        moved = z + drift(z) + (2 * size) ** 0.5 * nodes
        log_p = -0.5 * ((moved - p[2]) ** 2 + (1.2 - moved) ** 2) - np.log(2 * np.pi)
        log_q = -0.5 * nodes[:, None] ** 2 - p[1] - 0.5 * np.log(2 * np.pi)
        log_w = log_p - log_q + kernel(moved, z) - kernel(z, moved)
        return np.sum(weights[:, None] * weights * log_w)

    found = estimate(lambda p: bk.objectives.AnnealedELBO(1, size)(model(p[2]), guide(p, estimator)), POINT, n=20_000)
    found.check_against(truth, POINT, value_error=0.005, gradient_error=0.05)


@pytest.mark.parametrize(
    ("num", "size"),
    [pytest.param(1, 0.4, marks=pytest.mark.full), pytest.param(3, 0.1, marks=pytest.mark.full), (8, 0.05)],
)
def test_weights_are_unbiased_for_the_evidence(num, size):
    f = bk.expectation(lambda: bk.objectives.AnnealedELBO(num, size)(model(POINT[2]), guide(POINT)))
    log_w = jax.jit(jax.vmap(f))(jax.random.split(jax.random.key(1), 20_000))
    ratio = np.exp(log_w - LOG_EVIDENCE)
    error = ratio.std() / 20_000**0.5
    assert error < 0.02
    assert abs(ratio.mean() - 1) < 4 * error


def test_the_bound_rises_with_the_temperatures_and_the_particles(estimate):
    """From a guide that is far away; the plain bound is the worst."""
    settings = [(4, 0.1, 1), (64, 0.1, 1), (4, 0.1, 10)]
    found = [
        estimate(
            lambda p, s=s: bk.objectives.AnnealedELBO(*s)(model(0.2), guide(p)), [2.0, 0.0], n=1500, gradient=False
        )
        for s in settings
    ]
    start = estimate(lambda p: bk.objectives.ELBO()(model(0.2), guide(p)), [2.0, 0.0], n=1500, gradient=False)
    values = [float(e.value[0]) for e in (start, *found[:2])]
    errors = [float(e.value_error[0]) for e in (start, *found[:2])]
    assert np.all(np.diff(values) > 4 * np.hypot(errors[1:], errors[:-1]))
    assert found[2].value - found[0].value > 4 * found[0].value_error
    assert values[-1] < LOG_EVIDENCE


def test_several_sites_of_several_shapes(estimate):
    """As many weights as one, with the same evidence: three sites of two normals each."""

    def sites():
        for name in ("a", "b"):
            z = sample(name, dist.Normal(0.0, 1.0).expand([2]).to_event(1))
            sample(f"x {name}", dist.Normal(z, 1.0).to_event(1), obs=jnp.array([1.2, 0.3]))
        sample("y", dist.Normal(sample("c", dist.Normal(0.0, 1.0)), 1.0), obs=0.5)

    def wide(p):
        for name in ("a", "b"):
            sample(name, dist.Normal(p, 0.8).expand([2]).to_event(1))
        sample("c", dist.Normal(p, 0.8))

    f = bk.expectation(lambda: bk.objectives.AnnealedELBO(5, 0.1)(sites, lambda: wide(0.4)))
    log_w = jax.jit(jax.vmap(f))(jax.random.split(jax.random.key(2), 10_000))
    log_evidence = stats.norm(0.0, 2**0.5).logpdf([1.2, 0.3, 1.2, 0.3, 0.5]).sum()
    ratio = np.exp(log_w - log_evidence)
    error = ratio.std() / 10_000**0.5
    assert error < 0.02
    assert abs(ratio.mean() - 1) < 4 * error


@pytest.mark.full  # by default its gradient leads to the posterior, in tests/conformance/test_objectives.py
def test_a_fit():
    """The guide of the bound is near the posterior, as far as the verdict can see; the loss is near the evidence."""
    method = bk.VI(
        guide=bk.guides.FullRank(), objective=bk.objectives.AnnealedELBO(2, 0.05), num_steps=3000, num_draws=2000
    )
    assert bk.VI.from_settings(method.settings()) == method
    post = bk.infer(model(0.2), None, method, key=0, progress=False)
    assert bk.check(post, quiet=True).ok
    loss = post["warmup_sample_stats/loss"].values[0, -1000:]
    error = loss.std() / 1000**0.5
    assert -4 * error < loss.mean() + LOG_EVIDENCE < 0.02  # nats


def test_misuse_raises():
    coin = lambda: sample("z", dist.Bernoulli(0.3))  # noqa: E731
    with pytest.raises(bk.errors.ModelError, match=r"site 'z'.*discrete"):
        jax.eval_shape(lambda: bk.expectation(bk.objectives.AnnealedELBO(2, 0.1))(0, coin, coin))
    shown = bk.normalize(model(0.0), bk.integrators.SIR(2, guide(POINT)))
    with pytest.raises(bk.errors.ModelError, match="estimated"):
        jax.eval_shape(lambda: bk.expectation(bk.objectives.AnnealedELBO(2, 0.1))(0, model(0.0), shown))
    for settings, match in (((0, 0.1), "num_temperatures"), ((2, 0.0), "step_size"), ((2, 0.1, 0), "num_particles")):
        with pytest.raises(bk.errors.MethodError, match=match):
            bk.objectives.AnnealedELBO(*settings)
