"""marginal and normalize: their densities are unbiased in the direction that their use asks for."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy import stats

import bayeskit as bk

NUM = 20_000
X = dist.Normal(0.0, 2.0**0.5)  # the marginal of x


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def joint():
    u = numpyro.sample("u", dist.Normal(0.0, 1.0))
    numpyro.sample("x", dist.Normal(u, 1.0))


def prior(kept):
    assert set(kept) == {"x"}
    return lambda: numpyro.sample("u", dist.Normal(0.0, 1.0))


def hidden(num_particles):
    return bk.marginal(joint, ["x"], bk.integrators.ImportanceSampling(num_particles, prior))


def mean_of(f, num=NUM):
    values = jax.jit(jax.vmap(bk.expectation(f)))(jax.random.split(jax.random.PRNGKey(3), num))
    return float(values.mean()), float(values.std() / num**0.5)


@pytest.mark.parametrize(
    ("num", "truth"), [(1, -1.41894), (5, -1.6833), pytest.param(50, -1.7567, marks=pytest.mark.full)]
)
def test_drawn_density_is_an_upper_bound(num, truth):
    found, error = mean_of(lambda: bk.draw(hidden(num))[1])
    assert error < 0.006
    assert abs(found - truth) < 4 * error + 5e-5  # the truths are given to four decimals


@pytest.mark.parametrize("num", [2, pytest.param(5, marks=pytest.mark.full)])
def test_reciprocal_is_unbiased_where_drawn_and_density_where_given(num):
    def drawn():
        choices, log_q = bk.draw(hidden(num))
        return jnp.exp(X.log_prob(choices["x"]) - log_q.value)

    def given():
        return jnp.exp(bk.log_density(hidden(num), {"x": 0.7}).value - X.log_prob(0.7))

    for f in (drawn, given):
        found, error = mean_of(f)
        assert error < 0.02
        assert abs(found - 1.0) < 4 * error


def test_the_two_directions_are_not_the_same():
    """Drawn, one particle is the hidden value itself; given, none is: the bounds lie on different sides."""
    upper, upper_error = mean_of(lambda: bk.draw(hidden(1))[1] - X.log_prob(0.0))

    def lower():
        choices, _ = bk.draw(lambda: numpyro.sample("x", X))
        return bk.log_density(hidden(1), choices) - X.log_prob(0.0)

    low, low_error = mean_of(lower)
    entropy = -0.5
    assert upper - 4 * upper_error > entropy
    assert low + 4 * low_error < entropy


def test_exact_marginal_of_a_discrete_choice():
    def mixture():
        c = numpyro.sample("c", dist.Categorical(probs=jnp.array([0.2, 0.5, 0.3])))
        with numpyro.plate("p", 2):
            b = numpyro.sample("b", dist.Bernoulli(0.3))
        numpyro.sample("x", dist.Normal(c + b.sum(), 1.0))

    x = bk.marginal(mixture, ["x"], bk.integrators.Exact())
    weights = [0.2, 0.5, 0.3]
    twice = [0.49, 0.42, 0.09]
    truth = sum(weights[c] * twice[b] * stats.norm.pdf(1.3, c + b) for c in range(3) for b in range(3))

    def given_and_drawn():
        choices, log_q = bk.draw(x)
        return bk.log_density(x, {"x": 1.3}), log_q - bk.log_density(x, choices)

    given, difference = jax.jit(bk.expectation(given_and_drawn))(1)
    assert np.isclose(given, np.log(truth), rtol=1e-12)
    assert difference == 0.0


def posterior_model():
    z = numpyro.sample("z", dist.Normal(0.0, 1.0))
    numpyro.sample("x", dist.Normal(z, 1.0), obs=1.2)


def wide():
    numpyro.sample("z", dist.Normal(0.0, 1.5))


def test_elbo_with_a_resampled_guide_is_the_importance_weighted_bound():
    """Both are E log of the mean of five weights."""
    guide = bk.normalize(posterior_model, bk.integrators.SIR(5, wide))
    resampled, first = mean_of(lambda: bk.objectives.ELBO()(posterior_model, guide))
    weighted, second = mean_of(lambda: bk.objectives.ImportanceWeightedELBO(5)(posterior_model, wide))
    assert max(first, second) < 0.01
    assert abs(resampled - weighted) < 4 * (first**2 + second**2) ** 0.5


@pytest.mark.parametrize("num", [pytest.param(1, marks=pytest.mark.full), 4])
def test_normalised_density_is_unbiased_in_both_directions(num):
    """For one particle the normalised program is its proposal; for more, integrals over a grid tell."""
    guide = bk.normalize(posterior_model, bk.integrators.SIR(num, wide))
    grid = jnp.linspace(-9.0, 9.0, 181)
    total = jax.jit(
        jax.vmap(
            lambda key: (
                jnp.sum(jax.vmap(lambda z: jnp.exp(bk.expectation(lambda: bk.log_density(guide, {"z": z}))(key)))(grid))
                * 0.1
            )
        )
    )(jax.random.split(jax.random.PRNGKey(0), 2000))
    error = total.std() / 2000**0.5
    assert jnp.abs(total.mean() - 1.0) < 4 * error + 1e-6

    def reciprocal():  # E of phi(z) / q-hat(z) over draws is the integral of phi, here a density
        choices, log_q = bk.draw(guide)
        return jnp.exp(dist.Normal(0.5, 0.5).log_prob(choices["z"]) - log_q.value)

    found, error = mean_of(reciprocal)
    assert error < 0.02
    assert abs(found - 1.0) < 4 * error


def test_nested_marginal():
    """The reverse kernel of a marginal may be a normalised program, whose weight is estimated too."""

    def model(kept):
        def program():
            u = numpyro.sample("u", dist.Normal(0.0, 1.0))
            numpyro.sample("x", dist.Normal(u, 1.0), obs=kept["x"])

        return program

    def proposal(kept):
        return bk.normalize(model(kept), bk.integrators.SIR(3, lambda: numpyro.sample("u", dist.Normal(0.0, 1.0))))

    nested = bk.marginal(joint, ["x"], bk.integrators.ImportanceSampling(2, proposal))

    def drawn():
        choices, log_q = bk.draw(nested)
        return jnp.exp(X.log_prob(choices["x"]) - log_q.value)

    for f in (drawn, lambda: jnp.exp(bk.log_density(nested, {"x": 0.7}).value - X.log_prob(0.7))):
        found, error = mean_of(f, 8000)
        assert error < 0.02
        assert abs(found - 1.0) < 4 * error


@pytest.mark.full  # by default test_bounds.py has it in closed form
def test_gradient_of_the_hierarchical_bound():
    """Against central differences of the same estimate with the same keys: all choices are pathwise."""

    def bound(scale):
        def program():
            u = numpyro.sample("u", dist.Normal(0.0, scale))
            numpyro.sample("z", dist.Normal(u, scale))

        reverse = lambda kept: lambda: numpyro.sample("u", dist.Normal(0.5 * kept["z"], scale))  # noqa: E731
        return bk.objectives.ELBO()(
            posterior_model, bk.marginal(program, ["z"], bk.integrators.ImportanceSampling(3, reverse))
        )

    estimate = bk.expectation(bound)
    keys = jax.random.split(jax.random.PRNGKey(2), 20)
    gradient = jax.jit(jax.vmap(jax.grad(estimate, argnums=1), (0, None)))(keys, 0.8)
    step = 1e-6
    at = jax.jit(jax.vmap(estimate, (0, None)))
    difference = (np.asarray(at(keys, 0.8 + step)) - at(keys, 0.8 - step)) / (2 * step)
    np.testing.assert_allclose(gradient, difference, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("f", "match"),
    [
        (lambda: bk.draw(hidden(2))[1] + bk.log_density(hidden(2), {"x": 0.0}), "bounds nothing"),
        (lambda: bk.draw(hidden(2))[1] - bk.draw(hidden(2))[1], "bounds nothing"),
        (lambda: bk.log_average_exp(3, lambda: bk.draw(hidden(2))[1]), "upper bound"),
        (lambda: bk.log_density(hidden(2), {"y": 0.0}), r"\['x'\]"),
        (lambda: bk.draw(bk.marginal(joint, ["y"], bk.integrators.ImportanceSampling(1, prior)))[1], "keep names 'y'"),
        (lambda: bk.draw(bk.marginal(joint, ["x"], bk.integrators.Exact()))[1], "no finite support"),
        (lambda: bk.marginal(joint, "x", bk.integrators.Exact()), "list of site names"),
        (lambda: bk.integrators.ImportanceSampling(0, prior), "positive integer"),
        (
            lambda: bk.objectives.ELBO(sticking_the_landing=True)(
                posterior_model, bk.normalize(posterior_model, bk.integrators.SIR(2, wide))
            ),
            "bias",
        ),
        (lambda: bk.objectives.ELBO(sticking_the_landing=True)(posterior_model, wide), r"bayeskit\.bind"),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_misuse_raises(f, match):
    with pytest.raises(bk.errors.ModelError, match=match):
        jax.eval_shape(bk.expectation(f), 0)


def test_a_function_of_an_estimated_density_is_refused():
    with pytest.raises(TypeError, match="LogWeight"):
        jax.eval_shape(bk.expectation(lambda: jnp.exp(bk.draw(hidden(2))[1])), 0)


# ---------------------------------------------------------------- Laplace


def scaled(a):
    """A positive latent site with a skewed posterior."""
    s = numpyro.sample("s", dist.LogNormal(0.0, 1.0))
    numpyro.sample("y", dist.Normal(0.0, s), obs=jnp.array([0.5, 1.0, 2.0]) * a)


def log_evidence(a):
    """In NumPy, for complex numbers too."""
    grid = np.linspace(-6.0, 8.0, 4001)
    y = np.array([0.5, 1.0, 2.0]) * a
    height = -0.5 * grid**2 - 3 * grid - 0.5 * np.exp(-2 * grid) * np.sum(y**2) - 2 * np.log(2 * np.pi)
    return np.log(np.sum(np.exp(height)) * (grid[1] - grid[0]))


def test_laplace_of_a_normal_program_is_exact():
    hidden = bk.marginal(joint, ["x"], bk.integrators.LaplaceProposal())

    def given_and_drawn():
        choices, log_q = bk.draw(hidden)
        return bk.log_density(hidden, {"x": jnp.array(0.7)}).value, log_q.value - X.log_prob(choices["x"])

    values, errors = jax.jit(jax.vmap(bk.expectation(given_and_drawn)))(jax.random.split(jax.random.key(0), 20))
    np.testing.assert_allclose(values, stats.norm(0.0, 2**0.5).logpdf(0.7), atol=1e-10)
    np.testing.assert_allclose(errors, 0.0, atol=1e-10)


def laplace_bound(a, num=1):
    return bk.objectives.ELBO()(lambda: scaled(a), bk.normalize(lambda: scaled(a), bk.integrators.LaplaceProposal(num)))


def test_normalised_by_laplace_the_bound_rises_to_the_evidence():
    found, error = mean_of(lambda: laplace_bound(1.0, 20), 4000)
    assert found < log_evidence(1.0) + 4 * error
    assert log_evidence(1.0) - found < 0.02


@pytest.mark.full  # by default that of one particle, below
def test_gradient_of_a_laplace_bound_of_many_is_that_of_the_evidence():
    """Through the mode and the curvature."""
    gradient = jax.grad(bk.expectation(lambda a: laplace_bound(a, 20)), argnums=1)
    gradients = jax.jit(jax.vmap(gradient, (0, None)))(jax.random.split(jax.random.key(0), 4000), 1.0)
    assert abs(gradients.mean() - log_evidence(1.0 + 1e-30j).imag / 1e-30) < 0.005


def test_gradient_of_a_laplace_bound_is_that_of_its_mean():
    """K = 1: the bound is E[h(v)] + entropy for v normal at the mode, by quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)

    def by_quadrature(a):
        squares = 5.25 * a**2
        log_joint = lambda v: -0.5 * v**2 - 3 * v - 0.5 * np.exp(-2 * v) * squares - 2 * np.log(2 * np.pi)  # noqa: E731
        v = 0.0 * a
        for _ in range(30):  # Newton's steps
            v = v - (-v - 3 + np.exp(-2 * v) * squares) / (-1 - 2 * np.exp(-2 * v) * squares)
        scale = (1 + 2 * np.exp(-2 * v) * squares) ** -0.5
        heights = log_joint(v + scale * nodes)
        return np.sum(weights * heights) / np.sum(weights) + np.log(scale) + 0.5 * np.log(2 * np.pi * np.e)

    both = jax.value_and_grad(bk.expectation(laplace_bound), argnums=1)
    values, gradients = jax.jit(jax.vmap(both, (0, None)))(jax.random.split(jax.random.key(3), 4000), 1.0)
    moved = by_quadrature(1.0 + 1e-30j)
    for found, truth in ((values, moved.real), (gradients, moved.imag / 1e-30)):
        error = found.std() / 4000**0.5
        assert abs(found.mean() - truth) < 4 * error < 0.06
    assert values.mean() + 4 * values.std() / 4000**0.5 < log_evidence(1.0)


def test_laplace_needs_continuous_sites_with_a_known_density():
    def coin():
        b = numpyro.sample("b", dist.Bernoulli(0.3))
        numpyro.sample("x", dist.Normal(b, 1.0))

    with pytest.raises(bk.errors.ModelError, match="site 'b' of 'coin' is discrete, and has no Laplace"):
        jax.eval_shape(bk.expectation(lambda: bk.draw(bk.marginal(coin, ["x"], bk.integrators.LaplaceProposal()))), 0)
    with pytest.raises(bk.errors.ModelError, match="no mode to be found"):
        bk.normalize(hidden(2), bk.integrators.LaplaceProposal())
    both = bk.marginal(joint, ["x", "u"], bk.integrators.LaplaceProposal())
    with pytest.raises(bk.errors.ModelError, match="no latent site left"):
        jax.eval_shape(bk.expectation(lambda: bk.draw(both)), 0)


def test_laplace_at_a_kink_is_not_a_number():
    """The density has no derivative at its mode, where a gradient would be wrong."""

    def kinked(loc):
        x = numpyro.sample("x", dist.Laplace(loc, 1.0))
        numpyro.sample("k", dist.Normal(x, 2.0))

    def f(loc):
        return bk.log_density(
            bk.marginal(lambda: kinked(loc), ["k"], bk.integrators.LaplaceProposal()), {"k": jnp.array(0.4)}
        ).value

    assert jnp.isnan(jax.jit(bk.expectation(f))(0, 0.3))
