"""The commands. Each body is a few lines; what takes time to import is imported inside."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bayeskit.cli import calibrate, results, starting, stores
from bayeskit.cli.errors import reports_errors
from bayeskit.cli.options import DATA_HELP, Debug, Json, Quiet
from bayeskit.cli.plan import override, parse_settings
from bayeskit.cli.stores import plan_of
from bayeskit.cli.usage import Commands

app = typer.Typer(
    help="Run a NumPyro model file and say whether its posterior can be trusted.",
    no_args_is_help=True,
    cls=Commands,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

INPUT, SAMPLING, OUTPUT = "Input", "Sampling", "Output"  # headings of the help


def _version(asked: bool | None) -> None:
    if asked:
        from bayeskit import __version__

        typer.echo(f"bayeskit {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool | None, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = None,
) -> None:
    del version
    from bayeskit.cli.process import prepare_process

    prepare_process()


app.command()(starting.init)


@app.command()
@reports_errors
def run(
    target: Annotated[str, typer.Argument(metavar="MODEL.py | RUN.toml", help="A model file, or a run file.")],
    data: Annotated[list[str] | None, typer.Option(help=DATA_HELP, rich_help_panel=INPUT)] = None,
    drop_missing: Annotated[
        bool, typer.Option("--drop-missing", help="Leave out rows that lack a cell.", rich_help_panel=INPUT)
    ] = False,
    method: Annotated[
        str | None, typer.Option(help="See `bayeskit methods`. Default: nuts.", rich_help_panel=SAMPLING)
    ] = None,
    backend: Annotated[
        str | None, typer.Option(help="The library that samples: numpyro or blackjax.", rich_help_panel=SAMPLING)
    ] = None,
    num_chains: Annotated[int | None, typer.Option(help="Number of chains.", rich_help_panel=SAMPLING)] = None,
    num_warmup: Annotated[int | None, typer.Option(help="Warmup steps a chain.", rich_help_panel=SAMPLING)] = None,
    num_draws: Annotated[int | None, typer.Option(help="Draws a chain.", rich_help_panel=SAMPLING)] = None,
    target_accept: Annotated[
        float | None, typer.Option(help="Acceptance rate that warmup aims at.", rich_help_panel=SAMPLING)
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Any other setting.", rich_help_panel=SAMPLING),
    ] = None,
    key: Annotated[
        int | None,
        typer.Option(
            "--key", "--seed", help="Seed: the same key, the same draws. Default: 0.", rich_help_panel=SAMPLING
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            "--out", "-o", help="Where the result goes. Default: the name of the file, .zarr.", rich_help_panel=OUTPUT
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the result of another run.", rich_help_panel=OUTPUT)
    ] = False,
    report: Annotated[str | None, typer.Option(help="Write an HTML report there.", rich_help_panel=OUTPUT)] = None,
    log_likelihood: Annotated[
        bool | None,
        typer.Option(
            "--log-likelihood/--no-log-likelihood", help="Keep it, for leave-one-out.", rich_help_panel=OUTPUT
        ),
    ] = None,
    discrete: Annotated[
        str | None,
        typer.Option(
            metavar="HOW",
            help="Report discrete sites, which are summed out: sample, or probabilities.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    predictive: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Draw this observed argument from the posterior predictive.", rich_help_panel=OUTPUT
        ),
    ] = None,
    keep: Annotated[
        list[str] | None, typer.Option(metavar="SITE", help="Keep only these sites.", rich_help_panel=OUTPUT)
    ] = None,
    thin: Annotated[int | None, typer.Option(help="Keep every n-th draw. Default: 1.", rich_help_panel=OUTPUT)] = None,
    float32: Annotated[
        bool | None,
        typer.Option(
            "--float32/--float64",
            help="Precision. Default: float64 on a CPU, float32 elsewhere.",
            rich_help_panel=SAMPLING,
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an interrupted run.", rich_help_panel=SAMPLING)
    ] = False,
    no_progress: Annotated[bool, typer.Option("--no-progress", help="No progress bar.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Sample from the posterior of a model; print its summary and the verdict, and write the result.

    Exit codes: 0 the verdict is good, 2 wrong input, 3 the verdict is bad
    (the result is written), 130 interrupted by Ctrl-C, 143 by SIGTERM.
    """
    del as_json, quiet, debug
    plan = plan_of(target, data, out)
    options: dict[str, object] = {
        "method": method,
        "key": key,
        "report": report,
        "log_likelihood": log_likelihood,
        "discrete": discrete,
        "predictive": tuple(predictive) if predictive else None,
        "keep": tuple(keep) if keep else None,
        "thin": thin,
        "precision": None if float32 is None else "float32" if float32 else "float64",
    }
    named = {
        "backend": backend,
        "num_chains": num_chains,
        "num_warmup": num_warmup,
        "num_draws": num_draws,
        "target_accept": target_accept,
    }
    settings = parse_settings(set_ or []) | {name: value for name, value in named.items() if value is not None}
    if drop_missing:
        options["columns"] = {**plan.columns, "drop_missing": True}
    plan = override(plan, options, settings)

    from bayeskit.cli.run import execute

    raise typer.Exit(execute(plan, resume=resume, progress=not no_progress, overwrite=overwrite))


for command in (
    stores.resume,
    stores.extend,
    stores.predict,
    results.summary,
    results.check,
    results.report,
    results.plot,
    results.compare,
    calibrate.sbc,
    results.export,
):
    app.command()(command)


@app.command()
@reports_errors
def rl(
    target: Annotated[Path, typer.Argument(metavar="RUN.toml", help="A run file; see the page on td_error.")],
    plot: Annotated[Path | None, typer.Option(help="Draw the learning curve into this file.")] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace a result that is there.")] = False,
    progress: Annotated[bool, typer.Option(help="Show the progress bar.")] = True,
    debug: Debug = False,
) -> None:
    """Train agents as a run file says; after an interruption the same command goes on."""
    del debug
    from bayeskit.cli.rl import execute, read_agent_file

    raise typer.Exit(execute(read_agent_file(target), plot=plot, overwrite=overwrite, progress=progress))


@app.command()
@reports_errors
def methods(as_json: Json = False, debug: Debug = False) -> None:
    """List the methods with their settings and defaults."""
    del as_json, debug
    from bayeskit.cli.show import show_methods

    show_methods()
