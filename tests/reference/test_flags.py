"""The verdict is bad where the draws cannot be trusted. Every case is known to go wrong, and shows that it did."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import bayeskit as bk

from .comparison import select
from .models.hierarchical import eight_schools_centered, eight_schools_noncentered
from .models.nonlinear import gaussian_mixture, unordered_mixture
from .models.time_series import arma11

BACKENDS = (pytest.param("numpyro", marks=pytest.mark.full), "blackjax")  # the verdict sees draws, not who drew them
# By default a run of the eight schools. The verdict on draws like those of the others (a chain that is stuck, or never
# leaves its start) is in tests/diagnostics/test_verdict.py, that on chains in different modes in tests/inference/smc.

# Rubin (1981), Journal of Educational Statistics 6, table 1
SCHOOLS = {
    "y": np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0]),
    "sigma": np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0]),
}


def simulated_arma(length: int = 200, phi: float = 0.95, theta: float = -0.05) -> np.ndarray:
    noise = 0.15 * np.random.default_rng(0).standard_normal(length)
    y = np.zeros(length)
    for t in range(1, length):
        y[t] = phi * y[t - 1] + theta * noise[t - 1] + noise[t]
    return y


def simulated_mixture(size: int = 300) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.where(rng.uniform(size=size) < 0.6, -2.75, 2.75) + rng.standard_normal(size)


def chain_means(post: xr.DataTree, parameter: str) -> np.ndarray:
    return select({name: v.to_numpy() for name, v in post["posterior"].data_vars.items()}, parameter).mean(axis=1)


# by default the draws of such a run, in tests/diagnostics/test_verdict.py, and the other form in test_reference.py
@pytest.mark.full
@pytest.mark.parametrize("backend", BACKENDS)
def test_centred_eight_schools(backend: str) -> None:
    post = bk.infer(eight_schools_centered, SCHOOLS, bk.NUTS(backend=backend), key=0, progress=False)
    assert not bk.check(post, quiet=True).ok
    method = bk.NUTS(backend=backend, target_accept=0.95)
    post = bk.infer(eight_schools_noncentered, SCHOOLS, method, key=0, progress=False)
    assert bk.check(post, quiet=True).ok


@pytest.mark.full
@pytest.mark.parametrize("backend", BACKENDS)
def test_arma_with_a_chain_in_the_wrong_mode(backend: str) -> None:
    """With ``theta`` far above one the errors grow by powers of it, and a chain that starts there stays."""
    start = {"mu": np.zeros(4), "phi": np.full(4, 0.9), "theta": np.array([0.0, 0.0, 0.0, 2.0]), "sigma": np.ones(4)}
    data, method = {"y": simulated_arma()}, bk.NUTS(backend=backend, num_warmup=300, num_draws=500)
    post = bk.infer(arma11, data, method, key=0, init=start, progress=False)
    means = chain_means(post, "sigma")
    assert abs(means[3] / means[0] - 1) > 0.5, "the chain left the wrong mode: this case shows nothing"
    assert not bk.check(post, quiet=True).ok


@pytest.mark.full
@pytest.mark.parametrize("backend", BACKENDS)
def test_arma_with_a_chain_that_does_not_move(backend: str) -> None:
    method = bk.NUTS(backend=backend, num_warmup=500, num_draws=500)
    post = bk.infer(arma11, {"y": simulated_arma()}, method, key=0, init={"theta": 0.0}, progress=False)
    assert bk.check(post, quiet=True).ok
    for values in post["posterior"].data_vars.values():
        values.to_numpy()[3] = values.to_numpy()[3, 0]
    assert not bk.check(post, quiet=True).ok


@pytest.mark.full
@pytest.mark.parametrize("backend", BACKENDS)
def test_mixture_whose_labels_differ_by_chain(backend: str) -> None:
    start = {"mu": np.array([[-3.0, 3.0], [-3.0, 3.0], [3.0, -3.0], [3.0, -3.0]])}
    data, method = {"y": simulated_mixture()}, bk.NUTS(backend=backend, num_warmup=300, num_draws=500)
    post = bk.infer(unordered_mixture, data, method, key=0, init=start, progress=False)
    # a chain may change its labels early in the warmup; that two chains differ is enough
    assert len(set(np.sign(chain_means(post, "mu[1]")))) == 2, "the labels agree: this case shows nothing"
    assert not bk.check(post, quiet=True).ok
    ordered = bk.infer(gaussian_mixture, data, method, key=0, progress=False)
    assert bk.check(ordered, quiet=True).ok
