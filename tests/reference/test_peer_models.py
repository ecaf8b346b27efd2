r"""The models of NumPyro's gallery: the log density, and the posterior, that NumPyro itself finds.

By default all log densities and what is refused; the posteriors, a quarter of a minute each, with
``pytest tests/reference/test_peer_models.py -m slow``.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from arviz_stats.base import array_stats
from numpyro import handlers
from numpyro.contrib.funsor import config_enumerate, enum
from numpyro.infer import MCMC, NUTS, init_to_uniform, init_to_value, log_likelihood
from numpyro.infer.util import potential_energy

import bayeskit as bk

from .comparison import mcse_mean
from .peer_models import PEER_MODELS, PeerModel, table

PAGE = Path(__file__).resolve().parents[2] / "docs" / "numpyro.md"
NUM_POINTS = 5
MAX_Z = 4.0
MIN_ESS = 100.0
SHORT = ("annotation: multinomial", "ar2: scan", "zip: by hand")
"""Sizes from the data and a discrete site that observations share; a scan; a discrete site of each observation."""
pytestmark = [
    pytest.mark.filterwarnings("ignore:.* as a Python value"),
    pytest.mark.filterwarnings("ignore:the deterministic sites"),
    pytest.mark.filterwarnings("ignore:leave-one-out cannot be trusted"),
]


ALSO = (
    *(f"hmm_enum: {number}" for number in (2, 3, 4)),
    *(f"capture_recapture: {number}" for number in (1, 3, 4, 5)),
    *(f"annotation: {of}" for of in ("item difficulty", "logistic random effects", "Dawid-Skene")),
)
"""Log densities of `make test-all`: of the same series, populations and annotators another model is in `make test`."""


def rows(chosen: Callable[[PeerModel], object] = lambda row: True, full: Container[str] = ()) -> list[object]:
    """One parameter a row."""
    marks = {True: pytest.mark.full, False: ()}
    return [pytest.param(row, id=row.name, marks=marks[row.name in full]) for row in filter(chosen, PEER_MODELS)]


@cache
def target_of(row: PeerModel) -> bk.Target:
    return bk.Target(bk.bind(row.model, row.data), allow_unobserved=not row.observed)


# ---- the log density -------------------------------------------------------------------------------------------------


def numpyros_log_density(row: PeerModel, structure) -> Callable[[Mapping[str, jax.Array]], jax.Array]:
    """NumPyro's own, of unconstrained values; discrete sites are summed out by it too."""
    model = handlers.seed(row.stand_in or row.model, jax.random.PRNGKey(0))
    summed = bool(structure.of_kind("discrete"))
    if summed:
        model = enum(config_enumerate(model), first_available_dim=-1 - structure.max_plate_nesting)
    return lambda values: -potential_energy(model, (), row.data, values, enum=summed)


@pytest.mark.parametrize("row", rows(full=ALSO))
def test_log_density_is_numpyros(row):
    target = target_of(row)
    assert {site.name for site in target.structure.of_kind("observed", "factor")} == set(row.observed)
    peer = numpyros_log_density(row, target.structure)

    @jax.jit
    @jax.vmap
    def both(vector):
        values = target.unravel(vector)
        return target.log_density(values), peer(values)

    ours, theirs = both(np.random.default_rng(0).uniform(-1.0, 1.0, (NUM_POINTS, target.size)))
    assert np.ptp(theirs) > 0.1, "the points do not differ"
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)


@pytest.mark.parametrize("row", rows(chosen=lambda row: row.refusal))
def test_a_log_likelihood_that_has_no_meaning_is_refused(row):
    method = bk.NUTS(num_chains=1, num_warmup=10, num_draws=10)
    with pytest.raises(bk.errors.ModelError) as caught:
        bk.infer(target_of(row), None, method, key=0, log_likelihood=True, progress=False)
    assert str(caught.value) == row.refusal


def test_the_page_has_the_table():
    assert table() in PAGE.read_text()


# ---- the posterior ---------------------------------------------------------------------------------------------------


@cache
def fit(row: PeerModel) -> xr.DataTree:
    method = bk.NUTS(num_chains=4, target_accept=row.target_accept)
    if not row.observed:
        return bk.infer(target_of(row), None, method, key=1, progress=False)
    pointwise = row.element is not None
    return bk.infer(row.model, row.data, method, key=1, init=row.init, log_likelihood=pointwise, progress=False)


def numpyros_draws(row: PeerModel) -> dict[str, np.ndarray]:
    values = {name: jnp.asarray(value) for name, value in (row.init or {}).items()}
    init = init_to_value(values=values) if values else init_to_uniform
    kernel = NUTS(row.stand_in or row.model, target_accept_prob=row.target_accept, init_strategy=init)
    mcmc = MCMC(kernel, num_warmup=1000, num_samples=1000, num_chains=4, chain_method="vectorized", progress_bar=False)
    mcmc.run(jax.random.key(2), **row.data)
    return {name: np.asarray(draws) for name, draws in mcmc.get_samples(group_by_chain=True).items()}


def differences(ours: np.ndarray, theirs: np.ndarray) -> list[str]:
    """Of one site, the elements whose means differ by more than chance, or are too uncertain to tell."""
    found = []
    for index in np.ndindex(ours.shape[2:]):
        both = [draws[(..., *index)] for draws in (ours, theirs)]
        if all(np.ptp(draws) < 1e-12 for draws in both) and np.isclose(both[0][0, 0], both[1][0, 0]):
            continue  # a constant, such as a corner of a Cholesky factor
        least = min(float(array_stats.ess(draws, method="bulk")) for draws in both)
        error = np.hypot(*map(mcse_mean, both))
        z = (both[0].mean() - both[1].mean()) / error
        if not (abs(z) < MAX_Z and least > MIN_ESS):
            found.append(f"{index}: means {both[0].mean():.4g} and {both[1].mean():.4g}, z = {z:.2f}, ESS {least:.0f}")
    return found


@pytest.mark.slow
@pytest.mark.parametrize("row", rows(chosen=lambda row: row.is_hard))
def test_a_posterior_that_is_not_explored_has_a_bad_verdict(row):
    assert not bk.check(fit(row), quiet=True).ok


@pytest.mark.slow
@pytest.mark.parametrize("row", rows(chosen=lambda row: not row.is_hard))
def test_posterior_means_are_numpyros(row):
    posterior, theirs = fit(row)["posterior"], numpyros_draws(row)
    names = row.compared or tuple(posterior.data_vars)
    failures = {name: differences(posterior[name].to_numpy(), theirs[name]) for name in names}
    assert not any(failures.values()), "\n".join(f"{name} {line}" for name in failures for line in failures[name])


def check_predictions(row, post, refused, **how):
    """Replicated data look like the data, or there is none and the reason is said."""
    if refused:
        with pytest.raises(bk.errors.ModelError) as caught:
            bk.predict(row.model, row.data, post, key=3, **how)
        assert str(caught.value) == refused
        return
    drawn = bk.predict(row.model, row.data, post, key=3, **how)["posterior_predictive"]
    for name, observed in post["observed_data"].data_vars.items():
        draws = drawn[name].to_numpy()
        assert draws.shape[2:] == observed.shape
        assert np.isfinite(draws).all()
        means = draws.mean(axis=tuple(range(2, draws.ndim)))
        assert 0.005 < (means < observed.to_numpy().mean()).mean() < 0.995


def check_log_likelihood(row, post):
    """Of each observation, as NumPyro has it, which does not sum over discrete sites there."""
    (name,) = row.observed
    ours = post["log_likelihood"][name].to_numpy()
    assert bk.loo(post).n_data_points == ours[0, 0].size
    if not target_of(row).structure.of_kind("discrete"):
        latent = {name: post["posterior"][name].to_numpy() for name in target_of(row).latent_names}
        peer = log_likelihood(row.model, latent, batch_ndims=2, **row.data)[name]
        np.testing.assert_allclose(ours, peer, rtol=1e-9, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("row", rows(chosen=lambda row: row.observed))
def test_predictions(row):
    check_predictions(row, fit(row), row.not_predicted)


@pytest.mark.slow
@pytest.mark.parametrize("row", rows(chosen=lambda row: row.not_predicted))
def test_predictions_with_the_discrete_sites_drawn(row):
    check_predictions(row, fit(row), row.not_drawn, discrete="sample")


@pytest.mark.slow
@pytest.mark.parametrize("row", rows(chosen=lambda row: row.element))
def test_leave_one_out(row):
    check_log_likelihood(row, fit(row))


# by default the scan: predictions and log likelihoods with discrete sites are in tests/inference/test_discrete.py
@pytest.mark.parametrize("row", rows(chosen=lambda row: row.name in SHORT, full={*SHORT} - {"ar2: scan"}))
def test_from_end_to_end_in_a_short_run(row):
    method = bk.NUTS(num_chains=2, num_warmup=50, num_draws=50)
    pointwise = row.element is not None
    post = bk.infer(row.model, row.data, method, key=1, init=row.init, log_likelihood=pointwise, progress=False)
    assert all(np.isfinite(draws).all() for draws in post["posterior"].data_vars.values())
    assert set(post["observed_data"].data_vars) == set(row.observed)
    check_predictions(row, post, row.not_predicted)
    if pointwise:
        check_log_likelihood(row, post)
