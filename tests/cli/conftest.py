"""A folder with a small model, its data and one finished result."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bayeskit.cli.app import app

MODEL = """
import numpyro
import numpyro.distributions as dist

def model(x, y=None):
    slope = numpyro.sample("slope", dist.Normal(0.0, 1.0))
    sigma = numpyro.sample("sigma", dist.HalfNormal(1.0))
    with numpyro.plate("point", x.shape[0]):
        numpyro.sample("y", dist.Normal(slope * x, sigma), obs=y)
"""
DATA = "x,y\n" + "".join(f"{x},{0.7 * x + 0.1 * (-1) ** x}\n" for x in range(12))


def write_files(folder: Path) -> None:
    (folder / "line.py").write_text(MODEL)
    (folder / "line.csv").write_text(DATA)
    (folder / "line.json").write_text(json.dumps({"x": [0.0, 1.0, 2.0], "y": [0.1, 0.6, 1.5]}))
    (folder / "line.toml").write_text('model = "line.py"\ndata = "line.csv"\nout = "line.zarr"\n')


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with ``line.py``, ``line.csv``, ``line.json`` and ``line.toml`` in it."""
    write_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def invoke():
    """Call the command in this process: ``invoke("check", "line.zarr")`` gives the result with ``exit_code``."""
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words], prog_name="bayeskit")


@pytest.fixture(scope="session")
def result(tmp_path_factory):
    """Path of a finished, good result."""
    folder = tmp_path_factory.mktemp("result")
    write_files(folder)
    words = ["run", str(folder / "line.py"), "--data", str(folder / "line.csv"), "--out", str(folder / "line.zarr")]
    sizes = ["--num-chains", "4", "--num-warmup", "500", "--num-draws", "2000", "--no-progress"]
    done = CliRunner().invoke(app, [*words, *sizes], prog_name="bayeskit")
    assert done.exit_code == 0, done.output
    return folder / "line.zarr"
