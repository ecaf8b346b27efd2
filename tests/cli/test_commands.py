"""Each command does its work, and its exit code says how it went."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

import bayeskit as bk
from bayeskit.storage import RunStore
from bayeskit.train import Trained, Training
from bayeskit.train.training import Stopped

SMALL = ["--num-chains", "2", "--num-warmup", "200", "--num-draws", "200", "--no-progress"]
QUICK = [*SMALL, "--method", "hmc"]  # to compile


def test_version(invoke):
    done = invoke("--version")
    assert (done.exit_code, done.output) == (0, f"bayeskit {bk.__version__}\n")


@pytest.mark.smoke
def test_run_writes_a_result_with_its_record(folder, invoke):
    done = invoke("run", "line.py", "--data", "line.csv", "--out", "line.zarr", "--key", 3, *SMALL, "--num-draws", 500)
    assert done.exit_code == 0, done.output
    assert "slope" in done.output
    assert "OK" in done.output
    assert not (folder / "line.zarr.partial").exists()
    post = bk.load("line.zarr")
    assert post["posterior/slope"].shape == (2, 500)
    assert post["posterior/slope"].dtype == np.float64
    assert abs(float(post["posterior/slope"].mean()) - 0.7) < 0.1
    settings = json.loads(post.attrs["method_settings"])
    assert (settings["num_chains"], settings["num_warmup"]) == (2, 200)


def test_run_file_and_options(folder, invoke):
    (folder / "elsewhere").mkdir()
    text = 'model = "../line.py"\ndata = "../line.csv"\n[method]\nnum_chains = 3\nnum_warmup = 100\nnum_draws = 50\n'
    (folder / "elsewhere" / "run.toml").write_text(text)
    done = invoke("run", "elsewhere/run.toml", "--num-draws", 40, "--no-progress", "--set", "max_tree_depth=7")
    assert done.exit_code in (0, 3), done.output
    post = bk.load("run.zarr")  # in the current folder, not beside the run file
    assert post["posterior/slope"].shape == (3, 40)
    assert json.loads(post.attrs["method_settings"])["max_tree_depth"] == 7


@pytest.mark.full  # by default of methods, in tests/conformance, and the record has the key, in test_output.py
def test_the_same_key_gives_the_same_draws(folder, invoke):
    for out, key in (("a.zarr", 1), ("b.zarr", 1), ("c.zarr", 2)):
        invoke("run", "line.toml", "--out", out, "--key", key, *QUICK)
    first, second, other = (bk.load(name)["posterior/slope"].values for name in ("a.zarr", "b.zarr", "c.zarr"))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)


@pytest.mark.full  # by default an edited model, in test_output.py, and what differs, in tests/inference/test_stores.py
def test_only_the_same_run_replaces_a_result(folder, invoke):
    small = ["--num-chains", "1", "--num-warmup", "10", "--num-draws", "10", "--no-progress", "--method", "hmc"]
    assert invoke("run", "line.toml", *small).exit_code in (0, 3)
    assert invoke("run", "line.toml", *small, "--key", 1).exit_code in (0, 3)
    (folder / "line.csv").write_text("x,y\n0.0,1.0\n1.0,2.0\n")
    refused = invoke("run", "line.toml", *small)
    assert refused.exit_code == 2
    assert "line.zarr holds the result of another run (" in refused.output
    assert "--overwrite" in refused.output
    assert bk.load("line.zarr")["observed_data/y"].shape == (12,)
    assert invoke("run", "line.toml", *small, "--overwrite").exit_code in (0, 3)
    assert bk.load("line.zarr")["observed_data/y"].shape == (2,)


def test_inline_data_likelihood_predictive_thin_keep(folder, invoke):
    text = (
        'model = "line.py"\npredictive = "y"\nlog_likelihood = true\nthin = 2\n[data]\nx = [0.0, 1.0]\ny = [0.1, 0.6]\n'
    )
    (folder / "inline.toml").write_text(text)
    done = invoke("run", "inline.toml", "--keep", "slope", "--keep", "sigma", *QUICK)
    assert done.exit_code in (0, 3), done.output
    post = bk.load("inline.zarr")
    assert post["log_likelihood/y"].shape[-1:] == (2,)
    assert post["posterior_predictive/y"].shape[-1:] == (2,)
    assert post["posterior/slope"].shape[1] == 100


def test_discrete_sites(folder, invoke):
    (folder / "groups.py").write_text(
        "import numpyro, numpyro.distributions as dist\n"
        "def model(y):\n"
        "    centre = numpyro.sample('centre', dist.Normal(0.0, 1.0))\n"
        "    with numpyro.plate('row', 3):\n"
        "        high = numpyro.sample('high', dist.Bernoulli(0.3))\n"
        "        numpyro.sample('y', dist.Normal(centre + 3 * high, 1.0), obs=y)\n"
    )
    (folder / "groups.toml").write_text(
        'model = "groups.py"\ndiscrete = "probabilities"\n[data]\ny = [0.1, 3.2, 0.4]\n'
    )
    done = invoke("run", "groups.toml", *QUICK)
    assert done.exit_code in (0, 3), done.output
    assert bk.load("groups.zarr")["posterior/high_probs"].shape[-2:] == (3, 2)
    wrong = invoke("run", "groups.toml", "--discrete", "draws", *QUICK, "--overwrite")
    assert wrong.exit_code == 2
    assert "discrete must be one of 'sample', 'probabilities', got 'draws'" in wrong.output


@pytest.mark.full  # by default of `infer`, in tests/inference/test_stores.py
def test_netcdf(folder, invoke):
    done = invoke("run", "line.toml", "--out", "line.nc", *QUICK)
    assert done.exit_code in (0, 3), done.output
    assert bk.load("line.nc")["posterior/slope"].shape == (2, 200)


def test_a_bad_verdict_is_exit_code_three_and_the_result_is_written(folder, invoke):
    words = ["--num-chains", 2, "--num-warmup", 0, "--num-draws", 8, "--no-progress", "--method", "hmc"]
    done = invoke("run", "line.toml", "--report", "page.html", *words)
    assert done.exit_code == 3, done.output
    assert "NOT OK" in done.output
    assert (folder / "line.zarr").is_dir()
    assert (folder / "page.html").is_file()
    assert invoke("check", "line.zarr").exit_code == 1


def test_summary(result, invoke):
    done = invoke("summary", result)
    assert done.exit_code == 0
    assert re.search(r"slope .*0\.[67]", done.output)
    only = invoke("summary", result, "--site", "sigma")
    assert "sigma" in only.output
    assert "slope" not in only.output


def test_check(result, invoke):
    done = invoke("check", result)
    assert done.exit_code == 0
    assert done.output.startswith("OK")


@pytest.mark.full  # by default that of a run that has not ended, below
def test_report(result, folder, invoke):
    done = invoke("report", result, "-o", "page.html")
    assert done.exit_code == 0, done.output
    page = (folder / "page.html").read_text()
    assert "slope" in page
    assert page.rstrip().endswith("</html>")


@pytest.mark.smoke
def test_methods_lists_every_setting(invoke):
    from bayeskit.inference import Method

    done = invoke("methods")
    assert done.exit_code == 0
    words = done.output.replace("\n", " ")
    for name in Method.kinds():
        assert name in words
    assert re.search(r"target_accept\s*=\s*0\.8", words)


def so_far(folder, draws):
    """A run under way with these draws of a site, out of 1,000 a chain."""
    store = RunStore.create(
        folder / "line.zarr", {"attrs": {"num_draws": 1000}, "thin": 1, "coords": None, "method": {}}
    )
    if draws is not None:
        stats = {"diverging": np.zeros(draws.shape, bool), "lp": -(draws**2), "energy": draws**2}
        stats |= {"acceptance_rate": np.full(draws.shape, 0.9)}
        store.append({"posterior": {"slope": draws}, "sample_stats": stats})
        store.checkpoint([], draws.shape[1])


def test_a_run_that_has_not_ended(folder, invoke):
    so_far(folder, np.random.default_rng(0).normal(size=(4, 300)))
    check = invoke("check", "line.zarr.partial")
    assert check.exit_code == 4, check.output
    assert check.output.startswith("unfinished: 300 of 1000 draws a chain so far\nOK with 1 warning: 4 chains of 300")
    assert "WARNING unfinished" in check.output
    summary = invoke("summary", "line.zarr.partial")
    assert summary.exit_code == 0
    assert summary.output.startswith("unfinished: 300 of 1000 draws a chain so far\n")
    assert re.search(r"slope +-?0\.", summary.output)
    report = invoke("report", "line.zarr.partial")
    assert report.exit_code == 0
    assert report.output.startswith("unfinished: 300 of 1000 draws a chain so far\n")
    assert "300 of 1000 draws a chain" in (folder / "report.html").read_text()
    state = folder / "line.zarr.partial" / ".bayeskit"
    assert sorted(file.name for file in state.iterdir()) == ["checkpoint.npz", "record.json", "start.npz"]


def test_a_run_that_has_not_ended_and_is_in_trouble(folder, invoke):
    so_far(folder, np.random.default_rng(0).normal(size=(4, 300)) + 9 * np.arange(4)[:, None])
    done = invoke("check", "line.zarr.partial")
    assert done.exit_code == 1
    assert "NOT OK" in done.output
    assert "WARNING unfinished" in done.output


def test_what_was_fitted(folder, invoke):
    losses = np.exp(-np.arange(50.0))
    done = Training(losses, losses, np.zeros(0), np.zeros(0, int), Stopped.SETTLED, True, 0.1, (("gradient", 50),))
    bk.save(Trained({"w": np.ones(2)}, done), "line.zarr")
    check = invoke("check", "line.zarr")
    assert (check.exit_code, check.output.partition("\n")[0]) == (0, "OK: no sign of trouble in 50 steps of training")
    refused = invoke("run", "line.toml", *SMALL)
    assert refused.exit_code == 2
    assert refused.stderr == "error: line.zarr holds a train.Trained; name another with --out, or add --overwrite\n"
    assert type(bk.load("line.zarr")) is Trained
