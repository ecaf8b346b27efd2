"""What is refused, and models that cause each message of the verdict."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy import stats

import bayeskit as bk
from bayeskit.inference.smc.moves import Particles, _correlation
from bayeskit.inference.smc.particles import check_finite_likelihood
from bayeskit.inference.smc.shrinkage import ties
from bayeskit.inference.smc.smc_state import check_prior_draws
from bayeskit.storage import make_tree

SMALL = {
    "SMC": bk.SMC(num_particles=100, num_chains=2),
    "PersistentSampling": bk.PersistentSampling(num_particles=100, num_chains=2),
    "NestedSampling": bk.NestedSampling(num_live=20, num_chains=2, num_draws=50),
    "ParallelTempering": bk.ParallelTempering(num_chains=2, num_temperatures=4, num_warmup=60, num_draws=60),
}
by_method = pytest.mark.parametrize("name", SMALL)


def improper():
    m = numpyro.sample("m", dist.ImproperUniform(dist.constraints.real, (), ()))
    numpyro.sample("y", dist.Normal(m, 1.0), obs=0.3)


def scaled():
    with numpyro.handlers.scale(scale=0.5):
        m = numpyro.sample("m", dist.Normal(0.0, 1.0))
    numpyro.sample("y", dist.Normal(m, 1.0), obs=0.3)


def masked():
    with numpyro.handlers.mask(mask=jnp.array([True, False])), numpyro.plate("k", 2):
        m = numpyro.sample("m", dist.Normal(0.0, 1.0))
    numpyro.sample("y", dist.Normal(m.sum(), 1.0), obs=0.3)


def with_prior_factor():
    m = numpyro.sample("m", dist.Normal(0.0, 1.0))
    bk.prior_factor("soft", -(m**4))
    numpyro.sample("y", dist.Normal(m, 1.0), obs=0.3)


def hidden_chain(y):
    p = numpyro.sample("p", dist.Beta(1.0, 1.0))

    def step(before, value):
        state = numpyro.sample(
            "state", dist.Bernoulli(jnp.where(before == 1, p, 1 - p)), infer={"enumerate": "parallel"}
        )
        return state, numpyro.sample("y", dist.Normal(state, 1.0), obs=value)

    numpyro.contrib.control_flow.scan(step, 0, y)


@pytest.mark.parametrize(
    ("model", "word"),
    [(improper, "'m'"), (scaled, "'m'.*scaled"), (masked, "'m'.*masked"), (with_prior_factor, "'soft'")],
)
@by_method
def test_priors_that_are_not_normalised_are_refused(name, model, word):
    target = bk.Target(bk.bind(model, None))
    with pytest.raises(bk.errors.ModelError, match=f"{name}.*{word}"):
        SMALL[name].check_target(target)


def test_inseparable_discrete_sites_are_refused():
    from numpyro.contrib.control_flow import scan  # noqa: F401

    target = bk.Target(bk.bind(hidden_chain, {"y": np.zeros(3)}))
    with pytest.raises(bk.errors.ModelError, match=r"SMC.*state"):
        SMALL["SMC"].check_target(target)


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: bk.SMC(num_particles=5), "num_particles.*5"),
        (lambda: bk.SMC(target_ess=1.5), "target_ess.*1.5"),
        (lambda: bk.SMC(kernel="nuts"), "kernel.*'nuts'"),
        (lambda: bk.SMC(num_moves=0), "num_moves.*0"),
        (lambda: bk.SMC(max_stages=0), "max_stages.*0"),
        (lambda: bk.SMC(num_chains=0), "num_chains.*0"),
        (lambda: bk.NestedSampling(num_live=3), "num_live.*3"),
        (lambda: bk.NestedSampling(tolerance=0.0), "tolerance.*0"),
        (lambda: bk.NestedSampling(num_delete=400), "num_delete.*400"),
        (lambda: bk.NestedSampling(max_compression=float("nan")), "max_compression.*nan"),
        (lambda: bk.ParallelTempering(num_temperatures=1), "num_temperatures.*1"),
        (lambda: bk.ParallelTempering(moves_per_draw=0), "moves_per_draw.*0"),
        (lambda: bk.ParallelTempering(target_accept=2.0), "target_accept.*2"),
    ],
)
def test_settings_are_checked(make, word):
    with pytest.raises(bk.errors.MethodError, match=word):
        make()


# ---- one model, the likelihood of which is an argument, so that one program serves several troubles ------------------


def curve(shape, at):
    """The log likelihood of one parameter is given at points of (-10, 10)."""
    m = numpyro.sample("m", dist.Uniform(-10.0, 10.0))
    value = jnp.interp(m, at, shape)
    numpyro.factor("f", jnp.where(value < -0.5 * NEVER, -jnp.inf, jnp.where(value > 0.5 * NEVER, jnp.nan, value)))


NEVER = 1e8
AT = np.linspace(-10.0, 10.0, 2001)
NARROW = -0.5 * ((AT - 3.0) / 0.01) ** 2
EDGE = np.where(np.abs(AT) < 0.25, 0.0, -NEVER)
UNDEFINED = np.where(AT < -9.6, NEVER, -0.5 * AT**2)
FLAT = np.where(np.abs(AT) < 4, 0.0, -5.0 * (np.abs(AT) - 4))


def run(shape, method, key=0, **options):
    return bk.infer(curve, {"shape": shape, "at": AT}, method, key=key, progress=False, **options)


def found(post, name):
    verdict = bk.check(post, quiet=True)
    finding = next(one for one in verdict.findings if one.name == name)
    assert re.search(rf"`{name}` +(error|warning) ", bk.check.__doc__)
    assert finding.meaning.endswith(".")
    return finding


def test_weights_collapse_where_most_of_the_prior_is_impossible():
    post = run(EDGE, SMALL["SMC"], key=1)
    assert found(post, "ess_collapse").severity == "error"
    assert found(post, "few_ancestors").value < 20
    assert abs(post.attrs["log_evidence"] - np.log(0.5 / 20)) < 4 * post.attrs["log_evidence_error"]


def test_no_draw_of_the_prior_is_possible():
    with pytest.raises(bk.errors.SamplingError, match="no draw of the prior"):
        run(np.where(np.abs(AT - 5.0) < 0.001, 0.0, -NEVER), SMALL["SMC"], init={"m": 5.0})


def test_an_undefined_likelihood_is_said():
    post = run(UNDEFINED, SMALL["SMC"], key=2)
    assert 0 < found(post, "undefined_likelihood").value < 0.06
    assert np.isfinite(post["sample_stats/lp"]).all()
    tempered = run(UNDEFINED, SMALL["ParallelTempering"], key=2)
    assert 0 < found(tempered, "undefined_likelihood").value < 0.1


@pytest.mark.parametrize("name", ["SMC", "NestedSampling"])
def test_only_the_prior_need_reach_where_the_likelihood_is(name):
    """No uniform starting point has a likelihood. The share of the prior that has one is known from its draws alone."""
    post = run(np.where(AT > 8, -0.5 * (AT - 9.0) ** 2, -NEVER), SMALL[name], key=3)
    exact = np.log(np.sqrt(2 * np.pi) * (1 - 2 * stats.norm.sf(1.0)) / 20)
    error = post.attrs["log_evidence_error"]
    assert abs(post.attrs["log_evidence"] - exact) < 4 * error
    assert error > 0.1


def test_an_infinite_likelihood_is_refused():
    for check, value in (
        (check_prior_draws, Particles(np.zeros((1, 2, 1)), np.zeros((1, 2)), np.array([[0, np.inf]]))),
        (check_finite_likelihood, np.array([0.0, np.inf, -np.inf, np.nan])),
    ):
        with pytest.raises(bk.errors.SamplingError, match="infinite"):
            check(value)
    check_finite_likelihood(np.array([0.0, -np.inf, np.nan]))


def test_rounding_is_no_plateau_and_no_memory():
    rng = np.random.default_rng(0)
    pairs = np.repeat(np.arange(50.0), 2)
    assert ties(pairs, 100) == 0.0
    assert ties(np.append(pairs, np.full(20, 7.5)), 100) == 20 / 120
    noise = jnp.asarray(rng.normal(size=100))
    assert float(_correlation(5.0 + 1e-6 * noise, 5.0 + 1e-6 * noise)) == 0.0
    assert float(_correlation(5.0 + noise, 5.0 + noise)) == pytest.approx(1.0)


def test_too_few_stages():
    method = bk.SMC(num_particles=100, num_chains=2, max_stages=2)
    with pytest.raises(bk.errors.SamplingError, match="max_stages"):
        run(NARROW, method)


def test_random_walk_and_moves_that_hardly_move():
    walk = {"num_particles": 100, "num_chains": 2, "kernel": "random_walk", "particles_at_once": 64}
    post = run(NARROW, bk.SMC(**walk))
    exact = np.log(0.01 * np.sqrt(2 * np.pi) / 20)
    assert abs(post.attrs["log_evidence"] - exact) < 4 * post.attrs["log_evidence_error"]
    draws = post["posterior/m"].values
    assert abs(draws.mean() - 3.0) < 4 * 0.01 / np.sqrt(0.1 * draws.size)
    stuck = run(NARROW, bk.SMC(**walk, num_moves=1))
    assert found(stuck, "particles_stuck").severity == "error"


def test_nested_sampling_cut_by_its_limit_and_on_a_plateau():
    short = bk.NestedSampling(num_live=20, num_chains=2, num_draws=50, max_compression=2.0)
    post = run(NARROW, short)
    assert found(post, "cut_short").value > 0.5
    assert found(post, "effective_draws").value < 50
    flat = run(FLAT, SMALL["NestedSampling"])
    assert found(flat, "likelihood_ties").severity == "error"


def test_nested_sampling_with_impossible_parts():
    """Half of the prior has no likelihood at all; the volume begins with the half that has."""
    shape = np.where(AT > 0, -0.5 * (AT - 5.0) ** 2, -NEVER)
    post = run(shape, SMALL["NestedSampling"])
    exact = np.log(np.sqrt(2 * np.pi) / 20)
    assert abs(post.attrs["log_evidence"] - exact) < 4 * post.attrs["log_evidence_error"]


def test_tempering_without_round_trips():
    far = run(NARROW, SMALL["ParallelTempering"])
    assert found(far, "round_trips").severity in ("error", "warning")


def tree(**attrs):
    draws = np.random.default_rng(0).normal(size=(4, 1000))
    return make_tree({"posterior": {"mu": draws}}, attrs={"num_chains": 4, **attrs})


@pytest.mark.parametrize(
    ("name", "severity", "attrs"),
    [
        ("round_trips", "error", {"round_trips": 0.0, "barrier": 9.0}),
        ("swap_rate", "warning", {"round_trips": 50.0, "swap_rate": 0.01}),
        ("runs_disagree", "error", {"log_evidence_chi2": 40.0}),
        ("evidence_error", "warning", {"log_evidence_error": 0.8}),
        ("undefined_likelihood", "warning", {"undefined_likelihood": 0.001}),
    ],
)
def test_numbers_of_a_run(name, severity, attrs):
    assert found(tree(**attrs), name).severity == severity


def test_an_error_that_cannot_be_found_is_infinite_and_said(tmp_path):
    """One block of draws: nothing to compare it with."""
    method = bk.ParallelTempering(num_chains=2, num_temperatures=4, num_warmup=20, num_draws=1)
    post = run(np.asarray(-0.5 * AT**2), method)
    assert np.isfinite(post.attrs["log_evidence"])
    assert post.attrs["log_evidence_error"] == np.inf
    assert "too few to find its standard error" in found(post, "evidence_error").meaning
    for suffix in (".zarr", ".nc"):
        again = bk.load(bk.save(post, tmp_path / f"post{suffix}"))
        assert again.attrs["log_evidence_error"] == np.inf


@pytest.mark.parametrize(("name", "word"), [("SMC", "num_particles"), ("NestedSampling", "num_live")])
def test_advice_is_for_particles_and_not_for_chains(name, word):
    post = run(np.asarray(-0.5 * AT**2), SMALL[name])
    shifted = make_tree(
        {"posterior": {"m": post["posterior/m"].values + 9.0 * np.arange(2)[:, None]}}, attrs=dict(post.attrs)
    )
    findings = [
        f for f in bk.check(shifted, quiet=True).findings if f.name in ("r_hat", "separated_chains", "ess_bulk")
    ]
    assert findings
    for finding in findings:
        assert word in finding.advice
        assert "num_warmup" not in finding.advice
        assert "init=" not in finding.advice


def test_good_numbers_are_no_trouble():
    good = {"round_trips": 50.0, "swap_rate": 0.5, "log_evidence_chi2": 3.0, "log_evidence_error": 0.1, "barrier": 3.0}
    assert bk.check(tree(**good), quiet=True).findings == ()


def test_runs_that_find_different_modes_disagree():
    """A spike so narrow that few draws of the prior see it: runs that find it differ from those that do not."""
    shape = np.logaddexp(-0.5 * (AT / 2) ** 2, 12.0 - 0.5 * ((AT - 7.0) / 0.02) ** 2)
    post = run(shape, SMALL["SMC"], key=0)
    assert found(post, "runs_disagree").severity == "error"
    assert found(post, "evidence_error").value > 0.5
    assert found(post, "separated_chains").severity == "error"
    assert found(post, "slow_moves").severity == "warning"


@pytest.mark.full
def test_single_precision():
    with jax.enable_x64(False):
        post = run(np.asarray(-0.5 * AT**2, np.float32), SMALL["SMC"])
    assert post["posterior/m"].dtype == np.float32
    exact = np.log(np.sqrt(2 * np.pi) / 20)
    assert abs(post.attrs["log_evidence"] - exact) < 4 * post.attrs["log_evidence_error"]
