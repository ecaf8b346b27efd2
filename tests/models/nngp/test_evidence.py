"""Hyperparameters by maximum evidence: against closed forms, and what it says when there is no maximum."""

from __future__ import annotations

import re
import warnings

import jax
import numpy as np
import numpyro.distributions as dist
import pytest
import tinygp

from bayeskit.errors import DataError, MethodError, TrainingError
from bayeskit.models import nngp

X = np.linspace(-2.0, 2.0, 25)[:, None]
Y = np.sin(2 * X[:, 0]) + 0.3 * np.random.default_rng(0).normal(size=25)
KERNEL = tinygp.kernels.ExpSquared(0.7)
COVARIANCE = np.exp(-0.5 * ((X - X.T) / 0.7) ** 2) + 0.1 * np.eye(25)


def scaled(p):
    return nngp.ScaleMixture(KERNEL, p["scale"], noise_variance=0.1)


def full(p):
    network = nngp.serial(nngp.Dense(p["weight_std"][0], p["bias_std"]), nngp.relu, nngp.Dense(p["weight_std"][1], 0.1))
    return nngp.ScaleMixture(network, dist.InverseGamma(2.0, 2.0), noise_variance=p["noise"])


START = {"weight_std": np.array([1.0, 1.0]), "bias_std": 1.0, "noise": 0.1}


@pytest.mark.parametrize("double", [True, False])
def test_the_best_scale_of_a_gaussian_process_is_its_mean_square(double):
    r"""The maximum of the evidence over the scale is $q / n$, at which the exponent is $-n / 2$."""
    with jax.enable_x64(double):
        fit = nngp.maximise_evidence(scaled, {"scale": 3.0}, X, Y)
        again = float(fit.mixture.log_marginal_likelihood(X, Y))
    best = Y @ np.linalg.solve(COVARIANCE, Y) / 25
    value = -0.5 * (25 * (1 + np.log(2 * np.pi * best)) + np.linalg.slogdet(COVARIANCE)[1])
    assert fit.converged
    assert fit.parameters["scale"].dtype == np.float64
    np.testing.assert_allclose(fit.parameters["scale"], best, rtol=1e-4)
    np.testing.assert_allclose(fit.log_marginal_likelihood, value, rtol=1e-9)
    np.testing.assert_allclose(again, value, rtol=1e-5)


def test_nothing_nearby_is_better():
    fit = nngp.maximise_evidence(full, START, X, Y, num_restarts=2, key=1)
    assert fit.converged
    assert fit.restarts.shape == (2,)
    assert fit.log_marginal_likelihood == fit.restarts.max()
    for name, value in fit.parameters.items():
        for index in np.ndindex(value.shape):
            for factor in (0.97, 1.03):
                moved = {**fit.parameters, name: value.copy()}
                moved[name][index] *= factor
                assert full(moved).log_marginal_likelihood(X, Y) < fit.log_marginal_likelihood + 1e-6


def test_an_evidence_without_a_maximum_is_told_of():
    """Rows that are repeated exactly want no noise at all."""
    x, y = np.tile(X, (2, 1)), np.tile(Y, 2)
    with pytest.warns(UserWarning, match=r"still rises where .*noise.* reached the end of the range"):
        fit = nngp.maximise_evidence(full, START, x, y, factor=100.0)
    assert "noise" in fit.at_ends
    np.testing.assert_allclose(fit.parameters["noise"], 0.001, rtol=1e-6)


def test_a_search_cut_short_is_told_of():
    with pytest.warns(UserWarning, match="still rising after 1 steps"):
        fit = nngp.maximise_evidence(full, START, X, Y, max_steps=1)
    assert not fit.converged


def test_a_singular_start_is_refused_and_a_singular_neighbour_is_a_wall():
    def build(p):
        return nngp.ScaleMixture(KERNEL, dist.InverseGamma(2.0, 2.0), noise_variance=p["noise"])

    x, y = np.tile(X, (2, 1)), np.concatenate([Y, Y + 0.5])
    with pytest.raises(TrainingError, match=r"not finite at any start, beginning with \{'noise': .*larger noise"):
        nngp.maximise_evidence(build, {"noise": 1e-20}, x, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert nngp.maximise_evidence(build, {"noise": 1e-3}, x, y).parameters["noise"] > 0.01


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"start": {"scale": -1.0}}, DataError, "start['scale'] must be positive and finite; it is -1.0"),
        ({"start": {"scale": np.nan}}, DataError, "start['scale'] must be positive"),
        ({"start": {}}, DataError, "start names no parameter"),
        ({"y": Y[:3]}, DataError, "one entry for each of the 25 rows of x; its shape is (3,)"),
        ({"y": np.where(Y > 0, Y, np.nan)}, DataError, "entries that are not finite; remove or impute them"),
        ({"x": X[:0]}, DataError, "x must be a non-empty array"),
        ({"num_restarts": 0}, MethodError, "num_restarts must be at least 1; it is 0"),
        ({"max_steps": 0}, MethodError, "max_steps must be at least 1; it is 0"),
        ({"factor": 1.0}, MethodError, "factor must be a finite number above 1; it is 1.0"),
        ({"build": lambda p: p["scale"]}, MethodError, "build must return a ScaleMixture; it returned"),
    ],
)
def test_bad_input(change, error, message):
    arguments = {"build": scaled, "start": {"scale": 1.0}, "x": X, "y": Y, **change}
    with pytest.raises(error, match=re.escape(message)):
        nngp.maximise_evidence(arguments.pop("build"), arguments.pop("start"), **arguments)
