"""Run files and options: what wins, what is refused, and where paths lead."""

from __future__ import annotations

from pathlib import Path

import pytest

from bayeskit.cli.errors import UsageError
from bayeskit.cli.plan import Plan, override, parse_settings, read_run_file

pytestmark = pytest.mark.smoke

FULL = """
model = "../models/line.py"
data = "line.csv"
out = "line.zarr"
key = 3
predictive = "y"

[method]
name = "nuts"
num_chains = 2
target_accept = 0.9
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "run.toml"
    path.write_text(text)
    return path


def test_inputs_are_beside_the_file_and_outputs_in_the_current_folder(tmp_path):
    plan = read_run_file(write(tmp_path, FULL))
    assert Path(plan.model) == tmp_path.parent / "models" / "line.py"
    assert plan.data == (str(tmp_path / "line.csv"),)
    assert plan.out == "line.zarr"
    assert plan.predictive == ("y",)
    assert plan.settings == {"num_chains": 2, "target_accept": 0.9}


def test_an_option_wins_over_the_file(tmp_path):
    plan = read_run_file(write(tmp_path, FULL))
    changed = override(plan, {"key": 7, "out": None, "data": "other.csv"}, {"num_chains": 8})
    assert (changed.key, changed.out, changed.data) == (7, "line.zarr", "other.csv")
    assert changed.settings == {"num_chains": 8, "target_accept": 0.9}


def test_settings_of_the_file_do_not_follow_to_another_method(tmp_path):
    plan = read_run_file(write(tmp_path, FULL))
    assert override(plan, {"method": "mclmc"}, {"num_draws": 10}).settings == {"num_draws": 10}
    assert override(plan, {"method": "nuts"}, {}).settings == plan.settings


def test_data_in_the_file(tmp_path):
    plan = read_run_file(write(tmp_path, 'model = "m.py"\n[data]\ny = [1.0, 2.0]\n'))
    assert plan.data == {"y": [1.0, 2.0]}
    assert plan == Plan(model=plan.model, data=plan.data, out="run.zarr")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model = ", r"run.toml: Invalid value \(at end of document\)"),
        ('model = "m.py"\nmodle = 1', r"run.toml: unknown key 'modle'; did you mean 'model'\?"),
        ("key = 1", "run.toml: the key 'model' is missing"),
        ('model = "m.py"\nkey = "a"', "'key' must be a whole number, not 'a'"),
        ('model = "m.py"\nkey = true', "'key' must be a whole number, not True"),
        ('model = "m.py"\nlog_likelihood = 1', "'log_likelihood' must be true or false, not 1"),
        ('model = "m.py"\nkeep = [1]', "'keep' must be a list of names, and 1 is not one"),
        ('model = "m.py"\nprecision = "half"', "'precision' must be"),
        ('model = "m.py"\nnum_chains = 4', r"unknown key 'num_chains'; known: model"),
        ('model = "m.py"\n[method]\nname = 4', "method.name must be a string, not 4"),
    ],
)
def test_a_wrong_run_file_is_named_with_its_key(tmp_path, text, message):
    with pytest.raises(UsageError, match=message):
        read_run_file(write(tmp_path, text))


def test_a_missing_run_file(tmp_path):
    with pytest.raises(UsageError, match="there is no run file"):
        read_run_file(tmp_path / "absent.toml")


@pytest.mark.parametrize("pair", ["max_tree_depth", "=3", "max_tree_depth="])
def test_set_needs_a_name_and_a_value(pair):
    with pytest.raises(UsageError, match="--set takes name=value"):
        parse_settings([pair])


def test_set_twice():
    with pytest.raises(UsageError, match="twice"):
        parse_settings(["a=1", "a=2"])
