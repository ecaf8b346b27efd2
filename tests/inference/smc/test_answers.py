"""Evidence, moments and mode weights against closed forms, and the verdict of each run."""

from __future__ import annotations

import arviz_stats
import numpy as np
import pytest

import bayeskit as bk

from . import problems

DATA = problems.regression_data()
METHODS = {
    "SMC": bk.SMC(num_particles=400),
    "persistent sampling": bk.PersistentSampling(num_particles=300),
    "nested sampling": bk.NestedSampling(num_live=60, num_chains=2, num_draws=400, num_delete=20),
    "parallel tempering": bk.ParallelTempering(num_chains=4, num_temperatures=10, num_warmup=500, num_draws=500),
}
WEIGHT = 0.3


# by default the regression of the others is in the conformance table, and the evidence of one is in `test_modes`
@pytest.fixture(
    scope="module",
    params=[
        "SMC",
        *(pytest.param(name, marks=pytest.mark.full) for name in ("persistent sampling", "nested sampling")),
    ],
)
def of_regression(request):
    return bk.infer(problems.regression, DATA, METHODS[request.param], key=1, progress=False)


@pytest.fixture(scope="module", params=["SMC", "persistent sampling", "parallel tempering"])
def of_modes(request):
    return bk.infer(problems.modes, {"weight": WEIGHT}, METHODS[request.param], key=2, progress=False)


def test_regression(of_regression):
    post = of_regression
    error = post.attrs["log_evidence_error"]
    assert 0.02 < error < 0.6
    assert abs(post.attrs["log_evidence"] - problems.regression_evidence(DATA)) < 4 * error
    x = DATA["x"]
    covariance = np.linalg.inv(x.T @ x / 0.25 + np.eye(problems.TERMS) / 4)
    mean = covariance @ x.T @ DATA["y"] / 0.25
    draws = post["posterior/b"].transpose("chain", "draw", ...).values
    for k in range(problems.TERMS):
        assert abs(draws[..., k].mean() - mean[k]) < 4 * float(arviz_stats.mcse(draws[..., k], method="mean"))
        assert abs(draws[..., k].std() ** 2 / covariance[k, k] - 1) < 0.4


def test_modes(of_modes):
    error = of_modes.attrs["log_evidence_error"]
    assert abs(of_modes.attrs["log_evidence"] - problems.MODES_EVIDENCE) < 4 * error < 1.0
    inside = problems.in_first(of_modes)
    assert abs(inside.mean() - WEIGHT) < 4 * float(arviz_stats.mcse(inside, method="mean")) < 0.3
    if of_modes.attrs["method"] == "ParallelTempering":
        assert of_modes.attrs["round_trips"] > 20
        assert of_modes.attrs["swap_rate"] > 0.3


def test_stages_are_recorded(of_modes):
    if of_modes.attrs["method"] == "ParallelTempering":
        return
    method = METHODS["SMC" if of_modes.attrs["method"] == "SMC" else "persistent sampling"]
    worth = method.target_ess * method.num_particles
    traces = of_modes["warmup_sample_stats"]
    for chain in range(4):
        one = {n: trace.values[chain][np.isfinite(trace.values[chain])] for n, trace in traces.data_vars.items()}
        assert (np.diff(one["temperature"]) > 0).all()
        assert one["temperature"][-1] == 1
        np.testing.assert_allclose(one["ess"][:-1], worth)
        assert one["ess"][-1] >= worth
        if of_modes.attrs["method"] == "PersistentSampling":  # parents are of all stages before
            continue
        assert (np.diff(one["ancestors"]) <= 0).all()
    if of_modes.attrs["method"] == "PersistentSampling":
        return
    last = np.nanmin(np.where(traces["temperature"] == 1, traces["log_evidence"], np.nan), axis=1)
    assert of_modes.attrs["log_evidence"] == pytest.approx(float(np.logaddexp.reduce(last) - np.log(4)))


def test_verdict_of_good_runs(of_regression):
    verdict = bk.check(of_regression, quiet=True)
    names = {finding.name for finding in verdict.findings if finding.severity == "error"}
    assert names <= {"ess_bulk", "ess_tail", "r_hat"}  # the runs are short
    if of_regression.attrs["method"] != "NestedSampling":
        assert verdict.ok
    measures = {measure.name: measure.value for measure in verdict.measures}
    assert measures["error of the log evidence"] == of_regression.attrs["log_evidence_error"]
    if "effective_draws" in of_regression["sample_stats"]:
        worth = of_regression["sample_stats/effective_draws"].values[:, 0]
        assert (worth < 400).all()
        assert verdict.min_ess_bulk <= worth.sum()
        draws = of_regression["posterior/b"].values[0, :, 0]
        assert len(np.unique(draws)) < 400


def test_nuts_is_told_apart():
    """Chains that each stay in one mode: a bad verdict, which names what weighs modes."""
    method = bk.NUTS(num_chains=4, num_warmup=150, num_draws=150, chain_method="vectorized")
    post = bk.infer(problems.modes, {"weight": WEIGHT}, method, key=1, progress=False)
    verdict = bk.check(post, quiet=True)
    assert not verdict.ok
    (separated,) = (one for one in verdict.findings if one.name == "separated_chains")
    assert "bayeskit.SMC" in separated.advice
