"""The pages that ``make docs`` has built, looked at in a headless browser as wide as a screen and as a telephone.

``BAYESKIT_SCREENSHOTS=folder`` keeps a picture of each page at each width, to be looked at by eye.
"""

from __future__ import annotations

import os
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.docs.browser import CHROMIUM, Browser

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "site"
WIDTHS = (1280, 390)
pytestmark = [
    pytest.mark.docs,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium to look at the site with"),
    pytest.mark.skipif(not (SITE / "index.html").exists(), reason="`make docs` builds the site first"),
]

# Pictures that did not load; by how much the page is wider than the window, and what sticks out; words of fewer than 12
# letters that stand on two lines.
PROBE = """(async () => {
    const images = [...document.images];
    images.forEach(image => image.loading = 'eager');
    await Promise.all(images.map(image => image.decode().catch(() => null)));
    const page = document.documentElement, torn = [], range = document.createRange();
    const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walk.nextNode()) {
        const node = walk.currentNode;
        if (node.parentElement.closest('script, style, svg, math, [hidden]')) continue;
        if (!node.parentElement.checkVisibility({opacityProperty: true, visibilityProperty: true})) continue;
        for (const word of node.data.matchAll(/[\\p{L}\\p{N}]+/gu)) {
            if (word[0].length > 11 || word[0].length < 2) continue;
            range.setStart(node, word.index);
            range.setEnd(node, word.index + word[0].length);
            const tops = [...range.getClientRects()].filter(box => box.width > 0).map(box => Math.round(box.top));
            if (Math.max(...tops) - Math.min(...tops) > 4) torn.push(word[0]);
        }
    }
    const wide = page.scrollWidth - page.clientWidth;
    return {
        missing: images.filter(i => i.naturalWidth === 0).map(i => i.getAttribute('src')), wide, torn,
        empty: document.body.innerText.trim().length < 40,
    };
})()"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format, *arguments):
        pass


@pytest.fixture(scope="module")
def site():
    """Its address on this machine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(SITE))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


def test_every_page_looks_right_on_a_screen_and_on_a_telephone(site, browser):
    pages = sorted(page.relative_to(SITE).as_posix() for page in SITE.rglob("*.html"))
    assert len(pages) > 20
    kept = os.environ.get("BAYESKIT_SCREENSHOTS")
    if kept:
        Path(kept).mkdir(parents=True, exist_ok=True)
    wrong = {}
    for page in pages:
        browser.resize(WIDTHS[0])
        browser.open(site + page.removesuffix("index.html"))
        for width in WIDTHS:
            browser.resize(width)
            found = browser.evaluate(PROBE)
            if found != {"missing": [], "wide": 0, "torn": [], "empty": False}:
                wrong[page, width] = found
            if kept:
                browser.screenshot(Path(kept) / f"{page.replace('/', '_').removesuffix('.html')}_{width}.png")
        complaints = browser.complaints()
        if complaints:
            wrong[page, "console"] = complaints
    assert not wrong, "\n".join(f"{where}: {what}" for where, what in wrong.items())


def test_what_is_wrong_is_seen(browser, tmp_path):
    page = tmp_path / "page.html"
    page.write_text(
        """<meta charset="utf-8"><p style="width: 3em; font: 20px monospace; overflow-wrap: anywhere">heteroge neously
        <b>unbroken</b></p><img src="nowhere.png"><div style="width: 2000px">wide, wide, wide</div>
        <script>console.error("no such thing")</script>"""
    )
    browser.resize(390)
    browser.open(page.as_uri())
    found = browser.evaluate(PROBE)
    assert found["missing"] == ["nowhere.png"]
    assert found["wide"] > 1500
    assert set(found["torn"]) == {"heteroge", "neously", "unbroken"}
    assert any("no such thing" in each for each in browser.complaints())


def test_every_notebook_has_a_page_in_the_gallery():
    pages = {page.parent.name for page in (SITE / "gallery").glob("*/index.html")}
    assert pages == {notebook.stem for notebook in (ROOT / "examples").glob("*.py")}
    gallery = (SITE / "gallery" / "index.html").read_text()
    for name in pages:
        assert f'href="{name}/"' in gallery
        assert (SITE / "gallery" / f"{name}.ipynb").exists()
        if (SITE / "gallery" / f"{name}_1.png").exists():  # it was executed
            assert f'src="{name}_' in gallery, f"no cell of examples/{name}.py with a figure has the tag cover"
