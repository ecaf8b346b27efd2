from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from bayeskit.diagnostics import check
from bayeskit.errors import StorageError
from bayeskit.storage import make_tree

CHAINS, DRAWS = 4, 1000


def good(rng=None, **changes):
    """Independent draws of three sites with the statistics of a sampler that had no trouble."""
    rng = rng or np.random.default_rng(0)
    values = {
        "mu": rng.normal(size=(CHAINS, DRAWS)),
        "tau": np.exp(rng.normal(size=(CHAINS, DRAWS))),
        "theta": rng.normal(size=(CHAINS, DRAWS, 4)),
    }
    lp = -0.5 * (values["mu"] ** 2 + np.log(values["tau"]) ** 2 + (values["theta"] ** 2).sum(-1))
    stats = {
        "diverging": np.zeros((CHAINS, DRAWS), bool),
        "energy": -lp + 0.5 * rng.chisquare(6, size=lp.shape),
        "lp": lp,
        "acceptance_rate": rng.uniform(0.7, 1, size=lp.shape),
        "reached_max_treedepth": np.zeros((CHAINS, DRAWS), bool),
        "tree_depth": rng.integers(1, 5, size=lp.shape),
    }
    for name, value in changes.items():
        (stats if name in stats else values)[name] = value
    return values, stats


def tree(values, stats=None, kinds=None, **attrs):
    groups = {"posterior": values} if stats is None else {"posterior": values, "sample_stats": stats}
    return make_tree(groups, attrs=attrs, site_kinds=kinds)


def verdict_of(values, stats=None, kinds=None, **attrs):
    return check(tree(values, stats, kinds, **attrs), quiet=True)


def names(verdict, severity=None):
    return {finding.name for finding in verdict.findings if severity in (None, finding.severity)}


def finding(verdict, name):
    return next(finding for finding in verdict.findings if finding.name == name)


# ---------------------------------------------------------------- good draws


def test_good_draws_are_ok_and_the_numbers_are_shown(capsys):
    verdict = check(tree(*good()))
    assert verdict.ok
    assert bool(verdict)
    assert verdict.findings == ()
    assert verdict.unchecked == ()
    printed = capsys.readouterr().out
    assert printed.startswith("OK: no sign of trouble in 4 chains of 1000 draws")
    for measured in ("max R-hat 1.0", "min bulk ESS", "min tail ESS", "divergences 0", "min E-BFMI"):
        assert measured in printed


def test_quiet_prints_nothing(capsys):
    check(tree(*good()), quiet=True)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("seed", range(5))
def test_no_false_alarm_on_independent_draws(seed):
    assert verdict_of(*good(np.random.default_rng(seed))).findings == ()


def test_the_numbers_are_those_of_arviz():
    import arviz_stats

    rng = np.random.default_rng(1)
    x = rng.normal(size=(3, 500, 5))
    for t in range(1, 500):
        x[:, t] = 0.7 * x[:, t - 1] + x[:, t]
    post = tree({"x": x, "k": rng.poisson(3.0, size=(3, 500))})
    verdict = check(post, quiet=True)
    dataset = post["posterior"].to_dataset()

    def extreme(values, pick):
        return pick([float(value) for variable in values.data_vars.values() for value in np.atleast_1d(variable)])

    assert verdict.max_r_hat == extreme(arviz_stats.rhat(dataset), max)
    assert verdict.min_ess_bulk == extreme(arviz_stats.ess(dataset, method="bulk"), min)
    assert verdict.min_ess_tail == extreme(arviz_stats.ess(dataset, method="tail", prob=(0.05, 0.95)), min)


# ---------------------------------------------------------------- what must be flagged


def test_slow_chains():
    rng = np.random.default_rng(2)
    x = np.cumsum(rng.normal(size=(CHAINS, DRAWS)), axis=1)
    verdict = verdict_of(*good(mu=x))
    assert not verdict.ok
    assert {"r_hat", "ess_bulk", "ess_tail"} <= names(verdict, "error")
    assert finding(verdict, "r_hat").sites == ("mu",)
    assert finding(verdict, "r_hat").value == verdict.max_r_hat > 1.01
    assert finding(verdict, "ess_bulk").threshold == 400


def test_worst_sites_come_first_with_their_index():
    theta = np.random.default_rng(3).normal(size=(CHAINS, DRAWS, 4))
    theta[0, :, 3] += 2
    theta[0, :, 1] += 0.7
    sites = finding(verdict_of({"theta": theta}), "r_hat").sites
    assert sites == ("theta[3]", "theta[1]")


def test_labels_follow_the_coordinates():
    theta = np.random.default_rng(3).normal(size=(CHAINS, DRAWS, 2, 2))
    theta[0, :, 1, 0] += 2
    post = make_tree(
        {"posterior": {"theta": theta}}, dims={"theta": ("school", None)}, coords={"school": ["Andover", "Exeter"]}
    )
    assert finding(check(post, quiet=True), "r_hat").sites == ("theta[Exeter, 0]",)


def test_the_centred_eight_schools():
    # a funnel met by a sampler with one step size: divergences where tau is small, low energy exchange, slow tau
    rng = np.random.default_rng(4)
    log_tau = np.zeros((CHAINS, DRAWS))
    for t in range(1, DRAWS):
        log_tau[:, t] = 0.98 * log_tau[:, t - 1] + 0.2 * rng.normal(size=CHAINS)
    tau = np.exp(log_tau)
    theta = tau[..., None] * rng.normal(size=(CHAINS, DRAWS, 8))
    energy = -7 * log_tau + rng.normal(size=(CHAINS, DRAWS))
    values, stats = good(tau=tau, diverging=(tau < 0.35) & (rng.random(tau.shape) < 0.5), energy=energy)
    verdict = verdict_of(values | {"theta": theta}, stats)
    assert not verdict.ok
    assert {"divergences", "ess_bulk", "e_bfmi"} <= names(verdict)
    assert verdict.num_divergences == stats["diverging"].sum() > 5
    assert finding(verdict, "divergences").sites[0] == "tau"
    assert "small tau" in finding(verdict, "divergences").meaning
    assert "non-centred" in finding(verdict, "divergences").advice


def test_one_divergence_is_an_error():
    diverging = np.zeros((CHAINS, DRAWS), bool)
    diverging[2, 7] = True
    verdict = verdict_of(*good(diverging=diverging))
    assert names(verdict, "error") == {"divergences"}
    assert verdict.num_divergences == 1


def test_a_stuck_arma_chain():
    # one chain in another mode, where it creeps along a ridge far below the others
    rng = np.random.default_rng(5)
    values, stats = good()
    values["theta"][3, :, 0] = 5 + 1e-4 * np.cumsum(rng.normal(size=DRAWS)) / 30
    stats["lp"][3] -= 3e5
    verdict = verdict_of(values, stats)
    assert {"stuck_chain", "separated_chains", "unsettled_density", "r_hat"} <= names(verdict, "error")
    assert finding(verdict, "stuck_chain").sites == ("theta[0]",)
    assert "chain 3 barely moves" in finding(verdict, "stuck_chain").meaning
    text = finding(verdict, "separated_chains").meaning
    assert "chains 0, 1 and 2 against chain 3" in text
    assert "log density of chain 3 is lower" in text


@pytest.mark.parametrize("where", [0, 3])
def test_a_chain_that_never_leaves_its_start(where):
    values, stats = good()
    for array in values.values():
        array[where] = array[where, 0]
    stats["lp"][where] = stats["lp"][where, 0]
    verdict = verdict_of(values, stats)
    assert "stuck_chain" in names(verdict, "error")
    assert f"chain {where} barely" in finding(verdict, "stuck_chain").meaning


def test_all_chains_at_rest():
    values, stats = good()
    still = {name: np.repeat(array[:, :1], DRAWS, axis=1) for name, array in values.items()}
    verdict = verdict_of(still, stats)
    assert "stuck_chain" in names(verdict, "error")
    assert verdict.max_r_hat == np.inf
    same = {name: np.repeat(array[:1], CHAINS, axis=0) for name, array in still.items()}
    assert finding(verdict_of(same, stats), "stuck_chain").sites[:2] == ("mu", "tau")


def test_a_chain_that_repeats_itself_or_never_accepts():
    rng = np.random.default_rng(6)
    values, stats = good()
    jumps = np.repeat(rng.normal(size=DRAWS // 50), 50)
    values["mu"][1] = jumps
    assert "stuck_chain" in names(verdict_of(values, stats), "error")
    acceptance = np.full((CHAINS, DRAWS), 0.8)
    acceptance[2] = 0.001
    verdict = verdict_of(*good(acceptance_rate=acceptance))
    assert finding(verdict, "stuck_chain").sites == ("acceptance_rate",)
    assert "chain 2" in finding(verdict, "stuck_chain").meaning


@pytest.mark.parametrize("kind", ["latent", "deterministic"])
def test_a_constant_up_to_rounding_is_one(kind):
    """The diagonal of a correlation matrix is a sum of squares: 1 within a few spacings, and not the same each time."""
    rng = np.random.default_rng(1)
    root = rng.normal(size=(CHAINS, DRAWS, 4, 5))
    root /= np.sqrt((root**2).sum(-1, keepdims=True))
    correlation = np.einsum("cdij,cdkj->cdik", root, root)
    assert len(np.unique(correlation[..., 3, 3])) > 2
    values, stats = good(R=correlation)
    verdict = verdict_of(values, stats, kinds=dict.fromkeys(values, "latent") | {"R": kind})
    assert verdict.ok, verdict.findings
    values["R"] = correlation.copy()
    values["R"][2, :, 0, 1] = 0.3 + 1e-15 * rng.normal(size=DRAWS)
    assert "stuck_chain" in names(verdict_of(values, stats, kinds=dict.fromkeys(values, "latent")), "error")


def test_swapped_labels():
    rng = np.random.default_rng(7)
    centres = np.array([[-2, 2], [-2, 2], [2, -2], [2, -2]])
    mu = centres[:, None] + 0.2 * rng.normal(size=(CHAINS, DRAWS, 2))
    verdict = verdict_of(good()[0] | {"mu": mu}, good()[1])
    separated = finding(verdict, "separated_chains")
    assert set(separated.sites) == {"mu[0]", "mu[1]"}
    assert "chains 0 and 1 against chains 2 and 3" in separated.meaning
    assert "labels swapped" in separated.meaning


def test_a_collapsed_mixture():
    # in chain 1 a component has fallen onto one observation: a tiny scale, a higher density
    rng = np.random.default_rng(8)
    values, stats = good()
    values["sigma"] = np.exp(0.2 * rng.normal(size=(CHAINS, DRAWS, 2)))
    values["sigma"][1, :, 0] = np.exp(-20 + rng.normal(size=DRAWS))
    stats["lp"][1] += 40
    verdict = verdict_of(values, stats)
    assert {"stuck_chain", "separated_chains", "unsettled_density"} <= names(verdict, "error")
    assert finding(verdict, "stuck_chain").sites == ("sigma[0]",)
    assert "chain 1 fell into a spike" in finding(verdict, "separated_chains").meaning


def test_a_mixture_that_collapses_in_every_chain():
    rng = np.random.default_rng(9)
    values, stats = good()
    fall = np.linspace(0, -900, DRAWS) + rng.normal(size=(CHAINS, DRAWS))
    values["sigma"] = np.exp(fall)  # underflows to 0 at the end
    stats["lp"] = stats["lp"] - fall
    verdict = verdict_of(values, stats)
    assert {"underflow", "unsettled_density", "r_hat"} <= names(verdict, "error")
    assert finding(verdict, "underflow").sites == ("sigma",)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_one_non_finite_draw(wrong):
    values, stats = good()
    values["theta"][1, 5, 2] = wrong
    verdict = verdict_of(values, stats)
    assert names(verdict, "error") == {"non_finite_draws"}
    assert finding(verdict, "non_finite_draws").sites == ("theta[2]",)
    assert not verdict_of(values, stats, kinds={"theta": "deterministic"}).ok


@pytest.mark.parametrize("name", ["lp", "energy", "acceptance_rate"])
def test_one_nan_in_the_statistics(name):
    values, stats = good()
    stats[name][0, 3] = np.nan
    verdict = verdict_of(values, stats)
    assert names(verdict, "error") == {"non_finite_stats"}
    assert finding(verdict, "non_finite_stats").sites == (name,)


def test_infinite_log_density():
    values, stats = good()
    stats["lp"][0, 3] = np.inf
    assert "non_finite_stats" in names(verdict_of(values, stats), "error")


@pytest.mark.parametrize("group", ["log_likelihood", "posterior_predictive"])
def test_nan_in_what_was_computed_from_the_draws(group):
    values, stats = good()
    computed = np.zeros((CHAINS, DRAWS, 2))
    computed[0, 0, 0] = np.nan
    post = make_tree({"posterior": values, "sample_stats": stats, group: {"y": computed}})
    verdict = check(post, quiet=True)
    assert not verdict.ok
    assert finding(verdict, "non_finite_draws").sites == (f"{group}/y",)


def test_everything_nan():
    verdict = verdict_of({"mu": np.full((CHAINS, DRAWS), np.nan)})
    assert not verdict.ok
    assert np.isnan(verdict.max_r_hat)
    assert "undefined" in str(verdict)


@pytest.mark.parametrize(("share", "severity"), [(0.005, None), (0.05, "warning"), (0.8, "warning")])
def test_tree_depth(share, severity):
    reached = np.zeros(CHAINS * DRAWS, bool)
    reached[: int(share * reached.size)] = True
    verdict = verdict_of(*good(reached_max_treedepth=reached.reshape(CHAINS, DRAWS)))
    assert verdict.ok == (severity != "error")
    assert [finding.severity for finding in verdict.findings] == ([severity] if severity else [])


@pytest.mark.parametrize(("slowness", "severity"), [(0.75, None), (0.87, "warning"), (0.95, "error")])
def test_energy(slowness, severity):
    # an autoregression with coefficient a has E-BFMI 2 (1 - a)
    rng = np.random.default_rng(10)
    energy = rng.normal(size=(CHAINS, DRAWS))
    slow = energy[2].copy()
    for t in range(1, DRAWS):
        slow[t] = slowness * slow[t - 1] + np.sqrt(1 - slowness**2) * slow[t]
    energy[2] = slow
    verdict = verdict_of(*good(energy=energy))
    assert verdict.ok == (severity != "error")
    assert [finding.severity for finding in verdict.findings] == ([severity] if severity else [])
    if severity:
        assert "chain 2" in finding(verdict, "e_bfmi").meaning


# ---------------------------------------------------------------- what must not be flagged


def test_constants_that_are_meant():
    values, stats = good()
    rng = np.random.default_rng(11)
    cholesky = np.zeros((CHAINS, DRAWS, 2, 2))
    cholesky[..., 0, 0] = 1
    correlation = rng.uniform(-0.9, 0.9, size=(CHAINS, DRAWS))
    cholesky[..., 1, 0], cholesky[..., 1, 1] = correlation, np.sqrt(1 - correlation**2)
    matrix = cholesky @ np.swapaxes(cholesky, -1, -2)  # a diagonal of ones, give or take rounding
    values |= {
        "L": cholesky,
        "matrix": matrix,
        "fixed": np.full((CHAINS, DRAWS), 0.1),
        "component": np.ones((CHAINS, DRAWS), np.int64),
        "rare": (rng.random((CHAINS, DRAWS)) < 0.001).astype(np.int32),
        "flags": rng.random((CHAINS, DRAWS)) < 0.5,
        "counts": rng.poisson(0.3, size=(CHAINS, DRAWS)),
    }
    verdict = verdict_of(values, stats, kinds={"fixed": "deterministic", "matrix": "deterministic"})
    assert verdict.findings == ()
    assert verdict.unchecked == ("fixed, component (constant)",)


def test_a_latent_constant_is_stuck():
    values, stats = good()
    values["fixed"] = np.full((CHAINS, DRAWS), 0.1)
    assert finding(verdict_of(values, stats), "stuck_chain").sites == ("fixed",)


def test_integers_that_disagree():
    values, stats = good()
    values["k"] = np.repeat([[0], [0], [1], [1]], DRAWS, axis=1)
    verdict = verdict_of(values, stats)
    assert {"stuck_chain", "separated_chains", "r_hat"} <= names(verdict, "error")
    assert verdict.max_r_hat == np.inf


def test_heavy_tails_are_no_stuck_chain():
    values, stats = good()
    values["mu"] = np.random.default_rng(12).standard_cauchy(size=(CHAINS, DRAWS))
    assert verdict_of(values, stats).findings == ()


# ---------------------------------------------------------------- little to go on


def test_one_chain():
    values, stats = good()
    one = verdict_of({k: v[:1] for k, v in values.items()}, {k: v[:1] for k, v in stats.items()})
    assert one.ok
    assert names(one) == {"one_chain"}
    assert str(one).startswith("OK with 1 warning: 1 chain of 1000 draws")
    drift = values["mu"][:1] + np.linspace(0, 3, DRAWS)
    assert "r_hat" in names(verdict_of({"mu": drift}), "error")


@pytest.mark.parametrize("draws", [0, 1, 3])
def test_hardly_any_draws(draws):
    values, stats = good()
    verdict = verdict_of({k: v[:, :draws] for k, v in values.items()}, {k: v[:, :draws] for k, v in stats.items()})
    assert not verdict.ok
    assert "few_draws" in names(verdict, "error")


def test_few_draws():
    values, _ = good()
    verdict = verdict_of({k: v[:, :50] for k, v in values.items()})
    assert {"few_draws", "ess_bulk"} <= names(verdict)
    assert not verdict.ok


def test_missing_statistics_are_said():
    values, stats = good()
    assert verdict_of(values).unchecked == ("divergences, E-BFMI, log density and acceptance rate (no sample_stats)",)
    del stats["energy"]
    verdict = verdict_of(values, stats)
    assert verdict.ok
    assert verdict.unchecked == ("E-BFMI (no energy in sample_stats)",)
    assert "Not checked: E-BFMI" in str(verdict)


def test_float32_is_named_when_something_is_wrong():
    values, stats = good()
    small = {name: value.astype(np.float32) for name, value in values.items()}
    assert verdict_of(small, stats, float_dtype="float32").findings == ()
    bad = {**stats, "diverging": np.ones((CHAINS, DRAWS), bool)}
    assert names(verdict_of(small, bad, float_dtype="float32"), "warning") == {"float32"}
    assert "float32" not in names(verdict_of(values, bad, float_dtype="float64"))
    high = {**stats, "lp": stats["lp"] - 1e7}
    verdict = verdict_of(small, high, float_dtype="float32")
    assert verdict.ok
    assert names(verdict) == {"float32"}
    assert "rounded to steps of 1" in finding(verdict, "float32").meaning


def test_wrong_trees():
    with pytest.raises(StorageError, match="no group 'posterior'; it has observed_data"):
        check(make_tree({"observed_data": {"y": np.ones(3)}}))
    with pytest.raises(StorageError, match="no group 'posterior'; it has no group"):
        check(xr.DataTree())
    with pytest.raises(StorageError, match="no variables"):
        check(make_tree({"posterior": {}}))
    flat = xr.DataTree.from_dict({"/posterior": xr.Dataset({"mu": ("draw", np.ones(5))})})
    with pytest.raises(StorageError, match="'mu' has no dimension chain"):
        check(flat)
    with pytest.raises(TypeError, match=r"not str|posterior\.zarr"):
        check("posterior.zarr")


def test_transposed_draws_are_understood():
    values, _ = good()
    post = xr.DataTree.from_dict({"/posterior": xr.Dataset({"mu": (("draw", "chain"), values["mu"].T)})})
    assert check(post, quiet=True).max_r_hat == verdict_of({"mu": values["mu"]}).max_r_hat


def test_the_text_says_what_it_means_and_what_to_try():
    diverging = np.ones((CHAINS, DRAWS), bool)
    text = str(verdict_of(*good(diverging=diverging)))
    lines = text.splitlines()
    assert lines[0] == "NOT OK: 1 problem in 4 chains of 1000 draws; do not rely on them yet"
    assert lines[2] == "ERROR divergences"
    assert "Try:" in text
    assert max(len(line) for line in lines) <= 100


# ---------------------------------------------------------------- by chance, or not


def autoregression(rng, correlation, shift=0.0):
    """Four chains with variance one, each shifted by its share of `shift` to one side or the other."""
    from scipy.signal import lfilter

    noise = rng.normal(size=(CHAINS, DRAWS + 300)) * np.sqrt(1 - correlation**2)
    return lfilter([1], [1, -correlation], noise, axis=1)[:, 300:] + shift * np.linspace(-1, 1, CHAINS)[:, None]


def test_an_r_hat_by_chance_is_a_warning_and_one_of_different_chains_an_error():
    """Equal chains whose draws are worth 575 exceed 1.01 in a run of ten, and are called bad in one of a hundred."""
    rng = np.random.default_rng(5)
    severities = {"warning": 0, "error": 0}
    for _ in range(200):
        for found in verdict_of({"mu": autoregression(rng, 0.75)}).findings:
            if found.name == "r_hat":
                severities[found.severity] += 1
                assert (found.severity == "error") is not found.meaning.endswith("as these.")
    assert severities["warning"] >= 8
    # 0.02 is 0.01, the level, and what effective sample sizes of halves that are known to a fifth add; binomial
    assert severities["error"] <= 200 * 0.02 + 4 * np.sqrt(200 * 0.02)
    for _ in range(20):
        assert not verdict_of({"mu": autoregression(rng, 0.75, shift=0.4)}).ok


def test_first_draws_from_far_away_are_found():
    rng = np.random.default_rng(6)
    x = autoregression(rng, 0.3)
    lp = -0.5 * x**2
    assert "early_draws" not in names(verdict_of({"x": x}, {"lp": lp}))
    x[1, 0], x[3, :2] = 40.0, (-30.0, -12.0)  # two chains were still on their way: sd 1.3, and R-hat does not see it
    verdict = verdict_of({"x": x}, {"lp": -0.5 * x**2})
    assert verdict.max_r_hat < 1.01
    early = finding(verdict, "early_draws")
    assert (early.severity, early.sites) == ("error", ("x",))
    assert "without these the standard deviation of x is 0.986, not 1.278" in early.meaning
    late = x[:, ::-1]  # the same draws at the end are heavy tails, for all that is known
    assert "early_draws" not in names(verdict_of({"x": late}, {"lp": -0.5 * late**2}))
