"""What a section of the report is made of: paragraphs, code, tables, pictures."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, TypeAlias


@dataclass(frozen=True)
class Text:
    """A paragraph.

    Attributes:
        text: plain text.
        is_note: whether it is an aside, set smaller.
        is_large: whether it is meant to be read aloud.
    """

    kind: ClassVar[str] = "text"

    text: str
    is_note: bool = False
    is_large: bool = False


@dataclass(frozen=True)
class Code:
    """Lines that stay as they are, in a box of their own that scrolls.

    Attributes:
        text: the lines.
        title: heading above it; where it is folded, the line that opens it.
        is_folded: whether it is closed on a screen; on paper it never is.
        is_prose: whether it is prose, whose lines may wrap.
    """

    kind: ClassVar[str] = "code"

    text: str
    title: str = ""
    is_folded: bool = False
    is_prose: bool = False


@dataclass(frozen=True)
class Table:
    """A table, in a box of its own that scrolls.

    Attributes:
        columns: the headings.
        rows: cells as text; the first is the heading of its row.
        title: heading above it; where it is folded, the line that opens it.
        note: what its columns mean.
        is_folded: whether it is closed on a screen; on paper it never is.
        is_words: whether the cells are words, which may wrap, and not numbers.
    """

    kind: ClassVar[str] = "table"

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""
    note: str = ""
    is_folded: bool = False
    is_words: bool = False


@dataclass(frozen=True)
class Plot:
    """One picture of the report.

    Attributes:
        title: heading above it.
        caption: what it shows and how to read it.
        alt: what a reader who cannot see it needs to know.
        uri: the picture as a ``data:`` URI, or empty when it could not be drawn.
        note: why there is no picture.
        is_wide: whether it needs the whole width of the page.
    """

    kind: ClassVar[str] = "plot"

    title: str
    caption: str
    alt: str
    uri: str = ""
    note: str = ""
    is_wide: bool = False


Block: TypeAlias = Text | Code | Table | Plot


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        title: its heading.
        blocks: what it holds, from the top.
        starts_page: whether it begins a page on paper.
    """

    title: str
    blocks: Sequence[Block]
    starts_page: bool = True


class Picture(NamedTuple):
    """A picture that something learned has of itself.

    Attributes:
        title: heading above it.
        caption: how to read it.
        alt: for who cannot see it.
        draw: draws it, and returns the matplotlib figure.
    """

    title: str
    caption: str
    alt: str
    draw: Callable[[], object]


@functools.singledispatch
def pictures_of(thing: object) -> Iterable[Picture]:
    """The pictures that a report shows of something learned, the most telling one first; none by default.

    A family registers a function for what it learns: ``@pictures_of.register``.
    """
    del thing
    return ()
