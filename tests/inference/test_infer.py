from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.contrib.control_flow import scan
from scipy import stats

import bayeskit as bk
from bayeskit.inference.pointwise import Pointwise

TINY = bk.HMC(num_chains=2, num_warmup=20, num_draws=10, chain_method="vectorized")  # the quickest to compile
Y = np.array([0.5, -0.2, 1.1, 0.4])
MASK = np.array([True, False, True, True])


def run(model, data, method=TINY, **options):
    return bk.infer(model, data, method, **{"key": 0, "progress": False, **options})


def grid(y):
    with numpyro.plate("col", 3, dim=-1):
        a = numpyro.sample("a", dist.Normal(0.0, 1.0))
        with numpyro.plate("row", 4, dim=-2):
            b = numpyro.sample("b", dist.Dirichlet(jnp.ones(2)))
            numpyro.sample("y", dist.Normal(a + b[..., 0], 1.0), obs=y[:, None] * jnp.ones(3))
    numpyro.deterministic("total", a.sum())


def test_dims_and_coords():
    coords = {"col": ["u", "v", "w"], "part": [10, 20]}
    post = run(grid, {"y": Y}, dims={"b": ["row", "col", "part"]}, coords=coords)
    assert post["posterior/a"].dims == ("chain", "draw", "col")
    assert post["posterior/b"].dims == ("chain", "draw", "row", "col", "part")
    assert post["posterior/total"].dims == ("chain", "draw")
    assert post["observed_data/y"].dims == ("row", "col")
    assert list(post["posterior"].coords["col"].values) == ["u", "v", "w"]
    assert list(post["posterior"].coords["part"].values) == [10, 20]
    assert list(post["posterior"].coords["row"].values) == [0, 1, 2, 3]


def schools(y):
    with numpyro.plate("school", 4):
        theta = numpyro.sample("theta", dist.Normal(0.0, 1.0))
        numpyro.sample("y", dist.Normal(theta, 1.0), obs=y)


def test_plate_with_the_name_of_a_site():
    def model(y):
        with numpyro.plate("theta", 4):
            theta = numpyro.sample("theta", dist.Normal(0.0, 1.0))
            numpyro.sample("y", dist.Normal(theta, 1.0), obs=y)

    with pytest.raises(bk.errors.ModelError, match=r"unique names.*theta"):
        run(model, {"y": Y})


def statistics(y, tau):
    with numpyro.plate("energy", len(y)):
        lp = numpyro.sample("lp", dist.Normal(0.0, 1.0))
    tau = numpyro.sample("tau", dist.HalfNormal(tau[0]))
    numpyro.sample("scope/y", dist.Normal(lp, tau), obs=y)


def test_sites_named_like_statistics_or_data(tmp_path):
    post = run(statistics, {"y": Y, "tau": [1.0, 2.0]}, log_likelihood=True)
    assert post["posterior/lp"].dims == ("chain", "draw", "energy")
    assert post["sample_stats/lp"].dims == post["sample_stats/energy"].dims == ("chain", "draw")
    assert post["constant_data/tau"].shape == (2,)
    assert bk.storage.site_values(post, "log_likelihood")["scope/y"].shape == (2, 10, 4)
    assert bk.load(bk.save(post, tmp_path / "p.nc")).identical(post)
    predicted = bk.predict(statistics, {"y": Y, "tau": [1.0, 2.0]}, post, key=0)
    assert bk.storage.site_values(predicted, "posterior_predictive")["scope/y"].shape == (2, 10, 4)


def imputed(y, mask):
    mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
    with numpyro.plate("row", len(y)):
        numpyro.sample("y", dist.Normal(mu, 1.0), obs=y, obs_mask=mask)


def masked(y, mask):
    mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
    with numpyro.plate("row", len(y)), numpyro.handlers.mask(mask=mask):
        numpyro.sample("y", dist.Normal(mu, 1.0), obs=y)


@pytest.mark.parametrize("model", [masked, imputed])
def test_masked_elements_have_no_log_likelihood(model):
    target = bk.Target(bk.bind(model, {"y": Y, "mask": MASK}))
    positions = 0.3 * jnp.ones((2, 5, target.size))
    out = Pointwise(target)(positions)
    (values,) = out.values()
    assert values.shape == (2, 5, 3)
    expected = dist.Normal(0.3, 1.0).log_prob(Y[MASK])
    np.testing.assert_allclose(values, np.broadcast_to(expected, values.shape))


def test_imputed_values_are_in_the_posterior():
    post = run(imputed, {"y": Y, "mask": MASK}, log_likelihood=True)
    assert post["posterior/y_unobserved"].shape == (2, 10, 4)
    (name,) = post["log_likelihood"].data_vars
    assert post["log_likelihood"][name].shape == (2, 10, 3)
    out = bk.predict(imputed, {"y": Y, "mask": MASK}, post, key=0)
    assert all(np.isfinite(v).all() for v in out["posterior_predictive"].data_vars.values())


def mixture(y):
    weight = numpyro.sample("weight", dist.Beta(2.0, 2.0))
    with numpyro.plate("row", len(y)):
        z = numpyro.sample("z", dist.Bernoulli(weight), infer={"enumerate": "parallel"})
        numpyro.sample("y", dist.Normal(2.0 * z, 1.0), obs=y)


def test_discrete_sites_are_summed_out():
    post = run(mixture, {"y": Y}, log_likelihood=True)
    assert list(post["posterior"].data_vars) == ["weight"]
    w = post["posterior/weight"].values[..., None]
    expected = np.log(
        (1 - w) * np.exp(dist.Normal(0.0, 1.0).log_prob(Y)) + w * np.exp(dist.Normal(2.0, 1.0).log_prob(Y))
    )
    np.testing.assert_allclose(post["log_likelihood/y"], expected, rtol=1e-10)
    assert bk.predict(mixture, {"y": Y}, post, key=0)["posterior_predictive/y"].shape == (2, 10, 4)


def walk(y):
    scale = numpyro.sample("scale", dist.HalfNormal(1.0))

    def step(level, value):
        level = numpyro.sample("level", dist.Normal(level, scale))
        numpyro.sample("y", dist.Normal(level, 0.5), obs=value)
        return level, level

    scan(step, 0.0, y)


def test_latent_sites_inside_a_scan():
    post = run(walk, {"y": Y}, log_likelihood=True)
    level = post["posterior/level"].values
    assert level.shape == (2, 10, 4)
    np.testing.assert_allclose(post["log_likelihood/y"], dist.Normal(level, 0.5).log_prob(Y), rtol=1e-10)
    out = bk.predict(walk, {"y": Y}, post, key=0)["posterior_predictive/y"].values
    np.testing.assert_allclose(out, level, atol=2.5)
    again = run(walk, {"y": Y}, init=post)
    assert np.isfinite(again["sample_stats/lp"]).all()


def counts(n, b, s):
    rate = numpyro.sample("rate", dist.Gamma(2.0, 1.0))
    p = numpyro.sample("p", dist.Beta(2.0, 2.0))
    numpyro.sample("n", dist.Poisson(rate), obs=n)
    numpyro.sample("b", dist.Bernoulli(p), obs=b)
    numpyro.sample("s", dist.Normal(rate, 1.0), obs=s)


def test_integer_boolean_and_scalar_observations(tmp_path):
    data = {"n": np.array([1, 0, 3]), "b": np.array([True, False]), "s": 1.5}
    post = run(counts, data, log_likelihood=True)
    assert post["observed_data/n"].dtype.kind == "i"
    assert post["observed_data/s"].shape == ()
    assert post["log_likelihood/s"].shape == (2, 10)
    p = post["posterior/p"].values[..., None]
    np.testing.assert_allclose(post["log_likelihood/b"], np.log(np.concatenate([p, 1 - p], -1)), rtol=1e-8)
    assert bk.load(bk.save(post, tmp_path / "p.zarr")).identical(post)


def test_starting_from_a_fit_and_from_values():
    first = run(schools, {"y": Y})
    method = bk.HMC(num_chains=3, num_warmup=0, num_draws=1, chain_method="vectorized")
    assert run(schools, {"y": Y}, method, init=first)["posterior/theta"].shape == (3, 1, 4)
    run(schools, {"y": Y}, method, init={"theta": np.zeros((3, 4))})
    run(schools, {"y": Y}, method, init="prior")


def test_program_target_and_function_give_the_same_draws():
    program = bk.bind(schools, {"y": Y})
    runs = [run(model, data) for model, data in ((schools, {"y": Y}), (program, None), (bk.Target(program), None))]
    assert all(np.array_equal(r["posterior/theta"], runs[0]["posterior/theta"]) for r in runs)


def test_keys():
    runs = [run(schools, {"y": Y}, key=key) for key in (3, jax.random.key(3), jax.random.PRNGKey(3))]
    assert all(np.array_equal(r["posterior/theta"], runs[0]["posterior/theta"]) for r in runs)


def test_loo():
    method = bk.HMC(num_chains=2, num_warmup=200, num_draws=200, chain_method="vectorized")
    result = bk.loo(run(schools, {"y": Y}, method, log_likelihood=True))
    assert np.isfinite(result.elpd)


def in_process(script, **environment):
    settings = {name: value for name, value in os.environ.items() if name != "JAX_ENABLE_X64"}
    result = subprocess.run(
        [sys.executable, "-c", script],
        env={**settings, **environment},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout.split()


SCRIPT = """
import jax, numpy as np, numpyro, numpyro.distributions as dist
import bayeskit as bk
def model(y):
    mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
    numpyro.sample("y", dist.Normal(mu, 1.0), obs=y)
def run(how, chains=4):
    method = bk.NUTS(num_chains=chains, num_warmup=50, num_draws=30, chain_method=how, adaptation="diagonal")
    return bk.infer(model, {"y": np.array([0.1, 0.5])}, method, key=0, progress=False)
"""


# by default over two devices in test_devices.py, and single precision in test_pathfinder.py and vi/test_guides.py
@pytest.mark.full
def test_float32_by_default_and_several_devices():
    script = """
post = run("threads")
print(post["posterior/mu"].dtype, post["sample_stats/lp"].dtype, post.attrs["float_dtype"])
jax.config.update("jax_enable_x64", True)
sharded, vectorized = run("sharded"), run("vectorized")
print(jax.local_device_count(), sharded["posterior/mu"].shape[0])
print(np.allclose(sharded["posterior/mu"][:, :2], vectorized["posterior/mu"][:, :2], rtol=1e-6))
try:
    run("sharded", 3)
except bk.errors.MethodError as error:
    print("multiple" in str(error))
"""
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=2"
    assert in_process(SCRIPT + script, XLA_FLAGS=flags) == [*["float32"] * 3, "2", "4", "True", "True"]


def test_imputed_elements_have_their_own_density():
    """NumPyro leaves the elements that were observed without one: they drift, and every trajectory is cut."""

    def model(y, mask):
        mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))
        with numpyro.plate("row", 4):
            numpyro.sample("y", dist.LogNormal(mean, 0.5), obs=y, obs_mask=mask)

    y, mask = np.array([1.2, 0.4, 2.0, 0.7]), np.array([True, False, True, True])
    target = bk.Target(bk.bind(model, {"y": y, "mask": mask}))
    z = {"mean": jnp.array(0.3), "y_unobserved": jnp.array([0.1, -0.2, 0.5, 0.9])}
    expected = stats.norm.logpdf(0.3) + stats.norm.logpdf(z["y_unobserved"], 0.3, 0.5).sum()
    expected += (stats.norm.logpdf(np.log(y[mask]), 0.3, 0.5) - np.log(y[mask])).sum()
    np.testing.assert_allclose(target.log_density(z), expected, rtol=1e-12)
    post = bk.infer(model, {"y": y, "mask": mask}, bk.NUTS(num_chains=2, num_draws=500), key=0, progress=False)
    assert bk.check(post).ok
    assert int(post["sample_stats/n_steps"].max()) < 100


def test_a_mask_of_the_user_s_own_stays_one():
    """A site of the same name, whose masked elements something else depends on."""

    def model(y, mask):
        mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))
        with numpyro.handlers.mask(mask=mask):
            numpyro.sample("y_observed", dist.Normal(mean, 1.0), obs=y)
        with numpyro.handlers.mask(mask=~mask):
            other = numpyro.sample("y_unobserved", dist.Normal(mean, 1.0).expand([4]))
        numpyro.sample("total", dist.Normal(other.sum(), 1.0), obs=0.0)

    mask = np.array([True, False, True, True])
    target = bk.Target(bk.bind(model, {"y": Y, "mask": mask}))
    other = np.array([0.1, -0.2, 0.5, 0.9])
    expected = stats.norm.logpdf([0.3, other[1] - 0.3, other.sum()]).sum() + stats.norm.logpdf(Y[mask], 0.3).sum()
    z = {"mean": jnp.array(0.3), "y_unobserved": jnp.asarray(other)}
    np.testing.assert_allclose(target.log_density(z), expected, rtol=1e-12)
