"""Nested R-hat: the formula, chains that have forgotten their starts, and chains that have not."""

from __future__ import annotations

import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from arviz_stats.base import array_stats

import bayeskit as bk
from bayeskit.diagnostics.nested import nested
from bayeskit.errors import MethodError
from bayeskit.storage import make_tree

GROUPS, EACH, DRAWS = 8, 128, 5
CHAINS = GROUPS * EACH


def chains(memory, draws=DRAWS, seed=0, steps=1):
    """Normal autoregressions of which each superchain starts at a draw of a distribution three times as wide."""
    rng = np.random.default_rng(seed)
    x = np.repeat(3.0 * rng.normal(size=(GROUPS, 2)), EACH, axis=0)
    out = []
    for number in range(steps + draws):
        x = memory * x + np.sqrt(1 - memory**2) * rng.normal(size=x.shape)
        if number >= steps:
            out.append(x)
    return np.stack(out, axis=1)


def verdict(draws, groups=GROUPS):
    attrs = {"num_superchains": groups} if groups else {}
    return bk.check(make_tree({"posterior": {"x": draws}}, attrs=attrs), quiet=True)


def names(verdict):
    return [finding.name for finding in verdict.findings]


@pytest.mark.parametrize("draws", [1, 4, 7])
def test_it_is_the_formula(draws):
    x = chains(0.8, draws)
    split = x.reshape(GROUPS, EACH, draws, 2)
    for k in range(2):
        superchains, within = [], []
        for group in split[..., k]:
            means = [chain.mean() for chain in group]
            superchains.append(np.mean(means))
            inside = np.mean([chain.var(ddof=1) for chain in group]) if draws > 1 else 0.0
            within.append(np.var(means, ddof=1) + inside)
        expected = np.sqrt(1 + np.var(superchains, ddof=1) / np.mean(within))
        assert nested(x, GROUPS).r_hat[k] == pytest.approx(expected, rel=1e-12)
        if draws >= 4:
            ids = np.repeat(np.arange(GROUPS), EACH)
            theirs = array_stats.rhat_nested(x[..., k], ids, method="identity", chain_axis=0, draw_axis=1)
            assert nested(x, GROUPS).r_hat[k] == pytest.approx(float(theirs), rel=1e-10)


@pytest.mark.parametrize("memory", [0.0, 0.9])
def test_the_effective_sample_size_is_that_of_the_process(memory):
    """Of N draws with lag-one correlation r: N / (1 + 2 sum (1 - t / N) r^t); its relative error is sqrt(2 / 1016)."""
    x = chains(memory, steps=200)
    lags = np.arange(1, DRAWS)
    exact = CHAINS * DRAWS / (1 + 2 * ((1 - lags / DRAWS) * memory**lags).sum())
    assert abs(nested(x, GROUPS).ess / exact - 1).max() < 4 * np.sqrt(2 / (CHAINS - GROUPS))


@pytest.mark.parametrize("draws", [1, 5, 30])
def test_chains_that_have_forgotten_are_good(draws):
    assert all(verdict(chains(0.5, draws, seed, steps=30)).ok for seed in range(10))


@pytest.mark.parametrize("draws", [1, 5])
def test_chains_that_have_not_forgotten_are_found(draws):
    """After ten steps of memory .9 a third of the starting values is left: more than three of its variances of 1."""
    for seed in range(5):
        found = verdict(chains(0.9, draws, seed, steps=10))
        assert "nested_r_hat" in names(found)
        assert not found.ok
    finding = next(finding for finding in found.findings if finding.name == "nested_r_hat")
    assert finding.value > finding.threshold
    assert "have not forgotten" in finding.meaning


def test_a_scale_that_differs_between_superchains_is_found():
    x = chains(0.0, steps=5) * np.repeat(np.linspace(0.3, 3.0, GROUPS), EACH)[:, None, None]
    assert "nested_r_hat" in names(verdict(x))


def test_too_few_chains_for_their_superchains():
    draws = chains(0.0, 1, steps=5).reshape(GROUPS, EACH, 1, 2)[:, :8].reshape(-1, 1, 2)
    assert {"ess_bulk", "ess_tail"} <= set(names(verdict(draws)))


def test_what_is_said_without_superchains_and_of_long_chains():
    short = verdict(chains(0.5, 30, steps=30), groups=0)
    assert "num_superchains" in next(finding for finding in short.findings if finding.name == "few_draws").advice
    rng = np.random.default_rng(0)
    long = bk.check(
        make_tree({"posterior": {"x": rng.normal(size=(4, 1000))}}, attrs={"num_superchains": 2}), quiet=True
    )
    assert long.ok
    assert long.max_r_hat < 1.01


@pytest.mark.parametrize("seed", range(5))
def test_many_long_chains_are_judged_together(seed):
    """Each is worth about 30 of its 200 draws: R-hat of the chains one by one would be 1.02."""
    draws = chains(0.75, 200, seed, steps=100)
    draws = draws.reshape(GROUPS, EACH, 200, 2)[:, :8].reshape(-1, 200, 2)
    together, alone = verdict(draws), verdict(draws, groups=0)
    assert together.ok
    assert together.max_r_hat < 1.02
    assert not alone.ok
    assert "nested_r_hat" in names(verdict(draws + np.linspace(0.0, 1.0, 200)[:, None]))


@pytest.mark.parametrize(
    ("num_chains", "groups", "places"),
    [
        (64, "auto", 16),
        (512, "auto", 16),
        (60, "auto", 15),
        (62, "auto", 2),
        (28, "auto", 28),
        (64, None, 64),
        (64, 4, 4),
    ],
)
def test_in_how_many_places_chains_start(num_chains, groups, places):
    assert bk.ChEES(num_chains=num_chains, num_superchains=groups).num_starts_of_chains == places


def correlated():
    numpyro.sample("x", dist.MultivariateNormal(np.zeros(3), 0.1 * np.eye(3) + 0.9))
    numpyro.factor("data", 0.0)


@pytest.mark.full  # by default chains of known laws, below, and superchains of NUTS
def test_chees_with_many_short_chains():
    method = bk.ChEES(num_chains=512, num_superchains=4, num_warmup=200, num_draws=5)
    post = bk.infer(correlated, {}, method, key=0, progress=False)
    assert post.attrs["num_superchains"] == 4
    verdict = bk.check(post, quiet=True)
    assert verdict.ok, str(verdict)
    assert "max nested R-hat" in [measure.name for measure in verdict.measures]


def test_chains_of_a_superchain_start_together_and_stay_there_without_a_warmup():
    method = bk.NUTS(
        num_chains=64, num_superchains=4, num_warmup=0, num_draws=4, initial_step_size=1e-3, max_tree_depth=1
    )
    post = bk.infer(correlated, {}, method, key=0, init="uniform", progress=False)
    found = bk.check(post, quiet=True)
    assert not found.ok
    assert "nested_r_hat" in names(found)
    starts = post["posterior/x"].values[:, 0].reshape(4, 16, 3)
    assert np.ptp(starts, axis=1).max() < 0.1 < np.ptp(starts[:, 0], axis=0).max()


@pytest.mark.parametrize("groups", [0, 1, 3, 64, 2.0, "four"])
def test_impossible_numbers_of_superchains_are_named(groups):
    with pytest.raises(MethodError, match="num_superchains"):
        bk.ChEES(num_chains=64, num_superchains=groups)


def test_values_for_every_chain_are_no_superchains():
    """Chains start where they were told, and are judged one by one."""

    def model(y):
        mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
        numpyro.sample("y", dist.Normal(mu, 1.0), obs=y)

    method = bk.NUTS(num_chains=8, num_warmup=0, num_draws=2, num_superchains=4, chain_method="vectorized")
    post = bk.infer(model, {"y": 0.3}, method, key=0, progress=False, init={"mu": np.linspace(-1, 1, 8)})
    assert "num_superchains" not in post.attrs
    post = bk.infer(model, {"y": 0.3}, method, key=0, progress=False, init={"mu": np.linspace(-1, 1, 4)})
    assert post.attrs["num_superchains"] == 4
