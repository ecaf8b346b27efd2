"""The notebooks of `examples/` become pages of the site, and the gallery a picture of each.

What `make examples` has executed lies in `out/`, and is shown with its outputs where its code is still that of
`examples/`; a notebook that was not executed, or whose code has changed since, is a page of code alone. Nothing is
executed here. Which notebooks there are, and in which order, is said by the section `Gallery` of the navigation;
`<!-- gallery -->` on the page `gallery.md` becomes a card for each. The picture is the last figure of the cell that
has the tag `cover`, the sentence is the first paragraph of the notebook.
"""

from __future__ import annotations

import base64
import html
import re
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

import jupytext
import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from nbformat import NotebookNode

MARK = "<!-- gallery -->"


@dataclass
class Notebook:
    """A notebook, and what the site needs of it."""

    name: str
    cells: NotebookNode
    executed: bool
    pictures: dict[str, bytes] = field(default_factory=dict)  # by file name
    cover: str | None = None

    @property
    def title(self) -> str:
        """Its first heading."""
        return self.cells.cells[0].source.partition("\n")[0].removeprefix("# ").strip()

    @property
    def question(self) -> str:
        """Its first paragraph."""
        return " ".join(self.cells.cells[0].source.split("\n\n")[1].split())


_notebooks: dict[str, Notebook] = {}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page, its pictures and the notebook itself for each row of the navigation."""
    _notebooks.clear()
    root = Path(config.config_file_path).parent
    for _, uri in _rows(config):
        notebook = _read(root, Path(uri).stem)
        _notebooks[uri] = notebook
        files.append(File.generated(config, uri, content=_page(notebook)))
        for name, picture in notebook.pictures.items():
            files.append(File.generated(config, f"gallery/{name}", content=picture))
        text = nbformat.writes(notebook.cells)
        files.append(File.generated(config, f"gallery/{notebook.name}.ipynb", content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, **_: object) -> str:
    """Fill the cards in."""
    return markdown.replace(MARK, _cards(config)) if page.file.src_uri == "gallery.md" else markdown


def _rows(config: MkDocsConfig) -> list[tuple[str, str]]:
    """Section and page of each notebook, in the order of the navigation."""
    entries = next(entry["Gallery"] for entry in config.nav or [] if "Gallery" in entry)
    sections = [(title, rows) for entry in entries if isinstance(entry, dict) for title, rows in entry.items()]
    return [(title, uri) for title, rows in sections if isinstance(rows, list) for uri in rows]


def _read(root: Path, name: str) -> Notebook:
    """As written, with the outputs of `make examples` where those are of the same code."""
    written = jupytext.read(root / "examples" / f"{name}.py")
    record = root / "out" / f"{name}.ipynb"
    executed = nbformat.read(record, as_version=4) if record.exists() else nbformat.v4.new_notebook()
    code, then = _code(written), _code(executed)
    if [cell.source for cell in code] != [cell.source for cell in then]:
        return Notebook(name, written, executed=False)
    for cell, before in zip(code, then, strict=True):
        cell.update(outputs=before.outputs, execution_count=before.execution_count)
    written.metadata["example_size"] = executed.metadata.get("example_size", "")
    return Notebook(name, written, executed=True)


def _code(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


# ---------------------------------------------------------------- a page


def _page(notebook: Notebook) -> str:
    """Its cells as Markdown; pictures are put aside under the names by which the page shows them."""
    parts = []
    for cell in notebook.cells.cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source.replace("](../docs/", "](../"))
        elif cell.cell_type == "code":
            parts.append(f"```python\n{cell.source}\n```")
            pictures = len(notebook.pictures)
            shown = [_output(notebook, output) for output in _joined(cell.get("outputs", []))]
            if any(shown):
                parts.append("\n\n".join(['<div class="output" markdown>', *filter(None, shown), "</div>"]))
            if "cover" in cell.metadata.get("tags", []) and len(notebook.pictures) > pictures:
                notebook.cover = list(notebook.pictures)[-1]
    parts.insert(1, _head(notebook))
    return "---\nhide: [toc]\n---\n\n" + "\n\n".join(part for part in parts if part) + "\n"


def _head(notebook: Notebook) -> str:
    said = ""
    if not notebook.executed:
        said = "Shown without its outputs: it was not executed where this site was built."
    elif notebook.cells.metadata.get("example_size") == "small":
        said = "Its outputs were made at a small size; as it stands it computes longer and shows more."
    return f"[Download this notebook]({notebook.name}.ipynb){{ download }}. {said}".rstrip()


def _joined(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """What was printed piece by piece is one output."""
    joined: list[NotebookNode] = []
    for output in outputs:
        last = joined[-1] if joined else None
        if last and output.output_type == last.output_type == "stream" and output.name == last.name:
            joined[-1] = NotebookNode(last | {"text": last.text + output.text})
        else:
            joined.append(output)
    return joined


def _output(notebook: Notebook, output: NotebookNode) -> str:
    """One output of a cell; what is best to look at of what it offers."""
    if output.output_type == "stream":
        return _text(output.text if output.name == "stdout" else _warnings(output.text))
    if output.output_type == "error":
        return _text(f"{output.ename}: {output.evalue}")
    data = output.data
    if "image/png" in data:
        name = f"{notebook.name}_{len(notebook.pictures) + 1}.png"
        notebook.pictures[name] = base64.b64decode(data["image/png"])
        return f"![Figure {len(notebook.pictures)} of “{notebook.title}”]({name}){{ loading=lazy }}"
    if "text/html" in data and "<table" in data["text/html"]:
        return _table(data["text/html"])
    return "" if _is_noise(data["text/plain"]) else _text(data["text/plain"])


def _text(text: str) -> str:
    text = re.sub(r"\x1b\[[0-9;]*m", "", text).rstrip()  # without the colours of a terminal
    return f'<pre tabindex="0"><code>{html.escape(text, quote=False)}</code></pre>' if text.strip() else ""


def _warnings(text: str) -> str:
    """Their messages, without the paths of the machine; what the notebook's own machinery lacks is left out."""
    found = re.findall(r"^\S+:\d+: (\w*Warning: .*)$", text, re.MULTILINE)
    return "\n".join(textwrap.fill(each, 100) for each in found if not each.startswith("TqdmWarning"))


def _table(code: str) -> str:
    """A table without the style that pandas gives it."""
    table = re.search(r"<table.*</table>", code, re.DOTALL)
    assert table is not None
    return f'<div class="html">{table[0]}</div>'


def _is_noise(text: str) -> bool:
    """What plotting functions return."""
    return re.match(r"<Figure|<Axes|<Verdict|Text\(|\[?<matplotlib|array\(\[?<Axes|<arviz_plots", text) is not None


# ---------------------------------------------------------------- the gallery


def _cards(config: MkDocsConfig) -> str:
    parts, last = [], ""
    for section, uri in _rows(config):
        if section != last:
            parts += ["</div>"] if last else []
            parts += [f"## {section}", '<div class="grid cards gallery" markdown>']
            last = section
        notebook = _notebooks[uri]
        picture = f"[![A figure of “{notebook.title}”](gallery/{notebook.cover})]({uri})" if notebook.cover else ""
        lines = [picture, f"**[{notebook.title}]({uri})**", notebook.question]
        parts.append("-   " + "\n\n    ".join(line for line in lines if line))
    return "\n\n".join([*parts, "</div>"])
