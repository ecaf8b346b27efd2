"""The process on a line in linear time, against the dense one of the same kernel."""

import re

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from bayeskit.errors import DataError, MethodError
from bayeskit.models.spectral_pde.kernels import StudentT
from bayeskit.models.spectral_pde.matern_process import stationary_root, step_noise_root, transition
from bayeskit.models.spectral_pde.state_space import condition, log_evidence

KERNEL = StudentT([1.0, 0.5], [0.7, 3.0], [0.5, 0.8])
NEW = np.array([-0.7, 0.0, 0.31, 1.2, 0.9, 2.0, 5.0, 1.5, 1.49])


def covariance(kernel, x1, c1, x2, c2):
    """Covariances of c0 u + c1 u' + c2 u'' at two lists of points."""

    @jax.jit
    def blocks(x1, x2):
        every = [[kernel.derivative(i, j) for j in range(3)] for i in range(3)]
        return jnp.array([[jax.vmap(jax.vmap(f, (None, 0)), (0, None))(x1, x2) for f in row] for row in every])

    return np.einsum("ni,mj,ijnm->nm", c1, c2, np.asarray(blocks(x1, x2)))


@pytest.fixture(scope="module")
def data():
    """Mixed observations in no order, three of them at one point, two of these alike."""
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 2, 40)
    x[[1, 17]] = x[0]
    coefficients = rng.normal(size=(40, 3)) * [1.0, 0.1, 0.01]
    coefficients[0], coefficients[1], coefficients[17] = [1, 0, 0], [0, 0, 0.01], [1, 0, 0]
    return x, coefficients, rng.normal(size=40), rng.uniform(0.05, 0.2, 40)


@pytest.fixture(scope="module")
def posterior(data):
    return condition(KERNEL, *data)


def test_the_evidence_is_the_density_of_the_dense_process(data, posterior):
    x, coefficients, targets, noise_sd = data
    dense = covariance(KERNEL, x, coefficients, x, coefficients) + np.diag(noise_sd**2)
    expected = scipy.stats.multivariate_normal(np.zeros(x.size), dense).logpdf(targets)
    np.testing.assert_allclose(posterior.log_evidence, expected, rtol=1e-10)
    np.testing.assert_allclose(log_evidence(KERNEL, *data), expected, rtol=1e-10)


@pytest.mark.parametrize("order", [0, 1, 2])
def test_the_posterior_is_that_of_the_dense_process(data, posterior, order):
    x, coefficients, targets, noise_sd = data
    new = np.concatenate([NEW[:-2], x[[0, 5]]])  # before, between, after and at the points, in no order
    functional = np.tile(np.eye(3)[order], (new.size, 1))
    dense = covariance(KERNEL, x, coefficients, x, coefficients) + np.diag(noise_sd**2)
    cross = covariance(KERNEL, new, functional, x, coefficients)
    prior = covariance(KERNEL, new, functional, new, functional)
    mean = cross @ np.linalg.solve(dense, targets)
    sd = np.sqrt(np.diag(prior - cross @ np.linalg.solve(dense, cross.T)))
    np.testing.assert_allclose(posterior.mean(new, order), mean, rtol=1e-8, atol=1e-8 * np.abs(mean).max())
    np.testing.assert_allclose(posterior.sd(new, order), sd, rtol=1e-8)


def test_the_order_of_the_observations_does_not_matter(data, posterior):
    order = np.random.default_rng(1).permutation(40)
    other = condition(KERNEL, *(part[order] for part in data))
    np.testing.assert_array_equal(other.x, np.sort(data[0]))
    np.testing.assert_allclose(other.log_evidence, posterior.log_evidence, rtol=1e-12)
    np.testing.assert_allclose(other.mean(NEW), posterior.mean(NEW), rtol=1e-10, atol=1e-12)
    shuffled = np.random.default_rng(2).permutation(NEW.size)
    np.testing.assert_allclose(posterior.sd(NEW[shuffled], 1), np.asarray(posterior.sd(NEW, 1))[shuffled], rtol=1e-12)


@pytest.mark.full
def test_the_gradient_of_the_evidence_is_its_slope(data):
    x, *rest = data
    parameters = (KERNEL.weight, jnp.array([0.0, 3.0]), KERNEL.lengthscale)

    def evidence(parameters):
        return log_evidence(StudentT(*parameters), x, *rest)

    gradient = jax.jit(jax.grad(evidence))(parameters)
    for place in range(3):
        assert np.isfinite(gradient[place]).all()
        up, down = (
            [p.at[1].add(step) if q == place else p for q, p in enumerate(parameters)] for step in (1e-5, -1e-5)
        )
        slope = (evidence(tuple(up)) - evidence(tuple(down))) / 2e-5
        np.testing.assert_allclose(gradient[place][1], slope, rtol=1e-6)


def test_the_ends_and_the_equation_at_one_point_and_hardly_any_noise():
    """u'' = f with noise of 1e-6: against the exact solution, and inside the band that it gives itself."""
    x = np.linspace(0.0, 1.0, 60)
    coefficients = np.concatenate([np.tile([0.0, 0.0, 1.0], (60, 1)), np.tile([1.0, 0.0, 0.0], (2, 1))])
    pulse = 2 * np.pi * 4
    targets = np.concatenate([-(pulse**2) * np.sin(pulse * x), [0.0, 0.0]])
    noise_sd = np.concatenate([np.full(60, 1e-6 * pulse**2), [1e-6, 1e-6]])
    solved = condition(StudentT([1.0], [4.0], [20.0]), np.concatenate([x, [0.0, 1.0]]), coefficients, targets, noise_sd)
    error, sd = np.abs(np.asarray(solved.mean(x)) - np.sin(pulse * x)), np.asarray(solved.sd(x))
    assert error.max() < 1e-4
    assert np.all(error <= 6 * sd)
    assert 0.9e-6 < sd[0] < 1e-6  # the end is known as well as it was seen, and a little better
    np.testing.assert_allclose(solved.mean(x, 2), targets[:60], atol=1e-5 * pulse**2)


def test_steps_of_the_process_keep_its_stationary_covariance():
    """A P A' + Q = P for every step, and for short ones the root of Q is right although Q is tiny."""
    tau = np.array([0.0, 1e-9, 1e-3, 0.5, 3.99, 4.01, 60.0, 1e6])
    moves, roots = (np.asarray(f(tau)) for f in (jax.jit(transition), jax.jit(step_noise_root)))
    covariance = stationary_root() @ stationary_root().T
    total = moves @ covariance @ np.swapaxes(moves, 1, 2) + roots @ np.swapaxes(roots, 1, 2)
    np.testing.assert_allclose(total, np.broadcast_to(covariance, total.shape), rtol=1e-14, atol=1e-15)
    # without damping Q is that of an integrated Wiener process: its exact root, to first order in the time
    integrated = np.array([[1 / 20, 1 / 8, 1 / 6], [1 / 8, 1 / 3, 1 / 2], [1 / 6, 1 / 2, 1.0]])
    scale = 1e-9 ** np.array([2.5, 1.5, 0.5])
    expected = np.sqrt(16 / 3) * scale[:, None] * np.linalg.cholesky(integrated)
    np.testing.assert_allclose(roots[1], expected, rtol=1e-8, atol=0)


def shapes(jaxpr):
    for equation in jaxpr.eqns:
        yield from (variable.aval.shape for variable in equation.outvars)
        for inner in jax.tree.leaves(
            list(equation.params.values()),
            is_leaf=lambda leaf: isinstance(leaf, jax.extend.core.Jaxpr | jax.extend.core.ClosedJaxpr),
        ):
            if isinstance(inner, jax.extend.core.ClosedJaxpr):
                inner = inner.jaxpr
            if isinstance(inner, jax.extend.core.Jaxpr):
                yield from shapes(inner)


def test_no_array_has_pairs_of_points():
    n = 500
    x, coefficients, targets = np.linspace(0, 1, n), np.ones((n, 3)), np.ones(n)

    def everything(x, new):
        found = condition(KERNEL, x, coefficients, targets, 0.1)
        return found.log_evidence, found.mean(new), found.sd(new)

    seen = list(shapes(jax.make_jaxpr(everything)(x, x).jaxpr))
    assert any(shape[:1] == (n,) for shape in seen)
    assert not [shape for shape in seen if sum(size >= n - 1 for size in shape) > 1]
    assert max(int(np.prod(shape)) for shape in seen) <= 4 * n * 12**2  # a matrix of 12 states a point, and its double


def test_float64_whatever_the_default_is(data, posterior):
    with jax.enable_x64(False):
        kernel = StudentT(*(np.asarray(leaf, np.float32) for leaf in jax.tree.leaves(KERNEL)))
        found = condition(kernel, *data)
        mean, sd = found.mean(NEW, 1), found.sd(NEW)
    assert found.log_evidence.dtype == mean.dtype == sd.dtype == np.float64
    # the parameters were rounded to float32, and nothing else
    np.testing.assert_allclose(found.log_evidence, posterior.log_evidence, rtol=1e-5)
    np.testing.assert_allclose(np.asarray(mean), np.asarray(posterior.mean(NEW, 1)), rtol=1e-4, atol=1e-4)


def test_impossible_observations_and_orders(posterior):
    good = {"x": np.zeros(2), "coefficients": np.ones((2, 3)), "targets": np.zeros(2), "noise_sd": 0.1}
    strings = np.array(["a", "b"])
    for changes, message in [
        ({"x": np.zeros((2, 1))}, "x must have shape (points,), got (2, 1)"),
        ({"x": np.zeros(0)}, "x is empty; give at least one observation"),
        ({"x": np.array([0.0, np.inf])}, "x must be finite, got inf at (1,)"),
        ({"targets": strings}, f"targets must hold real numbers, got {strings.dtype}"),
        ({"targets": np.zeros(3)}, "targets must have one number for each of the 2 points of x, got 3"),
        ({"coefficients": np.ones((2, 2))}, "coefficients must have shape (2, 3), a row a point of x, got (2, 2)"),
        ({"noise_sd": 0.0}, "noise_sd must be above 0, got 0.0"),
        ({"noise_sd": np.ones(3)}, "noise_sd must be a number or have shape (2,), got (3,)"),
    ]:
        with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
            condition(KERNEL, **{**good, **changes})
    for order in (3, -1, True):
        message = f"order must be 0, 1 or 2: a Student's t spectrum has no more here; got {order!r}"
        with pytest.raises(MethodError, match=f"^{re.escape(message)}$"):
            posterior.mean(NEW, order)
    with pytest.raises(DataError, match=re.escape("x_new must be finite, got nan at (0,)")):
        posterior.sd(np.array([np.nan]))
