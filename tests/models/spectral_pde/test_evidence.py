"""The evidence and the posterior of linear equations: against a dense Gaussian of all that is known."""

import dataclasses
import functools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import scipy.stats

from bayeskit.models import spectral_pde as sp
from bayeskit.models.spectral_pde.equations import (
    Basis,
    condition_equations,
    derivative_rows,
    interior_equations,
    matrices_of,
    prior_variance,
    reading_equations,
    scaled,
)
from bayeskit.models.spectral_pde.evidence import log_evidence, normal_posterior
from bayeskit.models.spectral_pde.learn import basis_of

TOLERANCE = 0.03
SD = 0.2
DIFFUSION = 0.7


@dataclasses.dataclass(frozen=True)
class Known:
    """Functionals of the solution: atoms are derivatives at points, a functional is a row of `combined` times them."""

    points: np.ndarray
    orders: np.ndarray
    combined: np.ndarray
    targets: np.ndarray
    sizes: np.ndarray  # of the errors: the tolerance times this, or for readings this
    is_exact: np.ndarray


def stack(groups):
    """Of one group each: a list of terms (coefficients, points, orders), targets, and the size of an error."""
    terms = [term for group, *_ in groups for term in group]
    combined = scipy.linalg.block_diag(*(np.hstack([np.diag(c) for c, *_ in group]) for group, *_ in groups))
    return Known(
        points=np.concatenate([points for _, points, _ in terms]),
        orders=np.concatenate([np.tile(orders, (len(points), 1)) for _, points, orders in terms]),
        combined=combined,
        targets=np.concatenate([targets for _, targets, *_ in groups]),
        sizes=np.concatenate([np.full(len(targets), size) for _, targets, size, _ in groups]),
        is_exact=np.concatenate([np.full(len(targets), exact) for _, targets, _, exact in groups]),
    )


def kernel_derivatives(xp, spectrum, r, most=4):
    """k, k', ... along one coordinate, by Hermite polynomials and Leibniz' rule."""
    weight, rate, scale = spectrum[0], 2 * math.pi * spectrum[1], spectrum[2]
    s = r[..., None] / scale
    hermite = [xp.ones_like(s), s]
    for n in range(1, most):
        hermite.append(s * hermite[n] - n * hermite[n - 1])
    envelope = [(-1 / scale) ** n * hermite[n] * xp.exp(-0.5 * s**2) for n in range(most + 1)]
    wave = [rate**n * xp.cos(rate * r[..., None] + 0.5 * math.pi * n) for n in range(most + 1)]
    leibniz = [sum(math.comb(n, i) * envelope[i] * wave[n - i] for i in range(n + 1)) for n in range(most + 1)]
    return [xp.sum(weight * one, axis=-1) for one in leibniz]


def covariance(xp, spectra, points, orders, points2, orders2):
    """Between derivatives at points."""
    result = 1.0
    for axis, spectrum in enumerate(spectra):
        found = kernel_derivatives(xp, spectrum, points[:, None, axis] - points2[None, :, axis])
        total = orders[:, None, axis] + orders2[None, :, axis]
        result = result * (-1.0) ** orders2[:, axis] * sum(xp.where(total == n, k, 0.0) for n, k in enumerate(found))
    return result


def joint(xp, spectra, tolerance, known):
    """The covariance of all that is known, errors included."""
    atoms = covariance(xp, spectra, known.points, known.orders, known.points, known.orders)
    errors = xp.where(known.is_exact, tolerance, 1.0) * known.sizes
    return known.combined @ atoms @ known.combined.T + xp.diag(errors**2)


def plain(spectra):
    return tuple((s.weight, s.frequency, s.lengthscale) for s in spectra)


@dataclasses.dataclass(frozen=True)
class Case:
    problem: sp.Problem
    spectra: tuple
    functionals: list  # without their sizes


def line():
    """Of u'' + (1 + x) u' / 2 with a value and a slope at its ends, and readings."""
    at = np.array([0.1, 0.55, 0.9])
    values = np.array([0.3, -0.1, 0.4])
    problem = sp.Problem(
        domain=[(0.0, 1.0)],
        operator=lambda u, x: u.xx + 0.5 * (1.0 + x) * u.x,
        source=lambda x: jnp.cos(3.0 * x),
        boundary={"x": (0.5, sp.Neumann(-0.3))},
        data=sp.Readings(at, values, sd=SD),
        num_nodes=12,
    )
    x = np.linspace(0.0, 1.0, 12)[:, None]
    equation = [(np.ones(12), x, (2,)), (0.5 * (1 + x[:, 0]), x, (1,))]
    one = np.ones(1)
    functionals = [
        (equation, np.cos(3.0 * x[:, 0])),
        ([(one, x[:1], (0,))], np.array([0.5])),
        ([(one, x[-1:], (1,))], np.array([-0.3])),
        ([(np.ones(3), at[:, None], (0,))], values),
    ]
    return Case(problem, (sp.Spectrum([0.5, 0.8], [0.0, 1.5], [0.6, 0.9]),), functionals)


def square():
    """Mixed derivatives, a coefficient that varies, a value, a slope, a period, and readings."""
    rng = np.random.default_rng(0)
    domain = np.array([[0.0, 1.0], [-1.0, 1.0]])
    at = domain[:, 0] + (domain[:, 1] - domain[:, 0]) * rng.uniform(size=(4, 2))
    values = rng.normal(size=4)
    problem = sp.Problem(
        domain=domain,
        operator=lambda u, x, y, diffusion: diffusion * u.xx + (1.0 + x * y) * u.yy + 0.3 * u.xy,
        source=lambda x, y: jnp.sin(2.0 * x) + y,
        boundary={"x": (lambda x, y: x + jnp.cos(np.pi * y), sp.Neumann(lambda x, y: x * y)), "y": sp.Periodic()},
        data=sp.Readings(at, values, sd=SD),
        coefficients={"diffusion": DIFFUSION},
        num_nodes=(8, 6),
    )
    x, y = np.linspace(0.0, 1.0, 8), np.linspace(-1.0, 1.0, 6)
    inner = np.stack([g.ravel() for g in np.meshgrid(x[1:-1], y, indexing="ij")], axis=1)
    ones = np.ones(len(inner))
    low, high = (np.stack([np.full(6, end), y], axis=1) for end in (0.0, 1.0))
    first, last = (np.stack([x, np.full(8, end)], axis=1) for end in (-1.0, 1.0))
    equation = [
        (DIFFUSION * ones, inner, (2, 0)),
        (1.0 + inner[:, 0] * inner[:, 1], inner, (0, 2)),
        (0.3 * ones, inner, (1, 1)),
    ]
    functionals = [
        (equation, np.sin(2.0 * inner[:, 0]) + inner[:, 1]),
        ([(np.ones(6), low, (0, 0))], np.cos(np.pi * y)),
        ([(np.ones(6), high, (1, 0))], y),
        *(([(np.ones(8), last, (0, m)), (-np.ones(8), first, (0, m))], np.zeros(8)) for m in (0, 1)),
        ([(np.ones(4), at, (0, 0))], values),
    ]
    spectra = (sp.Spectrum([0.9, 0.4], [0.0, 1.0], [1.5, 2.0]), sp.Spectrum([1.0], [0.0], [3.0]))
    return Case(problem, spectra, functionals)


CASES = {"line": line, "square": square}
by_case = pytest.mark.parametrize("name", CASES)


@functools.cache
def made(name):
    """The case, its equations, the basis, and the same as functionals for the dense computation."""
    case = CASES[name]()
    problem, data = case.problem, case.problem.data
    given = {key: jnp.asarray(value) for key, value in problem.reference().items()}
    exact = [interior_equations(problem, problem.source_values(given), given, None)]
    exact += condition_equations(problem, given)
    exact = [scaled(one, case.spectra) for one in exact]
    equations = (*exact, reading_equations(jnp.asarray(data.at), jnp.asarray(data.values), jnp.asarray(SD)))
    sizes = [float(one.scale) for one in exact]
    groups = [
        (*functional, size, exact)
        for functional, size, exact in zip(case.functionals, (*sizes, SD), [True] * len(exact) + [False], strict=True)
    ]
    return case, equations, basis_of(case.spectra, problem.domain, 1e-12), stack(groups)


def conditional(case, known, x_new, orders):
    """Mean and standard deviation of a derivative at points, given all that is known."""
    spectra, orders = plain(case.spectra), np.tile(orders, (len(x_new), 1))
    cross = covariance(np, spectra, x_new, orders, known.points, known.orders) @ known.combined.T
    gain = np.linalg.solve(joint(np, spectra, TOLERANCE, known), cross.T).T
    variance = np.diag(covariance(np, spectra, x_new, orders, x_new, orders)) - np.sum(gain * cross, axis=1)
    return gain @ known.targets, np.sqrt(variance)


@eqx.filter_jit
def posterior_and_rows(equations, basis, tolerance):
    """With the rows as a matrix, to each of the equations."""
    rows = [one.rows(found) for one, found in zip(equations, matrices_of(equations, basis), strict=True)]
    return normal_posterior(equations, basis, tolerance), rows


@eqx.filter_jit
def products(equations, basis, coefficients, values):
    """Of each of the equations: its rows, and what is computed without them."""
    return [
        (one.rows(found), one.apply(found, coefficients), one.adjoint(found, value), one.gram(found))
        for one, found, value in zip(equations, matrices_of(equations, basis), values, strict=True)
    ]


@by_case
def test_the_evidence_is_the_density_of_a_dense_gaussian(name):
    case, equations, basis, known = made(name)
    matrix = joint(np, plain(case.spectra), TOLERANCE, known)
    expected = scipy.stats.multivariate_normal(np.zeros(len(matrix)), matrix).logpdf(known.targets)
    np.testing.assert_allclose(
        posterior_and_rows(equations, basis, jnp.asarray(TOLERANCE))[0].log_evidence, expected, rtol=1e-9
    )


@pytest.mark.parametrize("name", ["line", pytest.param("square", marks=pytest.mark.full)])
def test_its_gradient_is_that_of_the_dense_gaussian(name):
    """By the spectra and the tolerance, with the features of a traced spectrum, as they are when it is learned."""
    case, equations, basis, known = made(name)

    @eqx.filter_jit
    def by_features(spectra, tolerance):
        def density(both):
            return log_evidence(equations, Basis.of(both[0], basis.layouts), both[1])

        return jax.value_and_grad(density)((spectra, tolerance))

    @jax.jit
    def dense(spectra, tolerance):
        def density(both):
            root = jnp.linalg.cholesky(joint(jnp, plain(both[0]), both[1], known))
            white = jax.scipy.linalg.solve_triangular(root, known.targets, lower=True)
            return -0.5 * white @ white - jnp.sum(jnp.log(jnp.diagonal(root))) - 0.5 * len(root) * math.log(2 * math.pi)

        return jax.value_and_grad(density)((spectra, tolerance))

    at = (jax.tree.map(jnp.asarray, case.spectra), jnp.asarray(TOLERANCE))
    (value, found), (reference, expected) = by_features(*at), dense(*at)
    np.testing.assert_allclose(value, reference, rtol=1e-9)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-8)
    for spectrum, one, other in zip(case.spectra, found[0], expected[0], strict=True):
        tones = np.asarray(spectrum.frequency) > 0  # the frequency of a trend stays where it is
        for field in ("weight", "frequency", "lengthscale"):
            pair = [np.asarray(getattr(each, field)) for each in (one, other)]
            pair = [each[tones] if field == "frequency" else each for each in pair]
            np.testing.assert_allclose(*pair, rtol=1e-6)


@by_case
def test_the_posterior_is_the_dense_conditional(name):
    case, equations, basis, known = made(name)
    posterior, _ = posterior_and_rows(equations, basis, jnp.asarray(TOLERANCE))
    assert posterior.misfit < 1e-10
    low, high = np.asarray(case.problem.domain).T
    x_new = low + (high - low) * np.random.default_rng(1).uniform(size=(7, len(low)))
    for orders in np.eye(len(low), dtype=int)[:1] * np.array([[0], [1]]):
        rows = np.asarray(derivative_rows(basis, jnp.asarray(x_new), tuple(orders.tolist())))
        white = scipy.linalg.solve_triangular(np.asarray(posterior.root).T, rows.T, lower=True)
        mean, sd = conditional(case, known, x_new, orders)
        np.testing.assert_allclose(rows @ np.asarray(posterior.mean).ravel(), mean, atol=1e-8 * np.abs(mean).max())
        np.testing.assert_allclose(np.linalg.norm(white, axis=0), sd, rtol=1e-7)


@by_case
def test_at_a_small_tolerance_the_mean_is_that_of_least_squares(name):
    """Where the precision matrix alone has no correct digit left: against the rows themselves, by SciPy."""
    _, equations, basis, _ = made(name)
    posterior, rows = posterior_and_rows(equations, basis, jnp.asarray(1e-8))
    assert posterior.misfit < 1e-10
    errors = [float(one.errors(1e-8)) for one in equations]
    size = math.prod(basis.shape)
    matrix = np.concatenate([np.eye(size), *(np.asarray(one) / error for one, error in zip(rows, errors, strict=True))])
    targets = [np.asarray(one.targets).ravel() / error for one, error in zip(equations, errors, strict=True)]
    orthogonal, root = scipy.linalg.qr(matrix, mode="economic")
    expected = scipy.linalg.solve_triangular(root, orthogonal.T @ np.concatenate([np.zeros(size), *targets]))
    gap = np.linalg.norm(np.asarray(posterior.mean).ravel() - expected)
    assert gap < 1e-8 * np.linalg.norm(expected)


def test_products_without_the_rows():
    _, equations, basis, _ = made("square")
    rng = np.random.default_rng(2)
    z, values = rng.normal(size=basis.shape), [rng.normal(size=one.targets.shape) for one in equations]
    for value, found in zip(values, products(equations, basis, z, values), strict=True):
        rows, *others = map(np.asarray, found)
        for one, expected in zip(others, (rows @ z.ravel(), rows.T @ value.ravel(), rows.T @ rows), strict=True):
            np.testing.assert_allclose(one.reshape(expected.shape), expected, atol=1e-12 * np.abs(expected).max())


def test_the_scale_is_the_standard_deviation_under_the_prior():
    spectra = square().spectra
    for orders in ((0, 0), (4, 0), (1, 2), (0, 3)):
        expected = 1.0
        for spectrum, m in zip(plain(spectra), orders, strict=True):
            expected *= (-1) ** m * kernel_derivatives(np, spectrum, np.zeros(1), 8)[2 * m][0]
        np.testing.assert_allclose(prior_variance(spectra, orders), expected, rtol=1e-12)


def test_equations_that_are_not_linear_are_so_in_their_derivatives_at_a_solution():
    problem = sp.Problem([(0.0, 1.0)], lambda u, x: u.xx + x * u.value**3, 2.0, boundary=0.0, num_nodes=5)
    values = [jnp.asarray([1.0, 2.0, 0.5, -1.0, 0.0]), jnp.ones(5)]  # of u and of u''
    found = interior_equations(problem, problem.source_values({}), {}, values)
    x = np.linspace(0.0, 1.0, 5)
    assert found.shapes.orders == ((0,), (2,))
    np.testing.assert_allclose(found.slopes[0], 3 * x * values[0] ** 2)
    np.testing.assert_allclose(found.slopes[1], 1.0)
    np.testing.assert_allclose(found.targets, 2.0 + 2 * x * values[0] ** 3, rtol=1e-14)  # 2 - (N(v) - N'(v) v)
