"""The data: where they come from, how many rows were used and dropped, and what was given."""

from __future__ import annotations

import numpy as np

from bayeskit.diagnostics.page.blocks import Block, Section, Table, Text
from bayeskit.diagnostics.page.subject import Subject, json_object
from bayeskit.diagnostics.page.wording import counted, listed

_GROUPS = {
    "observed_data": "observed",
    "constant_data": "given",
    "predictions_constant_data": "given for predictions",
}


def data(subject: Subject) -> Section | None:
    """What the model was given."""
    rows = [
        [str(name), what, *_described(np.asarray(variable.values))]
        for group, what in _GROUPS.items()
        if subject.has(group)
        for name, variable in subject.tree[group].to_dataset().data_vars.items()
    ]
    blocks: list[Block] = [Text(sentence) for sentence in _origin(subject)]
    if rows:
        blocks.append(Table(["name", "what it is", "shape", "type", "values"], rows, is_words=True))
    return Section("Data", blocks, starts_page=False) if blocks else None


def _origin(subject: Subject) -> list[str]:
    table = json_object(subject.attrs.get("table"))
    source = str(table.get("source") or subject.attrs.get("data", "") or subject.attrs.get("data_file", ""))
    found: list[str] = []
    used, dropped = table.get("num_rows"), table.get("num_dropped")
    if isinstance(used, int) and isinstance(dropped, int):
        # `num_rows` are those that are left
        head = f"From {source}: " if source else ""
        found.append(
            f"{head}{counted(used, 'row')} used, {f'{dropped:,}' if dropped else 'none'} dropped{_why(table)}."
        )
    elif source:
        found.append(f"From {source}.")
    aside = table.get("left_aside")
    if isinstance(aside, list) and aside:
        found.append(f"Columns that the model does not use: {listed([str(one) for one in aside], 12)}.")
    return found


def _why(table: dict[str, object]) -> str:
    dropped = table.get("dropped")
    if not isinstance(dropped, dict) or not dropped:
        return ""
    return f" ({', '.join(f'{name} missing in {count}' for name, count in dropped.items())})"


def _described(values: np.ndarray) -> tuple[str, str, str]:
    """Shape, type and range."""
    shape = " × ".join(str(size) for size in values.shape) or "number"
    extent = ""
    if values.size and values.dtype.kind in "iuf":
        low, high = np.nanmin(values), np.nanmax(values)
        extent = f"{values.item():.6g}" if values.ndim == 0 else f"{low:.4g} to {high:.4g}"
        missing = int(np.isnan(values).sum()) if values.dtype.kind == "f" else 0
        extent += f", {missing} missing" if missing else ""
    elif values.size and values.dtype.kind in "bU":
        different = np.unique(values)
        extent = listed([str(one) for one in different[:4]], 4) if len(different) < 5 else f"{len(different)} different"
    return shape, str(values.dtype), extent.replace("-", "−")
