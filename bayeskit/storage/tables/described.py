"""What a table holds, in lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from bayeskit.storage.tables.arguments import Columns

__all__ = ["described"]


def described(data: Columns) -> str:
    """Source, rows, a line for each column that is used, and what is left aside."""
    reasons = ", ".join(f"{name} missing in {count}" for name, count in data.dropped.items())
    dropped = f", {data.num_dropped} dropped ({reasons})" if data.num_dropped else ""
    width = max(map(len, data.frame.columns))
    lines = [f"{data.source}: {data.num_rows} rows{dropped}"]
    lines += [f"  {name:{width}}  {_line(data, name)}" for name in data.used]
    if data.left_aside:
        lines.append("left aside:")
        lines += [f"  {name:{width}}  {data.reasons.get(name, '')}".rstrip() for name in data.left_aside]
    return "\n".join(lines)


def _line(data: Columns, name: str) -> str:
    if name in data.levels:
        levels = data.levels[name]
        shown = ", ".join(map(str, levels[:4])) + (", ..." if len(levels) > 4 else "")
        return f"{len(levels)} levels: {shown}"
    values = data[name]
    if values.dtype.kind == "b":
        return f"booleans, true in {values.sum()}"
    missing = int(np.isnan(values).sum()) if values.dtype.kind == "f" else 0
    span = f"{np.nanmin(values):.6g} to {np.nanmax(values):.6g}" if missing < values.size else "none"
    clock = data.encoding.dates.get(name)
    unit = "" if clock is None else f" {clock.unit}" + (f" since {clock.origin[:19]}" if clock.origin else "")
    per = f", one for each {data.encoding.per[name][0]}" if name in data.encoding.per else ""
    return f"numbers, {span}{unit}{per}" + (f", {missing} missing" if missing else "")
