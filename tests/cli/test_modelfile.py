"""Model files: what is taken from them, and what is said about a broken one."""

from __future__ import annotations

import numpy as np
import pytest

from bayeskit.cli.modelfile import load_model
from bayeskit.errors import DataError, ModelError

pytestmark = pytest.mark.smoke


def write(folder, text):
    path = folder / "line.py"
    path.write_text(text)
    return path


def test_a_function_by_another_name(tmp_path):
    path = write(tmp_path, "def pooled(y): ...\ndef model(y): ...\n")
    assert load_model(f"{path}:pooled").model.__name__ == "pooled"
    assert load_model(path).model.__name__ == "model"


def test_data_and_coords_of_the_file(tmp_path):
    path = write(
        tmp_path,
        "def model(y): ...\ndef data(columns): return {'y': columns['a'] * 2}\n"
        "def coords(columns): return {'row': list(columns['a'])}\ndims = {'y': ['row']}\n",
    )
    file = load_model(path)
    columns = {"a": np.array([1.0, 2.0])}
    assert file.arguments(columns, "table")["y"].tolist() == [2.0, 4.0]
    assert file.labels("coords", columns, "table") == {"row": [1.0, 2.0]}
    assert file.labels("dims", columns, "table") == {"y": ["row"]}


def test_without_data_the_columns_are_the_arguments(tmp_path):
    file = load_model(write(tmp_path, "def model(y): ...\n"))
    assert file.arguments({"y": 1}, "table") == {"y": 1}
    assert file.labels("coords", {}, "table") is None


def test_a_neighbour_can_be_imported_and_hides_nothing(tmp_path):
    (tmp_path / "neighbour_of_line.py").write_text("ANSWER = 42\n")
    (tmp_path / "random.py").write_text("raise RuntimeError('hides the standard library')\n")
    path = write(tmp_path, "import random\nfrom neighbour_of_line import ANSWER\ndef model(y): ...\n")
    assert load_model(path).module.ANSWER == 42


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def model(y:\n    pass\n", r"line.py, line 1: '\(' was never closed"),
        ("x = 1\nimport no_such_module\n", r"line.py, line 2: ModuleNotFoundError: No module named 'no_such_module'"),
        ("def modle(y): ...\n", r"line.py defines no function 'model'; did you mean 'modle'\?"),
        ("x = 1\n", r"line.py defines no function 'model'$"),
        ("model = 3\n", r"line.py: 'model' is not a function but int"),
    ],
)
def test_a_broken_model_file_is_named_with_its_line(tmp_path, text, message):
    with pytest.raises(ModelError, match=message):
        load_model(write(tmp_path, text))


def test_not_a_model_file(tmp_path):
    with pytest.raises(ModelError, match="there is no model file"):
        load_model(tmp_path / "absent.py")
    with pytest.raises(ModelError, match=r"ends in \.py, not 'model.txt'"):
        load_model(tmp_path / "model.txt")


def test_a_failing_data_function_names_the_columns(tmp_path):
    path = write(tmp_path, "def model(y): ...\n\ndef data(columns):\n    return {'y': columns['b']}\n")
    message = r"line.py, line 4: data\(columns\) failed with KeyError: 'b'; table.csv has a, c"
    with pytest.raises(DataError, match=message):
        load_model(path).arguments({"a": 1, "c": 2}, "table.csv")


def test_data_must_return_a_mapping(tmp_path):
    path = write(tmp_path, "def model(y): ...\ndef data(columns): return 3\n")
    with pytest.raises(DataError, match="must return a mapping, not int"):
        load_model(path).arguments({}, "table.csv")
    path = write(tmp_path, "def model(y): ...\ncoords = 3\n")
    with pytest.raises(ModelError, match="coords must be a mapping, not int"):
        load_model(path).labels("coords", {}, "table.csv")
