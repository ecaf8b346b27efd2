"""The commands that go on from a stored run, and what they write."""

from __future__ import annotations

import itertools
import os
import signal

import numpy as np
import pandas as pd
import pytest

import bayeskit as bk

RUN = ("run", "line.toml", "--no-progress")
METHOD = "[method]\nname = 'hmc'\nnum_chains = 2\nnum_warmup = 100\nnum_draws = 60\nchain_method = 'vectorized'\n"


@pytest.fixture
def file(folder):
    with (folder / "line.toml").open("a") as file:
        file.write(METHOD)
    return folder


@pytest.fixture
def stopped(file, invoke, monkeypatch):
    """The folder of a run that was asked to end."""
    stream = bk.HMC.stream

    def stopping(self, state, target, num_steps, num_chunks):
        for number, found in enumerate(stream(self, state, target, num_steps, num_chunks)):
            if number == 15:
                os.kill(os.getpid(), signal.SIGTERM)
            yield found

    with monkeypatch.context() as patch:
        patch.setattr(bk.HMC, "stream", stopping)
        done = invoke(*RUN)
    assert done.exit_code == 143, done.output
    assert "28 draws a chain are kept in line.zarr.partial" in done.output
    return file


def draws(path="line.zarr"):
    return bk.load(path)["posterior"].load()


@pytest.fixture(scope="module")
def kept():
    """Draws by the number of them, made when they are first asked for."""
    return {}


def whole(kept, invoke, num_draws):
    if num_draws not in kept:
        done = invoke(*RUN, "--num-draws", num_draws, "--out", "whole.zarr")
        assert done.exit_code in (0, 3), done.output
        kept[num_draws] = draws("whole.zarr")
    return kept[num_draws]


def test_resume(stopped, invoke, kept):
    assert invoke(*RUN, "--resume", "--set", "trajectory_length=3.0").exit_code == 2
    assert invoke(*RUN, "--resume", "--key", "1").exit_code == 2
    first = invoke("resume", "line.toml", "--no-progress")
    assert first.exit_code in (0, 3), first.output
    assert draws().identical(whole(kept, invoke, 60))
    again = invoke("resume", "line.toml", "--no-progress")  # of a run that has ended
    assert (again.exit_code, again.output) == (first.exit_code, first.output)
    assert invoke(*RUN, "--resume").exit_code == first.exit_code
    assert invoke("resume", "line.py", "--data", "line.csv", "--no-progress").exit_code == first.exit_code


def test_extend(file, invoke, kept):
    assert invoke("extend", "line.toml", "--num-draws", "20").exit_code == 2
    invoke(*RUN)
    done = invoke("extend", "line.toml", "--num-draws", "20", "--no-progress")
    assert done.exit_code in (0, 3), done.output
    assert draws().identical(whole(kept, invoke, 80))
    assert invoke("resume", "line.toml", "--no-progress").exit_code == done.exit_code  # of as many draws
    refused = invoke(*RUN, "--resume", "--num-draws", "90")
    assert refused.exit_code == 2
    assert "num_draws was 80 and is 90" in refused.output


def test_predict(file, invoke):
    invoke(*RUN)
    assert invoke("predict", "line.toml").exit_code == 2
    done = invoke("predict", "line.toml", "--predictive", "y")
    assert done.exit_code == 0, done.output
    post = bk.load("line.zarr")
    assert post["posterior_predictive/y"].shape == (2, 60, 12)
    (file / "new.csv").write_text("x,y\n20,0\n30,0\n")
    done = invoke("predict", "line.toml", "--predictive", "y", "--data", "new.csv", "--to", "new.zarr")
    assert done.exit_code == 0, done.output
    assert bk.load("new.zarr")["predictions/y"].shape == (2, 60, 2)
    assert "predictions" not in bk.load("line.zarr").children
    assert invoke("extend", "line.toml", "--num-draws", "5", "--no-progress").exit_code in (0, 3)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_export_to_a_table(suffix, file, invoke, monkeypatch):
    from bayeskit.cli import export

    monkeypatch.setattr(export, "ROWS", 7)
    rng = np.random.default_rng(0)
    values = {"mu": rng.normal(size=(2, 10)), "theta": rng.normal(size=(2, 10, 2))}
    groups = {"posterior": values, "sample_stats": {"lp": values["mu"]}}
    bk.save(bk.storage.make_tree(groups, dims={"theta": ["school"]}, coords={"school": ["A", "B"]}), "post.nc")
    done = invoke("export", "post.nc", "--to", f"table{suffix}", "--stats")
    assert done.exit_code == 0, done.output
    table = (pd.read_csv if suffix == ".csv" else pd.read_parquet)(f"table{suffix}")
    assert list(table) == ["chain", "draw", "mu", "theta[A]", "theta[B]", "sample_stats.lp"]
    assert list(zip(table["chain"], table["draw"], strict=True)) == list(itertools.product(range(2), range(10)))
    np.testing.assert_array_equal(table["theta[B]"], values["theta"][..., 1].ravel())
    invoke("export", "post.nc", "--to", f"table{suffix}", "--site", "mu")
    assert list((pd.read_csv if suffix == ".csv" else pd.read_parquet)(f"table{suffix}")) == ["chain", "draw", "mu"]


def test_export_to_another_format(file, invoke):
    post = bk.storage.make_tree({"posterior": {"mu": np.zeros((2, 5)), "nu": np.ones((2, 5))}})
    bk.save(post, "post.zarr")
    assert invoke("export", "post.zarr", "--to", "post.nc").exit_code == 0
    assert bk.load("post.nc").identical(post)
    assert invoke("export", "post.zarr", "--to", "nu.nc", "--site", "nu").exit_code == 0
    assert list(bk.load("nu.nc")["posterior"].data_vars) == ["nu"]
    for words, text in (
        (("--to", "post.xls"), "--to ends in .csv, .parquet, .nc or .zarr, not '.xls'"),
        (("--to", "post.csv", "--site", "mi"), "has no site 'mi'"),
        (("--to", "post.nc", "--stats"), "--stats is for tables"),
    ):
        done = invoke("export", "post.zarr", *words)
        assert done.exit_code == 2
        assert text in done.output
