"""Names in running text go on in the next line after a dot, an underline or a bracket, and never inside a word."""

from __future__ import annotations

import html
import re

_CODE = re.compile(r"(<pre.*?</pre>)|(?<=<code>)(.*?)(?=</code>)", re.DOTALL)
_PLACE = re.compile(r"(?<=[\w)\]])(?:[._/=]|::)(?=[\w{(])|(?<=\w)[\[(,|](?=[\w\"'*])")
SHORT, PIECE = 20, 8  # characters: of code that fits anywhere, and at least before a break


def on_page_content(content: str, **_: object) -> str:
    """Mark the places in inline code; blocks of code are left alone."""
    return _CODE.sub(lambda found: found[0] if found[1] else _broken(found[2]), content)


def _broken(code: str) -> str:
    parts = re.split(r"(<[^>]*>)", code)
    if len(html.unescape("".join(parts[::2]))) <= SHORT:
        return code
    since = 0

    def place(found: re.Match[str]) -> str:
        nonlocal since
        if found.end() - since < PIECE:
            return found[0]
        since = found.end()
        return f"{found[0]}<wbr>"

    for at in range(0, len(parts), 2):
        parts[at], since = _PLACE.sub(place, parts[at]), 0
    return "".join(parts)
