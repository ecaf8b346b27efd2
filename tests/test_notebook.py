"""In a notebook: the verdict before a result, and a bar without widgets. A session of IPython is played."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr

from bayeskit._progress import ProgressBar
from bayeskit.storage import make_tree


@pytest.fixture
def session(monkeypatch):
    """What IPython has shown so far, and its formatter of HTML."""
    printers: dict[type, object] = {}
    formatter = SimpleNamespace(type_printers=printers, for_type=printers.__setitem__)
    shell = SimpleNamespace(display_formatter=SimpleNamespace(formatters={"text/html": formatter}), kernel=object())
    shown: list[dict[str, str]] = []

    def display(content, raw, display_id):
        assert raw
        assert display_id
        shown.append(content)
        return SimpleNamespace(update=lambda content, raw: shown.append(content))

    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=display))
    return SimpleNamespace(printers=printers, shown=shown)


def tree(draws, **attrs):
    return make_tree({"posterior": {"x<y": draws}}, attrs=attrs)


def test_a_result_begins_with_its_verdict(session):
    rng = np.random.default_rng(0)
    post = tree(rng.normal(size=(4, 500)) + 5 * np.arange(4)[:, None], bayeskit_version="0")
    page = session.printers[xr.DataTree](post)
    assert page.startswith("<div")
    assert page.index("NOT OK") < page.index("xarray.DataTree")
    assert "<summary>ERROR r_hat: x&lt;y</summary>" in page


def test_other_trees_are_shown_as_they_were(session):
    other = tree(np.zeros((2, 3)))
    page = session.printers[xr.DataTree](other)  # that of xarray has a number of its own each time
    assert page[:100] == other._repr_html_()[:100]
    assert "OK" not in page


def test_the_bar_is_replaced_in_place(session, monkeypatch):
    now = iter(np.arange(100.0))
    monkeypatch.setattr("bayeskit._progress.time", SimpleNamespace(monotonic=lambda: next(now)))
    with ProgressBar(10, True) as bar:
        bar.update("sampling", 5, 2)
        bar.say("a & b")
    assert 'value="5" max="10"' in session.shown[1]["text/html"]
    assert "2 divergences" in session.shown[1]["text/plain"]
    assert "a &amp; b" in session.shown[-1]["text/html"]
    assert session.shown[0]["text/plain"].startswith("compiling  0/10")


def test_nothing_is_shown_unless_it_is_wanted(session):
    with ProgressBar(10, False) as bar:
        bar.update("sampling", 5)
    assert session.shown == []
