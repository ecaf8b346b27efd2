"""Parts of pages that are made from the code, so that they cannot fall behind it.

`<!-- methods -->` becomes the table of methods and their settings, `<!-- help: run -->` what ``bayeskit run --help``
prints, `<!-- kinds: guides -->` the table of what is in the room ``bayeskit.guides``, `<!-- api: guides -->` the
reference of all of it, and `<!-- formats -->` the data formats.
"""

from __future__ import annotations

import inspect
import os
import re


def on_page_markdown(markdown: str, **_: object) -> str:
    """Fill the marks in."""
    if "<!-- methods -->" in markdown:
        markdown = markdown.replace("<!-- methods -->", _methods())
    markdown = re.sub(r"<!-- kinds: *(\w+) *-->", lambda found: _kinds(found[1]), markdown)
    markdown = re.sub(r"<!-- api: *(\w+) *-->", lambda found: _api(found[1]), markdown)
    markdown = markdown.replace("<!-- formats -->", _formats()) if "<!-- formats -->" in markdown else markdown
    markdown = re.sub(r":math:`([^`]+)`", r"$\1$", markdown)  # from the first lines of docstrings
    return re.sub(r"<!-- help: *(\w*) *-->", lambda found: _help(found[1]), markdown)


def _methods() -> str:
    from bayeskit.cli.methods import default_of, settings_of
    from bayeskit.inference import Method

    sections = []
    for name, cls in Method.kinds().items():
        first_line = (cls.__doc__ or "").strip().splitlines()[0]
        rows = [f"| `{item.name}` | `{default_of(item) or '-'}` |" for item in settings_of(cls)]
        sections.append("\n".join([f"### `{name}`", "", first_line, "", "| setting | default |", "|---|---|", *rows]))
    return "\n\n".join(sections)


def _room(name: str) -> list[type]:
    """The classes of a room, but for what they are made of."""
    import bayeskit

    room = getattr(bayeskit, name)
    home = room.__name__.rpartition(".integrators")[0] or room.__name__
    classes = [each for each in vars(room).values() if inspect.isclass(each) and each.__module__.startswith(home)]
    return sorted((each for each in classes if not inspect.isabstract(each)), key=lambda each: each.__name__)


def _kinds(name: str) -> str:
    """One row a class: how it is made, its name in a run file, the first sentence of its docstring."""
    rows = ["| | in a run file | |", "|---|---|---|"]
    for each in _room(name):
        summary = " ".join((each.__doc__ or "").strip().split("\n\n")[0].split())
        summary = re.sub(r":math:`([^`]*)`", r"$\1$", re.sub(r":\w+:`(?:bayeskit\.)?([^`]*)`", _as_code, summary))
        kind = vars(each).get("kind")
        in_file = f"`{kind}`" if kind else ""
        rows.append(f"| `bk.{name}.{each.__name__}` | {in_file} | {summary.replace('|', chr(92) + '|')} |")
    return "\n".join(rows)


def _as_code(found: re.Match[str]) -> str:
    return found[0] if found[0].startswith(":math:") else f"`{found[1]}`"


def _api(name: str) -> str:
    return "\n".join(f"::: {each.__module__}.{each.__qualname__}" for each in _room(name))


def _formats() -> str:
    from bayeskit.storage.formats import FORMATS

    rows = [f"| {', '.join(f'`{suffix}`' for suffix in each.suffixes)} | {each.content} |" for each in FORMATS]
    return "\n".join(["| suffix | content |", "|---|---|", *rows])


def _help(command: str) -> str:
    os.environ.update(COLUMNS="96", TERMINAL_WIDTH="96", NO_COLOR="1")
    from typer.testing import CliRunner

    from bayeskit.cli.app import app

    words = [command] if command else []
    text = CliRunner().invoke(app, [*words, "--help"], prog_name="bayeskit").output
    return "```text\n" + "\n".join(line.rstrip() for line in text.strip().splitlines()) + "\n```"
