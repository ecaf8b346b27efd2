"""The posterior of discrete sites that were summed out, against sums over all of their values."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.contrib.control_flow import scan
from scipy import stats

import bayeskit as bk
from bayeskit.errors import Interrupted, MethodError, ModelError
from bayeskit.inference.discrete import Discrete

Y = np.array([0.3, -1.0, 2.0, 1.5])
WEIGHTS = np.array([0.2, 0.3, 0.5])
TRANSITION = np.array([[0.8, 0.2], [0.3, 0.7]])
MEAN = 0.1
NUM = 4000


def mixture(y):
    mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))
    with numpyro.plate("row", 4):
        kind = numpyro.sample("kind", dist.Categorical(jnp.asarray(WEIGHTS)))
        numpyro.sample("y", dist.Normal(mean + kind, 1.0), obs=y)


def shared(y):
    """A choice of each row before one for all rows, which must be drawn first."""
    mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))
    with numpyro.plate("row", 4):
        kind = numpyro.sample("kind", dist.Categorical(jnp.asarray(WEIGHTS)))
    shift = numpyro.sample("shift", dist.Bernoulli(0.6))
    with numpyro.plate("row", 4):
        numpyro.sample("y", dist.Normal(mean + kind - shift, 1.0), obs=y)


def chain(y):
    mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))

    def step(state, y):
        state = numpyro.sample("state", dist.Categorical(jnp.asarray(TRANSITION)[state]))
        numpyro.sample("y", dist.Normal(mean + state, 1.0), obs=y)
        return state, None

    scan(step, 0, y)


def two_chains(y):
    mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))

    def step(states, y):
        first = numpyro.sample("first", dist.Categorical(jnp.asarray(TRANSITION)[states[0]]))
        second = numpyro.sample("second", dist.Categorical(jnp.asarray(TRANSITION)[states[1]]))
        numpyro.sample("y", dist.Normal(mean + first - 2 * second, 1.0), obs=y)
        return (first, second), None

    scan(step, (0, 0), y)


def chains_in_a_plate(y):
    mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))

    def step(state, y):
        with numpyro.plate("series", 2):
            state = numpyro.sample("state", dist.Categorical(jnp.asarray(TRANSITION)[state]))
            numpyro.sample("y", dist.Normal(mean + state, 1.0), obs=y)
        return state, None

    scan(step, jnp.zeros(2, int), y)


def chain_prior(path):
    return np.prod([TRANSITION[a, b] for a, b in itertools.pairwise((0, *path))])


def likelihood(loc, y=Y):
    return stats.norm.pdf(y, MEAN + np.asarray(loc)).prod()


def joint(model):
    """Assignments, each an array over the discrete choices in a row, and their posterior probabilities."""
    if model is mixture:
        paths = list(itertools.product(range(3), repeat=4))
        weights = [WEIGHTS[list(p)].prod() * likelihood(p) for p in paths]
    elif model is shared:
        paths = [(*p, s) for p in itertools.product(range(3), repeat=4) for s in (0, 1)]
        weights = [WEIGHTS[list(p[:4])].prod() * (0.4, 0.6)[p[4]] * likelihood(np.array(p[:4]) - p[4]) for p in paths]
    elif model is chain:
        paths = list(itertools.product((0, 1), repeat=4))
        weights = [chain_prior(p) * likelihood(p) for p in paths]
    else:
        paths = [(*a, *b) for a in itertools.product((0, 1), repeat=4) for b in itertools.product((0, 1), repeat=4)]
        weights = [
            chain_prior(p[:4]) * chain_prior(p[4:]) * likelihood(np.array(p[:4]) - 2 * np.array(p[4:])) for p in paths
        ]
    return np.array(paths), np.array(weights) / np.sum(weights)


NAMES = {mixture: ["kind"], shared: ["kind", "shift"], chain: ["state"], two_chains: ["first", "second"]}


def computed(model, how, num):
    target = bk.Target(bk.bind(model, {"y": Y}))
    keys = jax.random.split(jax.random.PRNGKey(0), num)[None]
    return {n: v[0] for n, v in Discrete(target, how)(np.full((1, num, 1), MEAN), keys).items()}


@pytest.mark.smoke
@pytest.mark.parametrize("model", NAMES)
def test_probabilities_are_exact(model):
    paths, weights = joint(model)
    found = computed(model, "probabilities", 1)
    values = 3 if "kind" in NAMES[model] else 2
    expected = np.stack([weights @ (paths == k) for k in range(values)], axis=-1)
    flat = {n: found[f"{n}_probs"][0].reshape(-1, found[f"{n}_probs"].shape[-1]) for n in NAMES[model]}
    ours = np.concatenate([np.pad(f, ((0, 0), (0, values - f.shape[1]))) for f in flat.values()])
    np.testing.assert_allclose(ours, expected, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("model", [mixture, shared, chain])
def test_draws_follow_the_joint_posterior(model):
    paths, weights = joint(model)
    found = computed(model, "sample", NUM)
    drawn = np.concatenate([found[n].reshape(NUM, -1) for n in NAMES[model]], axis=1)
    places = {tuple(path): i for i, path in enumerate(paths.tolist())}
    counts = np.bincount([places[tuple(row)] for row in drawn.tolist()], minlength=len(paths))
    # every pair of choices, and the whole by a test of fit on the cells that are not rare
    for i, j in itertools.combinations(range(paths.shape[1]), 2):
        expected = weights @ (paths[:, i] * paths[:, j])
        spread = np.sqrt((weights @ (paths[:, i] * paths[:, j]) ** 2 - expected**2) / NUM)
        assert abs((drawn[:, i] * drawn[:, j]).mean() - expected) < 4 * spread
    cells = np.where(weights * NUM > 5, np.arange(len(paths)), len(paths))  # rare ones together
    kept = np.unique(cells)
    observed = np.bincount(cells, counts)[kept]
    expected = np.bincount(cells, weights * NUM)[kept]
    assert stats.chisquare(observed, expected).pvalue > 1e-4


def test_series_in_a_plate_are_apart():
    y = np.stack([Y, -Y], axis=1)
    found = Discrete(bk.Target(bk.bind(chains_in_a_plate, {"y": y})), "probabilities")
    probs = found(np.full((1, 1, 1), MEAN), jax.random.PRNGKey(0)[None, None])["state_probs"][0, 0]
    paths = np.array(list(itertools.product((0, 1), repeat=4)))
    for series in range(2):
        weights = np.array([chain_prior(p) * likelihood(p, y[:, series]) for p in paths])
        np.testing.assert_allclose(probs[:, series, 1], weights @ paths / weights.sum(), rtol=1e-9)


def test_several_sites_in_a_scan_have_no_joint_draws():
    with pytest.raises(ModelError, match=r"discrete='sample': the sites \['first', 'second'\] .*; use discrete='prob"):
        Discrete(bk.Target(bk.bind(two_chains, {"y": Y})), "sample")


# ---- infer and predict ---------------------------------------------------------------------------------------------

SHORT = bk.HMC(num_chains=2, num_warmup=40, num_draws=60)


@pytest.fixture(scope="module")
def sampled():
    return bk.infer(mixture, {"y": Y}, SHORT, key=0, discrete="sample", progress=False)


def test_draws_are_in_the_posterior(sampled):
    assert sampled["posterior/kind"].dims == ("chain", "draw", "row")
    assert sampled["posterior/kind"].attrs["site_kind"] == "discrete"
    assert set(np.unique(sampled["posterior/kind"])) == {0, 1, 2}


def test_the_continuous_draws_are_the_same(sampled):
    post = bk.infer(mixture, {"y": Y}, SHORT, key=0, discrete="probabilities", progress=False)
    np.testing.assert_array_equal(post["posterior/mean"], sampled["posterior/mean"])
    probs = post["posterior/kind_probs"]
    assert probs.dims == ("chain", "draw", "row", "kind_value")
    np.testing.assert_array_equal(probs["kind_value"], [0, 1, 2])
    assert probs.attrs["site_kind"] == "deterministic"
    np.testing.assert_allclose(probs.sum("kind_value"), 1.0, rtol=1e-12)
    # the draws of each element, against the probabilities that they were drawn with
    error = (sampled["posterior/kind"] == 1).values - probs.sel(kind_value=1).values
    spread = np.sqrt((probs.sel(kind_value=1) * (1 - probs.sel(kind_value=1))).values.sum((0, 1)))
    assert (np.abs(error.sum((0, 1))) < 4 * spread).all()


def test_an_interrupted_run_draws_the_same(sampled, tmp_path, monkeypatch):
    from bayeskit.inference.driver import Run

    go, chunks = Run._select, []

    def stop_later(self, draws):
        chunks.append(1)
        if len(chunks) == 12:
            raise KeyboardInterrupt
        return go(self, draws)

    monkeypatch.setattr(Run, "_select", stop_later)
    with pytest.raises(Interrupted):
        bk.infer(mixture, {"y": Y}, SHORT, key=0, discrete="sample", store=tmp_path / "run", progress=False)
    monkeypatch.undo()
    again = bk.resume(mixture, {"y": Y}, tmp_path / "run", progress=False)
    np.testing.assert_array_equal(again["posterior/kind"], sampled["posterior/kind"])


def test_predictions_take_the_drawn_values(sampled):
    predicted = bk.predict(mixture, {"y": Y}, sampled, key=1)["posterior_predictive/y"]
    residual = predicted - sampled["posterior/mean"] - sampled["posterior/kind"]
    assert abs(float(residual.mean())) < 4 / np.sqrt(residual.size)
    assert abs(float(residual.var()) - 1) < 4 * np.sqrt(2 / residual.size)


def test_predict_draws_them_from_their_posterior():
    post = bk.infer(shared, {"y": Y}, SHORT, key=0, progress=False)
    with pytest.raises(
        ModelError, match=r"'shift' was summed out, .*; pass discrete='sample', here or to bayeskit.infer"
    ):
        bk.predict(shared, {"y": Y}, post, key=1)
    tree = bk.predict(shared, {"y": Y}, post, key=1, discrete="sample")["posterior_predictive"]
    assert set(tree.data_vars) == {"y", "kind", "shift"}
    probs = bk.infer(shared, {"y": Y}, SHORT, key=0, discrete="probabilities", progress=False)["posterior/shift_probs"]
    rate = probs.sel(shift_value=1).values
    assert abs(tree["shift"].values.sum() - rate.sum()) < 4 * np.sqrt((rate * (1 - rate)).sum())


def plain(y):
    mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))
    numpyro.sample("y", dist.Normal(mean, 1.0), obs=y)


def test_errors():
    with pytest.raises(MethodError, match="discrete must be one of 'sample', 'probabilities', got 'draws'"):
        bk.infer(mixture, {"y": Y}, SHORT, key=0, discrete="draws", progress=False)
    with pytest.raises(ModelError, match="discrete='sample': model 'plain' has no discrete latent site"):
        bk.infer(plain, {"y": Y}, SHORT, key=0, discrete="sample", progress=False)
    with pytest.raises(MethodError, match="discrete='sample' draws from a posterior, so it needs the fit"):
        bk.predict(mixture, {"y": Y}, key=0, discrete="sample")


# ---- a guide that draws a discrete site ------------------------------------------------------------------------------


def test_a_guide_keeps_its_discrete_site():
    """The exact posterior as a guide: the weights are the evidence, and the site is in the posterior."""

    def model(y):
        high = numpyro.sample("high", dist.Bernoulli(0.3))
        mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))
        numpyro.sample("y", dist.Normal(mean + high, 1.0), obs=y)

    y = 1.0
    parts = np.array([0.7, 0.3]) * stats.norm.pdf(y, [0.0, 1.0], np.sqrt(2.0))
    rate = parts[1] / parts.sum()

    def guide():
        logit = numpyro.param("logit", float(np.log(rate / (1 - rate))))
        high = numpyro.sample("high", dist.Bernoulli(logits=logit), infer={"enumerate": "parallel"})
        numpyro.sample("mean", dist.Normal((y - high) / 2, np.sqrt(0.5)))

    method = bk.VI(guide=guide, num_steps=1, learning_rate=1e-6, num_draws=2000)
    post = bk.infer(model, {"y": y}, method, key=0, progress=False)
    np.testing.assert_allclose(post["sample_stats/log_weight"], np.log(parts.sum()), atol=1e-5)
    high = post["posterior/high"]
    assert high.dtype.kind == "i"
    assert abs(float(high.mean()) - rate) < 4 * np.sqrt(rate * (1 - rate) / high.size)


# ---- nothing is lost ------------------------------------------------------------------------------------------------


def test_draws_that_cannot_be_labelled_are_returned(monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("no labels today")

    monkeypatch.setattr("bayeskit.inference.ending.assemble", broken)
    with pytest.warns(UserWarning, match=r"could not be labelled \(RuntimeError: no labels today\); they are returned"):
        post = bk.infer(plain, {"y": Y}, SHORT, key=0, progress=False)
    assert post["posterior/mean"].shape == (2, 60)
    assert post.attrs["method"] == "HMC"


def test_an_error_in_the_middle_hands_over_the_draws(monkeypatch):
    from bayeskit.inference.driver import Run

    select, count = Run._select, []

    def fails_later(self, draws):
        count.append(1)
        if len(count) == 12:
            raise OSError("the disk is full")
        return select(self, draws)

    monkeypatch.setattr(Run, "_select", fails_later)
    with pytest.raises(OSError, match="the disk is full") as caught:
        bk.infer(plain, {"y": Y}, SHORT, key=0, progress=False)
    assert caught.value.post["posterior/mean"].shape == (2, 15)
    assert caught.value.__notes__ == ["15 draws a chain were made before; they are in .post of this error"]
