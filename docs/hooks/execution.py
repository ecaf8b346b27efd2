"""Runs the Python blocks of a page in order in one namespace, as a notebook does, and keeps what each shows.

What a block shows is what it prints, the value of its last expression (a table or other HTML where the object has it,
nothing after a semicolon), and the matplotlib figures that it leaves open. A record of it, one JSON file with pictures
beside it, lies in ``build/pages/<page>/``; `make docs` writes it, and the hook `outputs` puts it on the site.

Comments right before a block say what is to be done with it:

``<!-- not run -->``       it is only shown
``<!-- no output -->``     it is run, and its output is not shown
``<!-- warnings -->``      warnings are part of its output, which otherwise are left out
``<!-- figure: text -->``  what its picture shows, for those who do not see it
``<!-- page: name -->``    the HTML file of that name, which it writes, is shown
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import struct
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parents[2]
RECORDS = ROOT / "build" / "pages"
BLOCK = re.compile(r"(?P<notes>(?:<!--[^>]*-->\s*)*)^```python\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE)
COLUMNS = 80
"""Characters of a printed line, as many as fit beside the navigation."""
DPI = 80
"""Of pictures as they are shown; they have twice as many pixels, for sharp screens."""


class Block(NamedTuple):
    """One block of Python.

    Attributes:
        code: what stands in it.
        line: of the page, before its first.
        end: where it ends in the text of the page.
        notes: the comments before it.
        digest: of it and of all blocks before it that are run; what it shows depends on these too.
    """

    code: str
    line: int
    end: int
    notes: tuple[str, ...]
    digest: str

    @property
    def is_run(self) -> bool:
        """Whether it is more than shown; one that includes a file is not run either."""
        return "not run" not in self.notes and "--8<--" not in self.code

    def note(self, kind: str) -> str:
        """What a comment of this kind says; empty where there is none."""
        found = [note.removeprefix(f"{kind}:") for note in self.notes if note.startswith(f"{kind}:")]
        return " ".join(found[0].split()) if found else ""


def blocks(text: str) -> list[Block]:
    """The Python blocks of a page."""
    found, digest = [], hashlib.sha256()
    for match in BLOCK.finditer(text):
        notes = tuple(note.strip() for note in re.findall(r"<!--(.*?)-->", match["notes"], re.DOTALL))
        block = Block(match["code"], text[: match.start("code")].count("\n"), match.end(), notes, "")
        if block.is_run:
            digest.update(block.code.encode())
        found.append(block._replace(digest=digest.hexdigest()))
    return found


def runs(page: Path) -> bool:
    """Whether a page has blocks that are run."""
    return any(block.is_run for block in blocks(page.read_text()))


def record(page: Path, folder: Path) -> list[dict[str, object]]:
    """Run a page, in the current directory, and write what its blocks show to a folder.

    Raises:
        Exception: what a block raises; the traceback has the line numbers of the page.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    namespace: dict[str, object] = {"__name__": "__page__"}
    shown = []
    with _modules_from_here():
        for number, block in enumerate(blocks(page.read_text())):
            if block.is_run:
                output = list(_output(*_run(block, page, namespace), block, folder / f"{page.stem}-{number}"))
                shown.append({"digest": block.digest, "output": output})
    (folder / "record.json").write_text(json.dumps(shown, indent=1))
    return shown


@contextlib.contextmanager
def _modules_from_here() -> Iterator[None]:
    """Imports find files of the current directory, as in a notebook, and are forgotten at the end."""
    here, before = os.getcwd(), set(sys.modules)
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)
        for name in set(sys.modules) - before:
            file = getattr(sys.modules[name], "__file__", None) or ""
            if file.startswith(here) and not file.startswith(sys.prefix):  # an environment may lie within
                del sys.modules[name]


def _run(block: Block, page: Path, namespace: dict[str, object]) -> tuple[str, object]:
    """What it prints, and the value of its last expression."""
    tree = ast.parse("\n" * block.line + block.code, str(page))
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    printed, value = io.StringIO(), None
    with contextlib.redirect_stdout(printed), _warnings_to(printed, "warnings" in block.notes):
        exec(compile(tree, str(page), "exec"), namespace)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), str(page), "eval"), namespace)
    lines = [line.rstrip() for line in printed.getvalue().split("\n") if "━━" not in line]  # no bars of progress
    return "\n".join(lines).strip("\n"), None if _is_silenced(last, block) else value


def _is_silenced(last: ast.Expr | None, block: Block) -> bool:
    """Whether a semicolon follows the last expression."""
    if last is None:
        return False
    line = block.code.splitlines()[last.end_lineno - block.line - 1].encode()
    return line[last.end_col_offset :].lstrip().startswith(b";")


@contextlib.contextmanager
def _warnings_to(printed: io.StringIO, wanted: bool) -> Iterator[None]:
    if not wanted:
        yield
        return
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for one in caught:
        print(f"{one.category.__name__}: {one.message}", file=printed)


def _output(text: str, value: object, block: Block, stem: Path) -> Iterator[dict[str, str]]:
    """Text, then the value, then figures, whose files are named after `stem`."""
    import matplotlib.pyplot as plt
    import xarray as xr
    from matplotlib.figure import Figure

    from bayeskit._notebook import _as_html

    if text:
        yield {"text": text}
    if value is not None and not _is_drawing(value):
        as_html = _as_html(value) if isinstance(value, xr.DataTree) else getattr(value, "_repr_html_", lambda: None)()
        yield {"html": as_html} if as_html else {"text": repr(value)}
    figures = [plt.figure(number) for number in plt.get_fignums()]
    if isinstance(value, Figure) and value not in figures:
        figures.append(value)
    for place, figure in enumerate(figures):
        name = f"{stem.name}-{place}.png"
        figure.savefig(stem.with_name(name), dpi=2 * DPI, bbox_inches="tight")
        width = struct.unpack(">I", stem.with_name(name).read_bytes()[16:20])[0] // 2
        yield {"figure": name, "alt": block.note("figure") or _described(figure), "width": str(width)}
    plt.close("all")
    if name := block.note("page"):
        shutil.copy(name, stem.with_name(f"{stem.name}-{name}"))
        yield {"page": f"{stem.name}-{name}", "alt": name}


def _is_drawing(value: object) -> bool:
    """Whether this is what a call that draws returns."""
    from matplotlib.artist import Artist

    if isinstance(value, list | tuple):
        return any(map(_is_drawing, value))
    return isinstance(value, Artist) or type(value).__module__.startswith(("arviz_plots", "matplotlib."))


def _described(figure: Figure) -> str:
    """A figure by its titles and labels."""
    titles = dict.fromkeys(each.get_title() or f"{each.get_ylabel()} by {each.get_xlabel()}" for each in figure.axes)
    return "Figure: " + "; ".join(title for title in titles if title.strip() != "by")
