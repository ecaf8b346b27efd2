"""What a page's blocks show, on a page made for it, and what the site makes of the record."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

HOOKS = Path(__file__).resolve().parents[2] / "docs" / "hooks"
PAGE = """
# A page

```python
import warnings

import matplotlib.pyplot as plt
import pandas as pd

print("a < b")
print("sampling ━━━━━ 10/10")
2 + 3
```

<!-- figure: two
     points -->
```python
plt.plot([0, 1], [1, 0], "o")
```

```python
pd.DataFrame({"x": [1.5]});  # nothing
```

<!-- no output -->
```python
pd.DataFrame({"x": [1.5]})
```

<!-- not run -->
```python
raise ValueError
```

<!-- warnings -->
```python
warnings.warn("so it is")
pd.DataFrame({"x": [1.5]})
```
"""


def hook(name, monkeypatch):
    monkeypatch.syspath_prepend(str(HOOKS))
    specification = importlib.util.spec_from_file_location(name, HOOKS / f"{name}.py")
    module = importlib.util.module_from_spec(specification)
    monkeypatch.setitem(sys.modules, name, module)
    specification.loader.exec_module(module)
    return module


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    execution = hook("execution", monkeypatch)
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    monkeypatch.chdir(tmp_path)
    return [each["output"] for each in execution.record(page, tmp_path / "records" / "page")]


def test_prints_values_figures_and_warnings(recorded, tmp_path):
    assert recorded[0] == [{"text": "a < b"}, {"text": "5"}]
    assert [each["alt"] for each in recorded[1]] == ["two points"]
    assert (tmp_path / "records" / "page" / recorded[1][0]["figure"]).exists()
    assert recorded[2] == []
    assert recorded[4][0] == {"text": "UserWarning: so it is"}
    assert "1.5" in recorded[4][1]["html"]


def test_an_error_has_the_line_of_the_page(tmp_path, monkeypatch):
    execution = hook("execution", monkeypatch)
    page = tmp_path / "page.md"
    page.write_text("\n\n```python\n\n1 / 0\n```\n")
    with pytest.raises(ZeroDivisionError) as caught:
        execution.record(page, tmp_path / "records")
    assert caught.traceback[-1].lineno == 4  # counted from zero


def test_the_site_shows_the_record_of_the_same_code(recorded, tmp_path, monkeypatch):
    pytest.importorskip("mkdocs")
    outputs = hook("outputs", monkeypatch)
    monkeypatch.setattr(outputs, "RECORDS", tmp_path / "records")
    page = SimpleNamespace(file=SimpleNamespace(src_uri="page.md"), url="page/")
    marked = outputs.on_page_markdown(PAGE, page)
    assert [line for line in marked.splitlines() if line.startswith("OUTPUT")] == ["OUTPUT-0", "OUTPUT-1", "OUTPUT-4"]
    shown = outputs.on_page_content("<p>OUTPUT-0</p><p>OUTPUT-1</p>", page)
    assert "a &lt; b" in shown
    assert 'src="../output/page-1-0.png"' in shown
    changed = outputs.on_page_markdown(PAGE.replace("2 + 3", "2 + 4"), page)
    assert "OUTPUT" not in changed  # what comes after depends on what was before
    page.file.src_uri = "other.md"
    assert outputs.on_page_markdown(PAGE, page) == PAGE
