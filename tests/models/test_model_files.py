"""Every run file of the repository: its model takes its data, and one command runs it."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import jax
import numpy as np
import numpyro
import pytest
from numpyro import handlers
from numpyro.infer.util import log_density
from typer.testing import CliRunner

from bayeskit.cli.app import app
from bayeskit.cli.inputs import read_inputs
from bayeskit.cli.plan import read_run_file

ROOT = Path(__file__).resolve().parents[2]
RUN_FILES = sorted((ROOT / "inference").glob("*.toml"))
by_name = pytest.mark.parametrize("path", RUN_FILES, ids=lambda path: path.stem)
BY_DEFAULT = ("radon", "logistic_vi")
"""Run in every tier, one by chains and one by VI; of all files there are the densities."""


@cache
def load(path):
    plan = read_run_file(path)
    inputs = read_inputs(plan)
    return plan, inputs.file, inputs.columns, inputs.arguments


def traced(model, arguments, look):
    """What `look` sees in a trace of the model, of which nothing is computed."""
    seen = []

    def program():
        seen.append(look(handlers.trace(handlers.seed(model, 0)).get_trace(**arguments)))

    jax.eval_shape(program)
    return seen[0]


def test_every_model_has_a_run_file():
    used = {Path(read_run_file(path).model).name for path in RUN_FILES}
    assert used == {path.name for path in (ROOT / "models").glob("*.py")}


def test_no_run_file_overwrites_another_result():
    results = [read_run_file(path).out for path in RUN_FILES]
    assert len(set(results)) == len(results)


@pytest.mark.parametrize(
    "path",
    # a solution of an equation is long to compile; its density is tested in spectral_pde/test_pde_model.py
    [
        pytest.param(path, id=path.stem, marks=pytest.mark.full if path.stem == "diffusion" else ())
        for path in RUN_FILES
    ],
)
def test_the_density_of_a_prior_draw_is_finite(path):
    _, file, _, arguments = load(path)

    @jax.jit
    def density():
        trace = handlers.trace(handlers.seed(file.model, 0)).get_trace(**arguments)
        latent = [name for name, site in trace.items() if site["type"] == "sample" and not site["is_observed"]]
        return log_density(file.model, (), arguments, {name: trace[name]["value"] for name in latent})[0]

    assert np.isfinite(density())


@by_name
def test_labels_have_the_lengths_of_their_plates(path):
    _, file, columns, arguments = load(path)
    sizes = lambda trace: {name: site["args"][0] for name, site in trace.items() if site["type"] == "plate"}  # noqa: E731
    plates = traced(file.model, arguments, sizes)
    for name, labels in (file.labels("coords", columns, "") or {}).items():
        assert len(labels) == plates[name]


@by_name
def test_predictive_arguments_can_be_left_out(path):
    plan, file, _, arguments = load(path)
    for name in plan.predictive:
        shape = traced(file.model, {**arguments, name: None}, lambda trace, name=name: trace[name]["value"].shape)
        assert shape == np.shape(arguments[name])


def test_radon_counties_keep_their_own_uranium():
    _, _, columns, arguments = load(ROOT / "inference" / "radon.toml")
    assert len(columns["county"]) == 919
    assert arguments["log_uranium"].shape == (85,)
    np.testing.assert_array_equal(arguments["log_uranium"][arguments["county"]], columns["log_uranium"])


def test_autoregression_lags_are_the_past():
    _, _, columns, arguments = load(ROOT / "inference" / "autoregression.toml")
    series = np.log10(columns["trapped"])
    np.testing.assert_array_equal(arguments["y"], series[2:])
    np.testing.assert_array_equal(arguments["lags"][:, 0], series[1:-1])
    np.testing.assert_array_equal(arguments["lags"][:, 1], series[:-2])


def test_the_two_eight_schools_are_one_posterior():
    """The densities differ by the Jacobian of theta = mu + tau z, that is by 8 log tau."""
    _, centred, _, arguments = load(ROOT / "inference" / "eight_schools_centred.toml")
    _, noncentred, _, _ = load(ROOT / "inference" / "eight_schools_noncentred.toml")
    mu, tau, z = 1.3, 2.5, jax.random.normal(jax.random.key(0), (8,))
    first, _ = log_density(centred.model, (), arguments, {"mu": mu, "tau": tau, "theta": mu + tau * z})
    second, _ = log_density(noncentred.model, (), arguments, {"mu": mu, "tau": tau, "z": z})
    np.testing.assert_allclose(second - first, 8 * np.log(tau), rtol=1e-10)


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=() if path.stem in BY_DEFAULT else pytest.mark.full, id=path.stem) for path in RUN_FILES],
)
def test_one_command_runs_it(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # the steps of VI are those of its file; a chain that is hardly warmed up would make its longest trajectories
    short = [] if path.stem.endswith("_vi") else ["--num-warmup", "10", "--set", "max_tree_depth=2"]
    # one chain: several, in threads that factorise, wait long for each other where other processes are at work
    small = ["--num-chains", "1", *short, "--num-draws", "10", "--no-progress"]
    result = CliRunner().invoke(app, ["run", str(path), *small])
    assert result.exit_code in (0, 3), result.output
    assert Path(read_run_file(path).out).is_dir()
    assert numpyro.__version__ in (tmp_path / read_run_file(path).out / ".zattrs").read_text()
