"""The NumPyro model of readings: its conditional is the posterior of `solve`, and its density has the right slopes."""

import os
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.stats
from numpyro import handlers
from numpyro.infer.util import log_density

from bayeskit.errors import DataError, MethodError
from bayeskit.models import spectral_pde as sp
from bayeskit.models.spectral_pde.equations import derivative_rows

CHECKED = os.environ.get("BAYESKIT_RUNTIME_TYPES", "0") == "1"
AT = np.linspace(0.1, 1.0, 5)[:, None]
READINGS = 0.7 * np.exp(-0.8 * AT[:, 0])
SD = 0.1
BUMP = sp.Spectrum(2.0, 0.0, 0.8)
RATE = dist.LogNormal(0.0, 0.5)


def decaying(u, rate):
    return u.t + rate * u.value


def decay(operator=decaying, **more):
    return sp.Problem([(0.0, 1.0)], operator, **({"coefficients": {"rate": RATE}, "num_nodes": 20} | more))


def sites(model, values, at=AT, readings=READINGS):
    """What the model does where its sites have these values."""
    return handlers.trace(handlers.seed(handlers.substitute(model, values), 0)).get_trace(at, readings)


@pytest.fixture(scope="module")
def linear():
    """Of u' + rate u = 0 without a value anywhere, so that much is left open."""
    problem = decay(lambda u, rate: u.x + rate * u.value, boundary={})
    return problem, sp.model(problem, spectrum=[BUMP], noise=SD)


@pytest.fixture(scope="module")
def nonlinear():
    """Of u_t + rate u² = 0 with u(0) = 1, whose solution is 1 / (1 + rate t)."""
    problem = decay(lambda u, rate: u.t + rate * u.value**2, initial=1.0)
    return problem, sp.model(problem, spectrum=[BUMP], noise=SD)


def conditional(model, rate):
    normal = sites(model, {"rate": rate})["readings"]["fn"]
    return np.asarray(normal.loc), np.asarray(normal.covariance_matrix) - SD**2 * np.eye(len(AT))


def test_the_conditional_is_the_posterior_of_solve(linear, nonlinear):
    for problem, model in (linear, nonlinear):
        rate = float(problem.reference()["rate"])
        solution = sp.solve(problem, coefficients={"rate": rate}, spectrum=[BUMP], tolerance=1e-5)
        assert solution.tree.attrs["tolerance"] == 1e-5
        rows = np.asarray(derivative_rows(solution.basis, jnp.asarray(AT), (0,)))
        white = np.linalg.solve(solution.root.T, rows.T)
        mean, covariance = conditional(model, rate)
        size = np.sqrt(BUMP.weight.sum())
        np.testing.assert_allclose(mean, solution.mean(AT), atol=1e-4 * size)
        np.testing.assert_allclose(covariance, white.T @ white, atol=1e-4 * size**2)


def test_at_other_coefficients_it_is_another_solution(linear, nonlinear):
    mean, covariance = conditional(linear[1], 1.7)
    assert np.abs(mean).max() < 1e-6  # nothing says how large it is
    shape = np.exp(-1.7 * AT[:, 0])  # all that is known is its shape
    np.testing.assert_allclose(covariance / covariance[0, 0], np.outer(shape, shape) / shape[0] ** 2, atol=1e-3)
    mean, covariance = conditional(nonlinear[1], 1.7)
    np.testing.assert_allclose(mean, 1 / (1 + 1.7 * AT[:, 0]), atol=1e-4)
    assert np.sqrt(np.diag(covariance)).max() < 1e-3


def test_the_density_and_its_slope(linear, nonlinear):
    """Of prior and readings, and by central differences."""
    step, rate = 1e-3, 1.2  # the density is exact to 1e-7, which a smaller step would divide
    for _, model in (linear, nonlinear):
        both = jax.jit(
            jax.value_and_grad(lambda rate, model=model: log_density(model, (AT, READINGS), {}, {"rate": rate})[0])
        )
        low, (value, slope), high = (both(rate + h) for h in (-step, 0.0, step))
        mean, covariance = conditional(model, rate)
        normal = scipy.stats.multivariate_normal(mean, covariance + SD**2 * np.eye(len(AT)))
        np.testing.assert_allclose(value, normal.logpdf(READINGS) + float(RATE.log_prob(rate)), rtol=1e-8)
        np.testing.assert_allclose(slope, (high[0] - low[0]) / (2 * step), rtol=2e-4)
    assert np.isnan(both(-3.0)[0])  # that solution is infinite at t = 1/3, and Gauss-Newton steps do not arrive


def test_sites(linear):
    _, model = linear
    found = sites(model, {})
    assert list(found) == ["rate", "readings"]
    assert found["rate"]["fn"] is RATE
    assert found["readings"]["is_observed"]
    assert not sites(model, {}, readings=None)["readings"]["is_observed"]
    mean, covariance = conditional(model, 1.0)
    with jax.enable_x64(False):  # computed in float64, given in the default precision
        single = sites(model, {"rate": 1.0})["readings"]["fn"]
    assert single.loc.dtype == single.covariance_matrix.dtype == np.float32
    np.testing.assert_allclose(single.covariance_matrix, covariance + SD**2 * np.eye(len(AT)), rtol=1e-6)
    np.testing.assert_allclose(single.loc, mean, atol=1e-6)


@pytest.mark.full
def test_sites_of_the_spectrum_and_of_the_noise():
    spectrum = sp.Spectrum([2.0, 0.5], [0.0, 1.0], [0.8, 1.5])
    model = sp.model(decay(initial=1.0, coefficients={"rate": 0.8}), spectrum=[spectrum], sample_spectrum=True)
    found = sites(model, {})
    assert list(found) == ["noise", "log_lengthscale_t", "log_weight_t", "frequency_t", "equation", "readings"]
    assert found["noise"]["fn"].scale == pytest.approx(
        np.sqrt(np.mean(np.exp(-1.6 * np.linspace(0.0, 1.0, 20)))), rel=1e-4
    )
    assert [found[f"{name}_t"]["value"].shape for name in ("log_lengthscale", "log_weight", "frequency")] == [
        (2,),
        (2,),
        (1,),
    ]
    assert np.isfinite(found["equation"]["fn"].log_factor)
    np.testing.assert_allclose(found["log_weight_t"]["fn"].base_dist.loc, np.log([2.0, 0.5]))


def test_the_spectrum_is_learned_once_and_when_it_is_needed(monkeypatch):
    calls = []
    module = sys.modules[sp.model.__module__]
    solve = module.solve
    monkeypatch.setattr(
        module, "solve", lambda *given, **more: calls.append(more["coefficients"]) or solve(*given, **more)
    )
    problem = decay(initial=1.0)
    model = sp.model(problem, spectrum=[BUMP], noise=SD)
    assert calls == []
    jax.make_jaxpr(lambda rate: log_density(model, (AT, READINGS), {}, {"rate": rate})[0])(
        1.0
    )  # first used while traced
    sites(model, {"rate": 2.0})
    assert calls == [problem.reference()]


def test_mistakes():
    known = decay(initial=1.0, coefficients={"rate": 1.0})
    with_data = decay(initial=1.0, data=sp.Readings(AT, READINGS))
    named = decay(lambda u, noise: u.t + noise * u.value, initial=1.0, coefficients={"noise": RATE})
    for error, message, act in [
        (
            DataError,
            "a problem with data is for solve; leave data out and give the readings to infer",
            lambda: sp.model(with_data),
        ),
        (
            DataError,
            "'noise' is a name that the model itself uses; call the coefficient something else",
            lambda: sp.model(named),
        ),
        (
            DataError,
            "nothing of the problem is unknown: give coefficients a prior, or use solve with data",
            lambda: sp.model(known, noise=0.1),
        ),
        (
            MethodError,
            "noise must be a distribution, a positive number, or None; got -0.1",
            lambda: sp.model(known, noise=-0.1),
        ),
        (
            MethodError,
            "spectrum must be one Spectrum for each of t; got ()",
            lambda: sp.model(decay(initial=1.0), spectrum=[]),
        ),
    ]:
        with pytest.raises(error, match=f"^{re.escape(message)}$"):
            act()


def test_places_that_are_impossible(linear):
    for message, at in [
        ("at: x of row 0 is 2, outside the domain (0, 1), where nothing is known", np.array([2.0])),
        ("at must have the shape (points, 1), a column a coordinate (x); it is (5, 2)", np.ones((5, 2))),
        ("at has 1 entries that are not finite", np.array([np.nan, 0.5])),
    ]:
        with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
            sites(linear[1], {}, at=at, readings=None)


@pytest.mark.skipif(CHECKED, reason="the signatures refuse these first")
def test_arguments_of_another_type():
    for message, act in [
        ("model takes a Problem, got str", lambda: sp.model("u.xx")),
        (
            "noise must be a distribution, a positive number, or None; got 'small'",
            lambda: sp.model(decay(initial=1.0), noise="small"),
        ),
    ]:
        with pytest.raises(MethodError, match=f"^{re.escape(message)}$"):
            act()


def test_outside_the_domain_the_density_is_nan_where_nothing_can_be_raised():
    problem = sp.Problem(
        (0.0, 1.0),
        lambda u, rate: u.x + rate * u.value,
        boundary={"x": (1.0, None)},
        coefficients={"rate": dist.LogNormal(0.0, 0.5)},
        num_nodes=12,
    )
    model = sp.model(problem, spectrum=sp.Spectrum(1.0, 0.0, 0.7), noise=0.1)

    def density(at):
        return log_density(model, (), {"at": at, "readings": jnp.array([0.5, 0.4])}, {"rate": 1.0})[0]

    compiled = jax.jit(density)
    inside, outside = jnp.array([[0.2], [0.9]]), jnp.array([[0.2], [1.2]])
    assert jnp.isfinite(compiled(inside))
    assert jnp.isnan(compiled(outside))
    with pytest.raises(DataError, match=re.escape("x of row 1 is 1.2, outside the domain (0, 1)")):
        density(outside)


def test_a_reference_that_is_not_well_solved_is_said(recwarn):
    """A tone far above what the nodes resolve, and a length scale that cannot follow."""
    problem = sp.Problem(
        (0.0, 1.0),
        lambda u, rate: rate * u.xx,
        lambda x: -9e4 * jnp.sin(300.0 * x),
        boundary=0.0,
        coefficients={"rate": dist.LogNormal(0.0, 0.5)},
        num_nodes=12,
    )
    model = sp.model(problem, spectrum=sp.Spectrum([1.0, 1.0], [0.0, 0.7], [0.3, 0.3]), noise=0.1)
    handlers.seed(model, 0)(jnp.array([[0.2], [0.9]]))
    said = [str(one.message) for one in recwarn if "at the medians of the coefficients" in str(one.message)]
    assert len(said) == 1
