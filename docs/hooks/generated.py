"""Parts of pages that are made from the code, so that they cannot fall behind it.

`<!-- methods -->` becomes the table of methods and their settings,
`<!-- help: run -->` what ``bayeskit run --help`` prints.
"""

from __future__ import annotations

import os
import re


def on_page_markdown(markdown: str, **_: object) -> str:
    """Fill the marks in."""
    if "<!-- methods -->" in markdown:
        markdown = markdown.replace("<!-- methods -->", _methods())
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


def _help(command: str) -> str:
    os.environ.update(COLUMNS="96", TERMINAL_WIDTH="96", NO_COLOR="1")
    from typer.testing import CliRunner

    from bayeskit.cli.app import app

    words = [command] if command else []
    text = CliRunner().invoke(app, [*words, "--help"], prog_name="bayeskit").output
    return "```text\n" + "\n".join(line.rstrip() for line in text.strip().splitlines()) + "\n```"
