"""Tables in docstrings are drawn with lines of `=`, which read well in a terminal; the site wants Markdown."""

from __future__ import annotations

import re

import griffe

_RULE = re.compile(r"^=+( +=+)+$")


class DocstringTables(griffe.Extension):
    """Rewrite the tables of every docstring before it is parsed."""

    def on_instance(self, *, obj: griffe.Object, **_: object) -> None:
        """Called for each module, class, function and attribute."""
        if obj.docstring is not None:
            obj.docstring.value = "\n".join(_rewritten(obj.docstring.value.splitlines()))


def _rewritten(lines: list[str]) -> list[str]:
    done: list[str] = []
    at = 0
    while at < len(lines):
        rules = [i for i in range(at, len(lines)) if _RULE.match(lines[i].strip())]
        block = [i for i in rules if all(lines[k].strip() for k in range(at, i + 1))]
        if at not in rules or len(block) < 2:
            done.append(lines[at])
            at += 1
            continue
        done += _markdown(lines[at : block[-1] + 1])
        at = block[-1] + 1
    return done


def _markdown(table: list[str]) -> list[str]:
    starts = [found.start() for found in re.finditer(r"=+", table[0])]
    rules = [i for i, line in enumerate(table) if _RULE.match(line.strip())]
    head = table[1 : rules[1]] if len(rules) > 2 else []
    body = table[rules[1] + 1 : -1] if head else table[1:-1]
    cells = [_cells(line, starts) for line in head] or [[" "] * len(starts)]
    rows = [cells[0], ["---"] * len(starts)]
    for row in (_cells(line, starts) for line in body):
        if row[0] or len(rows) == 2:
            rows.append(row)
        else:  # a line that continues the row above
            rows[-1] = [" ".join((above, below)).strip() for above, below in zip(rows[-1], row, strict=True)]
    return ["", *("| " + " | ".join(row) + " |" for row in rows), ""]


def _cells(line: str, starts: list[int]) -> list[str]:
    ends = [*starts[1:], None]
    return [line[start:end].strip().replace("|", r"\|") for start, end in zip(starts, ends, strict=True)]
