"""Names in running text go on in the next line after a dot, an underline or a bracket, and never inside a word."""

from __future__ import annotations

import re

_CODE = re.compile(r"(<pre.*?</pre>)|(?<=<code>)(.*?)(?=</code>)", re.DOTALL)
_PLACE = re.compile(r"(?<=[\w)\]])([._/=]|::)(?=[\w{(])|(?<=\w)([\[(,|])(?=[\w\"'*])")


def on_page_content(content: str, **_: object) -> str:
    """Mark the places in inline code; blocks of code are left alone."""
    return _CODE.sub(lambda found: found[0] if found[1] else _between_tags(found[2]), content)


def _between_tags(code: str) -> str:
    return "".join(
        part if part.startswith("<") else _PLACE.sub(r"\g<0><wbr>", part) for part in re.split(r"(<[^>]*>)", code)
    )
