"""Bad input through the Python API: the documented exception, the argument or site named, nothing half-done."""

from __future__ import annotations

import itertools
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

import bayeskit as bk
from bayeskit.storage import make_tree

TINY = bk.HMC(num_chains=2, num_warmup=20, num_draws=20)
Y = [0.5, -0.2, 1.1]


def normal(y):
    mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
    with numpyro.plate("row", len(y)):
        numpyro.sample("y", dist.Normal(mu, 1.0), obs=y)


def pair(x, y=None):
    slope = numpyro.sample("slope", dist.Normal(0.0, 1.0))
    scale = numpyro.sample("scale", dist.HalfNormal(1.0))
    with numpyro.plate("row", len(x)):
        numpyro.sample("y", dist.Normal(slope * x, scale), obs=y)


def vector(y):
    theta = numpyro.sample("theta", dist.Normal(0.0, 1.0).expand([3]).to_event(1))
    numpyro.sample("y", dist.Normal(theta, 1.0), obs=y)


def uniform(y):
    p = numpyro.sample("p", dist.Uniform(0.0, 1.0))
    numpyro.sample("y", dist.Normal(p, 1.0), obs=y)


def scaled(y, scale):
    mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
    numpyro.sample("y", dist.Normal(mu, scale), obs=y)


def fit(chains=2, draws=5, **sites):
    """A tree like one that `infer` returns."""
    kinds = dict.fromkeys(sites, "latent")
    values = {n: np.full((chains, draws, *np.shape(v)), v, float) for n, v in sites.items()}
    return make_tree({"posterior": values}, site_kinds=kinds)


def run(model, data=None, method=TINY, **options):
    options.setdefault("key", 0)
    return bk.infer(model, data, method, progress=False, **options)


def of(body, **data):
    """Run a model that is written out here: a latent `mu`, then `body(mu, y)`."""

    def model(y):
        body(numpyro.sample("mu", dist.Normal(0.0, 1.0)), y)

    return run(model, data or {"y": jnp.array(Y)})


def observe(distribution):
    return lambda mu, y: numpyro.sample("y", distribution(mu), obs=y)


def _scan(mu, y):
    def step(carry, value):
        return numpyro.sample("walk", dist.Normal(carry, 1.0)), value

    jax.lax.scan(step, mu, y)
    numpyro.sample("y", dist.Normal(mu, 1.0), obs=y)


def _twice(mu, y):
    numpyro.sample("mu", dist.Normal(0.0, 1.0))
    numpyro.sample("y", dist.Normal(mu, 1.0), obs=y)


def _param(mu, y):
    sigma = numpyro.param("sigma", 1.0)
    numpyro.sample("y", dist.Normal(mu, sigma), obs=y)


def _subsample(mu, y):
    with numpyro.plate("part", len(y), subsample_size=2) as index:
        numpyro.sample("y", dist.Normal(mu, 1.0), obs=y[index])


def _improper(mu, y):
    numpyro.sample("order", dist.ImproperUniform(dist.constraints.sphere, (), (3,)))
    numpyro.sample("y", dist.Normal(mu, 1.0), obs=y)


def _poisson(mu, y):
    count = numpyro.sample("count", dist.Poisson(3.0))
    numpyro.sample("y", dist.Normal(mu + count, 1.0), obs=y)


def _multivariate(mu, y):
    numpyro.sample("y", dist.MultivariateNormal(mu * jnp.ones(3), jnp.eye(3)), obs=y)


def _turned(mu, y):
    with numpyro.plate("row", 3):
        a = numpyro.sample("a", dist.Normal(mu, 1.0))
    with numpyro.plate("row", 3, dim=-2), numpyro.plate("column", 2):
        numpyro.sample("y", dist.Normal(a[:, None], 1.0), obs=np.zeros((3, 2)))


def _reserved(mu, y):
    with numpyro.plate("draw", 3):
        numpyro.sample("a", dist.Normal(mu, 1.0))


def _plates(mu, y):
    with numpyro.plate("row", 3):
        numpyro.sample("a", dist.Normal(mu, 1.0), obs=y)
    with numpyro.plate("row", 2):
        numpyro.sample("b", dist.Normal(mu, 1.0), obs=y[:2])


def only_observed(y):
    numpyro.sample("y", dist.Normal(0.0, 1.0), obs=y)


def flat(y):
    mu = numpyro.sample("mu", dist.ImproperUniform(dist.constraints.real, (), ()))
    numpyro.sample("y", dist.Normal(mu, 1.0), obs=y)


def _float32(data):
    with jax.enable_x64(False):
        return bk.bind(normal, data)


def _foreign(path):
    (path / "folder").mkdir()
    return bk.load(path / "folder")


def _cut(path):
    file = bk.save(fit(mu=np.zeros(500)), path / "post.nc")
    file.write_bytes(file.read_bytes()[:2000])
    return bk.load(file)


def _lost_chunk(path):
    folder = bk.save(fit(mu=1.0), path / "post.zarr")
    (folder / "posterior" / "mu" / "0.0").unlink()
    return bk.load(folder)


DATA, MODEL, METHOD, INIT, STORAGE = (
    bk.errors.DataError,
    bk.errors.ModelError,
    bk.errors.MethodError,
    bk.errors.InitError,
    bk.errors.StorageError,
)

# what is done (with a folder to write to), the documented exception, and what the message must say
CASES = {
    # data
    "nan": (lambda p: run(normal, {"y": [1.0, np.nan]}), DATA, r"'y'.*NaN.*\[1\]"),
    "masked": (lambda p: run(normal, {"y": np.ma.masked_array([1.0, 2.0], [False, True])}), DATA, "'y'.*masked"),
    "ragged": (lambda p: run(normal, {"y": [[1.0], [1.0, 2.0]]}), DATA, "'y'.*not a rectangular"),
    "strings": (lambda p: run(normal, {"y": ["a", "b"]}), DATA, "'y'.*strings"),
    "objects": (lambda p: run(normal, {"y": [1.0, None]}), DATA, "'y'.*dtype object"),
    "dates": (lambda p: run(normal, {"y": np.array(["2020-01-01"], "M8[D]")}), DATA, "'y'.*datetime"),
    "a mapping as array": (lambda p: run(normal, {"y": {"a": 1.0}}), MODEL, "'y': obs is a dict, not an array"),
    "a set as array": (lambda p: run(normal, {"y": {1.0, 2.0}}), DATA, "'y'"),
    "complex nan": (lambda p: run(normal, {"y": np.array([1j, np.nan])}), DATA, "'y'.*NaN"),
    "scalar nan": (lambda p: run(pair, {"x": [1.0], "y": float("nan")}), DATA, "'y'.*NaN"),
    "int overflow": (lambda p: _float32({"y": np.array([2**40])}), DATA, "'y'.*int32"),
    "float overflow": (lambda p: _float32({"y": np.array([1e300])}), DATA, "'y'.*float32"),
    "empty": (lambda p: run(normal, {"y": []}), DATA, "'y'.*empty"),
    "empty in one axis": (lambda p: run(normal, {"y": np.zeros((0, 3))}), DATA, r"'y'.*empty.*\(0, 3\)"),
    "missing name": (lambda p: run(pair, {"y": Y}), DATA, "lack 'x'"),
    "no data": (lambda p: run(normal, None), DATA, "lack 'y'"),
    "unexpected name": (lambda p: run(normal, {"y": Y, "zzz": 1.0}), DATA, "'zzz'.*takes 'y'"),
    "misspelt name": (lambda p: run(pair, {"xx": Y, "y": Y}), DATA, "'xx'.*did you mean 'x'"),
    "name that is no string": (lambda p: run(normal, {0: Y}), DATA, "0"),
    "data not a mapping": (lambda p: run(normal, Y), DATA, "data must map"),
    "data beside a program": (lambda p: run(bk.bind(normal, {"y": Y}), {"y": Y}), DATA, "Program"),
    # the model
    "model that is no function": (lambda p: run("normal", {"y": Y}), MODEL, "must be a NumPyro function, got str"),
    "positional-only argument": (lambda p: run(lambda y, /: None, {"y": Y}), MODEL, "'y'.*positional-only"),
    "exception inside": (lambda p: of(lambda mu, y: y[0].nonsense), MODEL, "after site 'mu'.*nonsense"),
    "shape mismatch": (lambda p: run(pair, {"x": [1.0, 2.0], "y": Y}), MODEL, r"'y'.*\(3,\)"),
    "shape mismatch without plate": (lambda p: run(vector, {"y": [1.0, 2.0]}), MODEL, r"'y'.*\(2,\).*\(3,\)"),
    "(3, 1) against (3,)": (lambda p: run(vector, {"y": np.ones((3, 1))}), MODEL, r"'y'.*\(3, 1\).*\(3,\).*\(3, 3\)"),
    "scalar against (3,)": (lambda p: run(vector, {"y": 1.0}), MODEL, r"'y'.*\(\).*\(3,\)"),
    "observation outside the support": (
        lambda p: of(observe(lambda mu: dist.LogNormal(mu))),
        MODEL,
        "'y'.*-0.2.*LogNormal",
    ),
    "count that is not whole": (
        lambda p: of(observe(lambda mu: dist.Poisson(jnp.exp(mu)))),
        MODEL,
        "'y'.*0.5.*Poisson",
    ),
    "class beyond the last": (
        lambda p: of(observe(lambda mu: dist.Categorical(logits=mu * jnp.arange(2.0))), y=np.array([0, 2])),
        MODEL,
        "'y'.*2.*Categorical",
    ),
    "support without bijection": (lambda p: of(_improper), MODEL, "'order'.*no bijection"),
    "observes nothing": (lambda p: of(lambda mu, y: None), MODEL, "model 'model' observes nothing"),
    "nothing latent": (lambda p: run(only_observed, {"y": Y}), MODEL, "'only_observed'.*no continuous latent"),
    "discrete latent": (lambda p: of(_poisson), MODEL, "'count'.*Poisson.*cannot be enumerated"),
    "duplicate site": (lambda p: of(_twice), MODEL, "'?mu'?"),
    "param": (lambda p: of(_param), MODEL, "'sigma'.*numpyro.param"),
    "raw scan": (lambda p: of(_scan), MODEL, "'walk'.*raw jax transform"),
    "subsampling plate": (lambda p: of(_subsample), MODEL, "'part'.*subsamples"),
    "a constant as an unknown": (
        lambda p: of(lambda mu, y: numpyro.sample("a", dist.Delta(1.0))),
        MODEL,
        r"site 'a' is a Delta, .*use numpyro\.deterministic\('a', value\)",
    ),
    "a site in an objective": (
        lambda p: bk.expectation(lambda: numpyro.sample("u", dist.Normal(0.0, 1.0)))(0),
        MODEL,
        r"numpyro\.sample\('u', \.\.\.\) stands in an objective.*bayeskit\.draw",
    ),
    "an observation in an objective": (
        lambda p: bk.expectation(lambda: numpyro.sample("u", dist.Normal(0.0, 1.0), obs=1.0))(0),
        MODEL,
        r"numpyro\.sample\('u', \.\.\.\) stands in an objective.*bayeskit\.log_density",
    ),
    "one plate, two dimensions": (
        lambda p: of(_turned),
        MODEL,
        r"'row' is dimension -1 at site 'a' and -2 at site 'y'; give it one `dim`, or two plates two names",
    ),
    "a plate with the name of a dimension": (
        lambda p: of(_reserved),
        MODEL,
        "'draw' .*'a'.* has the name of a dimension",
    ),
    "one plate, two sizes": (lambda p: of(_plates), MODEL, "'row'.*3 and 2"),
    "dependent observations": (
        lambda p: run(lambda y: _multivariate(numpyro.sample("mu", dist.Normal()), y), {"y": Y}, log_likelihood=True),
        MODEL,
        "'y'.*MultivariateNormal",
    ),
    # the method
    "no method": (lambda p: run(normal, {"y": Y}, "nuts"), METHOD, "method must be.*'nuts'"),
    "unknown option": (lambda p: bk.NUTS(num_chain=4), TypeError, "num_chain"),
    "unknown backend": (lambda p: bk.NUTS(backend="stan"), METHOD, "backend.*'stan'"),
    "unknown adaptation": (lambda p: bk.NUTS(adaptation="full"), METHOD, "adaptation.*'full'"),
    "adaptation of the other backend": (
        lambda p: bk.NUTS(backend="numpyro", adaptation="low_rank"),
        METHOD,
        "adaptation.*'low_rank'",
    ),
    "unknown chain_method": (lambda p: bk.HMC(chain_method="parallel"), METHOD, "chain_method.*'parallel'"),
    "num_chains=0": (lambda p: bk.NUTS(num_chains=0), METHOD, "num_chains.*0"),
    "num_chains=2.0": (lambda p: bk.NUTS(num_chains=2.0), METHOD, "num_chains.*2.0"),
    "num_draws=True": (lambda p: bk.NUTS(num_draws=True), METHOD, "num_draws.*True"),
    "num_warmup=-1": (lambda p: bk.NUTS(num_warmup=-1), METHOD, "num_warmup.*-1"),
    "target_accept=1.5": (lambda p: bk.NUTS(target_accept=1.5), METHOD, "target_accept.*1.5"),
    "target_accept as text": (lambda p: bk.HMC(target_accept="0.8"), METHOD, "target_accept.*'0.8'"),
    "max_tree_depth=0": (lambda p: bk.NUTS(max_tree_depth=0), METHOD, "max_tree_depth.*0"),
    "trajectory_length=nan": (lambda p: bk.HMC(trajectory_length=float("nan")), METHOD, "trajectory_length.*nan"),
    "MCLMC without warmup": (lambda p: bk.MCLMC(num_warmup=0), METHOD, "num_warmup.*0"),
    "MCLMC, variance as text": (
        lambda p: bk.MCLMC(desired_energy_variance="1"),
        METHOD,
        "desired_energy_variance.*'1'",
    ),
    "MCLMC in one dimension": (lambda p: run(normal, {"y": Y}, bk.MCLMC()), MODEL, "MCLMC.*two"),
    "ChEES with one chain": (lambda p: bk.ChEES(num_chains=1), METHOD, "num_chains.*1"),
    "ChEES, learning_rate as text": (lambda p: bk.ChEES(learning_rate="fast"), METHOD, "learning_rate.*'fast'"),
    "MEADS with six chains": (lambda p: bk.MEADS(num_chains=6), METHOD, "num_chains.*6"),
    "MEADS, steps_per_draw=1.5": (lambda p: bk.MEADS(steps_per_draw=1.5), METHOD, "steps_per_draw.*1.5"),
    "key as text": (lambda p: run(normal, {"y": Y}, key="0"), METHOD, "key.*'0'"),
    "many keys": (lambda p: run(normal, {"y": Y}, key=jax.random.split(jax.random.key(0), 3)), METHOD, "key"),
    "key=None": (lambda p: run(normal, {"y": Y}, key=None), METHOD, "key.*None"),
    "thin=0": (lambda p: run(normal, {"y": Y}, thin=0), METHOD, "thin.*0"),
    "thin beyond the draws": (lambda p: run(normal, {"y": Y}, thin=21), METHOD, "thin.*20.*21"),
    # what is kept, and its labels
    "keep misspelt": (lambda p: run(normal, {"y": Y}, keep=["mu_"]), MODEL, "keep.*'mu_'.*did you mean 'mu'"),
    "keep as text": (lambda p: run(normal, {"y": Y}, keep="mu"), MODEL, "keep.*'mu'"),
    "keep an observed site": (lambda p: run(normal, {"y": Y}, keep=["y"]), MODEL, "keep.*'y'"),
    "dims of an unknown site": (lambda p: run(normal, {"y": Y}, dims={"nu": ["a"]}), MODEL, "dims.*'nu'"),
    "too many dims": (lambda p: run(normal, {"y": Y}, dims={"mu": ["a"]}), MODEL, "dims.*'mu'"),
    "coords of an unknown dimension": (
        lambda p: run(normal, {"y": Y}, coords={"col": [1]}),
        MODEL,
        "coords.*'col'.*row",
    ),
    "too few coords": (lambda p: run(normal, {"y": Y}, coords={"row": ["a", "b"]}), DATA, "coords 'row'"),
    # starting points
    "init misspelt": (lambda p: run(normal, {"y": Y}, init="priors"), INIT, "init.*'priors'"),
    "init of an unknown site": (lambda p: run(normal, {"y": Y}, init={"mus": 0.0}), MODEL, "'mus'.*did you mean 'mu'"),
    "init of a wrong shape": (lambda p: run(normal, {"y": Y}, init={"mu": np.zeros(7)}), MODEL, r"'mu'.*\(7,\)"),
    "init outside the support": (lambda p: run(uniform, {"y": Y}, init={"p": 1.5}), INIT, "1.5.*'p'.*outside"),
    "init NaN": (lambda p: run(normal, {"y": Y}, init={"mu": np.nan}), MODEL, "'mu'.*NaN"),
    "init infinite": (lambda p: run(normal, {"y": Y}, init={"mu": np.inf}), MODEL, "'mu'.*infinite"),
    "init as text": (lambda p: run(normal, {"y": Y}, init={"mu": "zero"}), MODEL, "'mu'"),
    "init of another type": (lambda p: run(normal, {"y": Y}, init=3.0), INIT, "init must be.*float"),
    "init from another fit": (lambda p: run(normal, {"y": Y}, init=fit(nu=0.0)), INIT, "init.*mu"),
    "prior that cannot be drawn": (lambda p: run(flat, {"y": Y}, init="prior"), INIT, "init='prior'.*'mu'"),
    "negative scale": (
        lambda p: run(scaled, {"y": Y, "scale": -1.0}),
        MODEL,
        "'scaled'.*after site 'mu'.*invalid scale",
    ),
    "negative scale from latent values": (
        lambda p: of(observe(lambda mu: dist.Normal(0.0, mu - 100.0))),
        INIT,
        "'y'.*Normal.*scale = -[0-9.]+ must",
    ),
    "infinite data": (lambda p: run(normal, {"y": [1.0, np.inf]}), INIT, "'y'.*Normal"),
    # prediction
    "predict with another fit": (lambda p: bk.predict(pair, {"x": Y}, fit(nu=1.0), key=0), MODEL, "'nu'"),
    "predict without a latent site": (lambda p: bk.predict(pair, {"x": Y}, fit(slope=1.0), key=0), MODEL, "'scale'"),
    "predict with a wrong shape": (
        lambda p: bk.predict(normal, {"y": Y}, fit(mu=[1.0, 2.0]), key=0),
        MODEL,
        r"'mu'.*\(2,\)",
    ),
    "predict an unknown site": (lambda p: bk.predict(normal, {"y": Y}, key=0, sites=["z"]), MODEL, "sites.*'z'"),
    "predict without a key": (lambda p: bk.predict(normal, {"y": Y}, key=None), METHOD, "key.*None"),
    "predict no draws": (lambda p: bk.predict(normal, {"y": Y}, key=0, num_draws=0), METHOD, "num_draws.*0"),
    "predict half a draw": (lambda p: bk.predict(normal, {"y": Y}, key=0, num_draws=1.5), METHOD, "num_draws.*1.5"),
    "predict from a flat prior": (lambda p: bk.predict(flat, {"y": Y}, key=0, num_draws=2), MODEL, "'?mu'?"),
    "predict from a file name": (
        lambda p: bk.predict(normal, {"y": Y}, "post.zarr", key=0),
        DATA,
        "post must be a fit.*'post.zarr'",
    ),
    "predict, dims of an unknown site": (
        lambda p: bk.predict(normal, {"y": Y}, key=0, num_draws=2, dims={"nu": ["a"]}),
        MODEL,
        "dims.*'nu'",
    ),
    # results and files
    "loo without log_likelihood": (lambda p: bk.loo(fit(mu=1.0)), bk.errors.BayeskitError, "log_likelihood"),
    "load a missing file": (lambda p: bk.load(p / "none.zarr"), STORAGE, "none.zarr"),
    "load a folder of other things": (lambda p: _foreign(p), STORAGE, "folder"),
    "load a truncated file": (lambda p: _cut(p), STORAGE, "post.nc"),
    "load with a chunk lost": (lambda p: _lost_chunk(p), STORAGE, "posterior/mu"),
    "save to an unknown suffix": (lambda p: bk.save(fit(mu=1.0), p / "post.csv"), STORAGE, "post.csv"),
    "resume nothing": (lambda p: bk.resume(normal, {"y": Y}, p / "none.zarr", progress=False), STORAGE, "none.zarr"),
    "store in a folder that is not there": (
        lambda p: run(normal, {"y": Y}, store=p / "none" / "post.zarr"),
        STORAGE,
        "post.zarr",
    ),
}

# what the signatures already forbid: the tests' runtime check of signatures would come first, so these run without it
WRONG_TYPES = (
    "name that is no string",
    "data not a mapping",
    "model that is no function",
    "no method",
    "num_chains=2.0",
    "target_accept as text",
    "MCLMC, variance as text",
    "ChEES, learning_rate as text",
    "MEADS, steps_per_draw=1.5",
    "key as text",
    "key=None",
    "init of another type",
    "predict without a key",
    "predict half a draw",
    "predict from a file name",
)
CHECKED = os.environ.get("BAYESKIT_RUNTIME_TYPES", "0") == "1"


def test_there_are_at_least_forty():
    assert len(CASES) >= 40


@pytest.mark.parametrize("name", [name for name in CASES if not (CHECKED and name in WRONG_TYPES)])
def test_bad_input(name, tmp_path):
    act, exception, message = CASES[name]
    with pytest.raises(exception, match=f"(?s){message}"):
        act(tmp_path)
    left = [file.name for file in tmp_path.iterdir() if file.name not in ("folder", "post.nc", "post.zarr")]
    assert left == []
    if exception not in (STORAGE,):
        assert not (tmp_path / "post.zarr").exists()


@pytest.mark.skipif(not CHECKED, reason="this is the process that it would start")
def test_wrong_types():
    """The cases that signatures forbid, in one process where only bayeskit itself can refuse them."""
    chosen = [f"{__file__}::test_bad_input[{name}]" for name in WRONG_TYPES]
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *chosen],
        env={**os.environ, "BAYESKIT_RUNTIME_TYPES": "0"},
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stdout[-3000:]
    assert f"{len(WRONG_TYPES)} passed" in result.stdout


def stop_at(monkeypatch, chunk, error=KeyboardInterrupt):
    """Make the sampler stop at a chunk."""
    stream = bk.NUTS.stream

    def stopping(self, state, target, num_steps, num_chunks):
        yield from itertools.islice(stream(self, state, target, num_steps, num_chunks), chunk - 1)
        raise error

    monkeypatch.setattr(bk.NUTS, "stream", stopping)


METHOD_NO_WARMUP = bk.NUTS(num_chains=2, num_warmup=0, num_draws=40, adaptation="diagonal")


def test_interrupted_run_keeps_its_draws_and_can_be_resumed(tmp_path, monkeypatch):
    store = tmp_path / "run.zarr"
    whole = run(normal, {"y": Y}, METHOD_NO_WARMUP)
    with monkeypatch.context() as patch:
        stop_at(patch, 2)
        with pytest.raises(bk.errors.Interrupted, match="interrupted after 2 of 40 steps, with 2 draws") as caught:
            run(normal, {"y": Y}, METHOD_NO_WARMUP, store=store)
    post = caught.value.post
    assert post["posterior/mu"].shape == (2, 2)
    np.testing.assert_array_equal(post["posterior/mu"], whole["posterior/mu"][:, :2])
    assert caught.value.store == str(store)
    assert not store.exists()
    with pytest.raises(bk.errors.DataError, match=r"of other data: argument 'y' has other values$"):
        bk.resume(normal, {"y": [0.5, -0.2, 1.2]}, store, progress=False)
    with pytest.raises(bk.errors.DataError, match=r"another model .*: site 'mu' is gone; .*site 'p' is new"):
        bk.resume(uniform, {"y": Y}, store, progress=False)
    resumed = bk.resume(normal, {"y": Y}, store, progress=False)
    np.testing.assert_array_equal(resumed["posterior/mu"], whole["posterior/mu"])
    assert [file.name for file in tmp_path.iterdir()] == ["run.zarr"]
    assert bk.resume(normal, {"y": Y}, store, progress=False).identical(resumed)


def test_interrupt_in_the_first_chunk_has_no_draws(monkeypatch):
    stop_at(monkeypatch, 1)
    with pytest.raises(bk.errors.Interrupted, match="with 0 draws") as caught:
        run(normal, {"y": Y}, METHOD_NO_WARMUP)
    assert caught.value.post is None
    assert caught.value.store is None


def test_failure_under_way_leaves_nothing_under_the_final_name(tmp_path, monkeypatch):
    stop_at(monkeypatch, 2, RuntimeError)
    with pytest.raises(RuntimeError):
        run(normal, {"y": Y}, METHOD_NO_WARMUP, store=tmp_path / "run.zarr")
    assert not (tmp_path / "run.zarr").exists()
