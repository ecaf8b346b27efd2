from __future__ import annotations

import base64
import io
import json
import os
import shutil
import subprocess
import warnings
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest

from bayeskit.diagnostics import report
from bayeskit.errors import StorageError
from bayeskit.storage import make_tree

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)


def example(chains=4, draws=300, groups=86, **attrs):
    rng = np.random.default_rng(0)
    shape = (chains, draws)
    y, k = rng.normal(size=60), rng.poisson(3.0, size=60)
    return make_tree(
        {
            "posterior": {
                "mu<b>": rng.normal(size=shape),
                "tau": np.exp(rng.normal(size=shape)),
                "theta": rng.normal(size=(*shape, groups)),
                "fixed": np.ones(shape),
            },
            "sample_stats": {
                "diverging": rng.random(shape) < 0.01,
                "energy": rng.normal(size=shape),
                "lp": rng.normal(size=shape),
            },
            "posterior_predictive": {"y": rng.normal(size=(*shape, 60)), "k": rng.poisson(3.0, size=(*shape, 60))},
            "observed_data": {"y": y, "k": k},
            "constant_data": {"name": np.array(["a", "b"]), "n": np.array(60)},
        },
        site_kinds={"fixed": "deterministic"},
        attrs={
            "model": "models.radon",
            "method": "NUTS",
            "method_settings": json.dumps({"num_warmup": 1000, "target_accept": 0.8}),
            "versions": json.dumps({"jax": "0.10.2"}),
            "wall_time": 12.3456,
            "created_at": "2025-01-01T00:00:00+00:00",
            "num_chains": chains,
        }
        | attrs,
    )


class Page(HTMLParser):
    """What a page holds: tags with attributes, open elements, and text."""

    VOID = frozenset({"meta", "link", "img", "br"})

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.text = [], [], []
        self.feed(text.replace("<wbr>", ""))  # where a long name may wrap
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())


def decode(uri):
    kind, _, content = uri.partition(";base64,")
    content = base64.b64decode(content, validate=True)
    if kind == "data:image/png":
        assert plt.imread(io.BytesIO(content)).ndim == 3
    else:
        assert kind == "data:image/svg+xml"
        assert ElementTree.fromstring(content).tag == "{http://www.w3.org/2000/svg}svg"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert report(example(), path) == path
    return path


@pytest.fixture(scope="module")
def page(written):
    return Page(written.read_text(encoding="utf-8"))


def test_the_page_is_well_formed_and_stands_alone(page, written):
    assert page.open == []
    assert not page.all("script")
    assert [link["href"] for link in page.all("link")] == ["data:,"]
    for _, attrs in page.tags:
        for name in ("src", "href", "srcset", "action", "style"):
            assert not attrs.get(name) or attrs[name].startswith("data:")
    text = written.read_text(encoding="utf-8")
    assert "@import" not in text
    assert "url(" not in text
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.all("meta")
    assert page.all("html") == [{"lang": "en"}]


def test_every_picture_decodes_and_has_a_text(page):
    pictures = page.all("img")
    assert len(pictures) == 7  # scalars, theta, two predictive checks, traces, ranks, energy
    for picture in pictures:
        decode(picture["src"])
        assert len(picture["alt"]) > 20


def test_the_words_of_the_page(page):
    words = page.words
    assert "NOT OK" in words
    assert "Try:" in words
    assert words.index("cannot be relied on yet") < words.index("NOT OK") < words.index("Estimates")
    assert "mu<b>" in words  # escaped, not a tag
    assert "theta: 86 elements; shown are the 60" in words
    assert len(page.all("th")) > 60
    assert "fitted to 60 observations of y and 60 observations of k by Markov chain Monte Carlo (NUTS)" in words
    for shown in ("radon", "wall time 12.3 s", "target_accept", "0.10.2", "given 2 <U1 a and b", "Predictive check"):
        assert shown in words
    assert "could not be drawn" not in words


def test_words_are_not_broken_inside(written):
    text = written.read_text(encoding="utf-8")
    style = text[text.index("<style>") : text.index("</style>")]
    for rule in ("overflow-wrap: anywhere", "overflow-wrap: break-word", "word-break", "hyphens: auto"):
        assert rule not in style
    assert "details::details-content" in style[style.index("@media print") :]


def test_without_predictions_the_page_says_how_to_get_them(tmp_path):
    rng = np.random.default_rng(0)
    post = make_tree({"posterior": {"mu": rng.normal(size=(1, 100))}})
    page = Page(report(post, tmp_path / "a.html", title="A & B").read_text(encoding="utf-8"))
    assert "bayeskit.predict adds them" in page.words
    assert "puts it here" in page.words
    assert "A & B" in page.words
    assert len(page.all("img")) == 2  # one chain has no ranks to compare: intervals and a trace
    assert "could not be drawn" not in page.words


@pytest.mark.parametrize(
    "draws", [np.full((2, 50), np.nan), np.ones((2, 50)), np.zeros((2, 0)), np.zeros((2, 3)), np.eye(2, 50)]
)
def test_a_report_of_a_bad_posterior_is_written(tmp_path, draws):
    post = make_tree({"posterior": {"mu": draws}, "sample_stats": {"energy": draws, "diverging": draws > 0}})
    page = Page(report(post, tmp_path / "a.html").read_text(encoding="utf-8"))
    assert "NOT OK" in page.words


def test_a_plot_that_fails_leaves_a_note(tmp_path, monkeypatch):
    import arviz_plots

    def broken(*args, **kwargs):
        raise RuntimeError("no ink")

    monkeypatch.setattr(arviz_plots, "plot_trace", broken)
    post = make_tree({"posterior": {"mu": np.random.default_rng(0).normal(size=(2, 50))}})
    page = Page(report(post, tmp_path / "a.html").read_text(encoding="utf-8"))
    assert "This plot could not be drawn: no ink" in page.words
    assert len(page.all("img")) == 2


def test_matplotlib_is_left_as_it_was(tmp_path):
    figure = plt.figure()
    before = dict(matplotlib.rcParams)
    post = make_tree({"posterior": {"mu": np.random.default_rng(0).normal(size=(1, 50))}})
    first = report(post, tmp_path / "a.html").read_bytes()
    assert plt.get_fignums() == [figure.number]
    assert dict(matplotlib.rcParams) == before
    plt.close(figure)
    assert report(post, tmp_path / "b.html").read_bytes() == first  # the same result gives the same page


def test_the_page_is_complete_or_absent(tmp_path, monkeypatch):
    post = make_tree({"posterior": {"mu": np.zeros((2, 3))}})
    path = tmp_path / "a.html"
    path.write_text("old")

    def broken(*args):
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(StorageError, match=r"a\.html.*no space left"):
        report(post, path)
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.html"]
    with pytest.raises(StorageError, match="no folder"):
        report(post, tmp_path / "nowhere" / "a.html")


def chromium(folder, *arguments):
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
        "--enable-logging=stderr", f"--user-data-dir={folder}", *arguments,
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium to look at the page with")
@pytest.mark.parametrize("width", [390, pytest.param(1280, marks=pytest.mark.full)])
def test_the_page_looks_right_in_a_browser(written, tmp_path, width):
    # a copy with a probe, for the page itself runs no script: pictures that did not load, what sticks out sideways, and
    # words of fewer than 12 letters that stand on two lines
    probe = """<script>addEventListener('load', () => {
        const images = [...document.images], torn = [], range = document.createRange();
        const walk = document.createTreeWalker(document.querySelector('main'), NodeFilter.SHOW_TEXT);
        while (walk.nextNode()) for (const word of walk.currentNode.data.matchAll(/[A-Za-z]+/g)) {
            range.setStart(walk.currentNode, word.index);
            range.setEnd(walk.currentNode, word.index + word[0].length);
            const lines = new Set([...range.getClientRects()].map(box => Math.round(box.top)));
            if (word[0].length < 12 && lines.size > 1) torn.push(word[0]);
        }
        console.log('PROBE ' + JSON.stringify({images: images.length,
            broken: images.filter(i => !i.complete || i.naturalWidth === 0).length,
            wide: document.documentElement.scrollWidth - document.documentElement.clientWidth, torn}));
    });</script>"""
    copy = tmp_path / "page.html"
    copy.write_text(written.read_text(encoding="utf-8").replace("</head>", probe + "</head>"), encoding="utf-8")
    picture = tmp_path / "page.png"
    frame = tmp_path / "frame.html"  # a window is never narrower than 500 pixels
    frame.write_text(f'<body style="margin:0"><iframe src="page.html" style="border:0;width:{width}px;height:1600px">')
    size = f"--window-size={max(width, 500)},1600"
    done = chromium(
        tmp_path / "profile", "--allow-file-access-from-files", f"--screenshot={picture}", size, frame.as_uri()
    )
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert len(console) == 1, console  # nothing but the probe
    found = console[0][console[0].index("{") : console[0].rindex("}") + 1]
    assert json.loads(found) == {"images": 7, "broken": 0, "wide": 0, "torn": []}
    pixels = plt.imread(picture)
    assert pixels.shape[:2] == (1600, max(width, 500))
    colours = np.unique((pixels[..., :3] * 15).astype(int).reshape(-1, 3), axis=0)
    assert len(colours) > 20  # text, cards and plots, not a blank page
