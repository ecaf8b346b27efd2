"""L-BFGS with its inverse Hessian, and normal distributions of low rank."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from bayeskit.numerics.low_rank_normal import low_rank_normal
from bayeskit.numerics.quasi_newton import climb, factors, start

SIZE, HISTORY = 5, 3
RNG = np.random.default_rng(0)
ROOT = RNG.normal(size=(SIZE, SIZE)) / 2 + np.eye(SIZE)
PRECISION, MEAN = ROOT @ ROOT.T, RNG.normal(size=SIZE)


def walked(log_density, position, steps, tolerance=0.0):
    def run(position):
        ascent = jax.value_and_grad(log_density)
        begin = start(ascent, position, HISTORY)
        return jax.lax.while_loop(lambda w: w.goes_on & (w.step < steps), lambda w: climb(ascent, w, tolerance), begin)

    return jax.jit(run)(jnp.asarray(position))


def quadratic(x):
    return -0.5 * (x - MEAN) @ PRECISION @ (x - MEAN)


def test_it_arrives_and_its_estimate_obeys_the_secant_equation():
    """H z = s for the last step, and H is positive definite."""
    walk = walked(quadratic, np.full(SIZE, 2.0), 4)
    left, middle = factors(walk.curvature)
    inverse = np.diag(walk.curvature.diagonal) + left @ middle @ left.T
    np.testing.assert_allclose(inverse @ walk.curvature.changes[:, -1], walk.curvature.steps[:, -1], rtol=1e-10)
    assert np.linalg.eigvalsh(inverse).min() > 0
    end = walked(quadratic, np.full(SIZE, 2.0), 100, 1e-12)
    np.testing.assert_allclose(end.point.position, MEAN, atol=1e-5)
    assert not end.goes_on
    assert end.gradients < 60


def test_a_density_that_is_not_finite_is_a_step_too_far():
    """log x - x has its mode at 1; its logarithm is NaN below 0, where a step from 5 of length one would lead."""
    end = walked(lambda x: jnp.sum(jnp.log(x) - 50.0 * x), np.full(2, 0.5), 100)
    np.testing.assert_allclose(end.point.position, 0.02, rtol=1e-5)
    stuck = walked(lambda x: jnp.where(jnp.all(x == 1.0), 0.0 * jnp.sum(x), jnp.nan), np.ones(2), 100)
    np.testing.assert_array_equal(stuck.point.position, 1.0)
    assert not stuck.goes_on


def test_low_rank_normal_is_the_dense_one():
    for size, rank in ((6, 2), (3, 4)):
        diagonal, left = RNG.uniform(0.5, 2.0, size), RNG.normal(size=(size, rank))
        middle = np.diag(RNG.uniform(-0.02, 1.0, rank))
        normal = low_rank_normal(jnp.arange(float(size)), jnp.asarray(diagonal), jnp.asarray(left), jnp.asarray(middle))
        covariance = np.diag(diagonal) + left @ middle @ left.T
        dense = stats.multivariate_normal(np.arange(size), covariance)
        points, log_q = normal.at(jnp.asarray(RNG.normal(size=(7, size))))
        np.testing.assert_allclose(log_q, dense.logpdf(points), rtol=1e-9)
        np.testing.assert_allclose(normal.log_prob(points), log_q, rtol=1e-9)
        root = normal.at(jnp.eye(size))[0] - normal.mean
        np.testing.assert_allclose(root.T @ root, covariance, atol=1e-9)
