"""The run: what took how long, settings, versions."""

from __future__ import annotations

import json
import math

from bayeskit.diagnostics.page.blocks import Block, Section, Table
from bayeskit.diagnostics.page.subject import Subject, json_object, number_in
from bayeskit.diagnostics.page.wording import seconds

_TIMES = ("wall_time", "warmup_time", "compile_time", "sampling_time")
_LONG = ("encoding", "table", "formula", "formula_source", "formula_design")


def run(subject: Subject) -> Section | None:
    """Times that add up, and everything that would repeat it."""
    blocks: list[Block] = []
    if times := _times(subject):
        blocks.append(times)
    settings: dict[str, dict[str, str]] = {"run": {}}
    for name, value in subject.attrs.items():
        if name in _TIMES or name in _LONG:
            continue
        if nested := json_object(value):
            settings[name.replace("_", " ")] = {key: _shown(item) for key, item in nested.items()}
        else:
            settings["run"][name] = _shown(value)
    blocks += [
        Table(["", ""], [[key, value] for key, value in block.items()], name.capitalize(), is_words=True)
        for name, block in settings.items()
        if block
    ]
    return Section("Run", blocks) if blocks else None


def _times(subject: Subject) -> Table | None:
    r"""Parts of the wall time whose sum it is.

    The clock of the compiler runs during warmup too, so that the two are no parts of one whole; what was not compiling
    is.
    """
    wall, warmup, compiling, sampling = (
        number_in(subject.attrs, name) for name in ("wall_time", "warmup_time", "compile_time", "sampling_time")
    )
    if not wall > 0.0:
        return None
    rows: list[list[str]] = []
    note = ""
    if math.isfinite(sampling) and math.isfinite(compiling) and math.isfinite(warmup):
        parts = {"compiling": compiling, "warmup": warmup, "sampling": sampling}
        parts["the rest"] = wall - sum(parts.values())
    elif math.isfinite(compiling) and 0 <= compiling <= wall:
        parts = {"compiling": compiling, _work(subject): wall - compiling}
        if warmup > 0:
            note = f"Warmup took {seconds(warmup)} of it, with the compiling that fell into it."
    elif math.isfinite(warmup) and 0 < warmup <= wall:
        parts = {"warmup, with its compiling": warmup, "the rest": wall - warmup}
    else:
        parts = {}
    rows = [[name, seconds(value), f"{value / wall:.0%}" if wall else ""] for name, value in parts.items()]
    return Table(["part", "time", "share"], [*rows, ["wall time", seconds(wall), "100%"]], "Time", note)


def _work(subject: Subject) -> str:
    if subject.has("training"):
        return "training"
    if subject.is_independent:
        return "optimising and drawing"
    return "stages and moves" if subject.is_of_particles else "warmup and sampling"


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value, default=str)
