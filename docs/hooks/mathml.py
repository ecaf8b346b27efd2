"""Formulas become MathML while the site is built: every browser shows it, and no script is fetched from elsewhere.

Browsers do not break lines inside of a formula. So a long one in running text becomes several, that go on in the next
line before a relation or a sign, or after a comma. Formulas that stand beside each other on a line of their own, with
``\\qquad`` between them, stand below each other where there is no room.
"""

from __future__ import annotations

import html
import re
from copy import deepcopy
from xml.etree import ElementTree

from latex2mathml.converter import convert

_INLINE = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.DOTALL)
_BLOCK = re.compile(r'<div class="arithmatex">\s*\\\[(.*?)\\\]\s*</div>', re.DOTALL)
LONG = 14  # characters, beyond which a formula may be wider than what is left of a line on a telephone
BEFORE, AFTER, CLOSING = "=≈≤≥∼∝→≡∈<>+−-±", ",;", (")", "]", "}", "|", "∣")


def on_page_content(content: str, **_: object) -> str:
    """Replace what the arithmatex extension marked."""
    content = _INLINE.sub(lambda found: _in_pieces(convert(html.unescape(found[1]))), content)
    return _BLOCK.sub(lambda found: _beside(html.unescape(found[1])), content)


def _beside(source: str) -> str:
    """The formulas of a display, each by itself."""
    parts, depth = [""], 0
    for token in re.split(r"(\\[a-zA-Z]+|\\.|[{}])", source):
        depth += (token in ("{", "\\left", "\\begin")) - (token in ("}", "\\right", "\\end"))
        if token == "\\qquad" and depth == 0:
            parts.append("")
        else:
            parts[-1] += token
    formulas = [convert(part.strip(), display="block") for part in parts if part.strip()]
    return formulas[0] if len(formulas) == 1 else f'<div class="formulas">{"".join(formulas)}</div>'


def _in_pieces(formula: str) -> str:
    root = ElementTree.fromstring(formula)
    if len("".join(root.itertext())) < LONG or len(root) != 1 or len(root[0]) < 3:
        return formula
    pieces: list[list[ElementTree.Element]] = [[]]
    for part in root[0]:
        sign = part.text or "" if part.tag.endswith("mo") else ""
        last = pieces[-1][-1] if pieces[-1] else None
        if sign and sign in BEFORE and last is not None and (not last.tag.endswith("mo") or last.text in CLOSING):
            part.set("form", "infix")  # with the space around it that it has in the middle of a formula
            pieces.append([])
        pieces[-1].append(part)
        if sign and sign in AFTER:
            pieces.append([])
    row = ElementTree.Element(root[0].tag)
    rows = []
    for piece in filter(None, pieces):
        whole, inner = ElementTree.Element(root.tag, root.attrib), deepcopy(row)
        inner.extend(piece)
        whole.append(inner)
        rows.append(ElementTree.tostring(whole, encoding="unicode", short_empty_elements=False))
    return "<wbr>".join(rows).replace("ns0:", "").replace(":ns0", "")
