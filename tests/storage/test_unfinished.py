"""The draws so far of a run that has not ended."""

from __future__ import annotations

import itertools
import re

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import bayeskit as bk
from bayeskit.errors import StorageError
from bayeskit.storage import RunStore, chunks

Y = np.array([0.3, -0.2, 0.5])


def model(y):
    with numpyro.plate("school", 3):
        theta = numpyro.sample("theta", dist.Normal(0.0, 1.0))
        numpyro.deterministic("twice", 2 * theta)
        numpyro.sample("y", dist.Normal(theta, 1.0), obs=y)
    numpyro.sample("shape", dist.Dirichlet(jnp.ones(3)))
    numpyro.sample("angle", dist.VonMises(0.0, 1.0))


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """The folder of an interrupted run, and the draws that it had."""
    path, stream = tmp_path_factory.mktemp("run") / "run.zarr", bk.NUTS.stream

    def stopping(self, state, target, num_steps, num_chunks):
        yield from itertools.islice(stream(self, state, target, num_steps, num_chunks), 4)
        raise KeyboardInterrupt

    options = {"thin": 2, "log_likelihood": True, "dims": {"shape": ["part"]}, "coords": {"school": ["A", "B", "C"]}}
    method = bk.NUTS(num_chains=2, num_warmup=0, num_draws=40, adaptation="diagonal")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bk.NUTS, "stream", stopping)
        with pytest.raises(bk.errors.Interrupted) as caught:
            bk.infer(model, {"y": Y}, method, key=0, store=path, progress=False, **options)
    return path.with_name("run.zarr.partial"), caught.value.post


def content(folder):
    return {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in folder.rglob("*") if file.is_file()}


def test_the_draws_so_far_are_as_the_result_will_have_them(interrupted):
    folder, post = interrupted
    before = content(folder)
    found = bk.load(folder)
    assert list(found.children) == ["posterior", "sample_stats", "log_likelihood"]
    for group in found.children:
        assert found[group].to_dataset().identical(post[group].to_dataset())
    assert found["posterior/theta"].dims == ("chain", "draw", "school")
    assert found["posterior/shape"].dims == ("chain", "draw", "part")
    assert found["posterior/twice"].attrs == {"site_kind": "deterministic"}
    assert found["posterior/angle"].attrs == {"site_kind": "latent", "support": "circular"}
    added = {"unfinished": 1, "num_draws": 4, "num_draws_wanted": 20}
    assert found.attrs == {**{n: v for n, v in post.attrs.items() if n != "interrupted"}, **added}
    assert content(folder) == before


def test_the_verdict_says_that_the_run_has_not_ended(interrupted):
    (finding,) = (one for one in bk.check(bk.load(interrupted[0]), quiet=True).findings if one.name == "unfinished")
    assert (finding.severity, finding.value, finding.threshold) == ("warning", 4.0, 20.0)
    assert finding.meaning == "The run has not ended: these are 4 of 20 draws a chain."
    assert "`unfinished`         warning " in bk.check.__doc__


def test_it_can_be_saved(interrupted, tmp_path):
    found = bk.load(interrupted[0])
    assert bk.load(bk.save(found, tmp_path / "so_far.nc")).identical(found)


def refused(path, text):
    with pytest.raises(StorageError, match=f"^{re.escape(text)}$"):
        bk.load(path)


def test_what_is_not_there_yet_is_said(interrupted):
    folder, _ = interrupted
    path = folder.with_name("run.zarr")
    refused(path, f"there is no result at {path}; {folder} holds the draws of a run that has not ended")


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A run under way, as its writer sees it."""
    monkeypatch.setattr(chunks, "MOST_DRAWS", 2)
    return RunStore.create(tmp_path / "run.zarr", {"attrs": {"num_draws": 10}, "thin": 1, "coords": None})


def append(store, length=2):
    values = np.random.default_rng(0).normal(size=(2, length, 3))
    store.append({"posterior": {"scope/x": values}, "sample_stats": {"lp": values[..., 0]}})
    return values


def test_a_run_without_draws(store):
    refused(store.folder, f"{store.folder} has no draws yet: the run has not come to the end of its first chunk")
    store.checkpoint([], 50)
    text = "has no draws yet: the run is in its warmup, and has 50 steps behind it"
    refused(store.folder, f"{store.folder} {text}")


def test_what_is_being_written_does_not_count(store):
    """A record without the names of dimensions is one that an older version has written."""
    first = append(store)
    store.checkpoint([], 2)
    append(store)
    (store.folder / "posterior/scope%2Fx/0.1.0").write_bytes(b"of a chunk that no checkpoint knows")
    (store.folder / "posterior/scope%2Fx/.0.2.0.tmp-1-2").write_bytes(b"")
    before = content(store.folder)
    found = bk.load(store.folder)
    assert found["posterior/scope.x"].dims == ("chain", "draw", "scope.x_dim_0")
    np.testing.assert_array_equal(found["posterior/scope.x"], first)
    assert (found.attrs["num_draws"], found.attrs["num_draws_wanted"]) == (2, 10)
    assert content(store.folder) == before
    store.checkpoint([], 4)  # the writer goes on
    assert bk.load(store.folder)["posterior/scope.x"].shape == (2, 4, 3)


def test_a_run_that_ends_while_it_is_read(store, monkeypatch):
    append(store)
    store.checkpoint([], 2)
    restore = RunStore._restore

    def ending(self, arrays):
        store.finish(bk.storage.make_tree({"posterior": {"x": np.zeros((2, 2))}}))
        return restore(self, arrays)

    monkeypatch.setattr(RunStore, "_restore", ending)
    refused(store.folder, f"the run in {store.folder} has ended while it was read; look at {store.path}")
    assert bk.load(store.path)["posterior/x"].shape == (2, 2)


def test_damage(store):
    append(store)
    store.checkpoint([], 2)
    file = store.folder / "posterior/scope%2Fx/0.0.0"
    file.write_bytes(b"")
    with pytest.raises(StorageError, match=f"^{re.escape(str(file))} is damaged: "):
        bk.load(store.folder)["posterior/scope.x"].load()


def test_a_store_of_something_else(tmp_path):
    other = RunStore.create(tmp_path / "other.zarr", {"method": "mine"})
    append(other)
    other.checkpoint([], 2)
    refused(other.folder, f"{other.folder} is not of bayeskit.infer: its record does not describe a run")
