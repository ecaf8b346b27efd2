"""Natural gradients: the inverse of the Fisher information times the gradient, and what that is good for."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import bayeskit as bk
from bayeskit.inference.vi.fit.natural import natural

LANDING = bk.objectives.ELBO(8, sticking_the_landing=True)
POINT = {"loc": jnp.array([0.3, -0.2, 1.0]), "log_scale": jnp.array([0.1, -0.5, 0.4])}
FULL = {**POINT, "lower": jnp.array([0.7, -0.3, 0.2])}


@functools.partial(jax.jit, static_argnums=0)
def divergence(guide, here, there):
    """KL(q_here || q_there) of two normal distributions."""
    p, q = guide.distribution(here), guide.distribution(there)
    if isinstance(p, dist.MultivariateNormal):
        inverse = jnp.linalg.inv(q.covariance_matrix)
        shift = q.loc - p.loc
        logs = jnp.linalg.slogdet(q.covariance_matrix)[1] - jnp.linalg.slogdet(p.covariance_matrix)[1]
        return 0.5 * (jnp.trace(inverse @ p.covariance_matrix) + shift @ inverse @ shift - len(shift) + logs)
    return dist.kl_divergence(p, q)


@pytest.mark.parametrize(("guide", "point"), [(bk.guides.MeanField(), POINT), (bk.guides.FullRank(), FULL)])
def test_a_short_step_is_the_inverse_fisher_information_times_the_gradient(guide, point):
    """The Fisher information is the Hessian of the divergence at zero; taken by automatic differentiation."""
    flat, unravel = jax.flatten_util.ravel_pytree(point)
    fisher = jax.jit(jax.hessian(lambda there: divergence(guide, point, unravel(there))))(flat)
    gradient = jax.random.normal(jax.random.PRNGKey(0), flat.shape)
    rate = 1e-7
    updates, _ = jax.jit(lambda gradient: natural(guide, rate).update(unravel(gradient), None, point))(gradient)
    moved = jax.flatten_util.ravel_pytree(updates)[0] / rate
    np.testing.assert_allclose(moved, -np.linalg.solve(fisher, gradient), rtol=1e-5)


@pytest.mark.parametrize("guide", [bk.guides.MeanField(), bk.guides.FullRank()])
def test_steps_have_a_longest_length(guide):
    point = POINT if guide == bk.guides.MeanField() else FULL
    huge = jax.tree.map(lambda leaf: np.full_like(leaf, 1e8), point)
    moved = jax.jit(lambda huge: jax.tree.map(jnp.add, point, natural(guide, 1.0).update(huge, None, point)[0]))(huge)
    assert 0.05 < divergence(guide, moved, point) < 1.5


def ill_conditioned():
    """Standard deviations from 1e-3 to 1e3, correlations of 0.99."""
    scales = 10.0 ** np.array([-3.0, -1.0, 1.0, 3.0])
    correlation = 0.99 + 0.01 * np.eye(4)
    covariance = correlation * np.outer(scales, scales)
    numpyro.sample("z", dist.MultivariateNormal(scales, covariance))
    numpyro.factor("nothing", 0.0)


def bound(**settings):
    method = bk.VI(guide=bk.guides.FullRank(), objective=LANDING, num_steps=1000, num_draws=1000, **settings)
    post = bk.infer(ill_conditioned, None, method, key=0, progress=False)
    return post["sample_stats/log_weight"].values


def test_conditioning_does_not_matter():
    """log Z = 0. Natural gradients reach it in 1000 steps from one start for all scales."""
    assert np.abs(bound(optimizer="natural")).max() < 0.01


@pytest.mark.full
def test_conditioning_matters_otherwise():
    """Adam is nowhere: so the target above is a hard one."""
    assert bound(learning_rate=0.05).mean() < -10


@pytest.mark.full  # by default the step of a mean field is that of the formula, and the one of full rank finds a fit
def test_mean_field_finds_the_conditional_variances():
    def model():
        numpyro.sample("z", dist.MultivariateNormal(jnp.zeros(2), jnp.array([[1.0, 0.9], [0.9, 2.0]])))
        numpyro.factor("nothing", 0.0)

    method = bk.VI(objective=LANDING, optimizer="natural", num_steps=1000, num_draws=4000)
    z = bk.infer(model, None, method, key=0, progress=False)["posterior/z"].values[0]
    truth = 1.0 / np.diag(np.linalg.inv([[1.0, 0.9], [0.9, 2.0]]))
    assert np.all(np.abs(z.var(axis=0) - truth) < 4 * truth * np.sqrt(2 / 4000) + 0.01)


@pytest.mark.parametrize("guide", [bk.guides.LowRank(), bk.guides.Mixture(bk.guides.FullRank(), 2), lambda: None])
def test_guides_without_a_known_fisher_information_are_refused(guide):
    with pytest.raises(
        bk.errors.MethodError, match="optimizer='natural' needs a guide whose Fisher information is known"
    ):
        bk.VI(guide=guide, optimizer="natural")
