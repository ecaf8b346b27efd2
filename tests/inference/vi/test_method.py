"""`VI` as a method: right where the guide can be, honest where it cannot."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.infer import init_to_median
from numpyro.infer.autoguide import AutoMultivariateNormal, AutoNormal

import bayeskit as bk
from bayeskit._progress import ProgressBar
from bayeskit.diagnostics.importance import pareto_k

COVARIANCE = np.array([[1.0, 0.9], [0.9, 2.0]])
MEAN = np.array([0.5, -1.0])


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def gaussian():
    numpyro.sample("z", dist.MultivariateNormal(MEAN, COVARIANCE))
    numpyro.factor("nothing", 0.0)


def funnel():
    v = numpyro.sample("v", dist.Normal(0.0, 3.0))
    numpyro.sample("x", dist.Normal(0.0, jnp.exp(v / 2)).expand([9]).to_event(1))
    numpyro.factor("nothing", 0.0)


def fit(model, **settings):
    method = bk.VI(**{"num_steps": 1500, "num_draws": 2000, **settings})
    return bk.infer(model, None, method, key=3, progress=False)


@pytest.fixture(scope="module")
def narrow():
    """Independent normals, which is the default."""
    with jax.enable_x64(True):
        return fit(gaussian, objective=bk.objectives.ELBO(8, sticking_the_landing=True), num_steps=3000, num_draws=4000)


@pytest.fixture(scope="module")
def mean_field_of_line():
    with jax.enable_x64(True):
        return fit_line(bk.guides.MeanField())


def moments(post):
    draws = post["posterior/z"].values[0]
    return draws.mean(0), np.cov(draws.T)


@pytest.mark.full  # by default as test_fits.py, and tests/conformance/test_guides.py for every guide
@pytest.mark.parametrize("guide", [bk.guides.FullRank(), bk.guides.LowRank(rank=2)])
def test_guide_that_holds_the_posterior_finds_it(guide):
    post = fit(gaussian, guide=guide, objective=bk.objectives.ELBO(8, sticking_the_landing=True), num_steps=3000)
    mean, covariance = moments(post)
    error = np.sqrt(np.diag(COVARIANCE) / 2000)
    assert np.all(np.abs(mean - MEAN) < 4 * error)
    spread = np.sqrt((np.outer(np.diag(COVARIANCE), np.diag(COVARIANCE)) + COVARIANCE**2) / 2000)
    assert np.all(np.abs(covariance - COVARIANCE) < 4 * spread)
    assert np.abs(post["sample_stats/log_weight"]).max() < 0.05  # the density is normalised: log Z = 0
    assert bk.check(post, quiet=True).ok


def test_mean_field_has_the_variances_of_theory(narrow):
    """The best independent normal has variances 1 / (inverse covariance)_ii: Bishop (2006), section 10.1.2."""
    mean, covariance = moments(narrow)
    truth = 1.0 / np.diag(np.linalg.inv(COVARIANCE))
    assert np.all(np.abs(mean - MEAN) < 4 * np.sqrt(truth / 4000) + 0.01)
    assert np.all(np.abs(np.diag(covariance) - truth) < 4 * truth * np.sqrt(2 / 4000) + 0.01)


def test_prodigy_needs_no_learning_rate():
    mean, _ = moments(fit(gaussian, guide=bk.guides.FullRank(), optimizer="prodigy"))
    assert np.all(np.abs(mean - MEAN) < 0.2)


def test_importance_weighted_objective_is_wider_than_the_elbo(narrow):
    _, wide = moments(fit(gaussian, objective=bk.objectives.ImportanceWeightedELBO(16)))
    assert np.trace(wide) > np.trace(moments(narrow)[1])


@pytest.mark.full  # by default test_guides.py has such a guide, and so has test_stopping.py
def test_a_guide_far_from_the_posterior_is_called_so():
    verdict = bk.check(fit(funnel), quiet=True)
    assert not verdict.ok
    (finding,) = [finding for finding in verdict.findings if finding.severity == "error"]
    assert finding.name in ("pareto_k", "guide_moments")
    assert "NUTS" in finding.advice


def test_too_narrow_a_guide_is_found_by_its_weights(narrow):
    """Independent normals are too narrow by sqrt(1 - 0.9² / 2) = 0.77 in both coordinates; k-hat alone is content."""
    verdict = bk.check(narrow, quiet=True)
    names = {measure.name: measure.value for measure in verdict.measures}
    assert names["max Pareto k"] < 0.7
    assert [finding.name for finding in verdict.findings] == ["guide_moments"]
    assert set(verdict.findings[0].sites) == {"z[0]", "z[1]"}


def test_steps_that_are_not_finite_are_counted_and_found():
    def model():
        z = numpyro.sample("z", dist.Normal(0.0, 1.0))
        numpyro.factor("wall", jnp.where(z > 1.0, jnp.nan, 0.0))

    post = fit(model, objective=bk.objectives.ELBO(1), num_steps=400)
    skipped = float(np.mean(~np.isfinite(post["warmup_sample_stats/loss"])))
    verdict = bk.check(post, quiet=True)
    assert skipped > 0.01
    assert not verdict.ok
    assert "skipped_steps" in [finding.name for finding in verdict.findings]


def test_nuts_starts_from_different_draws_of_a_fit(narrow):
    method = bk.NUTS(num_chains=4, num_warmup=0, num_draws=1, adaptation="diagonal")
    starts = []
    real = bk.NUTS.init

    def init(self, key, target, positions):
        starts.append(np.asarray(positions["z"]))
        return real(self, key, target, positions)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bk.NUTS, "init", init)
        bk.infer(gaussian, None, method, key=0, init=narrow, progress=False)
    draws = narrow["posterior/z"].values[0]
    assert len(np.unique(starts[0], axis=0)) == 4
    for start in starts[0]:
        assert np.isclose(draws, start).all(axis=1).any()


@pytest.mark.parametrize(
    ("log_weights", "truth"),
    [(lambda e: 0.2 * e, 0.2), (lambda e: 0.5 * e, 0.5), (lambda e: 0.9 * e, 0.9)],
)
def test_pareto_k_of_pareto_weights(log_weights, truth):
    """w = exp(k e) with e exponential is Pareto with shape k."""
    exponential = np.random.default_rng(0).exponential(size=20_000)
    found = pareto_k(log_weights(exponential))
    assert abs(found.k - truth) < 0.15
    assert found.ess > 10
    assert np.isclose(found.weights.sum(), 1.0)


def test_pareto_k_is_infinite_where_one_draw_holds_the_weight():
    assert pareto_k(np.r_[np.zeros(999), 100.0])[:2] == (np.inf, pytest.approx(1.0))
    assert pareto_k(np.r_[np.zeros(999), np.nan])[:2] == (np.inf, 0.0)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"num_steps": 0}, "num_steps"),
        ({"optimizer": "sgd"}, "optimizer must be one of 'adam'"),
        ({"learning_rate": -1.0}, "learning_rate"),
        ({"num_draws": 0}, "num_draws"),
        ({"chain_method": "fast"}, "chain_method"),
    ],
)
def test_impossible_settings_are_named(settings, match):
    with pytest.raises(bk.errors.MethodError, match=match):
        bk.VI(**settings)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: bk.guides.MeanField(0.0), "init_scale"),
        (lambda: bk.guides.LowRank(0), "rank"),
        (lambda: bk.objectives.ELBO(0), "num_particles"),
        (lambda: bk.objectives.Renyi(1.0, 2), "alpha"),
        (lambda: bk.objectives.TemperedELBO(0.0), "temperature"),
        (lambda: bk.objectives.WakeGuide(1), "num_particles"),
        (lambda: bk.VI.from_settings({"guide": "full rank"}), "guide must be one of 'block'"),
        (lambda: bk.VI.from_settings({"objective": {"kind": "evidence"}}), "objective must be one of"),
    ],
)
def test_impossible_parts_are_named(make, match):
    with pytest.raises(bk.errors.MethodError, match=match):
        make()


def test_a_setting_by_name_is_the_object():
    by_name = bk.VI.from_settings({"guide": {"kind": "low_rank", "rank": 3}, "objective": "elbo"})
    assert by_name == bk.VI(guide=bk.guides.LowRank(3), objective=bk.objectives.ELBO())


X, Y = np.arange(5.0), np.array([0.1, 0.8, 2.1, 2.9, 4.2])


def line(x, y):
    slope = numpyro.sample("slope", dist.Normal(0.0, 2.0))
    noise = numpyro.sample("noise", dist.HalfNormal(1.0))
    with numpyro.plate("row", len(y)):
        numpyro.sample("y", dist.Normal(slope * x, noise), obs=y)


def by_hand(y):
    """Takes one of the model's arguments, and draws in the model's own coordinates."""
    positive = dist.constraints.positive
    scales = [numpyro.param(f"scale{i}", 0.1, constraint=positive) for i in range(2)]
    numpyro.sample("slope", dist.Normal(numpyro.param("slope_loc", jnp.mean(y) / 2), scales[0]))
    numpyro.sample("noise", dist.LogNormal(numpyro.param("noise_loc", -1.0), scales[1]))


def fit_line(guide, **settings):
    method = bk.VI(guide=guide, **{"num_steps": 3000, "num_draws": 2000, **settings})
    return bk.infer(line, {"x": X, "y": Y}, method, key=0, progress=False)


@pytest.mark.parametrize(
    "make",
    [lambda: by_hand, pytest.param(lambda: AutoNormal(line, init_loc_fn=init_to_median), marks=pytest.mark.full)],
    ids=["by hand", "AutoNormal"],
)
def test_hand_written_and_numpyro_guides_find_what_mean_field_finds(mean_field_of_line, make):
    """All three are independent normals of slope and log noise, so they have one optimum."""
    ours, theirs = mean_field_of_line["posterior"], fit_line(make())["posterior"]
    for site in ("slope", "noise"):
        a, b = np.log(ours[site].values) if site == "noise" else ours[site].values, theirs[site].values
        b = np.log(b) if site == "noise" else b
        assert abs(a.mean() - b.mean()) < 4 * a.std() * (2 / 2000) ** 0.5 + 0.02 * a.std()
        assert abs(a.std() / b.std() - 1) < 4 * 2000**-0.5 + 0.02


@pytest.mark.parametrize("landing", [True, pytest.param(False, marks=pytest.mark.full)])
def test_sticking_the_landing_with_a_hand_written_guide(landing):
    """Its parameters are known, so it can be detached: the gradient is zero where the guide is the posterior."""

    def model():
        z = numpyro.sample("z", dist.Normal(0.0, 1.0))
        numpyro.sample("x", dist.Normal(z, 1.0), obs=1.2)

    def exact():
        scale = numpyro.param("scale", 0.5**0.5, constraint=dist.constraints.positive)
        numpyro.sample("z", dist.Normal(numpyro.param("loc", 0.6), scale))

    post = fit(model, guide=exact, objective=bk.objectives.ELBO(2, sticking_the_landing=landing), num_steps=50)
    norm = post["warmup_sample_stats/gradient_norm"][0, 0]  # of the first step: Adam walks off on rounding errors
    assert norm < 1e-10 if landing else norm > 0.1


def test_numpyro_guide_over_an_inner_vector():
    post = fit_line(AutoMultivariateNormal(line, init_loc_fn=init_to_median))
    assert set(post["posterior"].data_vars) == {"slope", "noise"}
    assert abs(float(post["posterior/slope"].mean()) - 1.016) < 0.01


@pytest.mark.parametrize(
    ("guide", "match"),
    [
        (lambda: None, r"no numpyro\.param"),
        (lambda z: numpyro.param("a", 0.0), "takes 'z'"),
        (lambda: numpyro.sample("slope", dist.Normal(numpyro.param("a", 0.0), 1.0)), "lack site 'noise'"),
    ],
)
def test_a_guide_that_does_not_fit_the_model_is_refused(guide, match):
    with pytest.raises(bk.errors.ModelError, match=match):
        fit_line(guide)


def own_guide():
    loc = numpyro.param("loc", 0.0)
    numpyro.sample("mu", dist.Normal(loc, 1.0))


def own_objective(model, guide):
    z, log_q = bk.draw(guide)
    return bk.log_density(model, z) - log_q


def one_mean(y):
    mu = numpyro.sample("mu", dist.Normal(0.0, 10.0))
    numpyro.sample("y", dist.Normal(mu, 1.0), obs=y)


def stop_after(chunks, patch):
    """Interrupt a run after some chunks, as Ctrl-C does."""
    left = [chunks]

    def stop(*_):
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt

    patch.setattr(ProgressBar, "update", stop)


@pytest.mark.parametrize(
    "setting",
    [
        {"guide": own_guide, "objective": own_objective},
        pytest.param({"guide": own_guide}, marks=pytest.mark.full),
        pytest.param({"objective": own_objective}, marks=pytest.mark.full),
    ],
    ids=["both", "guide", "objective"],
)
def test_a_fit_with_code_of_ones_own_is_resumed_with_its_method(setting, tmp_path, monkeypatch):
    method = bk.VI(num_steps=100, num_draws=100, **setting)
    data, path = {"y": np.array([1.0, 2.0])}, tmp_path / "run.zarr"
    whole = bk.infer(one_mean, data, method, key=0, progress=False)
    with monkeypatch.context() as patch:
        stop_after(13, patch)
        with pytest.raises(bk.errors.Interrupted, match=r"bayeskit.resume\(model, data, '.*', method=method\)"):
            bk.infer(one_mean, data, method, key=0, store=path, progress=False)
    name = next(iter(setting))
    with pytest.raises(
        bk.errors.MethodError, match=rf"needs its method again.*function of the {name} is .*own_{name}.*method=\.\.\."
    ):
        bk.resume(one_mean, data, path, progress=False)
    with pytest.raises(bk.errors.MethodError, match=r"is not that of the run.*num_draws was 100 and is 50"):
        bk.resume(one_mean, data, path, method=bk.VI(num_steps=100, num_draws=50, **setting), progress=False)
    if "objective" in setting:
        record = json.loads(whole.attrs["method_settings"])["objective"]
        assert record["function"]["object"].endswith("own_objective")
    resumed = bk.resume(one_mean, data, path, method=method, progress=False)
    np.testing.assert_array_equal(resumed["posterior/mu"], whole["posterior/mu"])


@pytest.mark.full  # by default as the test above, and "custom" in tests/conformance/test_objectives.py
def test_an_objective_that_is_a_function_fits_as_its_like():
    data = {"y": np.array([1.0, 2.0])}
    ours, theirs = (
        bk.infer(one_mean, data, bk.VI(objective=objective, num_steps=200), key=0, progress=False)
        for objective in (own_objective, bk.objectives.ELBO(1))
    )
    np.testing.assert_array_equal(ours["posterior/mu"], theirs["posterior/mu"])
    assert json.loads(ours.attrs["method_settings"])["objective"]["function"]["object"].endswith("own_objective")
