"""`make gpu` at its small size: every row has both of its figures, and what is written is JSON (``pytest -m slow``)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "gpu.py"


def refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


@pytest.mark.slow
def test_every_row_of_the_table_has_its_figures(tmp_path: Path) -> None:
    path = tmp_path / "gpu.json"
    command = [sys.executable, str(SCRIPT), "--small", "--json", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads(path.read_text(), parse_constant=refuse)
    names = [row["name"] for row in record["rows"]]
    assert len(set(names)) == len(names) >= 8
    assert [row["name"] for row in record["rows"] if "error" in row["ours"] or "error" in row["peer"]] == []
    for row in record["rows"]:
        assert row["ours"]["figure"] > 0 < row["peer"]["figure"], row
        assert row["ratio"] == pytest.approx(row["ours"]["figure"] / row["peer"]["figure"])
        assert f"| {row['name']} |" in done.stdout
