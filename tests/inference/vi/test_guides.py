"""Guides: what each is for, against closed forms. What they all promise is in tests/conformance/test_guides.py."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy import stats
from scipy.optimize import minimize

import bayeskit as bk
from bayeskit.inference.vi.guides.guide import SITE
from bayeskit.program.weights import number_of

LANDING = bk.objectives.ELBO(8, sticking_the_landing=True)
SLOPES = np.array([1.0, -0.5])


def chained():
    """A joint normal distribution over two sites: b given a is normal with mean SLOPES · a."""
    a = numpyro.sample("a", dist.MultivariateNormal(jnp.array([0.5, -1.0]), jnp.array([[1.0, 0.9], [0.9, 2.0]])))
    numpyro.sample("b", dist.Normal(a @ SLOPES, 0.5))
    numpyro.factor("nothing", 0.0)


def precision_of_chained():
    prior = np.linalg.inv([[1.0, 0.9], [0.9, 2.0]])
    return np.block([[prior + np.outer(SLOPES, SLOPES) / 0.25, -SLOPES[:, None] / 0.25], [-SLOPES[None] / 0.25, 4.0]])


TARGET = bk.Target(bk.bind(chained))


def some_parameters(guide, scale=0.5):
    """Parameters somewhere, not only at the start."""
    guide.ready(TARGET, TARGET.size)

    @jax.jit
    def moved():
        parameters = guide.init(jax.random.PRNGKey(0), TARGET, jnp.array([0.3, -0.2, 0.1]))
        leaves, structure = jax.tree.flatten(parameters)
        keys = jax.random.split(jax.random.PRNGKey(1), len(leaves))
        leaves = [leaf + scale * jax.random.normal(key, leaf.shape) for key, leaf in zip(keys, leaves, strict=True)]
        return jax.tree.unflatten(structure, leaves)

    return moved()


def draws_of(guide, parameters, count):
    def one(key):
        def drawn():
            choices, log_q = bk.draw(guide.program(parameters, TARGET))
            return choices[SITE], number_of(log_q)

        return bk.expectation(drawn)(key)

    return jax.jit(jax.vmap(one))(jax.random.split(jax.random.PRNGKey(2), count))


def infer(model, data=None, key=0, init=None, **settings):
    method = bk.VI(**{"num_draws": 2000, "objective": LANDING, **settings})
    return bk.infer(model, data, method, key=key, init=init, progress=False)


# ---- Laplace -------------------------------------------------------------------------------------------------------


def regression(x, y):
    b = numpyro.sample("b", dist.Normal(0.0, 2.0).expand([x.shape[1]]).to_event(1))
    numpyro.sample("y", dist.Normal(x @ b, 0.5).to_event(1), obs=y)


def test_laplace_is_exact_for_a_normal_posterior_of_any_scale():
    """Every draw has the weight log p(y), in closed form; the units of the covariates differ by a factor of 1e4."""
    rng = np.random.default_rng(0)
    x = np.column_stack([np.ones(20), 100 * rng.normal(size=20), 0.01 * rng.normal(size=20)])
    y = x @ [0.3, -0.01, 20.0] + 0.5 * rng.normal(size=20)
    post = infer(regression, {"x": x, "y": y}, guide=bk.guides.Laplace(), num_steps=0)
    evidence = stats.multivariate_normal(np.zeros(20), 0.25 * np.eye(20) + 4 * x @ x.T).logpdf(y)
    np.testing.assert_allclose(post["sample_stats/log_weight"], evidence, rtol=1e-6)
    assert "warmup_sample_stats" not in post.children
    assert bk.check(post, quiet=True).ok


@pytest.mark.parametrize("x64", [pytest.param(True, marks=pytest.mark.full), False])
def test_laplace_has_the_curvature_at_the_mode(x64):
    """For Gamma(a, b), log x has the density exp(a u - b exp u): its mode is log(a / b), its curvature there a."""

    def model():
        numpyro.sample("x", dist.Gamma(9.0, 2.0))
        numpyro.factor("nothing", 0.0)

    with jax.enable_x64(x64):
        settings = {"num_steps": 0, "num_draws": 10_000, "chain_method": "vectorized"}
        post = infer(model, guide=bk.guides.Laplace(), **settings)
    log_x = np.log(post["posterior/x"].values)
    assert post["posterior/x"].dtype == (np.float64 if x64 else np.float32)
    assert abs(log_x.mean() - np.log(4.5)) < 4 / 3 / 100
    assert abs(log_x.std() * 3 - 1) < 4 / np.sqrt(2 * 10_000)


def test_laplace_goes_on_from_the_mode():
    """The best normal for log x, x ~ Gamma(a, b): from d/dm and d/ds of E[a u - b exp u] + log s,
    s² = 1 / a and m = log(a / b) - s² / 2.
    """

    def model():
        numpyro.sample("x", dist.Gamma(2.0, 2.0))
        numpyro.factor("nothing", 0.0)

    post = infer(model, guide=bk.guides.Laplace(), num_steps=300, optimizer="natural", num_draws=10_000)
    log_x = np.log(post["posterior/x"].values)
    assert abs(log_x.mean() + 0.25) < 4 * np.sqrt(0.5 / 10_000) + 0.01
    assert abs(log_x.std() / np.sqrt(0.5) - 1) < 4 / np.sqrt(2 * 10_000) + 0.01


def centred_funnel():
    v = numpyro.sample("v", dist.Normal(0.0, 3.0))
    numpyro.sample("x", dist.Normal(0.0, jnp.exp(v / 2)).expand([9]).to_event(1))
    numpyro.factor("nothing", 0.0)


def ridge():
    a = numpyro.sample("a", dist.ImproperUniform(dist.constraints.real, (), ()))
    b = numpyro.sample("b", dist.ImproperUniform(dist.constraints.real, (), ()))
    numpyro.sample("y", dist.Normal(a + b, 1.0), obs=0.3)


def quartic():
    x = numpyro.sample("x", dist.ImproperUniform(dist.constraints.real, (), ()))
    numpyro.factor("peak", -((x - 1.0) ** 4))


def slide():
    x = numpyro.sample("x", dist.ImproperUniform(dist.constraints.real, (), ()))
    numpyro.factor("slide", jnp.log1p(x**2))


@pytest.mark.parametrize(
    ("model", "match"),
    [
        (ridge, "not positive definite.*site '[ab]'"),
        (slide, "(not positive definite|from the mode|not finite).*site 'x'"),
    ],
)
def test_laplace_refuses_a_density_without_a_proper_peak(model, match):
    with pytest.raises(bk.errors.ModelError, match=match):
        infer(model, guide=bk.guides.Laplace(), num_steps=0)


@pytest.mark.parametrize("model", [pytest.param(centred_funnel, marks=pytest.mark.full), quartic])
def test_a_mode_that_says_little_of_the_mass_is_found_by_the_weights(model):
    """The centred funnel has its mode far from its mass; a quartic peak has no curvature."""
    verdict = bk.check(infer(model, guide=bk.guides.Laplace(), num_steps=0), quiet=True)
    assert not verdict.ok
    (finding,) = [finding for finding in verdict.findings if finding.name == "pareto_k"]
    assert "NUTS" in finding.advice


# ---- blocks --------------------------------------------------------------------------------------------------------


def test_block_keeps_the_correlations_within_groups():
    """The best independent blocks have the inverses of the blocks of the precision as covariances, and the bound is
    lower than log Z = 0 by half the difference of the log determinants (Bishop 2006, section 10.1.2).
    """
    precision = precision_of_chained()
    inner = np.linalg.inv(precision[:2, :2])
    gap = 0.5 * (np.linalg.slogdet(precision[:2, :2])[1] + np.log(precision[2, 2]) - np.linalg.slogdet(precision)[1])
    post = infer(
        chained, guide=bk.guides.Block(("b", bk.guides.MeanField()), rest=bk.guides.FullRank()), num_steps=3000
    )
    a, b = post["posterior/a"].values[0], post["posterior/b"].values[0]
    spread = np.sqrt((np.outer(np.diag(inner), np.diag(inner)) + inner**2) / 2000)
    assert np.all(np.abs(np.cov(a.T) - inner) < 4 * spread + 0.02 * np.abs(inner))
    assert abs(b.var() * precision[2, 2] - 1) < 4 * np.sqrt(2 / 2000) + 0.02
    assert np.all(np.abs(np.corrcoef(np.column_stack([a, b]).T)[2, :2]) < 4 / np.sqrt(2000))
    weight = post["sample_stats/log_weight"].values
    assert abs(weight.mean() + gap) < 4 * weight.std() / np.sqrt(2000) + 0.005


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (
            lambda: bk.guides.Block(("a", bk.guides.FullRank()), ("a", bk.guides.MeanField())),
            "site 'a' is in two groups",
        ),
        (lambda: bk.guides.Block((["a", "b", "a"], bk.guides.FullRank())), "site 'a' is in two groups, or twice"),
        (lambda: bk.guides.Block(), "one or more pairs"),
        (lambda: bk.guides.Block(("a", bk.guides.Laplace())), "guide of a group"),
        (lambda: bk.guides.Block(([], bk.guides.FullRank())), "names of sites"),
        (lambda: bk.guides.Mixture(bk.guides.FullRank(), 1), "num_components"),
        (lambda: bk.guides.Mixture(bk.guides.Laplace(), 2), "mixture: guide"),
        (lambda: bk.guides.Mixture(bk.guides.FullRank(), 2, spread=0.0), "spread"),
        (lambda: bk.guides.Mixture(bk.guides.FullRank(), 2, estimator=bk.estimators.Pathwise()), "estimator"),
        (lambda: bk.guides.Flow("planar"), "architecture must be one of 'masked_autoregressive'"),
        (lambda: bk.guides.Flow(num_layers=0), "num_layers"),
        (lambda: bk.guides.Flow(init_scale=-1.0), "init_scale"),
        (lambda: bk.guides.Laplace(0), "max_iterations"),
        (lambda: bk.VI.from_settings({"guide": {"kind": "mixture", "components": 2}}), "no setting 'components'"),
        (lambda: bk.VI.from_settings({"guide": {"kind": "mixture", "num_components": 2}}), "missing.*'guide'"),
    ],
)
def test_impossible_guides_are_named(make, match):
    with pytest.raises(bk.errors.MethodError, match=match):
        make()


@pytest.mark.parametrize(
    ("guide", "match"),
    [
        (
            bk.guides.Block(("aa", bk.guides.FullRank()), rest=bk.guides.MeanField()),
            "'aa' is not a latent site of the model; did you",
        ),
        (bk.guides.Block(("a", bk.guides.FullRank())), "sites 'b' are in no group"),
        (bk.guides.Block(("b", bk.guides.Flow()), rest=bk.guides.MeanField()), "two coordinates"),
    ],
)
def test_a_guide_that_does_not_fit_the_model_is_refused(guide, match):
    with pytest.raises(bk.errors.ModelError, match=match):
        infer(chained, guide=guide, num_steps=10)


# ---- mixtures ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "estimator",
    [
        pytest.param(bk.estimators.Score(), marks=pytest.mark.full),
        bk.estimators.Enumeration(),
        pytest.param(bk.estimators.MeasureValued(), marks=pytest.mark.full),
    ],
    ids=lambda e: type(e).__name__,
)
def test_gradients_of_a_mixture_are_those_of_its_moments(estimator):
    r"""E |z|² = sum_k w_k (|m_k|² + |s_k|²)."""
    guide = bk.guides.Mixture(bk.guides.MeanField(), 3, estimator=estimator)
    parameters = some_parameters(guide)

    def exact(parameters):
        inner = parameters["components"]
        squares = jnp.sum(inner["loc"] ** 2 + jnp.exp(2 * inner["log_scale"]), axis=1)
        return jax.nn.softmax(parameters["logits"]) @ squares

    def estimate(parameters, key):
        return bk.expectation(lambda: jnp.sum(bk.draw(guide.program(parameters, TARGET))[0][SITE] ** 2))(key)

    gradients = jax.jit(jax.vmap(jax.grad(estimate), (None, 0)))(
        parameters, jax.random.split(jax.random.PRNGKey(0), 8000)
    )
    for truth, found in zip(
        jax.tree.leaves(jax.jit(jax.grad(exact))(parameters)), jax.tree.leaves(gradients), strict=True
    ):
        error = found.std(axis=0) / np.sqrt(len(found))
        assert np.all(np.abs(found.mean(axis=0) - truth) < 4 * error + 1e-12)
        assert np.all(error < 0.2)


def bimodal():
    normals = dist.Normal(jnp.array([-4.0, 4.0]), jnp.array([1.0, 0.5]))
    numpyro.sample("x", dist.MixtureSameFamily(dist.Categorical(jnp.array([0.3, 0.7])), normals))
    numpyro.factor("nothing", 0.0)


def test_a_mixture_finds_the_modes_and_their_weights():
    guide = bk.guides.Mixture(bk.guides.MeanField(init_scale=1.0), 4, spread=5.0)
    post = infer(bimodal, guide=guide, objective=bk.objectives.ELBO(16), init={"x": 0.0}, num_steps=2000)
    x = post["posterior/x"].values[0]
    assert abs((x > 0).mean() - 0.7) < 4 * np.sqrt(0.21 / 2000) + 0.02
    assert abs(x[x > 0].std() - 0.5) < 0.05
    assert abs(float(post["sample_stats/log_weight"].mean())) < 0.02
    assert bk.check(post, quiet=True).ok


# ---- flows ---------------------------------------------------------------------------------------------------------


def banana():
    x = numpyro.sample("x", dist.Normal(0.0, 1.0))
    numpyro.sample("y", dist.Normal(x**2, 0.5))
    numpyro.factor("nothing", 0.0)


def test_a_flow_bends_where_a_normal_cannot():
    """log Z = 0 bounds both; the flow comes near it.

    The bound of N(m, S) has E (y - x²)² = var(y) + var(x²) - 2 cov(y, x²) + (m_y - m_x² - s_x²)² in closed form.
    """

    def loss(p):  # of means, log deviations, and y = m_y + b (x - m_x) + noise
        (mx, my, b), (sx, noise) = p[:3], np.exp(p[3:])
        square = noise**2 + sx**2 * (b - 2 * mx) ** 2 + 2 * sx**4 + (my - mx**2 - sx**2) ** 2
        return (
            np.log(2 * np.pi) + np.log(0.5) + 0.5 * (mx**2 + sx**2) + 2 * square - np.log(2 * np.pi * np.e) - sum(p[3:])
        )

    assert -minimize(loss, np.zeros(5)).fun < -0.4
    post = infer(banana, guide=bk.guides.Flow(), num_steps=2000, learning_rate=0.01, objective=bk.objectives.ELBO(8))
    assert -0.2 < float(post["sample_stats/log_weight"].mean()) < 0.02


def test_a_flow_starts_as_a_narrow_normal_around_the_start():
    guide, start = bk.guides.Flow(), np.array([0.3, -0.2])  # of the default scale, 0.1
    guide.ready(TARGET, 2)
    init = jax.jit(lambda start: guide.init(jax.random.PRNGKey(0), TARGET, start))
    values, log_q = draws_of(guide, init(start), 2000)
    assert np.all(np.abs(values.mean(0) - start) < 0.05)
    assert abs((log_q - stats.norm(start, 0.1).logpdf(values).sum(1)).mean()) < 0.5


def test_a_flow_without_flowjax_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "flowjax", None)
    with pytest.raises(bk.errors.MethodError, match=r"pip install \"bayeskit\[flows\]\""):
        bk.guides.Flow()


def test_flows_in_single_precision():
    """The draw, the bound and its gradient, of which a fit is made."""
    guide = bk.guides.Flow("coupling", num_layers=2, width=8)

    def bound(parameters, target, key):
        model, flow = guide.programs(parameters, target)
        return bk.expectation(lambda: (bk.objectives.ELBO(2)(model, flow), bk.draw(flow)[0][SITE]))(key)

    with jax.enable_x64(False):
        target = bk.Target(bk.bind(banana))
        guide.ready(target, target.size)

        @jax.jit
        def both(key):
            parameters = guide.init(key, target, jnp.zeros(2))
            return jax.value_and_grad(bound, has_aux=True)(parameters, target, key)

        numbers = jax.tree.leaves(both(jax.random.PRNGKey(0)))
    assert {number.dtype for number in numbers} == {np.dtype(np.float32)}
    assert all(np.isfinite(number).all() for number in numbers)
