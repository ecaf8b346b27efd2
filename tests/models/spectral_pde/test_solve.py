"""Solutions: of equations whose solutions are known, with what is said of their errors."""

import os
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import bayeskit as bk
from bayeskit.errors import DataError, MethodError, ModelError
from bayeskit.models import spectral_pde as sp
from bayeskit.models.spectral_pde.state import State

CHECKED = os.environ.get("BAYESKIT_RUNTIME_TYPES", "0") == "1"
RATE = 30.0
X = np.linspace(0.0, 1.0, 41)
TREND = sp.Spectrum(1.0, 0.0, 1.0)


def line(operator, source=0.0, **more):
    return sp.Problem([(0.0, 1.0)], operator, source, **({"boundary": 0.0, "num_nodes": 40} | more))


@pytest.fixture(scope="module")
def wave():
    """u'' = f with the solution sin 30x; the spectrum is learned, in the default precision of users."""
    problem = line(
        lambda u: u.xx,
        lambda x: -(RATE**2) * jnp.sin(RATE * x),
        boundary=lambda x: jnp.sin(RATE * x),
        num_nodes=60,
    )
    with jax.enable_x64(False):
        return sp.solve(problem, key=0)


def test_it_is_the_solution_with_its_derivatives(wave):
    truth = {
        "value": np.sin(RATE * X),
        "x": RATE * np.cos(RATE * X),
        "xx": -(RATE**2) * np.sin(RATE * X),
        "xxxx": RATE**4 * np.sin(RATE * X),
    }
    for name, expected in truth.items():
        mean = wave.mean(X, name)
        assert mean.dtype == np.float64
        assert np.abs(mean - expected).max() < 1e-6 * np.abs(expected).max(), name
        np.testing.assert_array_equal(wave.derivative(X, name), mean)
        sd = wave.sd(X, name)
        assert np.all(np.abs(mean - expected) < 6 * sd + 1e-12 * np.abs(expected).max())
        assert sd.max() < 1e-4 * np.abs(expected).max()


def test_the_frequency_is_found_and_no_other(wave):
    (spectrum,) = wave.spectrum
    strongest = int(np.argmax(spectrum.share))
    assert abs(2 * np.pi * spectrum.frequency[strongest] / RATE - 1) < 1e-3
    assert np.all(np.delete(spectrum.share, strongest) < 1e-4)


def test_draws_are_of_the_posterior(wave):
    num, at = 4000, X[[0, 7, 20]]
    draws = wave.draw(at, key=1, num=num)
    assert draws.shape == (num, 3)
    assert draws.dtype == np.float64
    mean, sd = wave.mean(at), wave.sd(at)
    assert np.all(np.abs(draws.mean(axis=0) - mean) < 4 * sd / np.sqrt(num))
    assert np.all(np.abs(draws.std(axis=0) / sd - 1) < 4 / np.sqrt(2 * num))
    np.testing.assert_array_equal(wave.draw(at, key=1, num=num), draws)
    assert not np.array_equal(wave.draw(at, key=2, num=num), draws)
    # each is one function: its slope is that of its values
    near = np.array([0.3, 0.3 + 1e-6])
    one, slope = wave.draw(near, key=1)[0], wave.draw(near, key=1, derivative="x")[0]
    assert (one[1] - one[0]) / 1e-6 == pytest.approx(slope[0], rel=1e-3)


def test_the_record(wave):
    training = wave.tree["training"]
    loss = training["loss"].values
    assert loss[-1] < loss[0]
    assert len(training["gradient_norm"]) == len(loss)
    assert training["residual"].shape == training["residual_sd"].shape == (200,)
    assert training["fresh_point"].shape == (200, 1)
    assert np.all(training["residual_sd"] > 0)
    assert wave.tree.attrs["gauss_newton_steps"] == 0
    assert wave.tree.attrs["refinement_misfit"] < 1e-6
    assert wave.noise is None
    assert repr(wave).startswith("Solution(x in (0, 1), ")


def test_a_file_has_the_same_solution(wave, tmp_path):
    path = bk.save(wave, tmp_path / "wave.nc")
    for double in (True, False):
        with jax.enable_x64(double):
            again = bk.load(path)
            np.testing.assert_array_equal(again.mean(X, "xx"), wave.mean(X, "xx"))
            np.testing.assert_array_equal(again.sd(X), wave.sd(X))
    np.testing.assert_array_equal(again.tree["training"]["loss"], wave.tree["training"]["loss"])


def test_the_same_key_gives_the_same_solution():
    problem = line(lambda u: u.xx, lambda x: jnp.cos(2 * x))
    first, second, other = (sp.solve(problem, spectrum=[TREND], key=key) for key in (3, 3, 4))
    np.testing.assert_array_equal(first.mean(X), second.mean(X))
    for name in ("residual", "fresh_point"):
        values = [one.tree["training"][name].values for one in (first, second, other)]
        np.testing.assert_array_equal(values[0], values[1])
        assert not np.array_equal(values[0], values[2])


def test_a_slope_at_an_end():
    """u'' = -sin with u(0) = 1 and the slope of sin + 1 at the other end."""
    problem = line(lambda u: u.xx, lambda x: -jnp.sin(x), boundary={"x": (1.0, sp.Neumann(np.cos(1.0)))})
    solution = sp.solve(problem, spectrum=[TREND])
    assert np.abs(solution.mean(X) - np.sin(X) - 1.0).max() < 1e-7


def test_a_period():
    """u - u'' = (1 + 4π²) sin 2πx: without any value at the ends, the values and slopes there are the same."""
    problem = line(
        lambda u: u.value - u.xx,
        lambda x: (1 + 4 * np.pi**2) * jnp.sin(2 * np.pi * x),
        boundary=sp.Periodic(),
    )
    solution = sp.solve(problem, spectrum=[sp.Spectrum([1.0, 1.0], [0.0, 1.0], [1.0, 2.0])])
    assert np.abs(solution.mean(X) - np.sin(2 * np.pi * X)).max() < 1e-7
    for name in ("value", "x"):
        low, high = solution.mean(np.array([0.0, 1.0]), name)
        assert abs(low - high) < 1e-7


def test_a_clamped_beam():
    """u'''' = 24 with u = u' = 0 at both ends: u = x² (1 - x)²."""
    clamped = [0.0, sp.Neumann()]
    problem = line(lambda u: u.xxxx, 24.0, boundary={"x": (clamped, clamped)})
    solution = sp.solve(problem, spectrum=[sp.Spectrum(5e3, 0.0, 1.7)])
    assert np.abs(solution.mean(X) - X**2 * (1 - X) ** 2).max() < 1e-7
    assert np.abs(solution.mean(X, "xxx") - (24 * X - 12)).max() < 1e-3


def test_initial_values():
    """u_t + u_x = 0 with what flows in at x = 0: u = sin(x - t)."""
    problem = sp.Problem(
        domain=[(0.0, 1.0), (0.0, 0.5)],
        operator=lambda u: u.t + u.x,
        boundary={"x": (lambda x, t: jnp.sin(x - t), None)},
        initial=jnp.sin,
        num_nodes=(14, 10),
    )
    solution = sp.solve(problem, spectrum=[TREND, TREND])
    points = np.random.default_rng(0).uniform(size=(50, 2)) * [1.0, 0.5]
    expected = np.sin(points[:, 0] - points[:, 1])
    error, sd = np.abs(solution.mean(points) - expected), solution.sd(points)
    assert error.max() < 1e-5
    assert np.all(error < 6 * sd)
    assert np.abs(solution.mean(points, "xt") - expected).max() < 1e-4
    assert solution.draw(points, key=0, num=3).shape == (3, 50)


def test_an_equation_that_is_not_linear():
    """Of the kind of Allen and Cahn, u'' + u³ - u = f with u = sin 5x."""
    problem = line(
        lambda u: u.xx + u.value**3 - u.value,
        lambda x: -26.0 * jnp.sin(5 * x) + jnp.sin(5 * x) ** 3,
        boundary=lambda x: jnp.sin(5 * x),
    )
    assert not problem.is_linear
    solution = sp.solve(problem, spectrum=[sp.Spectrum(1.0, 0.0, 0.5)], tolerance=1e-8)
    assert np.abs(solution.mean(X) - np.sin(5 * X)).max() < 1e-8
    value, second = solution.mean(X), solution.mean(X, "xx")
    assert np.abs(second + value**3 + 25 * np.sin(5 * X) + np.sin(5 * X) - np.sin(5 * X) ** 3 - value).max() < 1e-5
    change = solution.tree["training"]["change"].values
    assert 3 <= len(change) <= 8
    assert np.all(np.diff(np.log(change)) < 0)
    assert change[-1] < 1e-7
    assert solution.tree.attrs["gauss_newton_steps"] == len(change)
    assert solution.tree.attrs["gauss_newton_arrived"] == 1


@pytest.mark.full
def test_the_noise_of_readings_is_learned():
    """u' + u = 0 without any value: the readings say all, and how noisy they are."""
    sd, at = 0.05, np.linspace(0.02, 0.98, 60)
    values = 2 * np.exp(-at) + sd * np.random.default_rng(0).normal(size=at.size)
    problem = line(lambda u: u.x + u.value, boundary={}, data=sp.Readings(at, values), num_nodes=20)
    solution = sp.solve(problem, num_components=1, max_steps=60)
    assert abs(solution.noise / sd - 1) < 4 / np.sqrt(2 * at.size)
    error = np.abs(solution.mean(X) - 2 * np.exp(-X))
    assert np.all(error < 4 * solution.sd(X))
    # one number is unknown, u(0), and known to the error of least squares
    expected = sd / np.sqrt(np.sum(np.exp(-2 * at)))
    assert solution.sd(X[:1])[0] == pytest.approx(expected, rel=0.3)


def test_coefficients_that_are_given():
    problem = line(
        lambda u, rate: u.xx + rate**2 * u.value,
        boundary={"x": ([0.0, sp.Neumann(-3.0)], None)},
        coefficients={"rate": dist.LogNormal(0.0, 1.0)},
    )
    solution = sp.solve(problem, coefficients={"rate": 3.0}, spectrum=[TREND])
    assert np.abs(solution.mean(X) - np.sin(3 * X)).max() < 1e-6
    with pytest.raises(DataError, match=re.escape("the coefficients rate are unknown: give coefficients={'rate': ")):
        sp.solve(problem, spectrum=[TREND])


def test_memory_is_looked_at_first(monkeypatch):
    problem = sp.Problem([(0.0, 1.0)] * 2, lambda u: u.xx + u.yy, boundary=0.0, num_nodes=(10, 8))
    monkeypatch.setattr(sys.modules[sp.solve.__module__], "SHARE_OF_MEMORY", 1e-9)
    monkeypatch.setattr(State, "settle", None)  # which nothing comes to
    message = (
        r"the solution would have (\d+) unknowns \((\d+) along x x (\d+) along y\) and take [\d.]+ GiB, of which this "
        r"machine may give [\d.]+: use fewer num_components, fewer num_nodes or a smaller domain"
    )
    with pytest.raises(DataError, match=f"^{message}$") as caught:
        sp.solve(problem, spectrum=[TREND, TREND])
    total, *sizes = map(int, re.match(message, str(caught.value)).groups())
    assert total == np.prod(sizes)


PLAIN = sp.Problem([(0.0, 1.0)], lambda u: u.xx, boundary=0.0, num_nodes=10)


@pytest.mark.parametrize(
    ("message", "settings"),
    [
        ("tolerance must be a number above 0 and below 0.1, got 0.0", {"tolerance": 0.0}),
        ("tolerance must be a number above 0 and below 0.1, got 0.5", {"tolerance": 0.5}),
        ("tolerance must be a number above 0 and below 0.1, got nan", {"tolerance": np.nan}),
        ("num_components must be a positive integer, got 0", {"num_components": 0}),
        ("max_steps must be a positive integer, got -1", {"max_steps": -1}),
        ("spectrum must be one Spectrum for each of x; got ()", {"spectrum": []}),
    ],
)
def test_settings_that_are_impossible(message, settings):
    with pytest.raises(MethodError, match=f"^{re.escape(message)}$"):
        sp.solve(PLAIN, **settings)


def test_a_spectrum_too_many():
    with pytest.raises(MethodError, match=r"^spectrum must be one Spectrum for each of x; got \(Spectrum"):
        sp.solve(PLAIN, spectrum=[TREND, TREND])


def test_points_that_are_impossible(wave):
    for message, points, more in [
        ("x_new: x of row 1 is 1.5, outside the domain (0, 1), where nothing is known", np.array([0.5, 1.5]), {}),
        (
            "x_new must have the shape (points, 1), a column a coordinate (x); it is (3, 2)",
            np.zeros((3, 2)),
            {},
        ),
        ("x_new has 1 entries that are not finite", np.array([0.5, np.nan]), {}),
        (
            "u.y is no derivative: the coordinates are x, so that u has u.value, u.x, u.xx and so on, to order 4",
            X,
            {"derivative": "y"},
        ),
        ("u.xxxxx is of order 5; derivatives go to order 4", X, {"derivative": "xxxxx"}),
    ]:
        for ask in (wave.mean, wave.sd, lambda *given, **more: wave.draw(*given, key=0, **more)):
            with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
                ask(points, **more)
    with pytest.raises(DataError, match=r"^num must be a positive integer, got 0$"):
        wave.draw(X, key=0, num=0)


@pytest.mark.skipif(CHECKED, reason="the signatures refuse these first")
def test_arguments_of_another_type(wave):
    for error, message, act in [
        (MethodError, "solve takes a Problem, got str", lambda: sp.solve("u.xx")),
        (
            MethodError,
            "num_components must be a positive integer, got 2.0",
            lambda: sp.solve(PLAIN, num_components=2.0),
        ),
        (
            MethodError,
            "tolerance must be a number above 0 and below 0.1, got '1e-6'",
            lambda: sp.solve(PLAIN, tolerance="1e-6"),
        ),
        (DataError, "num must be a positive integer, got 1.5", lambda: wave.draw(X, key=0, num=1.5)),
    ]:
        with pytest.raises(error, match=f"^{re.escape(message)}$"):
            act()


def test_an_operator_that_is_not_finite_at_zero_is_refused():
    problem = line(lambda u: u.xx + jnp.log(u.value), boundary=1.0)
    with pytest.raises(ModelError, match="operator or its slopes are not finite where u and its derivatives are 0"):
        sp.solve(problem, spectrum=sp.Spectrum(1.0, 0.0, 0.5))
