"""Roles in docstrings, which tools and editors read, become links and formulas on the site.

``:class:`bayeskit.NUTS` `` is a link to where the class is described, and plain code where nothing of that name is;
``:math:`x^2` `` and blocks under ``.. math::`` are formulas.
"""

from __future__ import annotations

import inspect
import itertools
import re
from collections import defaultdict
from functools import cache
from pathlib import Path

import griffe

_ROLE = re.compile(r":(?:class|func|meth|attr|mod|exc|data):`~?([\w.]+)`")
_INLINE = re.compile(r":math:`([^`]+)`")
_EXAMPLE = re.compile(r"^(\s*)Example:$", re.MULTILINE)
_BLOCK = re.compile(
    r"^(?P<indent> *)\.\. math::(?P<body>.*\n(?:(?:[ \t]*\n)*(?P=indent) +\S.*(?:\n|$))*)", re.MULTILINE
)


class DocstringRoles(griffe.Extension):
    """Rewrite the roles of every docstring before it is parsed."""

    def on_instance(self, *, obj: griffe.Object, **_: object) -> None:
        """Called for each module, class, function and attribute."""
        if obj.docstring is not None:
            text = _BLOCK.sub(_displayed, obj.docstring.value)
            text = _EXAMPLE.sub(r"\1Examples:", text)  # the section whose sessions are shown as code
            text = _INLINE.sub(lambda found: f"${' '.join(found[1].split())}$", text)
            obj.docstring.value = _ROLE.sub(lambda found: _linked(found[1], obj.canonical_path), text)


def _displayed(found: re.Match[str]) -> str:
    body = " ".join(found["body"].split())
    return f"\n{found['indent']}$${body}$$\n\n"


def _linked(target: str, here: str) -> str:
    """A link to what is described under that name, the one nearest by where it is; else the name as code."""
    parts = target.split(".")
    for name in (parts[-1], *parts[-2:-1]):  # itself, or the class that it is a method of
        if places := _described().get(name):
            near = max(places, key=lambda place: (_shared(place, target), _shared(place, here)))
            return f"[`{target}`][{near}]"
    return f"`{target}`"


def _shared(one: str, other: str) -> int:
    pairs = zip(one.split("."), other.split("."), strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


@cache
def _described() -> dict[str, list[str]]:
    """What the pages describe, by its last name."""
    text = "\n".join(page.read_text() for page in Path(__file__).parents[1].glob("*.md"))
    places = re.findall(r"^::: (\S+)", text, re.MULTILINE)
    for room in re.findall(r"<!-- api: *(\w+) *-->", text):
        import bayeskit

        found = filter(inspect.isclass, vars(getattr(bayeskit, room)).values())
        places += [f"{each.__module__}.{each.__qualname__}" for each in found if not inspect.isabstract(each)]
    by_name: dict[str, list[str]] = defaultdict(list)
    for place in places:
        by_name[place.rpartition(".")[2]].append(place)
    return by_name
