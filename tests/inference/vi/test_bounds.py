"""Bounds with a guide of hidden choices, and the doubly reparameterised gradient."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import bayeskit as bk

POINT = jnp.array([0.4, -0.1, 0.2])  # mean and log scale of the guide, mean of the prior
DOUBLY = {"doubly_reparameterized": True}


def sample(name, distribution, estimator=None, **given):
    return numpyro.sample(name, distribution, infer={} if estimator is None else {"estimator": estimator}, **given)


def model(mean):
    def run():
        z = sample("z", dist.Normal(mean, 1.0))
        sample("x", dist.Normal(z, 1.0), obs=1.2)

    return run


def normal(loc, log_scale, estimator=None):
    return bk.bind(lambda m, s: sample("z", dist.Normal(m, jnp.exp(s)), estimator), {"m": loc, "s": log_scale})


def bound(num, **settings):
    return lambda p: bk.objectives.ImportanceWeightedELBO(num, **settings)(model(p[2]), normal(p[0], p[1]))


# ---------------------------------------------------------------- doubly reparameterised


def test_doubly_reparameterised_gradient_of_two_against_quadrature(estimate):
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    weights = weights / weights.sum()

    def truth(p):
        z = p[0] + np.exp(p[1]) * nodes
        w = np.exp(-0.5 * ((z - p[2]) ** 2 + (1.2 - z) ** 2 - nodes**2) + p[1]) / np.sqrt(2 * np.pi)
        return np.sum(weights[:, None] * weights * np.log((w[:, None] + w) / 2))

    found = estimate(bound(2, **DOUBLY), POINT, n=20_000)
    found.check_against(truth, POINT, value_error=0.005, gradient_error=0.01)


@pytest.mark.parametrize("num", [pytest.param(1, marks=pytest.mark.full), 16])
def test_doubly_reparameterised_gradient_is_the_plain_one_with_less_noise(estimate, num):
    plain, doubly = (estimate(bound(num, **settings), POINT, n=8000) for settings in ({}, DOUBLY))
    error = np.hypot(plain.gradient_error, doubly.gradient_error)
    assert np.all(error < 0.03)
    assert np.all(np.abs(plain.gradient - doubly.gradient) < 4 * error)
    assert np.all(np.abs(doubly.value - plain.value) < 4 * np.hypot(plain.value_error, doubly.value_error))
    guides = slice(0, 2)
    assert np.all(doubly.gradient_error[guides] < (1.0 if num == 1 else 0.5) * plain.gradient_error[guides])
    assert abs(doubly.gradient_error[2] / plain.gradient_error[2] - 1) < 0.05  # the model's part is the same


def test_no_noise_in_the_guides_part_at_the_posterior(estimate):
    found = estimate(bound(7, **DOUBLY), jnp.array([0.6, np.log(0.5) / 2, 0.0]), n=100)
    np.testing.assert_allclose(found.gradients[:, :2], 0.0, atol=1e-12)
    assert abs(found.gradient[2] - 0.6) < 4 * found.gradient_error[2]  # of log N(1.2; mean, √2)


@pytest.mark.full  # by default one site, above, and a parameter of both model and guide, below
def test_two_sites_of_which_one_depends_on_the_other(estimate):
    """And a parameter of both model and guide."""

    def chain(mean):
        def run():
            a = sample("a", dist.Normal(mean, 1.0))
            b = sample("b", dist.Gamma(2.0, jnp.exp(a)))
            sample("x", dist.Normal(a + b, 0.5), obs=1.2)

        return run

    def sites(m, s):
        a = sample("a", dist.Normal(m, jnp.exp(s)))
        sample("b", dist.LogNormal(m - a, jnp.exp(s)))

    def f(p, **settings):
        guide = bk.bind(sites, {"m": p[0], "s": p[1]})
        return bk.objectives.ImportanceWeightedELBO(5, **settings)(chain(p[2] + 0.2 * p[0]), guide)

    plain, doubly = (estimate(lambda p, s=s: f(p, **s), POINT, n=10_000) for s in ({}, DOUBLY))
    error = np.hypot(plain.gradient_error, doubly.gradient_error)
    assert np.all(error < 0.02)
    assert np.all(np.abs(plain.gradient - doubly.gradient) < 4 * error)


@pytest.mark.full  # by default in the test above
def test_a_parameter_of_both_model_and_guide(estimate):
    def f(p, **settings):
        return bk.objectives.ImportanceWeightedELBO(3, **settings)(model(p), normal(p, -0.2))

    plain, doubly = (estimate(lambda p, s=s: f(p, **s), 0.3, n=20_000) for s in ({}, DOUBLY))
    error = np.hypot(plain.gradient_error, doubly.gradient_error)
    assert error < 0.01
    assert abs(plain.gradient - doubly.gradient) < 4 * error


def test_a_model_that_subsamples_takes_the_same_rows_twice(estimate):
    """The two evaluations of a weight are of one number, so the value is that of the plain bound."""
    y = jnp.array([0.3, 1.2, -0.5, 2.0])

    def rows(mean):
        def run():
            z = sample("z", dist.Normal(mean, 1.0))
            with numpyro.plate("row", 4, subsample_size=2) as index:
                sample("y", dist.Normal(z, 1.0), obs=y[index])

        return run

    def f(p, **settings):
        return bk.objectives.ImportanceWeightedELBO(3, **settings)(rows(p[2]), normal(p[0], p[1]))

    plain, doubly = (estimate(lambda p, s=s: f(p, **s), POINT, n=10_000) for s in ({}, DOUBLY))
    for mine, its, error in (
        (doubly.value, plain.value, np.hypot(doubly.value_error, plain.value_error)),
        (doubly.gradient, plain.gradient, np.hypot(doubly.gradient_error, plain.gradient_error)),
    ):
        assert np.all(error < 0.04)
        assert np.all(np.abs(mine - its) < 4 * error)


def hidden(num):
    def joint():
        sample("z", dist.Normal(sample("u", dist.Normal(0.0, 1.0)), 1.0))

    return bk.marginal(
        joint, ["z"], bk.integrators.ImportanceSampling(num, lambda _: lambda: sample("u", dist.Normal(0.0, 1.0)))
    )


@pytest.mark.parametrize(
    ("guide", "match"),
    [
        (
            lambda: normal(0.0, 0.0, bk.estimators.Score()),
            "site 'z': the doubly reparameterised gradient would be biased",
        ),
        (lambda: normal(0.0, 0.0, bk.estimators.MeasureValued()), "site 'z'"),
        (lambda: lambda: sample("z", dist.Normal(0.0, 1.0)), r"bayeskit\.bind"),
        (lambda: hidden(2), "estimated"),
        (lambda: bk.normalize(model(0.0), bk.integrators.SIR(2, normal(0.0, 0.0))), "not pathwise"),
    ],
)
def test_a_guide_that_would_bias_the_doubly_reparameterised_gradient(guide, match):
    with pytest.raises(bk.errors.ModelError, match=match):
        jax.eval_shape(
            lambda: bk.expectation(bk.objectives.ImportanceWeightedELBO(3, **DOUBLY))(0, model(0.0), guide())
        )


@pytest.mark.parametrize(
    "objective",
    [bk.objectives.ImportanceWeightedELBO(3, **DOUBLY), bk.objectives.ELBO(2, sticking_the_landing=True)],
    ids=repr,
)
def test_second_derivatives_that_would_be_wrong_raise(objective):
    estimate = bk.expectation(lambda m: objective(model(0.0), normal(m, 0.0)))
    assert np.isfinite(jax.jit(jax.grad(estimate, argnums=1))(0, 0.1))
    for twice in (jax.hessian, lambda f, argnums: jax.grad(jax.grad(f, argnums), argnums)):
        with pytest.raises(bk.errors.ModelError, match="second derivative"):
            jax.eval_shape(twice(estimate, argnums=1), 0, 0.1)


# ---------------------------------------------------------------- hidden choices


def joint(p):
    def run():
        sample("z", dist.Normal(sample("u", dist.Normal(p, 1.0)), 1.0))

    return run


def prior(p):
    return lambda _: lambda: sample("u", dist.Normal(p, 1.0))


@pytest.mark.parametrize(
    ("num", "entropy"),
    [pytest.param(1, 1.41894, marks=pytest.mark.full), (2, 1.5765), pytest.param(5, 1.6833, marks=pytest.mark.full)],
)
def test_hierarchical_bound_with_the_prior_as_reverse_kernel(estimate, num, entropy):
    """E log p(y, z) for z ~ N(0, √2) in closed form, and the known upper bounds of E log q."""
    log_joint = -np.log(2 * np.pi) - 0.5 * 2 - 0.5 * (1.2**2 + 2)
    found = estimate(
        lambda p: bk.objectives.HierarchicalELBO(["z"], prior(p), num)(model(0.0), joint(p)),
        0.0,
        n=40_000,
        gradient=False,
    )
    assert found.value_error < 0.016
    assert abs(found.value - (log_joint + entropy)) < 4 * found.value_error + 5e-5  # known to four decimals


@pytest.mark.parametrize(
    ("num_hidden", "num_particles"),
    [pytest.param(1, 1, marks=pytest.mark.full), (3, 1), pytest.param(2, 4, marks=pytest.mark.full)],
)
def test_with_the_exact_reverse_kernel_the_hidden_choice_costs_nothing(estimate, num_hidden, num_particles):
    """Then it is the bound of the marginal, N(p, √2); gradient of the ELBO (1.2 - 2p), of the others by quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    weights = weights / weights.sum()

    def exact(p):
        return lambda kept: lambda: sample("u", dist.Normal((p + kept["z"]) / 2, 0.5**0.5))

    def elbo(p):
        z = p + 2**0.5 * nodes
        return np.sum(weights * (-0.5 * (z**2 + (1.2 - z) ** 2 - nodes**2) - 0.5 * np.log(np.pi)))

    objective = lambda p: bk.objectives.HierarchicalELBO(["z"], exact(p), num_hidden, num_particles)  # noqa: E731
    found = estimate(lambda p: objective(p)(model(0.0), joint(p)), 0.2, n=20_000)
    if num_particles == 1:
        found.check_against(elbo, 0.2, value_error=0.02, gradient_error=0.03)
        found.check(gradient=1.2 - 2 * 0.2, gradient_error=0.03)
    else:
        plain = estimate(
            lambda p: bk.objectives.ImportanceWeightedELBO(num_particles)(
                model(0.0), lambda: sample("z", dist.Normal(p, 2**0.5))
            ),
            0.2,
            n=20_000,
        )
        for name in ("value", "gradient"):
            error = np.hypot(getattr(found, f"{name}_error"), getattr(plain, f"{name}_error"))
            assert error < 0.02
            assert abs(getattr(found, name) - getattr(plain, name)) < 4 * error


@pytest.mark.parametrize(("num_hidden", "num_particles"), [(1, 1), (5, 1), (5, 5)])
def test_hierarchical_bound_is_the_bound_of_a_marginal(num_hidden, num_particles):
    """HVI, IWHVI and DIWHVI, composed by hand: operation by operation the same value and gradient."""

    def by_hand(p):
        shown = bk.marginal(joint(p), ["z"], bk.integrators.ImportanceSampling(num_hidden, prior(p)))
        outer = bk.objectives.ELBO() if num_particles == 1 else bk.objectives.ImportanceWeightedELBO(num_particles)
        return outer(model(0.0), shown)

    def named(p):
        return bk.objectives.HierarchicalELBO(["z"], prior(p), num_hidden, num_particles)(model(0.0), joint(p))

    def operations(f):
        both = jax.value_and_grad(bk.expectation(f), argnums=1)
        return re.sub(" at 0x[0-9a-f]+", "", str(jax.make_jaxpr(both)(jax.random.key(0), 0.2)))

    assert operations(by_hand) == operations(named)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: bk.objectives.HierarchicalELBO("z", prior(0.0)), "keep must be a list of site names"),
        (lambda: bk.objectives.HierarchicalELBO([], prior(0.0)), "keep must be a list of site names"),
        (lambda: bk.objectives.HierarchicalELBO(["z"], prior(0.0), 0), "num_hidden must be a positive integer"),
        (lambda: bk.objectives.HierarchicalELBO(["z"], prior(0.0), 1, 0), "num_particles must be a positive integer"),
        (lambda: bk.objectives.ImportanceWeightedELBO(0, **DOUBLY), "num_particles"),
    ],
)
def test_impossible_settings_are_named(make, match):
    with pytest.raises(bk.errors.MethodError, match=match):
        make()
