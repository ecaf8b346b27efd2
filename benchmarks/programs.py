"""Every program that XLA compiles in one `bk.infer` and `bk.check`, and where the rest of the time goes.

    python benchmarks/programs.py [radon | eight_schools ...]

Each model runs in a fresh process with an empty compilation cache, in another with that cache filled, and twice more in
the latter with new data of the same shapes. Of every program: seconds of tracing, of lowering and of compiling (from
the cache: of loading); tracing also counts what is traced only. Then the number of calls of the model function, and
the seconds of each part, as time on the clock and as time of the processor, which depends less on what else the machine
does. `--brief` leaves out the programs.
"""

from __future__ import annotations

import sys
import time

BEGIN = time.perf_counter(), time.process_time()

import functools
import importlib
import os
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

MODELS = ("radon", "eight_schools")
EVENTS = {"jaxpr_trace_duration": 0, "jaxpr_to_mlir_module_duration": 1, "backend_compile_duration": 2}
PARTS = [
    ("bayeskit.inference.run", "make_target", "program and target"),
    ("bayeskit.inference.run", "index_check", "index check"),
    ("bayeskit.inference.run", "record", "record"),
    ("bayeskit.inference.run", "description", "description"),
    ("bayeskit.inference.run", "start", "starting points"),
    ("bayeskit.inference.chains.independent", "ChainMethod.init", "first states"),
    ("bayeskit.inference.driver", "Run.go", "chains"),
    ("bayeskit.inference.ending", "_finished", "DataTree"),
]
"""Module, name and title of each part of `bk.infer`; what is in none of them is called `rest`."""


class Parts:
    """Seconds of each part: time on the clock, and of the processor."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {}

    def add(self, title: str, clock: float, processor: float) -> None:
        """Add to the seconds of a part."""
        row = self.seconds.setdefault(title, [0.0, 0.0])
        row[0] += clock
        row[1] += processor

    def timed(self, title: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, whose calls are added."""

        @functools.wraps(function, updated=())
        def call(*args: Any, **kwargs: Any) -> Any:
            begin = time.perf_counter(), time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                self.add(title, time.perf_counter() - begin[0], time.process_time() - begin[1])

        return call


class Programs:
    """Seconds of tracing, lowering and compiling by the name of the program."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {}
        self.compiled: Counter[str] = Counter()

    def hear(self, event: str, seconds: float, **of: object) -> None:
        """What JAX calls at the end of each."""
        which = EVENTS.get(event.rpartition("/")[2])
        if which is None:
            return
        name = str(of.get("fun_name", "?"))
        name = name.removeprefix("jit(").removeprefix("jit_").removesuffix(")")
        self.seconds.setdefault(name, [0.0] * 3)[which] += seconds
        self.compiled[name] += which == 2


class Calls:
    """How often the model function was called."""

    number = 0


def counted(model: Callable[..., None], calls: Calls) -> Callable[..., None]:
    """The model, whose calls are counted."""

    @functools.wraps(model)
    def call(*args: Any, **kwargs: Any) -> None:
        calls.number += 1
        model(*args, **kwargs)

    return call


def child(problem: str, cache: str, rounds: int, brief: bool) -> None:
    """Run a model some times in this process, and print what was found."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    import jax

    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_compilation_cache_dir", cache)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
    import numpy as np

    import bayeskit as bk
    from benchmarks.models import PROBLEMS

    bk.infer, bk.check, bk.NUTS  # noqa: B018  (names are imported when they are first used)
    imports = time.perf_counter() - BEGIN[0], time.process_time() - BEGIN[1]
    programs, parts, calls = Programs(), Parts(), Calls()
    jax.monitoring.register_event_duration_secs_listener(programs.hear)
    for module, name, title in PARTS:
        owner: Any = importlib.import_module(module)
        *path, last = name.split(".")
        for step in path:
            owner = getattr(owner, step)
        setattr(owner, last, parts.timed(title, getattr(owner, last)))
    model, data = PROBLEMS[problem]()
    model, observed, rng = counted(model, calls), "log_radon" if problem == "radon" else "y", np.random.default_rng(0)
    for number in range(rounds):
        programs.__init__(), parts.__init__()  # type: ignore[misc]
        calls.number = 0
        begin = time.perf_counter(), time.process_time()
        new = {**data, observed: data[observed] + 0.01 * number * rng.normal(size=len(data[observed]))}
        post = parts.timed("infer", bk.infer)(model, new, bk.NUTS(), key=number, progress=False)
        parts.timed("check", bk.check)(post, quiet=True)
        if number == 0:
            begin = BEGIN
            parts.add("imports", *imports)
        report(number, programs, parts, calls, (time.perf_counter() - begin[0], time.process_time() - begin[1]), brief)


def report(
    number: int, programs: Programs, parts: Parts, calls: Calls, total: tuple[float, float], brief: bool
) -> None:
    """Print the tables of one call."""
    inside = [parts.seconds[title] for _, _, title in PARTS if title in parts.seconds]
    parts.add("rest of infer", *(parts.seconds["infer"][i] - sum(row[i] for row in inside) for i in (0, 1)))
    del parts.seconds["infer"]
    columns = [sum(row[i] for row in programs.seconds.values()) for i in range(3)]
    print(f"\n-- call {number + 1}: {programs.compiled.total()} programs, {calls.number} calls of the model function")
    print(f"{'program':44s} {'number':>6s} {'trace':>7s} {'lower':>7s} {'compile':>7s}")
    for name, row in sorted(programs.seconds.items(), key=lambda item: -sum(item[1])):
        if programs.compiled[name] and not brief:
            print(f"{name[:44]:44s} {programs.compiled[name]:6d} " + " ".join(f"{s:7.3f}" for s in row))
    everything = f"{'all, and what is only traced':44s} {programs.compiled.total():6d} "
    print(everything + " ".join(f"{s:7.3f}" for s in columns))
    print(f"{'part':44s} {'clock':>7s} {'processor':>9s}")
    for title, (clock, processor) in sorted(parts.seconds.items(), key=lambda item: -item[1][0]):
        print(f"{title:44s} {clock:7.3f} {processor:9.3f}")
    print(f"{'all':44s} {total[0]:7.3f} {total[1]:9.3f}", flush=True)


def main() -> None:
    """Each model in a fresh process, with a cold and with a warm cache."""
    words = [word for word in sys.argv[1:] if word != "--brief"]
    if words[:1] == ["--child"]:
        child(words[1], words[2], int(words[3]), "--brief" in sys.argv)
        return
    for problem in words or MODELS:
        with tempfile.TemporaryDirectory() as cache:
            for state, rounds in (("cold", 1), ("warm", 3)):
                print(f"\n==== {problem}, {state} cache", flush=True)
                brief = ["--brief"] * ("--brief" in sys.argv)
                command = [sys.executable, __file__, "--child", problem, cache, str(rounds), *brief]
                subprocess.run(command, check=True, env={**os.environ, "PYTHONWARNINGS": "ignore"})


if __name__ == "__main__":
    main()
