"""`bayeskit init`: a model file and a run file to start from. What takes time to import is imported inside."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from bayeskit.cli.errors import UsageError, reports_errors
from bayeskit.cli.options import Debug, Json, Quiet


@reports_errors
def init(
    table: Annotated[
        Path, typer.Argument(metavar="TABLE", help="The data: a .csv, .parquet, ... with one row a case.")
    ],
    outcome: Annotated[str | None, typer.Option(metavar="COLUMN", help="What to model. Default: guessed.")] = None,
    group: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="Numbers that name groups, such as years; may be repeated."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Where the files go.")] = Path("."),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Look at a table, and write model.py and run.toml to start from.

    Counts get a negative binomial, zeros and ones a Bernoulli distribution,
    proportions a beta distribution, other numbers a normal or log-normal one;
    columns of text with several rows a level get varying intercepts, numbers
    slopes.
    """
    del as_json, quiet, debug
    from rich.text import Text

    from bayeskit.cli.first_look import look
    from bayeskit.cli.first_model import TITLES, model_text, run_text
    from bayeskit.cli.inputs import read_cells
    from bayeskit.cli.output import console, record
    from bayeskit.cli.show import show_written
    from bayeskit.diagnostics.layout import paragraph
    from bayeskit.storage.atomic import replace_file

    model, run = out / "model.py", out / "run.toml"
    there = [str(path) for path in (model, run) if path.exists()]
    if there and not overwrite:
        raise UsageError(f"{' and '.join(there)} would be replaced; add --overwrite, or name a folder with --out")
    if not out.is_dir():
        raise UsageError(f"--out: there is no folder {out}")
    found = look(read_cells(table), str(table), outcome, group or [])
    texts = {
        model: model_text(found, table.name),
        run: run_text(found, model.name, Path(os.path.relpath(table, out)).as_posix(), table.name.partition(".")[0]),
    }
    for path, text in texts.items():
        replace_file(path, lambda temporary, text=text: _write(temporary, text))  # type: ignore[misc]
    record("columns", lambda: {c.name: {"role": c.role, "seen": c.seen, "why": c.why} for c in found.columns})
    record("family", lambda: found.family)
    console.print(f"{table}: {found.num_rows} rows, {TITLES[found.family]} of {found.outcome.name}", soft_wrap=True)
    for column in found.columns:
        console.print(Text(paragraph(f"{column.name}: {column.seen}; {column.why}", "  ", "    ")))
    show_written("model", model)
    show_written("run", run)
    console.print(f"next: bayeskit run {run}", soft_wrap=True)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
