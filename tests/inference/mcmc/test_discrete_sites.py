"""Methods that draw discrete sites, against sums over all their values.

Four points y_i ~ N(mu + 3 z_i, s_i²), z_i ~ Bernoulli(0.4), mu ~ N(shift, 2²), shift uniform on 2, 3, 4: given the 48
values of (z, shift) all is Gaussian, so that their probabilities and the moments of mu are finite sums.
"""

from __future__ import annotations

import itertools

import arviz_stats
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.contrib.control_flow import scan
from scipy import stats

import bayeskit as bk

Y = np.array([1.2, 3.4, 5.6, 4.1])
SD = np.array([0.7, 1.0, 1.3, 0.6])


def mixture(y, sd):
    shift = numpyro.sample("shift", dist.DiscreteUniform(2, 4))  # not from zero on: enumeration refuses it
    mu = numpyro.sample("mu", dist.Normal(shift, 2.0))
    with numpyro.plate("point", len(y)):
        z = numpyro.sample("z", dist.Bernoulli(0.4))
        numpyro.deterministic("centre", mu + 3.0 * z)
        numpyro.sample("y", dist.Normal(mu + 3.0 * z, sd), obs=y)


def exact():
    """Means of mu, mu², shift, and z."""
    total, sums = 0.0, 0.0
    for shift, *z in itertools.product((2, 3, 4), *[(0, 1)] * 4):
        offset = 3.0 * np.array(z)
        weight = (
            stats.multivariate_normal(shift + offset, 4.0 + np.diag(SD**2)).pdf(Y) * stats.bernoulli.pmf(z, 0.4).prod()
        )
        precision = 1 / 4 + (1 / SD**2).sum()
        mean = (shift / 4 + ((Y - offset) / SD**2).sum()) / precision
        total += weight
        sums = sums + weight * np.array([mean, mean**2 + 1 / precision, shift, *z])
    return sums / total


def numbers(post):
    """Draws of the same, shape ``(chain, draw, 7)``."""
    mu, shift, z = (post[f"posterior/{name}"].values for name in ("mu", "shift", "z"))
    return np.concatenate([np.stack([mu, mu**2, shift], axis=-1), z], axis=-1)


LONG = {"num_chains": 4, "num_warmup": 500, "num_draws": 4000, "chain_method": "vectorized"}
METHODS = {
    "gibbs": bk.DiscreteHMCGibbs(**LONG),
    "mixed": bk.MixedHMC(**LONG),
}
MORE = {
    f"{name}{' random walk' * walk}{' modified' * modified}": kind(**LONG, random_walk=walk, modified=modified)
    for name, kind in (("gibbs", bk.DiscreteHMCGibbs), ("mixed", bk.MixedHMC))
    for walk, modified in ((True, False), (False, True), (True, True))
}
DATA = {"y": Y, "sd": SD}


@pytest.fixture(scope="module")
def fits():
    made = {}

    def fit(name):
        if name not in made:
            made[name] = bk.infer(mixture, DATA, {**METHODS, **MORE}[name], key=3, progress=False)
        return made[name]

    return fit


@pytest.mark.parametrize("name", [*METHODS, *(pytest.param(name, marks=pytest.mark.slow) for name in MORE)])
def test_closed_form(name, fits):
    draws, truth = numbers(fits(name)), exact()
    for i, mean in enumerate(truth):
        error = float(arviz_stats.mcse(draws[..., i], method="mean"))
        if i >= 3:  # of a value that is hardly ever taken the draws do not tell the spread; it is known
            error *= max(1.0, float(np.sqrt(mean * (1.0 - mean)) / draws[..., i].std()))
        assert error < 0.05 * draws[..., i].std()  # 400 independent draws
        assert abs(draws[..., i].mean() - mean) < 4 * error, i


@pytest.mark.parametrize("name", METHODS)
def test_what_a_result_holds(name, fits):
    post = fits(name)
    assert post["posterior/z"].dims == ("chain", "draw", "point")
    assert post["posterior/z"].dtype.kind == post["posterior/shift"].dtype.kind == "i"
    assert {post[f"posterior/{site}"].attrs["site_kind"] for site in ("z", "shift")} == {"discrete"}
    assert set(np.unique(post["posterior/shift"])) == {2, 3, 4}
    expected = post["posterior/mu"].values[..., None] + 3.0 * post["posterior/z"].values
    np.testing.assert_allclose(post["posterior/centre"], expected, rtol=1e-12)
    assert list(post["constant_data"].data_vars) == ["sd"]
    at = {n: post[f"posterior/{n}"].values[1, :50] for n in ("mu", "z", "shift")}
    lp = stats.norm.logpdf(at["mu"], at["shift"], 2.0) + np.log(1 / 3)
    lp += (stats.bernoulli.logpmf(at["z"], 0.4) + stats.norm.logpdf(Y, at["mu"][:, None] + 3.0 * at["z"], SD)).sum(1)
    np.testing.assert_allclose(post["sample_stats/lp"].values[1, :50], lp, rtol=1e-8)
    assert not post["sample_stats/diverging"].any()
    assert bk.check(post, quiet=True).ok


def test_a_chain_that_never_moves_its_discrete_sites_is_bad():
    """Two labels that move together only: each value of one makes the other value of the other impossible."""

    def locked(y):
        a = numpyro.sample("a", dist.Bernoulli(0.5))
        b = numpyro.sample("b", dist.Bernoulli(0.5))
        numpyro.factor("together", jnp.where(a == b, 0.0, -200.0))
        mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
        numpyro.sample("y", dist.Normal(mu, 1.0), obs=y)

    method = bk.DiscreteHMCGibbs(num_chains=4, num_warmup=100, num_draws=200, chain_method="vectorized")
    post = bk.infer(locked, {"y": 0.3}, method, key=0, progress=False)
    assert len(np.unique(post["posterior/a"][:, -1])) == 2
    verdict = bk.check(post, quiet=True)
    assert not verdict.ok
    assert any("a" in finding.sites for finding in verdict.findings)


# ---- wrong use -----------------------------------------------------------------------------------------------------

SHORT = [bk.DiscreteHMCGibbs(num_draws=10), bk.MixedHMC(num_draws=10)]
by_kind = pytest.mark.parametrize("method", SHORT, ids=["gibbs", "mixed"])


def no_discrete(y):
    mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
    numpyro.sample("y", dist.Normal(mu, 1.0), obs=y)


def only_discrete(y):
    z = numpyro.sample("z", dist.Bernoulli(0.5))
    numpyro.sample("y", dist.Normal(z, 1.0), obs=y)


def count(y):
    mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
    n = numpyro.sample("n", dist.Poisson(4.0))
    numpyro.sample("y", dist.Normal(mu + n, 1.0), obs=y)


def moving_range(y):
    total = numpyro.sample("total", dist.Bernoulli(0.5)) + 2
    mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
    n = numpyro.sample("n", dist.Binomial(total, 0.5))
    numpyro.sample("y", dist.Normal(mu + n, 1.0), obs=y)


def unobserved():
    numpyro.sample("mu", dist.Normal(numpyro.sample("z", dist.Bernoulli(0.5)), 1.0))


def past_the_end(y, levels):
    z = numpyro.sample("z", dist.Categorical(jnp.ones(3) / 3))
    mu = numpyro.sample("mu", dist.Normal(levels[z], 1.0))
    numpyro.sample("y", dist.Normal(mu, 1.0), obs=y)


@by_kind
@pytest.mark.parametrize(
    ("model", "data", "says"),
    [
        (no_discrete, {"y": 0.3}, "no discrete latent site .* bayeskit.NUTS"),
        (only_discrete, {"y": 0.3}, r"no continuous latent site.*\(z\)"),
        (count, {"y": 0.3}, r"site 'n' \(Poisson.* cannot be listed"),
        (moving_range, {"y": 0.3}, r"site 'n' \(Binomial.* must not depend on latent values"),
        (unobserved, {}, "observes nothing"),
        (past_the_end, {"y": 0.3, "levels": np.array([0.0, 1.0])}, "discrete site 'z' takes values that index past"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_models_that_are_refused(method, model, data, says):
    with pytest.raises(bk.errors.ModelError, match=says):
        bk.infer(model, data, method, key=0, progress=False)


@by_kind
def test_arguments_that_are_refused(method):
    for wrong in ({"random_walk": 1}, {"modified": "yes"}, {"num_draws": -1}, {"target_accept": 1.0}):
        with pytest.raises(bk.errors.MethodError, match=next(iter(wrong))):
            type(method)(**wrong)
    with pytest.raises(TypeError, match="num_temperature"):
        type(method)(num_temperature=3)
    with pytest.raises(bk.errors.DataError, match="y"):
        bk.infer(mixture, {"y": Y * np.nan, "sd": SD}, method, key=0, progress=False)
    with pytest.raises(bk.errors.ModelError, match=r"log_likelihood=True: .* discrete site"):
        bk.infer(mixture, DATA, method, key=0, progress=False, log_likelihood=True)
    with pytest.raises(bk.errors.ModelError, match="discrete='sample'"):
        bk.infer(mixture, DATA, method, key=0, progress=False, discrete="sample")


def test_settings_of_mixed_hmc():
    for wrong in ({"num_discrete_updates": 0}, {"trajectory_length": 0.0}):
        with pytest.raises(bk.errors.MethodError, match=next(iter(wrong))):
            bk.MixedHMC(**wrong)


# ---- more models ---------------------------------------------------------------------------------------------------


def known_mixture(y):
    mu = numpyro.sample("mu", dist.Normal(0.0, 3.0))
    with numpyro.plate("point", len(y)):
        z = numpyro.sample("z", dist.Categorical(jnp.array([0.5, 0.3, 0.2])))
        numpyro.sample("y", dist.Normal(mu + jnp.array([-2.0, 0.0, 2.0])[z], 0.8), obs=y)


@pytest.mark.slow
@by_kind
def test_against_enumeration(method):
    y = np.random.default_rng(0).normal(size=8) + np.array([-2, 2, 0, 0, -2, -2, 2, 0])
    drawn = bk.infer(known_mixture, {"y": y}, type(method)(**LONG), key=1, progress=False)
    summed = bk.infer(known_mixture, {"y": y}, bk.NUTS(), key=1, discrete="sample", progress=False)
    for name in ("mu", "z"):
        size = y.size if name == "z" else 1
        ours, theirs = (fit[f"posterior/{name}"].values.reshape(4, -1, size) for fit in (drawn, summed))
        for i in range(ours.shape[-1]):
            error = np.hypot(*(float(arviz_stats.mcse(x[..., i], method="mean")) for x in (ours, theirs)))
            assert abs(ours[..., i].mean() - theirs[..., i].mean()) < 4 * error


def hidden_markov(y):
    spread = numpyro.sample("spread", dist.HalfNormal(1.0))

    def step(before, seen):
        state = numpyro.sample("state", dist.Bernoulli(jnp.where(before == 1, 0.8, 0.2)))
        numpyro.sample("y", dist.Normal(2.0 * state, spread), obs=seen)
        return state, None

    scan(step, jnp.zeros((), int), y)


@pytest.mark.slow
@by_kind
def test_states_of_a_scan(method):
    y = np.array([0.1, -0.4, 1.9, 2.3, 1.1, -0.2])
    drawn = bk.infer(hidden_markov, {"y": y}, type(method)(**LONG), key=1, progress=False)
    summed = bk.infer(hidden_markov, {"y": y}, bk.NUTS(), key=1, discrete="sample", progress=False)
    assert drawn["posterior/state"].shape[2:] == summed["posterior/state"].shape[2:] == (6,)
    for i in range(6):
        ours, theirs = (fit["posterior/state"].values[..., i] for fit in (drawn, summed))
        error = np.hypot(*(float(arviz_stats.mcse(x, method="mean")) for x in (ours, theirs)))
        assert abs(ours.mean() - theirs.mean()) < 4 * error


def captures(y):
    p = numpyro.sample("p", dist.Beta(5.0, 5.0))
    n = numpyro.sample("n", dist.DiscreteUniform(0, 10))
    numpyro.sample("y", dist.Binomial(n, p), obs=y)


@by_kind
def test_a_discrete_site_that_is_a_bound_of_the_data(method):
    """Fewer than are seen are impossible, wherever chains start; the others have the mass of a beta binomial."""
    long = {**LONG, "num_draws": 1000}
    post = bk.infer(captures, {"y": 8}, type(method)(**long), key=0, progress=False)
    drawn = post["posterior/n"].values
    assert drawn.min() >= 8
    mass = stats.betabinom(np.arange(11), 5, 5).pmf(8)
    for n in (8, 9, 10):
        error = float(arviz_stats.mcse((drawn == n).astype(float), method="mean"))
        assert abs((drawn == n).mean() - mass[n] / mass.sum()) < 4 * error, n


def two_clusters(y):
    """Either cluster may be the first."""
    means = numpyro.sample("means", dist.Normal(0.0, 5.0).expand([2]).to_event(1))
    with numpyro.plate("row", len(y)):
        z = numpyro.sample("z", dist.Bernoulli(0.5))
        numpyro.sample("y", dist.Normal(means[z], 1.0), obs=y)


def test_chains_start_in_more_than_one_labelling():
    """Though their discrete sites begin alike; so that the verdict sees that none of them changes its labelling."""
    y = np.concatenate([np.linspace(-5.0, -3.0, 20), np.linspace(3.0, 5.0, 20)])
    method = bk.DiscreteHMCGibbs(num_chains=8, num_warmup=100, num_draws=50)
    post = bk.infer(two_clusters, {"y": y}, method, key=0, progress=False)
    first = post["posterior/means"].values[:, :, 0].mean(1)
    assert (first < 0).any() and (first > 0).any()  # noqa: PT018
    assert not bk.check(post, quiet=True).ok
