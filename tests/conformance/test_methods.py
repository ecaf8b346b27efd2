"""What every method must do, on a linear regression whose posterior is a Gaussian in closed form.

With y ~ N(X b, 0.5²) and b ~ N(0, 2²), the posterior of b is N(m, S), S = (XᵀX / 0.5² + I / 2²)⁻¹ and m = S Xᵀy / 0.5².
Mean and standard deviation must lie within four Monte Carlo standard errors. MCLMC, SGLD and SGHMC have no
accept-reject step: their step size leaves a bias, for which 5 % of the standard deviation (mean and sd) is allowed
beside the Monte Carlo error.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from importlib.util import find_spec

import arviz_stats
import jax
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy import stats

import bayeskit as bk
from bayeskit.inference import Method

from .extras import rows

ROWS = 20


def regression(x, y):
    with numpyro.plate("term", x.shape[1]):
        b = numpyro.sample("b", dist.Normal(0.0, 2.0))
    numpyro.deterministic("first", b[0])
    with numpyro.plate("row", len(x)):
        numpyro.sample("y", dist.Normal(x @ b, 0.5), obs=y)


def with_a_coin(x, y):
    """The same, beside a discrete site that has nothing to do with it, for the methods that need one."""
    numpyro.sample("coin", dist.DiscreteUniform(3, 4))
    regression(x, y)


def make_data(seed):
    rng = np.random.default_rng(seed)
    x = np.column_stack([np.ones(ROWS), rng.normal(size=ROWS), 3 * rng.normal(size=ROWS)])
    return {"x": x, "y": x @ [0.3, -1.0, 0.5] + 0.5 * rng.normal(size=ROWS)}


def exact(data):
    covariance = np.linalg.inv(data["x"].T @ data["x"] / 0.25 + np.eye(3) / 4)
    return covariance @ data["x"].T @ data["y"] / 0.25, np.sqrt(np.diag(covariance))


CHAINS = {"num_chains": 2, "num_warmup": 300, "num_draws": 400}
LANDING = bk.objectives.ELBO(4, sticking_the_landing=True)
FIT = {"guide": bk.guides.FullRank(), "objective": LANDING, "num_steps": 1500, "num_chains": 2, "num_draws": 400}
CASES = {
    "NUTS blackjax threads": bk.NUTS(**CHAINS, chain_method="threads"),
    "HMC": bk.HMC(**CHAINS, chain_method="vectorized"),
    "discrete HMC Gibbs": bk.DiscreteHMCGibbs(**CHAINS),
    "mixed HMC": bk.MixedHMC(**CHAINS),
    "NUTS blackjax vectorized": bk.NUTS(**CHAINS, chain_method="vectorized"),
    "NUTS blackjax sharded": bk.NUTS(**CHAINS, chain_method="sharded"),
    "NUTS numpyro threads": bk.NUTS(**CHAINS, backend="numpyro", chain_method="threads"),
    "NUTS numpyro vectorized": bk.NUTS(**CHAINS, backend="numpyro", chain_method="vectorized"),
    "MCLMC": bk.MCLMC(num_chains=2, num_warmup=1000, num_draws=400, chain_method="vectorized"),
    "ChEES": bk.ChEES(num_chains=16, num_warmup=200, num_draws=100),
    "MEADS": bk.MEADS(num_chains=32, num_warmup=300, num_draws=60),
    "SMC": bk.SMC(num_particles=400, num_chains=2),
    "persistent sampling": bk.PersistentSampling(num_particles=400, num_chains=2),
    "nested sampling": bk.NestedSampling(num_live=60, num_chains=2, num_draws=400, num_delete=20),
    "parallel tempering": bk.ParallelTempering(num_chains=2, num_temperatures=8, num_warmup=400, num_draws=400),
    "Pathfinder": bk.Pathfinder(num_paths=4, num_draws=400, draws_per_path=500, num_chains=2),
    "Pathfinder as it is": bk.Pathfinder(num_paths=4, num_draws=400, resample=False, num_chains=2),
    "elliptical slice": bk.EllipticalSlice(**CHAINS, steps_per_draw=20),
    "SGLD": bk.SGLD(**{**CHAINS, "num_warmup": 1000}, step_size=0.05, steps_per_draw=60, chain_method="vectorized"),
    "SGHMC": bk.SGHMC(**{**CHAINS, "num_warmup": 1000}, chain_method="vectorized"),
    "Laplace": bk.Laplace(num_draws=400, num_chains=2),
    "VI threads": bk.VI(**FIT, chain_method="threads"),
    "VI vectorized": bk.VI(**FIT, chain_method="vectorized"),
    "VI natural": bk.VI(**{**FIT, "num_steps": 1000}, optimizer="natural", tolerance=0.01),
    "VI Laplace": bk.VI(**{**FIT, "guide": bk.guides.Laplace(), "num_steps": 100}),
    "VI block": bk.VI(**{**FIT, "guide": bk.guides.Block(("b", bk.guides.FullRank()))}, learning_rate=0.03),
    "VI mixture": bk.VI(**{**FIT, "guide": bk.guides.Mixture(bk.guides.FullRank(), 2)}, learning_rate=0.03),
}
NEEDS = {"VI flow": "flowjax"}
if find_spec("flowjax"):
    CASES["VI flow"] = bk.VI(**{**FIT, "guide": bk.guides.Flow("coupling", num_layers=4, width=8)})
# each guide has a table of its own, test_guides.py; that it does not matter how chains are mapped is tested below, and
# for fits in tests/inference/vi/test_stopping.py
GUIDES = ("VI block", "VI mixture", "VI flow")
MAPPED = ("NUTS blackjax vectorized", "NUTS blackjax sharded", "NUTS numpyro vectorized", "VI vectorized")
# the default tier has both, and the bias they say, in tests/inference/mcmc/test_stochastic_gradient.py
BIASED = ("SGLD", "SGHMC")
SPARED = (*GUIDES, *MAPPED, *BIASED, "Pathfinder as it is")
by_method = pytest.mark.parametrize("name", rows({**CASES, **NEEDS}, NEEDS, full=SPARED))
BIAS = {"MCLMC": 0.05, "SGLD": 0.05, "SGHMC": 0.05}  # of a posterior standard deviation
COMMON = {"diverging": bool, "lp": float, "step_size": float, "n_steps": int}
ENERGY = {"energy": float, "acceptance_rate": float}
TREES = {"tree_depth": int, "reached_max_treedepth": bool}
WEIGHTS = {"lp": float, "log_q": float, "log_weight": float}
STATS = {
    bk.NUTS: {**COMMON, **ENERGY, **TREES},
    bk.HMC: {**COMMON, **ENERGY},
    bk.DiscreteHMCGibbs: {**COMMON, **ENERGY, **TREES},
    bk.MixedHMC: {**COMMON, "acceptance_rate": float},
    bk.MCLMC: {**COMMON, "energy_change": float},
    bk.ChEES: {**COMMON, **ENERGY},
    bk.MEADS: {**COMMON, **ENERGY},
    bk.SMC: {"lp": float, "acceptance_rate": float},
    bk.PersistentSampling: {"lp": float, "acceptance_rate": float},
    bk.NestedSampling: {"lp": float, "effective_draws": float},
    bk.ParallelTempering: {"lp": float, "acceptance_rate": float, "step_size": float, "n_steps": int, "replica": int},
    bk.VI: WEIGHTS,
    bk.Laplace: WEIGHTS,
    bk.SGLD: {**COMMON, "excess_variance": float},
    bk.SGHMC: {**COMMON, "excess_variance": float},
    bk.EllipticalSlice: {"diverging": bool, "lp": float, "n_steps": int},
    bk.Pathfinder: {"lp": float, "pareto_k": float, "importance_ess": float},
}
DISCRETE = (bk.DiscreteHMCGibbs, bk.MixedHMC)
AS_IT_IS = {"Pathfinder as it is": WEIGHTS}
DATA = make_data(0)


def model_for(method):
    return with_a_coin if isinstance(method, DISCRETE) else regression


def run(method, data=DATA, key=7, **options):
    return bk.infer(model_for(method), data, method, key=key, progress=False, **options)


@pytest.fixture(scope="module")
def fits():
    """One run of each method, made when it is first asked for."""
    made = {}

    def fit(name):
        if name not in made:
            made[name] = run(CASES[name])
        return made[name]

    return fit


def test_every_method_is_here():
    assert {type(method) for method in CASES.values()} == set(Method.kinds().values())


@by_method
def test_right_answer(name, fits):
    draws = fits(name)["posterior/b"].transpose("chain", "draw", ...).values
    mean, sd = exact(DATA)
    allowed = BIAS.get(name, 0.0) * sd
    for i in range(3):
        one = draws[..., i]
        mean_error = float(arviz_stats.mcse(one, method="mean"))
        sd_error = float(arviz_stats.mcse(one, method="sd"))
        assert mean_error < 0.2 * sd[i]
        assert abs(one.mean() - mean[i]) < 4 * mean_error + allowed[i]
        assert abs(one.std() - sd[i]) < 4 * sd_error + allowed[i]


@by_method
def test_groups_names_and_types(name, fits):
    method, post = CASES[name], fits(name)
    lead = (method.num_chains, method.num_draws)
    fitted = (
        ["warmup_sample_stats"]
        if isinstance(method, bk.VI | bk.SMC | bk.PersistentSampling | bk.NestedSampling)
        else []
    )
    assert list(post.children) == ["posterior", "sample_stats", *fitted, "observed_data", "constant_data"]
    if isinstance(method, bk.VI):
        assert post["warmup_sample_stats"]["loss"].shape == (method.num_chains, method.num_steps)
    assert post["posterior/b"].dims == ("chain", "draw", "term")
    assert post["posterior/b"].shape == (*lead, 3)
    assert post["posterior/first"].dims == ("chain", "draw")
    np.testing.assert_array_equal(post["posterior/first"], post["posterior/b"][..., 0])
    assert post["posterior/b"].attrs["site_kind"] == "latent"
    assert post["posterior/first"].attrs["site_kind"] == "deterministic"
    assert post["observed_data/y"].dims == ("row",)
    np.testing.assert_array_equal(post["observed_data/y"], DATA["y"])
    np.testing.assert_array_equal(post["constant_data/x"], DATA["x"])
    stats = post["sample_stats"]
    ruled = {"converged"} if isinstance(method, bk.VI) and method.tolerance else set()
    kinds = AS_IT_IS.get(name, STATS[type(method)])
    assert set(stats.data_vars) == set(kinds) | ruled
    for stat, kind in kinds.items():
        assert stats[stat].dims == ("chain", "draw")
        assert stats[stat].shape == lead
        assert np.issubdtype(stats[stat].dtype, {bool: np.bool_, int: np.integer, float: np.floating}[kind]), stat
    assert "diverging" not in stats or not stats["diverging"].any()


@by_method
def test_lp_is_the_log_density_of_the_draw(name, fits):
    post = fits(name)
    target = bk.Target(bk.bind(regression, DATA))
    density = jax.jit(jax.vmap(lambda b: target.log_density({"b": b})))(post["posterior/b"].values[1])
    coin = np.log(2) if isinstance(CASES[name], DISCRETE) else 0.0
    np.testing.assert_allclose(post["sample_stats/lp"].values[1], density - coin, rtol=1e-8)


@by_method
def test_record(name, fits):
    method, attrs = CASES[name], fits(name).attrs
    assert attrs["method"] == type(method).__name__
    settings = json.loads(attrs["method_settings"])
    assert type(method).from_settings(settings) == method
    assert json.loads(attrs["key"]) == [0, 7]
    assert {"python", "jax", "numpyro", "bayeskit"} <= set(json.loads(attrs["versions"]))
    assert attrs["inference_library"] == method.library
    assert attrs["model"].endswith(f"test_methods.{model_for(method).__name__}")
    assert (attrs["num_chains"], attrs["num_draws"], attrs["thin"]) == (method.num_chains, method.num_draws, 1)
    assert (attrs["device"], attrs["float_dtype"]) == ("cpu", "float64")
    parts = [attrs[f"{name}_time"] for name in ("warmup", "sampling", "compile")]
    assert min(parts) >= 0
    assert attrs["wall_time"] >= sum(parts)
    assert attrs.get("max_tree_depth") == (10 if type(method) in (bk.NUTS, bk.DiscreteHMCGibbs) else None)


class Compilations:
    """Counts the programs that XLA compiles, or takes from the cache on disk."""

    def __init__(self):
        self.count = 0
        jax.monitoring.register_event_duration_secs_listener(self.hear)

    def hear(self, event, duration, **_):
        self.count += event.endswith("backend_compile_duration")


COMPILATIONS = Compilations()


@by_method
def test_another_key_gives_other_draws_and_new_data_compile_nothing(name, fits):
    """That the same key gives the same draws is tested where runs are resumed."""
    first = fits(name)
    before = COMPILATIONS.count
    assert before > 0
    data = make_data(1)
    other = run(CASES[name], data, key=8)
    assert COMPILATIONS.count == before
    assert not np.array_equal(other["posterior/b"], first["posterior/b"])
    mean, sd = exact(data)
    np.testing.assert_array_less(np.abs(other["posterior/b"].mean(("chain", "draw")) - mean) / sd, 0.4)


@pytest.mark.parametrize("name", ["NUTS blackjax threads", "HMC", "MCLMC", "ChEES", "SMC", "parallel tempering"])
def test_thinning_and_keep(name, fits):
    whole, part = fits(name), run(CASES[name], thin=3, keep=["first"])
    assert list(part["posterior"].data_vars) == ["first"]
    np.testing.assert_array_equal(part["posterior/first"].values, whole["posterior/first"].values[:, 2::3])
    np.testing.assert_array_equal(part["sample_stats/lp"].values, whole["sample_stats/lp"].values[:, 2::3])
    assert part.attrs["thin"] == 3


@pytest.mark.covering
@pytest.mark.parametrize("suffix", [".zarr", ".nc"])
@pytest.mark.parametrize("name", ["NUTS blackjax threads", "MCLMC", "SMC"])
def test_saved_and_loaded(name, suffix, fits, tmp_path):
    assert bk.load(bk.save(fits(name), tmp_path / f"post{suffix}")).identical(fits(name))


@pytest.mark.covering
@by_method
@pytest.mark.parametrize("chunk", [2, 18])
def test_resumed_run_is_the_uninterrupted_one(name, chunk, fits, tmp_path, monkeypatch):
    method = CASES[name]
    stream = type(method).stream

    def stopping(self, state, target, num_steps, num_chunks):
        yield from itertools.islice(stream(self, state, target, num_steps, num_chunks), chunk - 1)
        raise KeyboardInterrupt

    whole = fits(name)
    with monkeypatch.context() as patch:
        patch.setattr(type(method), "stream", stopping)
        with pytest.raises(bk.errors.Interrupted):
            run(method, store=tmp_path / "run.zarr", log_likelihood=not isinstance(method, DISCRETE))
    resumed = bk.resume(model_for(method), DATA, tmp_path / "run.zarr", progress=False)
    for group in ("posterior", "sample_stats"):
        assert resumed[group].to_dataset().identical(whole[group].to_dataset())
    assert bk.load(tmp_path / "run.zarr").identical(resumed)
    if isinstance(method, DISCRETE):
        return
    expected = stats.norm.logpdf(DATA["y"], whole["posterior/b"].values @ DATA["x"].T, 0.5)
    assert resumed["log_likelihood/y"].dims == ("chain", "draw", "row")
    np.testing.assert_allclose(resumed["log_likelihood/y"], expected, rtol=1e-8)


@pytest.mark.full
@by_method
def test_extended_run_is_the_longer_one(name, fits, tmp_path):
    method = CASES[name]
    path, more = tmp_path / "run.zarr", method.num_draws // 3
    run(dataclasses.replace(method, num_draws=method.num_draws - more), store=path)
    if not method.extends:
        with pytest.raises(bk.errors.MethodError, match="are made together"):
            bk.extend(model_for(method), DATA, path, num_draws=more, progress=False)
        return
    post = bk.extend(model_for(method), DATA, path, num_draws=more, progress=False)
    for group in ("posterior", "sample_stats"):
        assert post[group].to_dataset().identical(fits(name)[group].to_dataset())


def test_chain_methods_agree(fits):
    """The chains are the same whichever way they are mapped, up to rounding that chaos has not yet made large."""
    short = {"num_chains": 2, "num_warmup": 0, "num_draws": 5, "trajectory_length": 0.5}
    runs = [run(bk.HMC(**short, chain_method=how)) for how in ("threads", "vectorized", "sharded")]
    for other in runs[1:]:
        np.testing.assert_allclose(other["posterior/b"], runs[0]["posterior/b"], rtol=1e-6)


def test_chains_start_apart_and_differ(fits):
    b = fits("NUTS blackjax threads")["posterior/b"].values
    assert not np.array_equal(b[0], b[1])
