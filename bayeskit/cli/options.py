"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DATA_HELP = "Data file, .csv, .json, .npz, .nc, .parquet, ...; may be repeated."

Posterior = Annotated[
    Path,
    typer.Argument(
        metavar="POSTERIOR",
        help="A result, posterior.zarr or posterior.nc; or a run that has not ended, posterior.zarr.partial.",
    ),
]
Target = Annotated[
    str,
    typer.Argument(metavar="RUN.toml | MODEL.py", help="What `bayeskit run` was given: a run file, or a model file."),
]
Data = Annotated[list[str] | None, typer.Option(help="Data file, as for `bayeskit run`; may be repeated.")]
Out = Annotated[
    str | None, typer.Option("--out", "-o", help="The result of the run. Default: the name of the file, .zarr.")
]
Key = Annotated[int | None, typer.Option("--key", "--seed", help="Seed. Default: that of the run.")]
Site = Annotated[list[str] | None, typer.Option(help="Only these sites; may be repeated.")]
NoProgress = Annotated[bool, typer.Option("--no-progress", help="No progress bar.")]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print errors and warnings only; the exit code says the rest.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object, and nothing else.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
