"""Wrong input: exit code 2, one line on stderr that names what is wrong, no traceback, nothing left behind."""

from __future__ import annotations

import pytest

RUN = ("run", "line.py", "--data", "line.csv", "--no-progress")

CASES = {
    # name: (files to write, words of the command, what the message must hold)
    "no such model file": ({}, ("run", "absent.py"), "there is no model file absent.py"),
    "neither model nor run file": ({}, ("run", "line.csv"), "a model file ends in .py"),
    "syntax error": ({"line.py": "def model(x:\n"}, RUN, "line.py, line 1: '(' was never closed"),
    "failing import": ({"line.py": "import absent_package\n"}, RUN, "line.py, line 1: ModuleNotFoundError"),
    "no model function": ({"line.py": "def modle(x): ...\n"}, RUN, "did you mean 'modle'?"),
    "model that fails": (
        {"line.py": "def model(x, y):\n    raise KeyError('oops')\n"},
        RUN,
        "line.py, line 2: KeyError: 'oops'",
    ),
    "model that observes nothing": (
        {"line.py": "import numpyro, numpyro.distributions as d\ndef model(x, y): numpyro.sample('a', d.Normal())\n"},
        RUN,
        "observ",
    ),
    "no such run file": ({}, ("run", "absent.toml"), "there is no run file absent.toml"),
    "run file that is not TOML": ({"line.toml": "model = \n"}, ("run", "line.toml"), "line.toml: Invalid value"),
    "unknown key": ({"line.toml": 'model = "line.py"\ndat = "a"\n'}, ("run", "line.toml"), "did you mean 'data'?"),
    "no data": ({}, ("run", "line.py"), "'x'"),
    "no such data file": ({}, ("run", "line.py", "--data", "absent.csv"), "absent.csv"),
    "empty data file": ({"line.csv": ""}, RUN, "line.csv is empty"),
    "data of unknown kind": ({"line.xls": "1"}, ("run", "line.py", "--data", "line.xls"), ".xls"),
    "truncated JSON": ({"line.json": '{"x": [1.0,'}, ("run", "line.py", "--data", "line.json"), "line.json, line 1"),
    "ragged CSV": ({"line.csv": "x,y\n1,2\n3\n"}, RUN, "line.csv, line 3"),
    "NaN in the data": ({"line.csv": "x,y\n1,2\n3,\n"}, RUN, "'y'"),
    "missing column": ({"line.csv": "y\n1\n2\n"}, RUN, "'x'"),
    "unknown method": ({}, (*RUN, "--method", "nust"), "did you mean 'nuts'?"),
    "unknown setting": ({}, (*RUN, "--set", "max_treedepth=5"), "did you mean 'max_tree_depth'?"),
    "impossible setting": ({}, (*RUN, "--target-accept", "1.5"), "target_accept"),
    "impossible number of chains": ({}, (*RUN, "--num-chains", "0"), "num_chains"),
    "no draws": ({}, (*RUN, "--num-draws", "0"), "num_draws"),
    "unknown backend": ({}, (*RUN, "--backend", "stan"), "backend"),
    "setting that another method has": ({}, (*RUN, "--method", "meads", "--set", "max_tree_depth=5"), "max_tree_depth"),
    "not name=value": ({}, (*RUN, "--set", "max_tree_depth"), "--set takes name=value"),
    "unknown site to keep": ({}, (*RUN, "--keep", "slop"), "slop"),
    "thin of zero": ({}, (*RUN, "--thin", "0"), "thin"),
    "unknown predictive argument": ({}, (*RUN, "--predictive", "z"), "no argument 'z'"),
    "unknown suffix of the result": ({}, (*RUN, "--out", "line.txt"), "line.txt"),
    "no folder for the result": ({}, (*RUN, "--out", "absent/line.zarr"), "absent"),
    "no folder for the report": ({}, (*RUN, "--report", "absent/page.html"), "absent/page.html"),
    "nothing to resume": ({}, (*RUN, "--resume"), "neither line.zarr.partial nor line.zarr does exist"),
    "unknown option": ({}, (*RUN, "--chains", "4"), "--chains"),
    "option of the wrong type": ({}, (*RUN, "--num-chains", "four"), "--num-chains"),
    "no result to check": ({}, ("check", "absent.zarr"), "absent.zarr"),
    "check of something else": ({}, ("check", "line.csv"), "line.csv"),
    "report of something else": ({}, ("report", "line.csv", "-o", "page.html"), "line.csv"),
    "summary of a folder that is no result": ({}, ("summary", "."), "not a zarr store"),
}

NOT_JUDGED = {
    "check": "error: line.nc holds a LightBridge, which has neither draws nor a record of its fit",
    "summary": "error: there are no draws to sum up, but the record of a fit, which `bayeskit check` judges",
}


@pytest.mark.parametrize("command", NOT_JUDGED)
def test_what_was_fitted_has_no_draws(command, folder, invoke):
    import bayeskit as bk
    from bayeskit.models.schrodinger_bridge import LightBridge
    from bayeskit.train import Trained
    from bayeskit.train.training import no_training

    bk.save(LightBridge(1, epsilon=0.5) if command == "check" else Trained((), no_training()), "line.nc")
    done = invoke(command, "line.nc")
    assert (done.exit_code, done.stderr) == (2, f"{NOT_JUDGED[command]}\n")


def test_a_string_among_numbers_makes_no_levels(folder, invoke):
    (folder / "line.csv").write_text("x,y\n1,2\n2,b\n3,4\n")
    done = invoke(*RUN)
    warning, error = done.stderr.splitlines()
    assert done.exit_code == 2
    assert warning.startswith("warning: line.csv, line 3, column 'y': 'b' is not a number")
    assert error.startswith("error: line.csv: 'b' in column 'y' is no number")


def test_a_run_without_draws_yet(folder, invoke):
    from bayeskit.storage import RunStore

    RunStore.create("line.zarr", {})
    done = invoke("check", "line.zarr.partial")
    text = "error: line.zarr.partial has no draws yet: the run has not come to the end of its first chunk\n"
    assert (done.exit_code, done.stderr) == (2, text)


@pytest.mark.parametrize("name", CASES)
def test_it_is_named_in_one_line(name, folder, invoke):
    files, words, message = CASES[name]
    for file, text in files.items():
        (folder / file).write_text(text)
    before = sorted(folder.iterdir())
    done = invoke(*words)
    assert done.exit_code == 2, (done.output, done.exception)
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.output
    if "Usage:" not in done.stderr:  # those of the option parser have a frame around them
        assert done.stderr.startswith("error: ")
        assert done.stderr.count("\n") == 1
    left = [path for path in sorted(folder.iterdir()) if path not in before and path.name != "__pycache__"]
    assert not left


def test_unknown_site_of_a_summary(result, invoke):
    done = invoke("summary", result, "--site", "slop")
    assert done.exit_code == 2
    assert "did you mean 'slope'?" in done.stderr


def test_debug_shows_the_traceback(folder, invoke):
    done = invoke("run", "absent.py", "--debug")
    assert done.exit_code == 2
    assert "Traceback" in done.stderr
    assert "error: there is no model file" in done.stderr


def test_a_failed_run_leaves_the_older_result_alone(folder, invoke, result):
    import shutil

    shutil.copytree(result, folder / "line.zarr")
    (folder / "line.py").write_text("def model(x, y):\n    raise RuntimeError\n")
    assert invoke("run", "line.toml", "--no-progress").exit_code != 0
    assert invoke("check", "line.zarr").exit_code == 0
    assert not (folder / "line.zarr.partial").exists()
