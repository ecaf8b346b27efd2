"""What ``make docs`` has built: no raw roles, every public name once, something to see on every page."""

from __future__ import annotations

import html
import importlib
import inspect
import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "site"
WITHOUT_OUTPUT = {"api", "changelog", "contributing", "releases"}
ROOMS = (
    "bayeskit",
    *(f"bayeskit.{name}" for name in ("guides", "objectives", "estimators", "integrators", "errors", "distributions")),
    *(f"bayeskit.models.{path.parent.name}" for path in sorted((ROOT / "bayeskit" / "models").glob("*/__init__.py"))),
    "bayeskit.models.pfn.priors",
    "bayeskit.models.spectral_pde.state_space",
)

pytestmark = [
    pytest.mark.docs,
    pytest.mark.skipif(not (SITE / "index.html").exists(), reason="`make docs` builds the site first"),
]


def found(path):
    """What a dotted path means; a function before a module of the same name."""
    parts = path.split(".")
    for count in range(len(parts) - 1, 0, -1):
        try:
            thing = importlib.import_module(".".join(parts[:count]))
            for part in parts[count:]:
                thing = getattr(thing, part)
        except (ImportError, AttributeError):
            continue
        if not inspect.ismodule(thing):
            return thing
    raise LookupError(path)


def opened(room):
    """The module that is called so, which need not lie there."""
    module = importlib.import_module("bayeskit")
    for part in room.split(".")[1:]:
        module = getattr(module, part, None) or importlib.import_module(f"{module.__name__}.{part}")
    return module


def public():
    """Every public name but those of modules."""
    for room in ROOMS:
        module = opened(room)
        listed = getattr(module, "__all__", None)
        for name in sorted(listed or (name for name in vars(module) if not name.startswith("_"))):
            thing = getattr(module, name)
            home = getattr(thing, "__module__", None) or type(thing).__module__
            if not inspect.ismodule(thing) and home.startswith("bayeskit") and not name.startswith("__"):
                yield f"{room}.{name}", thing


def pages():
    names = [path.stem for path in (ROOT / "docs").glob("*.md")]
    return {name: SITE / ("" if name == "index" else name) / "index.html" for name in names}


def article(path):
    """The page without navigation."""
    return re.search(r"<article.*</article>", path.read_text(), re.DOTALL)[0]


def test_no_raw_roles():
    """Nothing for other tools is left in the pages, code blocks apart."""
    raw = re.compile(r":(?:class|func|meth|attr|mod|exc|data|math):<code>|\.\. math::")
    texts = {path: re.sub(r"<pre.*?</pre>", "", path.read_text(), flags=re.DOTALL) for path in SITE.rglob("*.html")}
    assert not {str(path): raw.findall(text) for path, text in texts.items() if raw.search(text)}


def test_every_public_name_is_described_once():
    headings = re.findall(r'<h(\d) id="([^"]+)" class="doc doc-heading"', (SITE / "api" / "index.html").read_text())
    assert [place for place, count in Counter(place for _, place in headings).items() if count > 1] == []
    described = [found(place) for level, place in headings if level == "3"]  # deeper ones are methods and attributes
    counts = {name: sum(thing is other for other in described) for name, thing in public()}
    assert len(counts) > 200
    assert {name: count for name, count in counts.items() if count != 1} == {}


@pytest.mark.parametrize("page", sorted(pages().keys() - WITHOUT_OUTPUT))
def test_there_is_something_to_see(page):
    """A picture, or what code or a command printed when the site was built."""
    text = article(pages()[page])
    assert re.search(r'class="output"|<img|Usage: bayeskit', text)
    for picture in re.findall(r"<img [^>]*>", text):
        assert len(html.unescape(re.search(r'alt="([^"]*)"', picture)[1])) > 10, f"{picture} has no alternative text"
        source = re.search(r'src="([^"]*)"', picture)[1]
        assert (pages()[page].parent / source).exists(), f"{source} is missing"


def test_nothing_that_two_of_four_have_is_missing_here():
    """The table of features in "Coming from PyMC, Stan or bambi"."""
    table = (ROOT / "docs" / "peers.md").read_text().partition("## Who has what")[2]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line.startswith("| ")
    ]
    rows = [row for row in rows if len(row) == 6 and row[0]]
    assert len(rows) > 30
    assert [row[0] for row in rows if row[5] == "–" and sum(cell != "–" for cell in row[1:5]) > 1] == []
