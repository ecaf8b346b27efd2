"""`VI` with every objective that fits a guide: it ends at the posterior, and is named in a run file."""

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import bayeskit as bk

MEAN, COVARIANCE = np.array([0.5, -1.0]), np.array([[1.0, 0.6], [0.6, 0.8]])
# By default one that takes a guide apart from its parameters, and one with settings of its own, which a run file names;
# tests/conformance/test_objectives.py has the gradient and the record of each.
OBJECTIVES = [
    bk.objectives.ImportanceWeightedELBO(8, doubly_reparameterized=True),
    pytest.param(bk.objectives.WakeGuide(32), marks=pytest.mark.full),
    pytest.param(bk.objectives.ReweightedWakeSleep(32), marks=pytest.mark.full),
    pytest.param(bk.objectives.ForwardKL(32), marks=pytest.mark.full),
    pytest.param(bk.objectives.SymmetricKL(32), marks=pytest.mark.full),
    pytest.param(bk.objectives.FDivergence("jensen_shannon", 32), marks=pytest.mark.full),
    bk.objectives.FDivergence("amari_alpha", 32, power=0.5),
    pytest.param(bk.objectives.CauchySchwarz(32), marks=pytest.mark.full),
    pytest.param(bk.objectives.LogVariance(32), marks=pytest.mark.full),
]


def gaussian():
    numpyro.sample("z", dist.MultivariateNormal(jnp.asarray(MEAN), jnp.asarray(COVARIANCE)))
    numpyro.factor("evidence", 100.0)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
def test_a_guide_that_holds_the_posterior_finds_it(objective):
    num_steps = 6000 if isinstance(objective, type(bk.objectives.ImportanceWeightedELBO(1))) else 2000  # a flat bound
    method = bk.VI(guide=bk.guides.FullRank(init_scale=1.0), objective=objective, num_steps=num_steps, num_draws=2000)
    assert bk.VI.from_settings(method.settings()) == method
    post = bk.infer(gaussian, None, method, key=3, progress=False)
    draws = post["posterior/z"].values[0]
    assert bk.check(post, quiet=True).ok
    error = np.sqrt(np.diag(COVARIANCE) / 2000)
    assert np.all(np.abs(draws.mean(0) - MEAN) < 4 * error)
    spread = np.sqrt((np.outer(np.diag(COVARIANCE), np.diag(COVARIANCE)) + COVARIANCE**2) / 2000)
    assert np.all(np.abs(np.cov(draws.T) - COVARIANCE) < 4 * spread)


def test_a_guide_by_hand_has_the_objectives_without_a_detached_density():
    """A NumPyro guide is a plain function: particles that are held fixed need not know its parameters."""

    def by_hand():
        loc = numpyro.param("loc", jnp.zeros(2))
        scale = numpyro.param("scale", jnp.ones(2), constraint=dist.constraints.positive)
        numpyro.sample("z", dist.Normal(loc, scale).to_event(1))

    method = bk.VI(guide=by_hand, objective=bk.objectives.WakeGuide(32), num_steps=2000, num_draws=2000)
    draws = bk.infer(gaussian, None, method, key=3, progress=False)["posterior/z"].values[0]
    error = np.sqrt(np.diag(COVARIANCE) / 2000)
    assert np.all(np.abs(draws.mean(0) - MEAN) < 4 * error)  # forward, so with the posterior's own variances
    assert np.all(np.abs(draws.var(0) / np.diag(COVARIANCE) - 1) < 4 * np.sqrt(2 / 2000))
