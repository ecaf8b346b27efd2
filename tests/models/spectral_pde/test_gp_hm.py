"""GP-HM: its joint density against one from whole matrices, steps that find solutions, and what it refuses."""

import dataclasses
import functools
import os
import re

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.stats

import bayeskit as bk
from bayeskit.errors import DataError, MethodError, TrainingError
from bayeskit.models import spectral_pde as sp
from bayeskit.models.spectral_pde.gp_hm import KERNELS
from bayeskit.models.spectral_pde.gp_hm_joint import Known, Unknowns, log_joint

CHECKED = os.environ.get("BAYESKIT_RUNTIME_TYPES", "0") == "1"
SHAPE, COMPONENTS, JITTER, LAMBDA = (8, 6), 3, 1e-4, 7.0
NONLINEAR = sp.Problem(
    domain=[(0.0, 1.0), (-1.0, 0.5)],
    operator=lambda u, y, speed: u.xx + (1.0 + y**2) * u.yy + speed * u.xy - u.y + u.value**3 * u.x,
    source=lambda x, y: jnp.sin(3.0 * x) + y,
    boundary={"x": lambda x, y: x + y**2, "y": (sp.Dirichlet(lambda x, y: x + y**2), None)},
    coefficients={"speed": dist.LogNormal(0.0, 1.0)},
    num_nodes=SHAPE,
)


def unknowns():
    rng = np.random.default_rng(0)
    full = (len(SHAPE), COMPONENTS)
    return Unknowns(
        values=rng.normal(size=SHAPE),
        log_weight=rng.normal(size=full),
        frequency=rng.uniform(-1.0, 1.0, size=full),
        log_lengthscale=np.log(rng.uniform(0.2, 0.5, size=full)),
        log_boundary_precision=np.array(0.7),
        log_equation_precision=np.array(-1.3),
    )


def envelope(kernel, r, lengthscale):
    """With its first two derivatives."""
    if kernel == "gaussian":
        e = np.exp(-0.5 * (r / lengthscale) ** 2)
        return e, -r / lengthscale**2 * e, (r**2 / lengthscale**4 - 1 / lengthscale**2) * e
    rate = np.sqrt(5) / lengthscale
    a = rate * np.abs(r)
    e = np.exp(-a)
    return (1 + a + a**2 / 3) * e, -(rate**2) * r / 3 * (1 + a) * e, rate**2 / 3 * (a**2 - a - 1) * e


def matrices(kernel, x, weight, frequency, lengthscale):
    """A kernel at nodes, with its first two derivatives by the first of them."""
    r = x[:, None] - x
    total = np.zeros((3, len(x), len(x)))
    for w, f, ell in zip(weight, 2 * np.pi * frequency, lengthscale, strict=True):
        e, slope, bend = envelope(kernel, r, ell)
        cos, sin = np.cos(f * r), np.sin(f * r)
        total += w * np.array([e * cos, slope * cos - f * e * sin, bend * cos - 2 * f * slope * sin - f**2 * e * cos])
    return total


def by_whole_matrices(kernel, now, speed):
    x, y = NONLINEAR.nodes()
    each = [
        matrices(kernel, nodes, np.exp(now.log_weight[d]), now.frequency[d], np.exp(now.log_lengthscale[d]))
        for d, nodes in enumerate((x, y))
    ]
    for d, found in enumerate(each):
        found[0] += JITTER * np.exp(now.log_weight[d]).sum() * np.eye(SHAPE[d])
    covariance = np.kron(each[0][0], each[1][0])
    white = np.linalg.solve(covariance, now.values.ravel())

    def slope(i, j):
        return np.kron(each[0][i], each[1][j]) @ white

    on_x, on_y = (grid.ravel() for grid in np.meshgrid(x, y, indexing="ij"))
    u = now.values.ravel()
    left = slope(2, 0) + (1 + on_y**2) * slope(0, 2) + speed * slope(1, 1) - slope(0, 1) + u**3 * slope(1, 0)
    boundary = [(now.values[0], x[0] + y**2), (now.values[-1], x[-1] + y**2), (now.values[:, 0], x + y[0] ** 2)]
    seen, expected = (np.concatenate(parts) for parts in zip(*boundary, strict=True))
    sd = np.exp(-0.5 * now.log_boundary_precision), np.exp(-0.5 * now.log_equation_precision)
    prior = scipy.stats.multivariate_normal(cov=covariance).logpdf(u)
    at_boundary = scipy.stats.norm(expected, sd[0]).logpdf(seen).sum()
    return prior + LAMBDA * at_boundary + scipy.stats.norm(np.sin(3 * on_x) + on_y, sd[1]).logpdf(left).sum()


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_joint_density_is_that_of_whole_matrices(kernel):
    known = Known.of(NONLINEAR, {"speed": 0.4})
    joint = jax.jit(lambda now: log_joint(now, known, KERNELS[kernel], boundary_weight=LAMBDA, jitter=JITTER))
    np.testing.assert_allclose(joint(unknowns()), by_whole_matrices(kernel, unknowns(), 0.4), rtol=1e-9)


def test_it_starts_as_published():
    start = Unknowns.start((5, 4), 30, 20.0)
    assert not np.any(start.values)
    np.testing.assert_allclose(np.exp(start.log_weight), 1 / 30)
    np.testing.assert_allclose(start.frequency, np.tile(np.linspace(0, 20, 30), (2, 1)))
    for part in (start.log_lengthscale, start.log_boundary_precision, start.log_equation_precision):
        assert not np.any(part)
    assert dataclasses.astuple(sp.GPHM()) == (30, 20.0, "gaussian", 200.0, 1e-6, 10_000, 1e-2)


LINE = sp.Problem(
    domain=[(0.0, np.pi)],
    operator=lambda u: u.xx,
    source=lambda x: -256.0 * jnp.sin(16.0 * x + 1.0),
    boundary=lambda x: jnp.sin(16.0 * x + 1.0),
    num_nodes=31,  # OpenBLAS solves with larger matrices on several threads, which wait for each other
)
NEW = np.linspace(0.0, np.pi, 97)[:, None]


@functools.cache
def line_fit(kernel="gaussian"):
    return sp.GPHM(num_components=8, max_frequency=4.0, kernel=kernel, num_steps=400).fit(LINE)


def relative_error(found, truth):
    return np.linalg.norm(found - truth) / np.linalg.norm(truth)


@pytest.mark.parametrize("kernel", ["gaussian", pytest.param("student_t", marks=pytest.mark.full)])
def test_steps_lower_the_loss_and_beat_what_the_boundary_alone_says(kernel):
    """Zero has the error one, the straight line between the ends, which both have the value sin(1), more than that."""
    fit, truth = line_fit(kernel), np.sin(16.0 * NEW[:, 0] + 1.0)
    assert len(fit.losses) == 400
    assert fit.losses[-100:].mean() < fit.losses[:100].mean()
    assert relative_error(np.full_like(truth, np.sin(1.0)), truth) > 1.0
    assert relative_error(fit.mean(NEW), truth) < 0.5
    assert fit.seconds > 0


def test_the_mean_is_the_conditional_mean():
    fit = line_fit()
    kernel, x = fit.kernels[0], np.linspace(0.0, np.pi, 31)
    parameters = [np.asarray(part) for part in (kernel.weight, kernel.frequency, kernel.lengthscale)]
    covariance = matrices("gaussian", np.concatenate([NEW[:, 0], x]), *parameters)[0][:, len(NEW) :]
    inside = covariance[len(NEW) :] + fit.jitter * parameters[0].sum() * np.eye(31)
    expected = covariance[: len(NEW)] @ np.linalg.solve(inside, fit.values)
    # the condition of a covariance is at most its size over the jitter, and each of its entries is off by roundings
    bound = 31 / fit.jitter * 31 * np.finfo(float).eps
    assert np.abs(fit.mean(NEW) - expected).max() < bound * np.abs(fit.values).max()
    # K (K + jitter)^-1 is the identity but for the jitter times the inverse
    apart = fit.jitter * parameters[0].sum() * np.linalg.solve(inside, fit.values)
    assert np.abs(fit.mean(x[:, None]) - (fit.values - apart)).max() < bound * np.abs(fit.values).max()


@pytest.mark.full
def test_an_equation_that_is_not_linear_in_space_and_time():
    """With the solution sin(12 x) (1 + t): better than that the first values stay as they are."""

    def truth(x, t):
        return jnp.sin(12 * x) * (1 + t)

    problem = sp.Problem(
        domain=[(0.0, 2.0), (0.0, 1.0)],
        operator=lambda u: u.t - u.xx + u.value**3,
        source=lambda x, t: jnp.sin(12 * x) + 144 * truth(x, t) + truth(x, t) ** 3,
        boundary=truth,
        initial=lambda x: jnp.sin(12 * x),
        num_nodes=(24, 8),
    )
    assert not problem.is_linear
    fit = sp.GPHM(num_components=6, max_frequency=4.0, kernel="student_t", num_steps=600).fit(problem)
    x, t = problem.grid()
    assert fit.coordinates == ("x", "t")
    assert relative_error(fit.values, truth(x, t)) < relative_error(np.sin(12 * x), truth(x, t))
    there = fit.mean(np.stack([x.ravel(), t.ravel()], axis=1)).reshape(24, 8)
    assert relative_error(there, fit.values) < 0.01 * relative_error(np.roll(fit.values, 1, axis=0), fit.values)


def test_check_judges_it_and_a_file_keeps_it(tmp_path):
    fit = line_fit()
    verdict = bk.check(fit.tree)
    assert {finding.name for finding in verdict.findings} <= {"not_converged"}
    assert '"kernel": "gaussian"' in fit.tree.attrs["method_settings"]
    path = bk.save(fit, tmp_path / "fit.nc")
    for double in (True, False):
        with jax.enable_x64(double):
            again = bk.load(path)
            assert again.mean(NEW).tobytes() == fit.mean(NEW).tobytes()
    settings = sp.GPHM(kernel="student_t", num_steps=7)
    assert bk.load(bk.save(settings, tmp_path / "settings.nc")) == settings
    assert sp.GPHM.from_settings(settings.settings()) == settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_components": 0}, "num_components must be a positive integer, got 0"),
        ({"num_steps": -1}, "num_steps must be a positive integer, got -1"),
        ({"max_frequency": 0.0}, "max_frequency must be a positive number, got 0.0"),
        ({"boundary_weight": float("inf")}, "boundary_weight must be a positive number, got inf"),
        ({"jitter": -1e-6}, "jitter must be a positive number, got -1e-06"),
        ({"learning_rate": 0.0}, "learning_rate must be a positive number, got 0.0"),
        ({"kernel": "matern"}, "kernel must be one of 'gaussian', 'student_t', got 'matern'"),
    ],
)
def test_impossible_settings(settings, message):
    with pytest.raises(MethodError, match=f"^{re.escape(message)}$"):
        sp.GPHM(**settings)


BOX = {"domain": [(0.0, 1.0)], "operator": lambda u: u.xx, "boundary": 0.0, "num_nodes": 6}
REFUSED = {
    "three coordinates": (
        lambda: sp.Problem(**{**BOX, "domain": [(0.0, 1.0)] * 3, "operator": lambda u: u.xx + u.yy + u.zz}),
        "GPHM takes one or two coordinates, and the problem has x, y, z; solve takes three",
    ),
    "readings": (
        lambda: sp.Problem(**BOX, data=sp.Readings(np.array([0.5]), np.array([0.1]), 0.1)),
        "GPHM takes no readings, and the problem has them as data; solve takes them",
    ),
    "a slope": (
        lambda: sp.Problem(**{**BOX, "boundary": {"x": (0.0, sp.Neumann(1.0))}}),
        "GPHM takes values of u, and boundary at x = 1 is a condition on a derivative; solve takes it",
    ),
    "a period": (
        lambda: sp.Problem(**{**BOX, "boundary": sp.Periodic()}),
        "GPHM takes values of u, and the period of x is a periodic condition; solve takes it",
    ),
    "a first speed": (
        lambda: sp.Problem(
            domain=[(0.0, 1.0), (0.0, 2.0)],
            operator=lambda u: u.tt - u.xx,
            boundary=0.0,
            initial=(0.0, 1.0),
            num_nodes=6,
        ),
        "GPHM takes values of u, and initial value at t = 0 is a condition on a derivative; solve takes it",
    ),
    "an unknown coefficient": (
        lambda: NONLINEAR,
        "GPHM does not infer coefficients, and speed of the problem are unknown: give coefficients={'speed': ...}",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_it_does_not_take(name):
    problem, message = REFUSED[name]
    with pytest.raises(MethodError, match=f"^{re.escape(message)}$"):
        sp.GPHM().fit(problem())


@pytest.mark.skipif(CHECKED, reason="refused by the signatures first")
def test_what_is_of_another_type():
    with pytest.raises(MethodError, match=r"^GPHM fits a Problem, got str$"):
        sp.GPHM().fit("u.xx")
    with pytest.raises(MethodError, match=r"^num_steps must be a positive integer, got 2.5$"):
        sp.GPHM(num_steps=2.5)


def test_a_coefficient_of_another_name():
    with pytest.raises(DataError, match="'sped' is no coefficient of the problem"):
        sp.GPHM().fit(NONLINEAR, coefficients={"sped": 1.0, "speed": 1.0})


def test_points_outside():
    for points, message in (
        (NEW - 1.0, "x_new: x of row 0 is -1, outside the domain (0, 3.14159), where nothing is known"),
        (NEW[:, 0], "x_new must have the shape (points, 1), a column a coordinate (x); it is (97,)"),
        (np.full((2, 1), np.nan), "x_new has 2 entries that are not finite"),
    ):
        with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
            line_fit().mean(points)


def test_a_loss_that_is_not_finite():
    problem = sp.Problem(**{**BOX, "operator": lambda u: u.xx + jnp.log(u.value - 1.0)})
    with pytest.raises(TrainingError, match=r"^the loss is nan at step 0, .* need a larger jitter$"):
        sp.GPHM(num_components=2, num_steps=2).fit(problem)
