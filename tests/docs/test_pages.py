"""The Python blocks of the pages and of the README run, page by page, in the order in which they stand.

Those of the README run with all tests, those of the pages with the check of the documentation (``make docs``): in
single precision, as users have it, and what they show is kept for the site. ``make slow``: in double.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import jax
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
specification = importlib.util.spec_from_file_location("execution", ROOT / "docs" / "hooks" / "execution.py")
execution = importlib.util.module_from_spec(specification)
specification.loader.exec_module(execution)

PAGES = [page for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))] if execution.runs(page)]
PAGES.sort(key=lambda page: -len(page.read_text()))  # what takes long should not come last


@pytest.fixture
def precision(request):
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", request.param == "double")
    yield request.param
    jax.config.update("jax_enable_x64", before)


@pytest.mark.parametrize("precision", ["single", pytest.param("double", marks=pytest.mark.slow)], indirect=True)
@pytest.mark.parametrize(
    "page",
    [pytest.param(page, id=page.name, marks=[] if page.name == "README.md" else pytest.mark.docs) for page in PAGES],
)
def test_blocks_run(page, precision, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("data", "models", "inference"):  # as for one who stands in the repository
        (tmp_path / folder).symlink_to(ROOT / folder)
    monkeypatch.setenv("COLUMNS", str(execution.COLUMNS))
    kept = page.name != "README.md" and precision == "single"
    with np.printoptions(linewidth=execution.COLUMNS):
        execution.record(page, execution.RECORDS / page.stem if kept else tmp_path / "record")


def test_links_between_pages_and_files_exist():
    """Every relative link of the README and of CONTRIBUTING leads somewhere (mkdocs checks the other pages)."""
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "data" / "README.md"):
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
