"""What an accelerator does with bayeskit and with its peers, in one table and in under six minutes.

    python benchmarks/gpu.py [--small | --large] [--json gpu.json] [--only WORD ...] [--seconds 300]

On the default device of JAX, in 32-bit numbers; large sizes where that is no CPU. One row a task:

figure       what is done in a second: effective draws (the smallest bulk effective sample size of any parameter over
             the seconds of warmup and sampling), particles, steps, pairs of inputs, or data sets
seconds      of a second call, compiled; of `bayeskit` all of `bk.infer`, starting points and DataTree included
compile s    what the first call takes beyond it; nothing is taken from a cache on disk
ratio        of the figures, bayeskit's over the peer's

A contestant that fails says why in its cell, and the rest go on. One that is not likely to end in the time left is
skipped, and says so: it is expected to take what the last of its kind took times the growth of its work. After
`--seconds` no contestant starts, and 50 seconds later the table ends as it is. With * the first call took so long that
there was no second, and the seconds include compiling.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import os
import platform
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
warnings.filterwarnings("ignore")

from benchmarks.versions import XLA_FLAG, versions

if "ynn_fusion" not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {XLA_FLAG}".strip()

import jax

from benchmarks.gpu_rows import LARGE, SMALL, Entry, Row, Size, rows
from benchmarks.gpu_work import Missing

LONE = 40.0
"""Seconds of a first call after which there is no second."""
GRACE = 50.0
"""Seconds that the last contestant may take beyond the limit."""


class Clock:
    """The time left, and what contestants have taken so far, by kind."""

    def __init__(self, seconds: float):
        self.end = time.perf_counter() + seconds
        self.taken: dict[str, tuple[float, float, float]] = {}

    def reason_to_skip(self, entry: Entry) -> str | None:
        """That its estimate exceeds the time left."""
        left = self.end - time.perf_counter()
        if left <= 0:
            return "skipped: no time left"
        if entry.kind not in self.taken:
            return None
        compiling, seconds, work = self.taken[entry.kind]
        estimate = compiling + 2 * seconds * entry.work / work
        return f"skipped: about {estimate:.0f} s, {left:.0f} s left" if estimate > left else None


def measure(entry: Entry, clock: Clock) -> dict[str, Any]:
    """What a cell says: numbers, or under `error` why there are none."""
    if reason := clock.reason_to_skip(entry):
        return {"whose": entry.whose, "error": reason}
    try:
        run = entry.make()
        first = run()
        again = first if first.compile_seconds is not None or first.seconds > LONE else run()
        lone = again is first and first.compile_seconds is None
        compiling = first.seconds - again.seconds if first.compile_seconds is None else first.compile_seconds
        clock.taken[entry.kind] = compiling, again.seconds, entry.work
        amount, note = again.found()
    except Missing as error:
        return {"whose": entry.whose, "error": str(error)}
    except Exception as error:  # out of memory, say: the other rows go on
        gc.collect()
        jax.clear_caches()
        first_line = next(iter(str(error).strip().splitlines()), "")
        return {"whose": entry.whose, "error": f"failed: {type(error).__name__}: {first_line[:120]}", "failed": True}
    found = {"figure": amount / again.seconds, "seconds": again.seconds, "compile_seconds": max(compiling, 0.0)}
    numbers = {name: value if math.isfinite(value) else None for name, value in found.items()}
    return {"whose": entry.whose, **numbers, "lone": lone, "note": note}


def cells(found: dict[str, Any]) -> list[str]:
    """Of one contestant: figure, seconds, compile seconds."""
    if "error" in found:
        return [found["error"], "–", "–"]
    figure = "–" if found["figure"] is None else f"{found['figure']:,.{0 if found['figure'] >= 100 else 2}f}"
    return [figure, f"{found['seconds']:.3g}{'*' if found['lone'] else ''}", f"{found['compile_seconds']:.1f}"]


HEAD = """\
| row | in a second | bayeskit | seconds | compile s | peer | its figure | seconds | compile s | ratio | what came out |
|---|---|---:|---:|---:|---|---:|---:|---:|---:|---|"""


def line(row: dict[str, Any]) -> str:
    """Of the table."""
    ours, peer = row["ours"], row["peer"]
    notes = "; ".join(f"{one['whose']}: {one['note']}" for one in (ours, peer) if one.get("note"))
    ratio = "–" if row["ratio"] is None else f"{row['ratio']:.2f}"
    return f"| {' | '.join([row['name'], row['unit'], *cells(ours), peer['whose'], *cells(peer), ratio, notes])} |"


def measure_row(row: Row, clock: Clock, known: dict[tuple[str, float], dict[str, Any]]) -> dict[str, Any]:
    """Both contestants; one that several rows have is measured once."""
    ours = measure(row.ours, clock)
    name = row.peer.kind, row.peer.work
    if name not in known:
        known[name] = measure(row.peer, clock)
    peer = known[name]
    both = ours.get("figure"), peer.get("figure")
    ratio = both[0] / both[1] if both[0] is not None and both[1] else None
    return {"name": row.name, "unit": row.unit, "ours": ours, "peer": peer, "ratio": ratio}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument("--small", action="store_true", help="sizes that say that it runs, and nothing of speed")
    sizes.add_argument("--large", action="store_true", help="the sizes of an accelerator")
    parser.add_argument("--json", type=Path, default=Path("gpu.json"), metavar="FILE", help="(%(default)s)")
    parser.add_argument("--only", nargs="+", metavar="WORD", help="rows whose name holds one of these words")
    parser.add_argument("--seconds", type=float, help="after which no contestant starts (300)")
    asked = parser.parse_args()
    jax.config.update("jax_enable_compilation_cache", False)
    is_small = asked.small or (jax.default_backend() == "cpu" and not asked.large)
    size = SMALL if is_small else LARGE
    if asked.seconds is not None:
        size = size._replace(seconds=asked.seconds)
    record: dict[str, Any] = {
        "versions": versions(),
        "machine": {
            "platform": platform.platform(),
            "device": jax.devices()[0].device_kind,
            "devices": jax.device_count(),
            "cores": os.cpu_count(),
        },
        "size": "small" if is_small else "large",
        "settings": {name: value for name, value in size._asdict().items() if name != "lengths"}
        | {"lengths": [length._asdict() for length in size.lengths]},
        "rows": [],
    }
    sys.exit(run(size, record, asked.json, asked.only))


def run(size: Size, record: dict[str, Any], path: Path, only: list[str] | None) -> int:
    """Measure all rows; the exit status is 1 where a row of ours failed at a small size."""
    begin, clock, known = time.perf_counter(), Clock(size.seconds), {}
    print(", ".join(f"{name} {found}" for name, found in record["versions"].items()))
    print(
        f"{record['machine']['device']}, {record['machine']['platform']}; {record['size']} sizes\n\n{HEAD}", flush=True
    )

    def write() -> None:
        record["seconds"] = time.perf_counter() - begin
        path.write_text(json.dumps(record, indent=1, allow_nan=False))

    def give_up() -> None:
        record["gave_up"] = True
        write()
        print(
            f"\nstopped after {record['seconds']:.0f} s, in the midst of a row; {path} holds the rows above", flush=True
        )
        os._exit(1 if record["size"] == "small" else 0)

    watch = threading.Timer(size.seconds + GRACE, give_up)
    watch.daemon = True
    watch.start()
    chosen = [row for row in rows(size) if not only or any(word.lower() in row.name.lower() for word in only)]
    for row in chosen:
        record["rows"].append(measure_row(row, clock, known))
        print(line(record["rows"][-1]), flush=True)
        write()
        gc.collect()
    watch.cancel()
    print(f"\n{time.perf_counter() - begin:.0f} s; {path}")
    return int(record["size"] == "small" and any(row["ours"].get("failed") for row in record["rows"]))


if __name__ == "__main__":
    main()
