"""Pathfinder: what its weights, paths and verdict say."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy import stats

import bayeskit as bk

SMALL = {"num_paths": 4, "num_draws": 400, "draws_per_path": 500}


def infer(model, method, data=None, key=0, **options):
    return bk.infer(model, data, method, key=key, progress=False, **options)


def regression(x, y):
    b = numpyro.sample("b", dist.Normal(0.0, 2.0).expand([2]).to_event(1))
    numpyro.sample("y", dist.Normal(x @ b, 0.5).to_event(1), obs=y)


RNG = np.random.default_rng(0)
DATA = {"x": RNG.normal(size=(10, 2)), "y": RNG.normal(size=10)}
EVIDENCE = stats.multivariate_normal(np.zeros(10), 4 * DATA["x"] @ DATA["x"].T + np.eye(10) / 4).logpdf(DATA["y"])


@pytest.fixture(scope="module")
def fast():
    return infer(regression, bk.Pathfinder(**SMALL), DATA)


def test_evidence_of_a_normal_posterior(fast):
    """To a standard error from the effective number of draws."""
    ess = float(fast["sample_stats/importance_ess"][0, 0])
    error = np.sqrt(1 / ess - 1 / fast.attrs["num_weighted"])
    assert fast.attrs["num_weighted"] == 2000
    assert abs(fast.attrs["log_evidence"] - EVIDENCE) < 4 * error + 1e-6
    assert (fast.attrs["num_paths_failed"], fast.attrs["num_undefined"]) == (0, 0)
    assert fast.attrs["num_gradients"] > 8
    assert fast.attrs["num_densities"] > 2000


def test_verdict_is_good_and_chains_start_apart(fast):
    verdict = bk.check(fast, quiet=True)
    assert verdict.ok
    assert not verdict.findings
    assert {"max Pareto k", "min importance ESS"} <= {measure.name for measure in verdict.measures}
    seen = {}

    class Watched(bk.NUTS):
        def init(self, key, target, positions):
            seen.update(positions)
            raise KeyboardInterrupt

    with pytest.raises(bk.errors.Interrupted):
        infer(regression, Watched(), DATA, init=fast)
    assert len(np.unique(np.asarray(seen["b"]), axis=0)) == 4


def two_modes():
    """3/4 of the mass at -4, 1/4 at 4; points above 0.44 lead to the latter."""
    mixing = dist.Categorical(probs=jnp.array([0.75, 0.25]))
    numpyro.sample("x", dist.MixtureSameFamily(mixing, dist.Normal(jnp.array([-4.0, 4.0]), jnp.array([1.0, 0.8]))))
    numpyro.factor("nothing", 0.0)


def test_modes_have_their_mass():
    """Paths end in both, and the weights against the mixture of paths give each its share."""
    post = infer(two_modes, bk.Pathfinder(num_paths=8, num_draws=2000, draws_per_path=500))
    x = post["posterior/x"].values
    ess = float(post["sample_stats/importance_ess"][0, 0])
    error = np.sqrt(0.25 * 0.75 * (1 / ess + 1 / 2000))
    assert abs((x > 0).mean() - 0.25) < 4 * error
    assert abs(post.attrs["log_evidence"]) < 0.2
    assert bk.check(post, quiet=True).ok


def funnel():
    scale = numpyro.sample("scale", dist.Normal(0.0, 3.0))
    numpyro.sample("x", dist.Normal(0.0, jnp.exp(scale / 2)).expand([9]).to_event(1))
    numpyro.factor("nothing", 0.0)


@pytest.mark.parametrize(("resample", "name"), [(True, "importance_ess"), (False, "guide_moments")])
def test_a_posterior_that_is_not_normal_has_a_bad_verdict(resample, name):
    """By its tail, or by what the weights say of the middle."""
    post = infer(funnel, bk.Pathfinder(**SMALL, resample=resample))
    verdict = bk.check(post, quiet=True)
    finding = next(one for one in verdict.findings if one.name in ("pareto_k", name))
    assert not verdict.ok
    assert "NUTS" in finding.advice
    assert "init=post" in finding.advice


def island(edge=0.0):
    """A standard normal density; far to the left NaN but for one point."""
    x = numpyro.sample("x", dist.ImproperUniform(dist.constraints.real, (), ()))
    far = jnp.where(x == -1e6, -10.0, jnp.nan)
    numpyro.factor("f", jnp.where(x < -1e5, far, jnp.where(x < edge - 3.0, jnp.nan, -0.5 * x**2)))


def test_paths_that_fail_are_left_out_and_told():
    start = {"x": -1e6}  # of the first path
    post = infer(island, bk.Pathfinder(**SMALL), init=start)
    assert post.attrs["num_paths_failed"] == 1
    names = {finding.name: finding.severity for finding in bk.check(post, quiet=True).findings}
    assert names["failed_paths"] == "warning"
    with pytest.raises(bk.errors.SamplingError, match="none of the 1 paths of chain 0"):
        infer(island, bk.Pathfinder(num_paths=1), init=start)


def test_draws_without_a_density_are_told():
    """Of a normal distribution 2.3% lies below -2."""
    post = infer(island, bk.Pathfinder(**SMALL), {"edge": np.array(1.0)})
    share = post.attrs["num_undefined"] / post.attrs["num_weighted"]
    assert abs(share - stats.norm.cdf(-2)) < 4 * np.sqrt(0.0228 / 2000) + 0.01
    assert post["posterior/x"].min() > -2
    verdict = bk.check(post, quiet=True)
    assert [f.name for f in verdict.findings] == ["undefined_density"]
    assert not verdict.ok


def test_single_precision():
    with jax.enable_x64(False):
        post = infer(regression, bk.Pathfinder(**SMALL), {n: v.astype(np.float32) for n, v in DATA.items()})
    assert post["posterior/b"].dtype == np.float32
    assert abs(post.attrs["log_evidence"] - EVIDENCE) < 0.05
    assert bk.check(post, quiet=True).ok


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("num_paths", 0),
        ("num_paths", 2.5),
        ("draws_per_path", True),
        ("tolerance", -1.0),
        ("tolerance", float("nan")),
        ("resample", "no"),
        ("chain_method", "threaded"),
    ],
)
def test_impossible_settings(setting, value):
    with pytest.raises(bk.errors.MethodError, match=setting):
        bk.Pathfinder(**{setting: value})


def test_paths_that_alternate_in_the_pool_are_all_drawn_from():
    """With weights that are all equal, every eighth draw of a pool of eight paths in turn is of one path."""

    def two_modes():
        x = numpyro.sample("x", dist.Normal(0.0, 10.0))
        numpyro.factor("modes", jnp.logaddexp(-0.5 * ((x - 1.5) / 0.1) ** 2, -0.5 * ((x + 1.5) / 0.1) ** 2))

    x = infer(two_modes, bk.Pathfinder())["posterior/x"].values
    assert abs((x > 0).mean() - 0.5) < 4 * 0.5 / 1000**0.5
