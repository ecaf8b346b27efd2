"""What the page on releases says is what the package declares, and nothing names an index of packages."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

import bayeskit as bk

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PAGE = (ROOT / "docs" / "releases.md").read_text()
FLOORS = {m[1]: m[2] for need in PROJECT["dependencies"] if (m := re.match(r"([\w-]+)(?:\[\w+\])?>=([\w.]+)", need))}


def supported(what):
    return re.search(rf"^\| {re.escape(what)}(?: \([^|]*\))? \| ([^|]*) \|", PAGE, re.MULTILINE)[1]


def test_pythons():
    declared = re.findall(r"Python :: (3\.\d+)", " ".join(PROJECT["classifiers"]))
    assert supported("Python") == ", ".join(declared)
    assert PROJECT["requires-python"] == f">={declared[0]}"
    workflow = (ROOT / ".github" / "workflows" / "release.yml").read_text()
    assert {declared[0], declared[-1]} == set(re.findall(r"^ +(3\.\d+)$", workflow, re.MULTILINE))


@pytest.mark.parametrize(
    ("what", "package"),
    [
        ("JAX", "jax"),
        ("NumPyro", "numpyro"),
        ("BlackJAX", "blackjax"),
        ("NumPy", "numpy"),
        ("xarray", "xarray"),
        ("ArviZ", "arviz-stats"),
    ],
)
def test_the_oldest_versions(what, package):
    assert supported(what).startswith(f"{FLOORS[package]} and newer")


def test_every_package_has_an_oldest_version():
    names = {re.match(r"[\w-]+", need)[0] for need in PROJECT["dependencies"]}
    assert names == FLOORS.keys()


def test_the_version_stands_nowhere_but_in_tags():
    assert PROJECT["dynamic"] == ["version"]
    assert "version" not in PROJECT
    assert re.fullmatch(r"\d+\.\d+.*|0\+unknown", bk.__version__)


def test_no_index_is_named():
    hosts = "|".join(["pypi" + r"\.org", "pythonhosted" + r"\.org", "anaconda" + r"\.org"])
    found = subprocess.run(["git", "grep", "-lE", hosts], cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.stdout == ""


def test_marks_of_a_package():
    assert (ROOT / "bayeskit" / "py.typed").is_file()
    for name in ("LICENSE", "CITATION.cff", "SECURITY.md", "CHANGELOG.md"):
        assert (ROOT / name).is_file()
