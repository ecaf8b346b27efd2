"""Text for a terminal: how wide it is, and a table that fits."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence

MOST = 100
"""Columns of a paragraph, however wide the terminal is."""

_GAP = "  "
_NAME = 24
"""Columns that names get at least, or half of the terminal; where fewer are left, numbers are shown in parts."""


def text_width() -> int:
    """Columns of a paragraph: those of the terminal (80 where there is none), at most `MOST`."""
    return max(20, min(shutil.get_terminal_size((80, 24)).columns, MOST))


def paragraph(text: str, first: str = "", others: str = "") -> str:
    """Text in lines of at most `text_width`, with what they begin with; no word is broken."""
    return textwrap.fill(
        text,
        text_width(),
        initial_indent=first,
        subsequent_indent=others,
        break_on_hyphens=False,
        break_long_words=False,
    )


def table_width() -> int | None:
    """Columns of a table: those of the terminal, or no limit where the output goes to a file or another program."""
    if "COLUMNS" in os.environ or sys.stdout.isatty():
        return max(20, shutil.get_terminal_size((80, 24)).columns)
    return None


def table_text(titles: Sequence[str], rows: Sequence[Sequence[str]], width: int | None = None) -> str:
    """A table with names on the left and numbers on the right, in at most `width` columns.

    No number is ever cut. Names that are too long go on in the next line; where even that does not fit, the columns of
    numbers are shown in two parts or more, one below the other, each with the names.

    Args:
        titles: of the columns, the names included.
        rows: a name and its numbers, each.
        width: ``None`` means that there is no limit.

    Example:
        >>> print(table_text(["site", "mean"], [["a", "1.25"], ["b", "-3.0"]]))
        site  mean
        ──────────
        a     1.25
        b     -3.0
    """
    sizes = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    if width is None:
        width = sum(sizes) + len(_GAP) * len(sizes)
    names = min(sizes[0], max(min(_NAME, width // 2), width - sum(len(_GAP) + size for size in sizes[1:])))
    parts = list(_parts(sizes, names, width))
    return "\n\n".join("\n".join(_lines(titles, rows, sizes, names, part)) for part in parts)


def _parts(sizes: Sequence[int], names: int, width: int) -> Iterator[list[int]]:
    """The columns of numbers that are shown beside each other."""
    part: list[int] = []
    used = names
    for k, size in enumerate(sizes[1:], start=1):
        if part and used + len(_GAP) + size > width:
            yield part
            part, used = [], names
        part.append(k)
        used += len(_GAP) + size
    yield part


def _lines(
    titles: Sequence[str], rows: Sequence[Sequence[str]], sizes: Sequence[int], names: int, part: Sequence[int]
) -> Iterator[str]:
    for number, row in enumerate([titles, *rows]):
        first, *more = _folded(row[0], names)
        yield _GAP.join([first.ljust(names), *(row[k].rjust(sizes[k]) for k in part)]).rstrip()
        yield from more
        if number == 0:
            yield "─" * (names + sum(len(_GAP) + sizes[k] for k in part))


def _folded(name: str, width: int) -> list[str]:
    """The name in lines of at most `width`, broken after a blank, a comma or a bracket where there is one."""
    lines = []
    while len(name) > width:
        at = max(name.rfind(mark, 0, width) + 1 for mark in " ,[_")
        at = at if at > width // 3 else width
        lines.append(name[:at].rstrip())
        name = "  " + name[at:].lstrip()
    return [*lines, name]
