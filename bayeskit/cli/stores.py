"""The commands that go on from what is stored. What takes time to import is imported inside."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from bayeskit.cli.errors import reports_errors
from bayeskit.cli.plan import Plan, override, read_run_file, result_of

Posterior = Annotated[
    Path,
    typer.Argument(
        metavar="POSTERIOR",
        help="A result, posterior.zarr or posterior.nc; or a run that has not ended, posterior.zarr.partial.",
    ),
]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Target = Annotated[
    str,
    typer.Argument(metavar="RUN.toml | MODEL.py", help="What `bayeskit run` was given: a run file, or a model file."),
]
Data = Annotated[str | None, typer.Option(help="Data file, as for `bayeskit run`.")]
Out = Annotated[str | None, typer.Option(help="The result of the run. Default: the name of the file, .zarr.")]
NoProgress = Annotated[bool, typer.Option("--no-progress", help="No progress bar.")]


def plan_of(target: str, data: str | None, out: str | None) -> Plan:
    """The run that a run file or a model file names."""
    plan = read_run_file(Path(target)) if target.endswith(".toml") else Plan(model=target, out=result_of(Path(target)))
    return override(plan, {"data": data, "out": out}, {})


@reports_errors
def resume(
    target: Target, data: Data = None, out: Out = None, no_progress: NoProgress = False, debug: Debug = False
) -> None:
    """Go on with a run that was stopped, to its end; one that has ended gives its result.

    Exit codes are those of `bayeskit run`.
    """
    del debug
    from bayeskit.cli.run import go_on

    plan = plan_of(target, data, out)
    raise typer.Exit(go_on(plan, compare=target.endswith(".toml"), progress=not no_progress))


@reports_errors
def extend(
    target: Target,
    num_draws: Annotated[int, typer.Option(help="How many more draws a chain.")],
    data: Data = None,
    out: Out = None,
    no_progress: NoProgress = False,
    debug: Debug = False,
) -> None:
    """Draw more in a run that has ended; the result is that of a run with as many draws from the start.

    Exit codes are those of `bayeskit run`.
    """
    del debug
    from bayeskit.cli.run import go_on

    plan = plan_of(target, data, out)
    raise typer.Exit(go_on(plan, compare=target.endswith(".toml"), progress=not no_progress, more=num_draws))


@reports_errors
def predict(
    target: Target,
    predictive: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Draw this observed argument; may be repeated.")
    ] = None,
    data: Annotated[str | None, typer.Option(help="Data file; other rows than those of the fit are predicted.")] = None,
    out: Out = None,
    to: Annotated[Path | None, typer.Option(help="Where the predictions go. Default: into the result.")] = None,
    key: Annotated[int | None, typer.Option(help="Seed. Default: that of the run.")] = None,
    debug: Debug = False,
) -> None:
    """Draw from the posterior predictive distribution of a result, and keep it there or in another file."""
    del debug
    from bayeskit.cli.run import predict_from

    plan = override(plan_of(target, data, out), {"key": key}, {})
    plan = replace(plan, predictive=tuple(predictive)) if predictive else plan
    predict_from(plan, to)


@reports_errors
def export(
    posterior: Posterior,
    to: Annotated[Path, typer.Option(help="The file: .csv or .parquet with one row a draw, or .nc or .zarr.")],
    site: Annotated[list[str] | None, typer.Option(help="Only these sites; may be repeated.")] = None,
    stats: Annotated[bool, typer.Option("--stats", help="Add the statistics of the sampler to a table.")] = False,
    debug: Debug = False,
) -> None:
    """Write the draws of a result as a table, or the result in another format."""
    del debug
    from bayeskit.cli.export import export_result
    from bayeskit.cli.show import console, read_result

    export_result(read_result(posterior), to, sites=site or None, stats=stats)
    console.print(f"written {to}", soft_wrap=True)
