"""Elliptical slice sampling, and which priors are jointly normal."""

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.distributions import constraints

import bayeskit as bk
from bayeskit.inference.mcmc.gaussian_prior import check_gaussian_prior, gaussian_prior


def target_of(model):
    return bk.Target(bk.bind(model, None), allow_unobserved=True)


def linear():
    """A mean that is linear in another site, a mask and a scale."""
    level = numpyro.sample("level", dist.Normal(1.0, 2.0))
    numpyro.sample("x", dist.MultivariateNormal(2.0 * level * jnp.ones(2), jnp.array([[1.0, 0.5], [0.5, 2.0]])))
    with numpyro.handlers.scale(scale=4.0):
        numpyro.sample("sharp", dist.Normal(3.0, 2.0))


def test_a_linear_prior_is_found_with_its_moments():
    check_gaussian_prior(target_of(linear), "it")
    prior = gaussian_prior(target_of(linear))
    covariance = np.zeros((4, 4))
    covariance[:3, :3] = 4 * np.outer([1, 2, 2], [1, 2, 2])
    covariance[1:3, 1:3] += [[1.0, 0.5], [0.5, 2.0]]
    covariance[3, 3] = 1.0
    np.testing.assert_allclose(prior.mean, [1, 2, 2, 3], rtol=1e-9)
    np.testing.assert_allclose(prior.root @ prior.root.T, covariance, rtol=1e-8, atol=1e-8)


def scaled():
    scale = numpyro.sample("scale", dist.Normal())
    numpyro.sample("x", dist.Normal(0.0, 1.0 + scale**2))


def transformed():
    numpyro.sample("x", dist.Normal())
    numpyro.sample("tau", dist.HalfNormal())


def kinked():
    level = numpyro.sample("level", dist.Normal())
    numpyro.sample("x", dist.Normal(jnp.maximum(level, 3.0), 1.0))


def heavy():
    numpyro.sample("x", dist.StudentT(5.0))


def flat():
    numpyro.sample("x", dist.ImproperUniform(constraints.real, (), ()))


def discrete():
    numpyro.sample("x", dist.Normal())
    which = numpyro.sample("which", dist.Bernoulli(0.3))
    numpyro.factor("f", 1.0 * which)


@pytest.mark.parametrize(
    ("model", "site"),
    [(scaled, "'x'"), (transformed, "'tau'"), (kinked, "'x'"), (heavy, "'x'"), (flat, "flat"), (discrete, "'which'")],
)
def test_other_priors_are_refused(model, site):
    with pytest.raises(bk.errors.ModelError, match=site):
        check_gaussian_prior(target_of(model), "it")


def test_a_process_with_counts_has_the_moments_of_nuts():
    """Against NUTS on whitened values, with Monte Carlo errors of both; a likelihood that is NaN is never gone to."""
    x = np.linspace(0.0, 3.0, 5)
    root = np.linalg.cholesky(np.exp(-0.5 * (x[:, None] - x) ** 2) + 1e-6 * np.eye(5))
    counts = np.array([1, 0, 2, 3, 6])

    def process(white):
        if white:
            f = jnp.asarray(root) @ numpyro.sample("u", dist.Normal().expand([5]).to_event(1))
            numpyro.deterministic("f", f)
        else:
            f = numpyro.sample("f", dist.MultivariateNormal(jnp.zeros(5), scale_tril=root))
        numpyro.sample("y", dist.Poisson(jnp.exp(f)).to_event(1), obs=counts)
        numpyro.factor("below", jnp.where(f[0] > 1.5, jnp.nan if not white else -jnp.inf, 0.0))

    method = bk.EllipticalSlice(num_chains=2, num_warmup=100, num_draws=2000)
    ours = bk.infer(process, {"white": False}, method, key=0, progress=False)
    theirs = bk.infer(process, {"white": True}, bk.NUTS(num_chains=2, num_draws=2000), key=1, progress=False)
    verdict = bk.check(ours, quiet=True)
    assert verdict.ok
    assert verdict.num_divergences == 0
    assert ours["posterior/f"].values[..., 0].max() < 1.5
    import arviz_stats

    for power in (1, 2):
        one, other = (post["posterior/f"].values ** power for post in (ours, theirs))
        for k in range(5):
            error = np.hypot(*(float(arviz_stats.mcse(each[..., k], method="mean")) for each in (one, other)))
            assert abs(one[..., k].mean() - other[..., k].mean()) < 4 * error


def test_impossible_settings():
    for setting, value in {"steps_per_draw": 0, "num_chains": 0, "chain_method": "no"}.items():
        with pytest.raises(bk.errors.MethodError, match=setting):
            bk.EllipticalSlice(**{setting: value})


def test_a_prior_that_is_flat_along_a_combination_is_refused():
    """Every coordinate has a curvature of its own, and their common shift has none."""

    def shifted():
        level = numpyro.sample("level", dist.ImproperUniform(dist.constraints.real, (), ()))
        place = numpyro.sample("place", dist.Normal(level, 1.0))
        numpyro.sample("y", dist.Normal(place, 1.0), obs=2.0)

    with pytest.raises(bk.errors.ModelError, match="flat along some combination"):
        bk.infer(shifted, {}, bk.EllipticalSlice(), key=0, progress=False)
