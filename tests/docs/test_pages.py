"""The Python blocks of the pages and of the README run, page by page, in the order in which they stand.

Those of the README run with all tests, those of the pages with the check of the documentation (``make docs``).
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"(?P<skip><!-- not run -->\s*)?^```python\n(?P<code>.*?)^```", re.DOTALL | re.MULTILINE)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path) -> list[tuple[int, str]]:
    """Line and text of each block; a block after the comment `not run`, or one that includes a file, is left out."""
    text = page.read_text()
    return [
        (text[: found.start("code")].count("\n"), found["code"])
        for found in BLOCK.finditer(text)
        if not found["skip"] and "--8<--" not in found["code"]
    ]


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=page.name, marks=[] if page.name == "README.md" else pytest.mark.docs)
        for page in PAGES
        if blocks(page)
    ],
)
def test_blocks_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "__page__"}
    for line, code in blocks(page):
        program = compile("\n" * line + code, str(page), "exec")  # so that a traceback has the page's own line numbers
        exec(program, namespace)


def test_links_between_pages_and_files_exist():
    """Every relative link of the README and of CONTRIBUTING leads somewhere (mkdocs checks the other pages)."""
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "data" / "README.md"):
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.docs
def test_the_site_shows_no_raw_roles():
    """Nothing for other tools is left in the pages that ``make docs`` has built, code blocks apart."""
    pages = sorted((ROOT / "site").rglob("*.html"))
    if not pages:
        pytest.skip("`make docs` builds the site first")
    raw = re.compile(r":(?:class|func|meth|attr|mod|exc|data|math):<code>|\.\. math::")
    text = {page: re.sub(r"<pre>.*?</pre>", "", page.read_text(), flags=re.DOTALL) for page in pages}
    assert not {str(page): raw.findall(found) for page, found in text.items() if raw.search(found)}
