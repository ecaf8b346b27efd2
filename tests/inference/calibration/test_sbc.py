"""Calibration by doubles whose posterior is known in closed form: what is right passes, what is broken is named."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro import handlers

import bayeskit as bk
from bayeskit.inference.calibration.augmented import Augmented
from bayeskit.inference.calibration.simulate import Simulator
from bayeskit.inference.method import DirectMethod
from bayeskit.storage import make_tree

ROWS = 5


def model(y=None, scale=1.0):
    mu = numpyro.sample("mu", dist.Normal(0.0, scale))
    numpyro.deterministic("twice", 2.0 * mu)
    with numpyro.plate("row", ROWS):
        numpyro.sample("y", dist.Normal(mu, 1.0), obs=y)


@dataclasses.dataclass(frozen=True)
class Exact(DirectMethod):
    """Independent draws of the posterior of `model`, moved and stretched."""

    kind: ClassVar[str] = "exact_double"
    shift: float = 0.0
    stretch: float = 1.0
    ignores_data: bool = False
    fails_above: float = np.inf

    def answer(self, model, data, *, key):
        y = np.asarray(data["y"])
        if y.mean() > self.fails_above:
            raise bk.errors.SamplingError("the double gives up")
        precision = 1.0 if self.ignores_data else 1.0 + len(y)
        mean = 0.0 if self.ignores_data else y.sum() / precision
        noise = np.random.default_rng(np.asarray(key)).normal(size=(2, 100))
        mu = mean + (self.shift + self.stretch * noise) / precision**0.5
        return make_tree({"posterior": {"mu": mu, "twice": 2.0 * mu}})


def run(method, replicates=300, **settings):
    return bk.sbc(model, {"y": np.zeros(ROWS)}, method, replicates, key=3, progress=False, **settings)


@pytest.fixture(scope="module")
def right():
    return run(Exact())


def test_what_is_right_passes(right):
    verdict = bk.check(right, quiet=True)
    assert verdict.ok
    assert not verdict.findings
    assert "300 replicates" in verdict.headline
    table = bk.calibration(right)
    assert set(table.index) == {"mu", "twice", "log_likelihood"}
    assert (np.abs(table[["shift", "spread"]]) < 4).all(axis=None)
    for level in (0.5, 0.9):  # coverage within four binomial standard errors
        error = (level * (1 - level) / 300) ** 0.5
        assert (np.abs(table[f"cover_{round(100 * level)}"] - level) < 4 * error).all()


@pytest.mark.parametrize(
    ("method", "shape"),
    [
        (Exact(stretch=0.5), "too narrow"),
        (Exact(stretch=2.0), "too wide"),
        (Exact(shift=1.0), "too high"),
        (Exact(shift=-1.0), "too low"),
    ],
)
def test_a_fault_is_found_and_named(method, shape):
    ranks = run(method, 150)
    verdict = bk.check(ranks, quiet=True)
    assert not verdict.ok
    finding = verdict.findings[0]
    assert finding.name == "miscalibrated"
    assert f"mu ({shape})" in finding.sites
    assert bk.calibration(ranks).loc["mu", "p_adjusted"] < 1e-4


def test_draws_that_ignore_the_data_are_found_by_the_likelihood_alone():
    table = bk.calibration(run(Exact(ignores_data=True), 150))
    assert table.loc["mu", "p_adjusted"] > 0.01
    assert table.loc["log_likelihood", "p_adjusted"] < 1e-4


def test_a_replicate_depends_on_its_number_alone(right):
    few = run(Exact(), 7)
    for group in ("ranks", "pit", "truth"):
        assert few[group].equals(right[group].isel(replicate=slice(7)))


def test_a_fit_that_fails_is_counted_and_the_others_go_on():
    ranks = run(Exact(fails_above=1.0), 120)
    failed = ranks["replicates/failure"].values != ""
    assert 0 < failed.sum() < 60
    assert "the double gives up" in ranks["replicates/failure"].values[failed][0]
    assert (ranks["ranks/mu"].values[failed] == -1).all()
    assert np.isnan(ranks["pit/mu"].values[failed]).all()
    assert (ranks["ranks/mu"].values[~failed] >= 0).all()
    assert "failed_replicates" in [f.name for f in bk.check(ranks, quiet=True).findings]


def test_all_fits_may_fail():
    ranks = run(Exact(fails_above=-np.inf), 6)
    verdict = bk.check(ranks, quiet=True)
    assert not verdict.ok
    assert verdict.findings[0].name == "failed_replicates"
    with pytest.raises(bk.errors.StorageError, match="no ranks"):
        bk.calibration(ranks)


def test_a_quantity_of_ones_own():
    ranks = run(Exact(), 6, quantities={"surprise": lambda values, data: np.abs(values["mu"] - data["y"].mean())})
    assert ranks["ranks/surprise"].shape == (6,)
    with pytest.raises(bk.errors.ModelError, match="'mu' is a site"):
        run(Exact(), 6, quantities={"mu": lambda values, data: 0.0})


class Elsewhere(Exact):
    kind: ClassVar[str] = "elsewhere_double"

    def answer(self, model, data, *, key):
        return make_tree({"posterior": {"nu": np.zeros((1, 50))}})


def test_a_method_without_draws_of_the_model_is_refused():
    with pytest.raises(bk.errors.ModelError, match="draws of no site of the model, which has mu, twice"):
        run(Elsewhere(), 6)


class Stop(Exact):
    kind: ClassVar[str] = "stop_double"
    calls: ClassVar[list] = []

    def answer(self, model, data, *, key):
        self.calls.append(1)
        if len(self.calls) > 6:
            raise KeyboardInterrupt
        return super().answer(model, data, key=key)


def test_an_interrupt_keeps_the_ranks_so_far(right):
    with pytest.raises(bk.errors.Interrupted, match="6 of 300") as stopped:
        run(Stop())
    assert stopped.value.post["pit"].equals(right["pit"].isel(replicate=slice(6)))
    assert "unfinished" in [f.name for f in bk.check(stopped.value.post, quiet=True).findings]


def test_it_is_kept_in_a_file(right, tmp_path):
    bk.save(right, tmp_path / "ranks.nc")
    assert bk.load(tmp_path / "ranks.nc").equals(right)


def test_the_picture(right):
    assert [a.get_title() for a in bk.plot_calibration(right, ["mu", "twice"]).axes] == ["mu", "twice"]
    assert len(bk.plot_calibration(right, coverage=True).axes) == 3
    with pytest.raises(bk.errors.StorageError, match="'mi'"):
        bk.plot_calibration(right, "mi")


# ---------------------------------------------------------------- a sampler, one program for all replicates

SAMPLER = bk.NUTS(num_chains=1, num_warmup=100, num_draws=100, chain_method="vectorized")
COMPILED: list[str] = []
jax.monitoring.register_event_duration_secs_listener(
    lambda event, seconds, **_: COMPILED.append(event) if event.endswith("backend_compile_duration") else None
)


def with_coin(y=None):
    mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
    coin = numpyro.sample("coin", dist.Bernoulli(0.3), infer={"enumerate": "parallel"})
    with numpyro.plate("row", ROWS):
        numpyro.sample("y", dist.Normal(mu + 2.0 * coin, 1.0), obs=y)


def test_discrete_sites_are_ranked_and_nothing_is_compiled_again():
    ranks = bk.sbc(with_coin, {"y": None}, SAMPLER, 2, num_draws=19, progress=False)
    assert set(ranks["pit"].data_vars) >= {"mu", "coin"}
    before = len(COMPILED)
    assert before
    bk.sbc(with_coin, {"y": None}, SAMPLER, 5, num_draws=19, progress=False)
    assert len(COMPILED) == before


def test_around_a_posterior_both_data_sets_are_fitted():
    data = {"y": np.full(ROWS, 3.0)}
    groups = {"posterior": {"mu": np.random.default_rng(0).normal(2.5, 0.4, (1, 50))}, "observed_data": data}
    post = make_tree(groups, site_kinds={"mu": "latent"})
    ranks = bk.sbc(model, data, bk.VI(num_steps=40, num_draws=40), 4, num_draws=19, around=post, progress=False)
    assert ranks.attrs["simulated_from"] == "posterior"
    drawn = post["posterior/mu"].values.ravel()
    assert all(np.isclose(drawn, truth, atol=1e-12).any() for truth in ranks["truth/mu"].values)
    both = Augmented(model, Simulator(model, data))
    target = bk.Target(both.program)
    z = {"mu": np.array(0.4)}
    single = bk.Target(bk.bind(model, data))
    assert np.isclose(target.log_prior(z), single.log_prior(z))
    assert np.isclose(target.log_likelihood(z), 2 * single.log_likelihood(z))
    with pytest.raises(bk.errors.DataError, match="other data"):
        bk.sbc(model, {"y": np.zeros(ROWS)}, SAMPLER, 4, around=post, progress=False)
    with pytest.raises(bk.errors.DataError, match="must be in data"):
        bk.sbc(model, {}, SAMPLER, 4, around=post, progress=False)


# ---------------------------------------------------------------- refusals


def two_uses(y=None):
    mu = numpyro.sample("mu", dist.Normal(y.mean() if y is not None else 0.0, 1.0))
    numpyro.sample("y", dist.Normal(mu, 1.0).expand([ROWS]), obs=y)


def changed(y):
    mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
    numpyro.sample("y", dist.Normal(mu, 1.0).expand([ROWS]), obs=2.0 * y)


def with_factor(y=None):
    mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
    numpyro.factor("penalty", -(mu**2))
    numpyro.sample("y", dist.Normal(mu, 1.0).expand([ROWS]), obs=y)


def with_param(y=None):
    mu = numpyro.sample("mu", dist.Normal(numpyro.param("m", 0.0), 1.0))
    numpyro.sample("y", dist.Normal(mu, 1.0).expand([ROWS]), obs=y)


@pytest.mark.parametrize(
    ("broken", "match"),
    [
        (two_uses, "reads it elsewhere"),
        (changed, "does not observe an argument as it stands"),
        (with_factor, "factor 'penalty'"),
        (with_param, "numpyro.param 'm'"),
        (handlers.scale(model, scale=0.5), "is scaled"),
        (lambda y: numpyro.sample("mu", dist.Normal(0.0, 1.0)), "observes nothing"),
    ],
)
def test_models_that_cannot_be_simulated_are_refused(broken, match):
    with pytest.raises(bk.errors.ModelError, match=match):
        bk.sbc(broken, {"y": np.zeros(ROWS)}, Exact(), 5, progress=False)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"num_replicates": 0}, "num_replicates"),
        ({"num_draws": -1}, "num_draws"),
        ({"num_draws": True}, "num_draws"),
        ({"executor": 0}, "executor"),
        ({"executor": "threads"}, "executor"),
        ({"method": "NUTS"}, "method"),
        ({"key": "a"}, "key"),
    ],
)
def test_impossible_settings_are_refused(settings, match):
    with pytest.raises(bk.errors.MethodError, match=match):
        bk.sbc(model, {"y": np.zeros(ROWS)}, **{"method": Exact(), "progress": False, **settings})


def test_bound_models_and_other_trees_are_refused():
    with pytest.raises(bk.errors.ModelError, match="apart"):
        bk.sbc(bk.bind(model, {"y": np.zeros(ROWS)}), None, Exact(), progress=False)
    with pytest.raises(bk.errors.DataError, match="around"):
        run(Exact(), 5, around=3)
    with pytest.raises(bk.errors.StorageError, match="no ranks"):
        bk.calibration(make_tree({"posterior": {"mu": np.zeros((1, 5))}}))
    assert jax.config.jax_enable_x64
