"""Each dual against quadrature in two dimensions, and its derivatives where inputs meet; a row of the table each."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf, ndtr

from bayeskit.errors import ModelError
from bayeskit.models import nngp

ACTIVATIONS = {
    "relu": (nngp.relu, lambda x: np.maximum(x, 0)),
    "leaky_relu": (nngp.leaky_relu(0.3), lambda x: np.where(x > 0, x, 0.3 * x)),
    "abs": (nngp.abs, np.abs),
    "identity": (nngp.identity, lambda x: x),
    "erf": (nngp.erf, erf),
    "gelu": (nngp.gelu, lambda x: x * ndtr(x)),
    "sin": (nngp.sin, np.sin),
    "rbf": (nngp.rbf(0.7), lambda x: np.sqrt(2) * np.sin(np.sqrt(1.4) * x + np.pi / 4)),
    "own tanh": (nngp.Activation(jnp.tanh), np.tanh),
    "own gelu": (nngp.Activation(lambda x: jax.nn.gelu(x, approximate=False)), lambda x: x * ndtr(x)),
    "own cubic": (nngp.Activation(lambda x: x**3 - x, num_nodes=8), lambda x: x**3 - x),
}
# `make test-all`: an activation by quadrature like "own tanh", of a function that has a closed form above
by_name = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.full if name == "own gelu" else ()) for name in ACTIVATIONS]
)
SMOOTH = [name for name in ACTIVATIONS if name not in ("relu", "leaky_relu", "abs")]
POINTS = [(1.0, 0.5, 0.3), (2.0, 2.0, 0.999), (0.1, 2.9, -0.8), (1.5, 1.5, -1.0), (0.7, 0.7, 1.0), (1e-3, 1.0, 0.0)]


def arguments(a, b, rho):
    return tuple(map(jnp.asarray, (a, b, a + b - 2 * rho * np.sqrt(a * b))))


def expectation(function, a, b, rho):
    """E[f(u, v)] in polar coordinates, split where u or v changes sign."""
    # u = √a r cos p, v = √b r cos(p - θ)
    theta = np.arccos(rho)
    cuts = np.unique(np.r_[0, 2 * np.pi, (np.array([1, 3, 1, 3]) * np.pi / 2 + [0, 0, theta, theta]) % (2 * np.pi)])
    nodes, weights = np.polynomial.legendre.leggauss(80)
    angle = np.concatenate([(lo + hi) / 2 + (hi - lo) / 2 * nodes for lo, hi in itertools.pairwise(cuts)])
    width = np.concatenate([(hi - lo) / 2 * weights for lo, hi in itertools.pairwise(cuts)])
    radius = 6 + 6 * nodes
    density = 6 * weights * radius * np.exp(-(radius**2) / 2) / (2 * np.pi)
    u, v = np.sqrt(a) * np.cos(angle)[:, None] * radius, np.sqrt(b) * np.cos(angle - theta)[:, None] * radius
    return width @ function(u, v) @ density


@by_name
def test_duals_are_the_expectations(name):
    activation, phi = ACTIVATIONS[name]
    a, b, rho = np.array(POINTS).T
    distance, variance = jax.jit(lambda *x: (activation.distance(*x), activation.variance(x[0])))(*arguments(a, b, rho))
    tolerance = 1e-6 if name.startswith("own") else 1e-12
    expected = [expectation(lambda u, v: (phi(u) - phi(v)) ** 2, *point) for point in POINTS]
    np.testing.assert_allclose(distance, expected, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(variance, [expectation(lambda u, v: phi(u) ** 2, *p) for p in POINTS], rtol=tolerance)


@by_name
def test_the_tangent_factor_is_the_dual_of_the_derivative(name):
    activation, phi = ACTIVATIONS[name]
    step = 1e-6
    points = [(1.0, 0.5, 0.3), (2.0, 2.0, 0.9), (0.1, 2.9, -0.8)]
    found = jax.jit(jax.grad(lambda *x: activation.distance(*x).sum(), 2))(*arguments(*np.array(points).T))

    def slope(x):
        return (phi(x + step) - phi(x - step)) / (2 * step)

    expected = [expectation(lambda u, v: slope(u) * slope(v), *point) for point in points]
    np.testing.assert_allclose(found, expected, rtol=2e-6)


@by_name
def test_equal_inputs_stay_equal(name):
    activation, _ = ACTIVATIONS[name]
    distance = jax.jit(lambda *x: activation.distance(*x))
    a = np.linspace(0.01, 2.9, 30)
    assert np.abs(distance(a, a, np.zeros(30))).max() == 0
    with jax.enable_x64(False):
        a = a.astype(np.float32)
        assert np.abs(distance(a, a, np.zeros(30, np.float32))).max() == 0


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.full if name == "own gelu" else ()) for name in SMOOTH]
)
def test_derivatives_where_inputs_meet_are_the_limits(name):
    """First and second derivatives along a path through δ = 0, against those beside it."""
    activation, _ = ACTIVATIONS[name]

    def covariance(t, start):
        a, b = 1.0 + 0.2 * t, jnp.asarray(1.0)
        delta = 0.3 * t**2 + (jnp.sqrt(a) - 1.0) ** 2 + start
        return (activation.variance(a) + activation.variance(b) - activation.distance(a, b, delta)) / 2

    @jax.jit
    @jax.vmap
    def derivatives(start):
        return jax.grad(covariance)(0.0, start), jax.grad(jax.grad(covariance))(0.0, start)

    for at, beside in derivatives(jnp.array([0.0, 1e-7])):
        np.testing.assert_allclose(at, beside, rtol=1e-5, atol=1e-6)


@pytest.mark.covering
@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_derivatives_are_finite_everywhere(name, dtype):
    activation, _ = ACTIVATIONS[name]
    points = [(1, 1, 0), (1, 1, 4), (0, 0, 0), (0, 2, 2), (2, 0, 2), (1e-20, 1, 1), (2.9, 2.9, 1e-12)]
    arguments = [jnp.asarray(column, dtype) for column in zip(*points, strict=True)]
    slope = jax.grad(lambda *x: activation.distance(*x).sum(), 2)

    @jax.jit
    def gradients(*x):
        return [jax.grad(lambda *x, f=f: f(*x).sum(), (0, 1, 2))(*x) for f in (activation.distance, slope)]

    assert np.isfinite(np.asarray(gradients(*arguments))).all()


@pytest.mark.parametrize("name", ["relu", "abs", "erf", "gelu", "sin", "rbf", "identity"])
def test_large_variances_in_float32(name):
    activation, _ = ACTIVATIONS[name]
    pairs = [(large, delta) for large in (1e4, 1e8, 1e12) for delta in (0.0, 1.0, large, 4 * large)]
    with jax.enable_x64(False):
        a, delta = jnp.asarray(pairs, jnp.float32).T
        found = jax.jit(jax.vmap(jax.value_and_grad(activation.distance, (0, 1, 2))))(a, a, delta)
        assert all(np.isfinite(part).all() for part in jax.tree.leaves(found))


@pytest.mark.parametrize(
    ("function", "settings"),
    [
        (jax.nn.relu, {}),
        (jax.nn.elu, {}),
        (jnp.sign, {}),
        (lambda x: jnp.exp(x**2), {}),
        (jnp.tanh, {"num_nodes": 32}),
        (jnp.tanh, {"max_variance": 10.0}),
    ],
)
def test_functions_that_the_quadrature_cannot_do_are_refused(function, settings):
    with pytest.raises(ModelError, match=r"has not converged.*kink use leaky_relu or abs.*num_nodes.*max_variance"):
        nngp.Activation(function, **settings)


def test_impossible_settings():
    for settings, message in [
        ({"num_nodes": 1}, "num_nodes of Activation must be an integer from 2 to 256, got 1"),
        ({"num_nodes": 1000}, "num_nodes of Activation"),
        ({"max_variance": np.nan}, "max_variance of Activation"),
    ]:
        with pytest.raises(ModelError, match=message):
            nngp.Activation(jnp.tanh, **settings)
    with pytest.raises(ModelError, match="could not be applied to an array"):
        nngp.Activation(lambda x: 1.0 if x > 0 else 0.0)
    with pytest.raises(ModelError, match="gamma of rbf must be finite and positive, got 0"):
        nngp.rbf(0.0)
    with pytest.raises(ModelError, match="slope of leaky_relu must be finite, got nan"):
        nngp.leaky_relu(np.nan)


def test_a_variance_beyond_the_quadrature_raises():
    network = nngp.serial(nngp.Dense(2.0), nngp.Activation(jnp.tanh), nngp.Dense())
    x = np.eye(2) * 3
    for kernel in (network.nngp, network.ntk, network.variance):
        with pytest.raises(ModelError, match=r"before Activation\(tanh\) is above its max_variance of 3.0"):
            kernel(x)
    assert np.isnan(jax.jit(lambda x: network.nngp(x))(x)).any()
    assert np.isfinite(network.nngp(x / 3)).all()
