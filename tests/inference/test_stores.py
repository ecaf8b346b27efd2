"""Runs whose draws go to the disk: the same draws, read when they are used; resumed, extended, stopped and killed."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path

import jax
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import bayeskit as bk
from bayeskit._progress import ProgressBar
from bayeskit.errors import DataError, Interrupted, MethodError, StorageError
from bayeskit.inference.driver import Run
from bayeskit.storage import RunStore, chunks
from bayeskit.storage.chunks import stored

ROOT = Path(__file__).parents[2]
DATA = {"y": np.array([0.3, -0.2, 0.5])}
METHOD = bk.HMC(num_chains=2, num_warmup=20, num_draws=70, trajectory_length=1.0, chain_method="vectorized")
LONGER = dataclasses.replace(METHOD, num_draws=113)
OPTIONS = {"key": 3, "thin": 2, "log_likelihood": True, "progress": False}


def model(y):
    mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
    with numpyro.plate("row", 3):
        theta = numpyro.sample("theta", dist.Normal(mu, 1.0))
        numpyro.sample("y", dist.Normal(theta, 1.0), obs=y)


def run(method=METHOD, **options):
    return bk.infer(model, DATA, method, **{**OPTIONS, **options})


@pytest.fixture(autouse=True)
def short_chunks(monkeypatch):
    """Of several draws, so that these runs have whole chunks and a rest."""
    monkeypatch.setattr(chunks, "MOST_DRAWS", 7)


@pytest.fixture(scope="module")
def whole():
    return run()


@pytest.fixture(scope="module")
def longer():
    return run(LONGER)


def same_draws(first, second):
    assert list(first.children) == list(second.children)
    for group in first.children:
        assert first[group].to_dataset().identical(second[group].to_dataset()), group


def stop_at(patch, chunk, act):
    """Do something in a chunk of the sampler."""
    stream = bk.HMC.stream

    def stopping(self, state, target, num_steps, num_chunks):
        for number, found in enumerate(stream(self, state, target, num_steps, num_chunks), 1):
            if number == chunk:
                act()
            yield found

    patch.setattr(bk.HMC, "stream", stopping)


def interrupt():
    raise KeyboardInterrupt


def test_draws_are_on_the_disk_and_not_in_memory(whole, tmp_path):
    post = run(store=tmp_path / "run.zarr")
    for group in ("posterior", "sample_stats", "log_likelihood"):
        assert all(stored(variable.variable) is not None for variable in post[group].data_vars.values())
    same_draws(post, whole)
    assert post.identical(bk.load(tmp_path / "run.zarr"))
    assert str(bk.check(post, quiet=True)) == str(bk.check(whole, quiet=True))


def test_large_draws_are_judged_in_pieces_alike(whole, tmp_path, monkeypatch):
    from bayeskit.diagnostics import elements

    post = run(store=tmp_path / "run.zarr")
    table, verdict = bk.summary(whole), bk.check(whole, quiet=True)
    monkeypatch.setattr(elements, "PIECE", 1)  # an element, or a draw, at once
    assert [type(site.held) for site in elements.posterior_sites(post)] == [elements.Columns] * 2
    np.testing.assert_allclose(bk.summary(post), table, rtol=1e-12)
    assert list(bk.summary(post).index) == list(table.index)
    assert str(bk.check(post, quiet=True)) == str(verdict)


def test_the_result_of_a_run_in_netcdf(whole, tmp_path):
    post = run(store=tmp_path / "run.nc")
    same_draws(post, whole)
    assert [file.name for file in tmp_path.iterdir()] == ["run.nc"]
    with pytest.raises(StorageError, match="in one file: there is nothing to go on with"):
        bk.extend(model, DATA, tmp_path / "run.nc", num_draws=1)


@pytest.mark.parametrize("chunk", [1, 3, 18])
def test_a_run_is_resumed(chunk, whole, tmp_path, monkeypatch):
    path = tmp_path / "run.zarr"
    with monkeypatch.context() as patch:
        stop_at(patch, chunk, interrupt)
        with pytest.raises(Interrupted, match=r"go on with bayeskit.resume"):
            run(store=path)
    with pytest.raises(StorageError, match=r"holds an unfinished run: go on with bayeskit\.resume"):
        run(store=path)
    with pytest.raises(StorageError, match=r"holds an unfinished run: go on with bayeskit\.resume"):
        bk.extend(model, DATA, path, num_draws=3)
    resumed = bk.resume(model, DATA, path, progress=False)
    same_draws(resumed, whole)
    assert bk.resume(model, DATA, path, progress=False).identical(resumed)


def test_a_run_with_starts_of_ones_own_is_resumed_from_them(tmp_path, monkeypatch):
    path, start = tmp_path / "run.zarr", numpyro.infer.init_to_value(values={"mu": np.array(0.25)})
    with monkeypatch.context() as patch:
        stop_at(patch, 1, interrupt)
        with pytest.raises(Interrupted):
            run(init=start, store=path)
    np.testing.assert_array_equal(RunStore.open(path).start()["mu"], [0.25, 0.25])
    same_draws(bk.resume(model, DATA, path, progress=False), run(init=start))


@pytest.mark.parametrize("more", [pytest.param((43,), marks=pytest.mark.full), (1, 2, 40)])
def test_an_extended_run_is_the_longer_one(more, longer, tmp_path):
    path = tmp_path / "run.zarr"
    run(store=path)
    for num_draws in more:
        post = bk.extend(model, DATA, path, num_draws=num_draws, progress=False)
    same_draws(post, longer)
    changed = {"created_at", "wall_time", "warmup_time", "sampling_time", "compile_time"}
    assert {n: v for n, v in post.attrs.items() if n not in changed} == {
        n: v for n, v in longer.attrs.items() if n not in changed
    }


def test_an_extension_is_resumed_and_its_run_stays_until_then(whole, longer, tmp_path, monkeypatch):
    path = tmp_path / "run.zarr"
    run(store=path)
    with monkeypatch.context() as patch:
        stop_at(patch, 3, interrupt)
        with pytest.raises(Interrupted):
            bk.extend(model, DATA, path, num_draws=43, progress=False)
    same_draws(bk.load(path), whole)
    same_draws(bk.resume(model, DATA, path, progress=False), longer)


def test_what_cannot_be_extended(whole, tmp_path, monkeypatch):
    path = tmp_path / "run.zarr"
    bk.save(whole, path)
    with pytest.raises(StorageError, match=r"run\.zarr does not hold the state of its run.*bayeskit\.save"):
        bk.extend(model, DATA, path, num_draws=3)
    with pytest.raises(StorageError, match=r"no result at .*none\.zarr"):
        bk.extend(model, DATA, tmp_path / "none.zarr", num_draws=3)
    with pytest.raises(MethodError, match="num_draws must be a positive integer"):
        bk.extend(model, DATA, path, num_draws=0)
    run(store=path)
    with pytest.raises(MethodError, match=r"trajectory_length was 1\.0 and is 2\.0"):
        bk.extend(model, DATA, path, num_draws=3, method=dataclasses.replace(METHOD, trajectory_length=2.0))
    monkeypatch.setattr(bk.HMC, "extends", False)
    with pytest.raises(MethodError, match=r"draws of HMC are made together.*num_draws=73 has as many"):
        bk.extend(model, DATA, path, num_draws=3)


def another_scale(y):
    mu = numpyro.sample("mu", dist.Cauchy(0.0, 1.0))
    with numpyro.plate("row", 3):
        theta = numpyro.sample("theta", dist.Normal(mu, 1.0))
        numpyro.sample("tau", dist.HalfNormal(1.0))
        numpyro.sample("y", dist.Normal(theta, 1.0), obs=y)


def test_what_differs_is_named(tmp_path):
    path = tmp_path / "run.zarr"
    run(store=path)
    for other, data, text in (
        (model, {"y": DATA["y"] + 1}, "argument 'y' has other values$"),
        (model, {"y": np.array([1, 2, 3])}, "argument 'y' had dtype float64 and has int64"),
        (another_scale, DATA, "site 'mu' had distribution Normal and has Cauchy; site 'tau' is new"),
    ):
        with pytest.raises(DataError, match=text):
            bk.resume(other, data, path, progress=False)
    with jax.enable_x64(False), pytest.raises(DataError, match="precision was float64 and is float32"):
        bk.resume(model, DATA, path, progress=False)
    file = path / ".bayeskit" / "record.json"
    content = json.loads(file.read_text())
    versions = json.loads(content["record"]["attrs"]["versions"]) | {"jax": "0.1"}
    content["record"]["attrs"]["versions"] = json.dumps(versions)
    file.write_text(json.dumps(content))
    with pytest.warns(UserWarning, match=r"was begun with jax 0\.1 \(now "):
        bk.resume(model, DATA, path, progress=False)


@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_after_its_chunk(number, whole, tmp_path, monkeypatch):
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    with monkeypatch.context() as patch:
        stop_at(patch, 10, lambda: os.kill(os.getpid(), number))
        with pytest.raises(Interrupted, match="interrupted after 50 of 90 steps, with 15 draws") as caught:
            run(store=tmp_path / "run.zarr")
        assert caught.value.signal == number
        same = caught.value.post["posterior"].to_dataset()
        assert same.identical(whole["posterior"].to_dataset().isel(draw=slice(15)))
        with pytest.raises(Interrupted) as caught:  # in memory
            run()
        assert caught.value.post["posterior"].sizes["draw"] == 15
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before
    assert caught.value.store is None


def test_another_thread_leaves_signals_alone(whole):
    before, found = signal.getsignal(signal.SIGTERM), []
    thread = threading.Thread(target=lambda: found.append((run(), signal.getsignal(signal.SIGTERM))))
    thread.start()
    thread.join()
    same_draws(found[0][0], whole)
    assert found[0][1] == before


@pytest.mark.skipif(os.name == "nt", reason="limits of processes")
def test_a_full_disk(whole, tmp_path, monkeypatch):
    """No file may grow beyond some bytes, from a chunk on; on a disk without room it is the same to the program."""
    path, limits = tmp_path / "run.zarr", resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    monkeypatch.setattr(RunStore, "is_due", lambda self: True)  # however long the last checkpoint took
    try:
        with monkeypatch.context() as patch:
            stop_at(patch, 10, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1])))
            with pytest.raises(StorageError, match=r"cannot write .*run\.zarr\.partial") as caught:
                run(store=path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    drawn = caught.value.post["posterior"].to_dataset()
    assert drawn.identical(whole["posterior"].to_dataset().isel(draw=slice(drawn.sizes["draw"])))
    assert drawn.sizes["draw"] == 15
    kept = bk.load(f"{path}.partial")["posterior"].to_dataset()
    assert kept.identical(whole["posterior"].to_dataset().isel(draw=slice(12)))
    same_draws(bk.resume(model, DATA, path, progress=False), whole)


def test_an_error_before_any_draw_leaves_no_store(tmp_path, monkeypatch):
    def fail():
        raise RuntimeError("no")

    monkeypatch.setattr(bk.HMC, "stages", lambda self, state, target: fail())
    with pytest.raises(RuntimeError):
        run(store=tmp_path / "run.zarr")
    assert list(tmp_path.iterdir()) == []


@dataclasses.dataclass
class Growing:
    """A warmup in stages, whose state grows."""

    stop: int = 10**6
    warmup_steps: int = 0
    num_draws: int = 1

    def stages(self, state, target):
        for number in itertools.count():
            size = state["dead"].size
            if size == 5:
                return
            if number == self.stop:
                raise KeyboardInterrupt
            state = {"dead": np.append(state["dead"], size)}
            yield state, "one more"


@pytest.mark.parametrize("stop", [0, 1, 2, 4])
def test_a_warmup_in_stages_goes_on_from_one_of_them(stop, tmp_path):
    store = RunStore.create(tmp_path / "run.zarr", {})
    run, state = Run(Growing(stop), None, None, 1, None), {"dead": np.zeros(0)}
    run.disk = store
    with pytest.raises(KeyboardInterrupt):
        run.warm_up(ProgressBar(1, False), state)
    run.save()
    point = store.read_checkpoint()
    if stop < 2:
        assert point is None  # whether the first is the last was not known
    else:
        assert not point.is_warm
        assert point.leaves[0].size == stop - 1
        state = {"dead": point.leaves[0]}
    again = Run(Growing(), None, None, 1, None)
    again.disk = store
    again.warm_up(ProgressBar(1, False), state)
    point = store.read_checkpoint()
    assert point.is_warm
    np.testing.assert_array_equal(point.leaves[0], np.arange(5.0))


def killed(kills, draws):
    words = [sys.executable, ROOT / "benchmarks" / "killed.py", "--kills", str(kills), "--draws", str(draws)]
    environment = {**os.environ, "JAX_ENABLE_X64": "1"}
    done = subprocess.run(words, capture_output=True, text=True, timeout=900, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout
    assert "the same, bit for bit; beside it: ['run.zarr', 'whole.zarr']" in done.stdout.replace(
        "['whole.zarr', 'run.zarr']", "['run.zarr', 'whole.zarr']"
    )


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_a_killed_run_ends_as_if_it_had_not_been():
    killed(1, 10_000)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_a_run_that_is_killed_twenty_times():
    killed(20, 200_000)
