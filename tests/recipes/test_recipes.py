"""The recipes of CONTRIBUTING.md are carried out as they stand, in a copy of the repository, and their rows tested."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
STEP = re.compile(
    r"(?:\*\*New\*\* `(?P<new>[^`]+)`"
    r"|(?:\*\*Row\*\* in `(?P<row>[^`]+)`|\n(?:and|with)[^`\n]*), after (?P<tick>``? ?)(?P<anchor>.+?)(?P=tick)):\n\n"
    r"```\w+\n(?P<text>.*?)```",
    re.DOTALL,
)


class Recipe(NamedTuple):
    """`most`: files to touch, outside the folder of its own that the recipe makes; `tests`: what to run then."""

    most: int
    tests: str
    folder: str | None = None


RECIPES = {
    "A method": Recipe(4, "tests/conformance/test_methods.py -k 'random or every'"),
    "A guide": Recipe(3, "tests/conformance/test_guides.py -k 'precision or every'"),
    "An estimator": Recipe(3, "tests/conformance/test_estimators.py -k 'quantile or every'"),
    "An objective": Recipe(3, "tests/conformance/test_objectives.py -k 'halfway or every'"),
    "A model family": Recipe(2, "tests/conformance/test_distributions.py -k Lomax", "bayeskit/models/lomax/"),
    "A diagnostic": Recipe(3, "tests/conformance/test_checks.py -k 'repeats or good'"),
    "A data format": Recipe(3, "tests/conformance/test_formats.py -k 'jsonl or every'"),
}
QUICK = ("A diagnostic", "A data format")  # their tests compile nothing: by default, both together


def steps_of(name):
    """Path, line to insert after (``None`` for a new file), and text of every step of a recipe."""
    page = (ROOT / "CONTRIBUTING.md").read_text()
    (section,) = re.findall(rf"^### {name}\n(.*?)(?=^##|\Z)", page, re.DOTALL | re.MULTILINE)
    path, steps = "", []
    for found in STEP.finditer(section):
        path = found["new"] or found["row"] or path
        steps.append((path, found["anchor"], found["text"]))
    assert len(steps) == section.count("\n```\n"), "a block that belongs to no step"
    return steps


def carry_out(steps, root):
    for path, anchor, text in steps:
        file = root / path
        if anchor is None:
            assert not file.exists()
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            continue
        lines = file.read_text().splitlines(keepends=True)
        places = [number for number, line in enumerate(lines) if line.strip().startswith(anchor.strip())]
        assert places, f"no line of {path} begins with {anchor!r}"
        end = places[0] + 1
        # a row of a table may take several lines: it ends where one comes that is not indented more
        indent = re.match(r" *", lines[places[0]])[0]
        while indent and lines[end].startswith(f"{indent} "):
            end += 1
        end += bool(indent) and lines[end].strip() in (")", "),", "]", "],", "},")
        lines.insert(end, text)
        file.write_text("".join(lines))


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_one_file_and_one_row(name):
    recipe = RECIPES[name]
    touched = {path for path, _, _ in steps_of(name)}
    outside = [path for path in touched if not (recipe.folder and path.startswith(recipe.folder))]
    assert len(outside) <= recipe.most
    assert sum(anchor is None for _, anchor, _ in steps_of(name)) == (2 if recipe.folder else 1)


@pytest.mark.parametrize(
    "names",
    [pytest.param(QUICK, id="quick"), *(pytest.param((name,), id=name, marks=pytest.mark.full) for name in RECIPES)],
)
def test_recipes_work_as_they_stand(names, tmp_path):
    ignore = shutil.ignore_patterns("__pycache__")
    for folder in ("bayeskit", "tests/conformance", "docs"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignore)
    for file in ("pyproject.toml", "tests/conftest.py"):
        shutil.copy(ROOT / file, tmp_path / file)
    files, words = [], []
    for name in names:
        carry_out(steps_of(name), tmp_path)
        file, _, word = RECIPES[name].tests.partition(" -k ")
        files.append(file)
        words.append(word.strip("'"))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files, "-k", " or ".join(words)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": ""})
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    assert int(re.findall(r"(\d+) passed", done.stdout)[0]) >= 2 * len(names)
