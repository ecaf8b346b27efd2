"""`bayeskit rl`: what a run file becomes, what is written, and what is refused."""

from __future__ import annotations

import numpy as np
import numpyro.distributions as dist
import pytest
import xarray as xr
from typer.testing import CliRunner

import bayeskit as bk
from bayeskit.cli.app import app
from bayeskit.models import td_error

FILE = """
agent = "ppo"
environment = "CartPole-v1"
num_steps = 100
num_evaluations = 1
key = 3
[error]
kind = "generalized_gaussian"
risk_averse = false
[reward_noise]
kind = "StudentT"
df = 3.0
[settings]
learning_rate = 1e-3
"""


@pytest.fixture
def runner(tmp_path, monkeypatch):
    """A run file in the present folder, and a training that takes no time; a function that calls the command."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "walk.toml").write_text(FILE)
    asked = {}

    def train(agent, environment, *, error="own", num_steps, key, num_evaluations=20, num_heads=None, reward_noise=None,
              settings=None, checkpoint=None, progress=True):  # fmt: skip
        asked.update(locals())
        evaluations = asked.get("evaluations", num_evaluations) + 1
        returns = np.arange(8.0).reshape(4, 1, 2) + 10 * np.arange(evaluations)[:, None]
        training = xr.Dataset({"episode_return": (("seed", "step", "episode"), returns)}, {"step": range(evaluations)})
        return xr.DataTree.from_dict({"training": training})

    monkeypatch.setattr(td_error, "train", train)
    return lambda *more: CliRunner().invoke(app, ["rl", *more]), asked


def test_a_run_file_is_the_call(runner):
    call, asked = runner
    done = call("walk.toml", "--plot", "curve.png", "--no-progress")
    assert done.exit_code == 0, done.output
    assert "1 steps: return      13.50  (" in done.output
    assert "written to walk.zarr" in done.output
    assert asked["error"] == td_error.GeneralizedGaussian(risk_averse=False)
    assert isinstance(asked["reward_noise"], dist.StudentT)
    assert (asked["key"], asked["progress"], asked["settings"]) == (3, False, {"learning_rate": 1e-3})
    assert str(asked["checkpoint"]) == "walk.partial.zarr"
    assert bk.load("walk.zarr")["training/episode_return"].shape == (4, 2, 2)
    with open("curve.png", "rb") as picture:
        assert picture.read(4) == b"\x89PNG"
    again = call("walk.toml")
    assert (again.exit_code, again.stderr) == (2, "error: walk.zarr is there already; --overwrite replaces it\n")


def test_an_interrupted_training_is_not_written(runner, tmp_path):
    call, asked = runner
    asked["evaluations"] = 0
    done = call("walk.toml")
    assert done.exit_code == 130
    assert "interrupted; walk.partial.zarr has what is done, and the same command goes on" in done.output
    assert not (tmp_path / "walk.zarr").exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("num_steps", "num_stepz", "error: walk.toml: unknown key 'num_stepz'; did you mean 'num_steps'?\n"),
        ("num_steps = 100", "", "error: walk.toml: the key 'num_steps' is missing\n"),
        (
            "StudentT",
            "Studnt",
            "error: reward_noise.kind must name a distribution of NumPyro, such as 'StudentT'; got 'Studnt'\n",
        ),
        ("key = 3", "out = 3", "error: walk.toml: out must be a path, got 3\n"),
        (
            "key = 3",
            'out = "x.pkl"',
            "error: cannot tell the format of x.pkl: the suffix is .zarr for a folder or .nc for a NetCDF file\n",
        ),
        (
            'kind = "StudentT"\ndf = 3.0',
            'kind = "MixtureSameFamily"\nmixing_distribution = 1\ncomponent_distribution = 2',
            "error: reward_noise: MixtureSameFamily does not take {'mixing_distribution': 1, ",
        ),
        ("df = 3.0", "dof = 3.0", "error: reward_noise: StudentT does not take {'dof': 3.0}: "),
        (
            "generalized_gaussian",
            "gausian",
            "error: loss must be one of 'gaussian', 'generalized_gaussian', 'inverse_error",
        ),
    ],
)
def test_refused(runner, tmp_path, old, new, message):
    (tmp_path / "walk.toml").write_text(FILE.replace(old, new))
    done = runner[0]("walk.toml")
    assert done.exit_code == 2
    assert done.stderr.startswith(message)
