"""Kernels with a given spectrum: their closed forms against automatic derivatives, quadratures and finite numbers."""

import os
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.stats
import tinygp

from bayeskit.errors import DataError, MethodError
from bayeskit.models.spectral_pde.kernels import Product, SpectralMixture, StudentT

WEIGHT, FREQUENCY, LENGTHSCALE = np.array([1.5, 0.4]), np.array([0.3, 2.0]), np.array([0.7, 1.3])
R = np.array([-2.1, -0.4, 0.0, 1e-3, 0.05, 0.6, 1.7])
CHECKED = os.environ.get("BAYESKIT_RUNTIME_TYPES", "0") == "1"
KINDS = [SpectralMixture, StudentT]


def make(kind):
    return kind(WEIGHT, FREQUENCY, LENGTHSCALE)


@pytest.mark.parametrize(("kind", "most", "side"), [(SpectralMixture, 8, 4), (StudentT, 4, 4)])
def test_each_derivative_is_the_automatic_one_of_the_one_before_also_at_equal_points(kind, most, side):
    kernel = make(kind)
    pairs = [(i, j) for i in range(side + 1) for j in range(side + 1) if i + j <= most]

    @jax.jit
    def closed_and_automatic(r):
        automatic = [kernel.evaluate] + [jax.grad(kernel.derivative(n, 0)) for n in range(most)]
        stationary = [jax.vmap(function)(r, jnp.zeros_like(r)) for function in automatic]
        closed = [jax.vmap(kernel.derivative(i, j))(r, jnp.zeros_like(r)) for i, j in pairs]
        return jnp.stack(closed), jnp.stack([(-1) ** j * stationary[i + j] for i, j in pairs])

    closed, automatic = closed_and_automatic(R)
    scale = np.array([WEIGHT.sum() * (2 * np.pi * FREQUENCY.max()) ** (i + j) for i, j in pairs])
    assert np.all(np.abs(closed - automatic) <= 1e-10 * scale[:, None])
    assert np.all(closed[:, R == 0] != 0, where=np.array([[(i + j) % 2 == 0] for i, j in pairs]))


@pytest.mark.full  # by default one derivative after the other, above
@pytest.mark.parametrize("kind", KINDS)
def test_nested_automatic_derivatives_of_the_kernel_alone(kind):
    kernel = make(kind)
    nested = [kernel.evaluate]
    for _ in range(4):
        nested.append(jax.grad(nested[-1]))
    found, expected = jax.jit(
        lambda r: tuple(
            jnp.stack([jax.vmap(function)(r, jnp.zeros_like(r)) for function in functions])
            for functions in ([kernel.derivative(n, 0) for n in range(5)], nested)
        )
    )(R)
    scale = WEIGHT.sum() * (2 * np.pi * FREQUENCY.max()) ** np.arange(5)
    assert np.all(np.abs(found - expected) <= 1e-10 * scale[:, None])


def test_derivatives_by_both_points_are_nested_gradients():
    for kind in KINDS:
        kernel = make(kind)
        nested = jax.grad(jax.grad(jax.grad(kernel.evaluate, 0), 1), 1)
        found, expected = jax.jit(
            lambda x, y, kernel=kernel, nested=nested: (kernel.derivative(1, 2)(x, y), nested(x, y))
        )(0.4, -0.3)
        np.testing.assert_allclose(found, expected, rtol=1e-11)


def test_without_frequencies_it_is_the_known_kernel():
    x = np.linspace(0.0, 2.0, 7)
    for kind, known in [(SpectralMixture, tinygp.kernels.ExpSquared), (StudentT, tinygp.kernels.Matern52)]:
        np.testing.assert_allclose(kind(2.0, 0.0, 0.6)(x, x), 2.0 * known(0.6)(x, x), rtol=1e-13)


@pytest.mark.parametrize(("kind", "density"), [(SpectralMixture, scipy.stats.norm), (StudentT, scipy.stats.t(5))])
def test_the_spectrum_is_that_density(kind, density):
    """k(r) = ∫ S(s) cos(2 π s r) ds, with S from SciPy."""
    for r in (0.0, 0.11, 0.8):
        total = 0.0
        for weight, frequency, lengthscale in zip(WEIGHT, FREQUENCY, LENGTHSCALE, strict=True):
            scale = 1 / (2 * np.pi * lengthscale)
            # the density is even around ±μ, so both halves together are a cosine at μ times this integral
            if r == 0:
                value = 2 * scipy.integrate.quad(density.pdf, 0, np.inf)[0]
            else:
                pulse = 2 * np.pi * r * scale
                value = 2 * scipy.integrate.quad(density.pdf, 0, np.inf, weight="cos", wvar=pulse, limlst=500)[0]
            total += weight * value * np.cos(2 * np.pi * frequency * r)
        assert abs(float(make(kind).evaluate(r, 0.0)) - total) < 1e-8


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_finite_and_right_at_equal_points(kind):
    orders = [(0, 0), (1, 0), (1, 1), (2, 1), (2, 2)]

    def values(parameters, x):
        kernel = kind(*parameters)
        return jnp.stack([kernel.derivative(i, j)(x, 0.3) for i, j in orders])

    parameters = (WEIGHT, np.array([0.0, 2.0]), LENGTHSCALE)
    by_parameters, by_point = jax.jit(jax.jacobian(values, (0, 1)))(parameters, 0.3)
    step = 1e-6
    for place, found in enumerate(by_parameters):
        assert np.isfinite(found).all()
        up, down = ([p + (q == place) * s * np.eye(2)[1] for q, p in enumerate(parameters)] for s in (step, -step))
        difference = (np.asarray(values(up, 0.3)) - np.asarray(values(down, 0.3))) / (2 * step)
        np.testing.assert_allclose(found[:, 1], difference, rtol=1e-6, atol=1e-6 * np.abs(found).max())
    assert np.isfinite(by_point).all()
    kernel = kind(*parameters)
    # of the fourth derivative the slope is zero there, by symmetry or as the mean of both sides
    expected = [kernel.derivative(i + 1, j)(0.3, 0.3) for i, j in orders[:-1]] + [0.0]
    np.testing.assert_allclose(by_point, expected, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_far_points_have_nothing_in_common_and_nothing_is_nan(kind):
    functions = [jax.value_and_grad(make(kind).derivative(*order)) for order in ((0, 0), (2, 2))]
    far = np.array([1e4, 1e120, 1e300])
    found = jax.jit(lambda far: [jax.vmap(function, (0, None))(far, 0.0) for function in functions])(far)
    assert np.all(np.array(found) == 0.0)
    with jax.enable_x64(False):
        assert jax.jit(make(kind).derivative(2, 2))(np.float32(1e30), 0.0) == 0.0


@pytest.mark.full
def test_within_processes_of_tinygp():
    rng = np.random.default_rng(1)
    x, y = np.sort(rng.uniform(0, 3, 12)), rng.normal(size=12)
    summed = make(StudentT) + make(SpectralMixture)
    covariance = np.asarray(make(StudentT)(x, x) + make(SpectralMixture)(x, x)) + 0.1 * np.eye(12)
    for points in (x, x[:, None]):
        gp = tinygp.GaussianProcess(summed, jnp.asarray(points), diag=0.1)
        expected = scipy.stats.multivariate_normal(np.zeros(12), covariance).logpdf(y)
        np.testing.assert_allclose(gp.log_probability(y), expected, rtol=1e-10)
    joined = StudentT(*(np.tile(part, 2) for part in (WEIGHT, FREQUENCY, LENGTHSCALE)))
    np.testing.assert_allclose(joined(x, x), (make(StudentT) + make(StudentT))(x, x), rtol=1e-12)
    assert (make(StudentT) * make(SpectralMixture))(x)[0] == pytest.approx(WEIGHT.sum() ** 2)


def test_products_over_coordinates():
    kernel = Product([make(SpectralMixture), make(StudentT)])
    one, two = jnp.array([0.3, -0.2]), jnp.array([0.5, 0.4])

    def along(x0, x1, y0, y1):
        return kernel.evaluate(jnp.array([x0, x1]), jnp.array([y0, y1]))

    nested = jax.jit(jax.grad(jax.grad(jax.grad(along, 0), 1), 3))(*one, *two)
    np.testing.assert_allclose(kernel.derivative((1, 1), (0, 1))(one, two), nested, rtol=1e-11)
    points = jnp.stack([one, two])
    assert tinygp.GaussianProcess(kernel, points, diag=0.1).log_probability(jnp.zeros(2)).shape == ()


def test_parameters_may_be_traced():
    batch = jax.vmap(lambda w: StudentT([w, 1.0], FREQUENCY, LENGTHSCALE).evaluate(0.2, 0.2))(jnp.array([-1.0, 2.0]))
    np.testing.assert_allclose(batch, [0.0, 3.0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0, -2.0], [0, 1], [1, 1]), "weight must be finite and at least 0, got -2.0 in component 1"),
        ((1.0, np.nan, 1.0), "frequency must be finite and at least 0, got nan in component 0"),
        ((1.0, 1.0, [0.0]), "lengthscale must be finite and above 0, got 0.0 in component 0"),
        ((1.0, 1.0, np.inf), "lengthscale must be finite and above 0, got inf in component 0"),
        ((np.array(1j), 1.0, 1.0), "weight must hold real numbers, got complex128"),
        ((np.ones((2, 2)), 1.0, 1.0), "weight must be a number or have shape (components,), got shape (2, 2)"),
        (([], [], []), "weight must be a number or have shape (components,), got shape (0,)"),
        (
            ([1.0, 1.0], 1.0, [1.0, 1.0]),
            "weight, frequency and lengthscale must have one number a component each; "
            "got 2 weights, 1 frequencies and 2 length scales",
        ),
    ],
)
def test_impossible_parameters(arguments, message):
    for kind in KINDS:
        with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
            kind(*arguments)


def test_impossible_orders_and_points():
    beyond = (
        "StudentT has 4 continuous derivatives at equal points, and order1 + order2 is 5; SpectralMixture has them all"
    )
    product = Product([make(StudentT), make(SpectralMixture)])
    for error, message, call in [
        (MethodError, beyond, lambda: make(StudentT).derivative(2, 3)),
        (MethodError, beyond, lambda: product.derivative((4, 0), (1, 0))),
        (MethodError, "order1 must be an integer of at least 0, got -1", lambda: make(StudentT).derivative(-1, 0)),
        (MethodError, "order2 must be an integer of at least 0, got True", lambda: make(StudentT).derivative(0, True)),
        (
            MethodError,
            "orders2 must have one order for each of the 2 coordinates, got (1,)",
            lambda: product.derivative((0, 0), (1,)),
        ),
        (DataError, "kernels is empty; give one kernel a coordinate", lambda: Product([])),
        (
            DataError,
            "X1 must be a number or have shape (1,), got (2,); use Product for coordinates",
            lambda: make(StudentT).evaluate(np.zeros(2), 0.0),
        ),
        (
            DataError,
            "x2 must have shape (2,), one number a coordinate, got (3,)",
            lambda: product.evaluate(np.zeros(2), np.zeros(3)),
        ),
    ]:
        with pytest.raises(error, match=f"^{re.escape(message)}$"):
            call()


@pytest.mark.skipif(CHECKED, reason="the signatures refuse these first")
def test_arguments_of_another_type():
    for error, message, call in [
        (MethodError, "order2 must be an integer of at least 0, got 1.0", lambda: make(StudentT).derivative(0, 1.0)),
        (
            DataError,
            "kernels[0] must be a SpectralMixture or a StudentT, got Matern52",
            lambda: Product([tinygp.kernels.Matern52()]),
        ),
    ]:
        with pytest.raises(error, match=f"^{re.escape(message)}$"):
            call()
