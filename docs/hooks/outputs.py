"""Puts under each Python block of a page what it shows, from the records that `execution` has written.

A page without a record is built without; what other code has shown than the block has now is left out.
"""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

from execution import RECORDS, blocks
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from mkdocs.utils import get_relative_url

FOLDER = "output"
"""Of the site, for pictures and for pages that blocks have written."""
_MARK = re.compile(r"<p>OUTPUT-(\d+)</p>")
_STYLE = re.compile(r"<style scoped>.*?</style>", re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """What blocks have drawn and written becomes part of the site."""
    for path in sorted(RECORDS.glob("*/*.*")):
        if path.suffix != ".json":
            files.append(File.generated(config, f"{FOLDER}/{path.name}", abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Mark where there is something to show."""
    shown = _record(page)
    places = [block for block in blocks(markdown) if block.is_run]
    for number, block in reversed(list(enumerate(places))):
        known = number < len(shown) and shown[number]["digest"] == block.digest and shown[number]["output"]
        if known and "no output" not in block.notes:
            markdown = f"{markdown[: block.end]}\n\nOUTPUT-{number}\n{markdown[block.end :]}"
    return markdown


def on_page_content(content: str, page: Page, **_: object) -> str:
    """Show it there."""
    shown = _record(page)
    return _MARK.sub(lambda found: _panel(shown[int(found[1])]["output"], page), content)


def _record(page: Page) -> list[dict]:
    path = RECORDS / Path(page.file.src_uri).stem / "record.json"
    return json.loads(path.read_text()) if path.exists() else []


def _panel(output: list[dict[str, str]], page: Page) -> str:
    return f'<div class="output" aria-label="Output">{"".join(_part(each, page) for each in output)}</div>'


def _part(each: dict[str, str], page: Page) -> str:
    if "text" in each:
        return f'<pre tabindex="0"><code>{html.escape(each["text"])}</code></pre>'
    if "html" in each:
        return f'<div class="html">{_STYLE.sub("", each["html"])}</div>'
    source = get_relative_url(f"{FOLDER}/{each.get('figure') or each['page']}", page.url)
    alt = html.escape(each["alt"])
    if "page" in each:
        link = f'<p><a href="{source}">{alt} in a page of its own</a></p>'
        return f'{link}<iframe src="{source}" title="{alt}" loading="lazy"></iframe>'
    return f'<img src="{source}" alt="{alt}" width="{each["width"]}" loading="lazy">'
