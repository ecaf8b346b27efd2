"""The commands that go on from what is stored. What takes time to import is imported inside."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from bayeskit.cli.errors import reports_errors
from bayeskit.cli.options import Data, Debug, Json, Key, NoProgress, Out, Quiet, Target
from bayeskit.cli.plan import Plan, override, read_run_file, result_of


def plan_of(target: str, data: list[str] | None, out: str | None) -> Plan:
    """The run that a run file or a model file names."""
    plan = read_run_file(Path(target)) if target.endswith(".toml") else Plan(model=target, out=result_of(Path(target)))
    return override(plan, {"data": tuple(data) if data else None, "out": out}, {})


@reports_errors
def resume(
    target: Target,
    data: Data = None,
    out: Out = None,
    no_progress: NoProgress = False,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Go on with a run that was stopped, to its end; one that has ended gives its result.

    Exit codes are those of `bayeskit run`.
    """
    del as_json, quiet, debug
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
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Draw more in a run that has ended; the result is that of a run with as many draws from the start.

    Exit codes are those of `bayeskit run`.
    """
    del as_json, quiet, debug
    from bayeskit.cli.run import go_on

    plan = plan_of(target, data, out)
    raise typer.Exit(go_on(plan, compare=target.endswith(".toml"), progress=not no_progress, more=num_draws))


@reports_errors
def predict(
    target: Target,
    predictive: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Draw this observed argument; may be repeated.")
    ] = None,
    data: Annotated[
        list[str] | None, typer.Option(help="Data file; other rows than those of the fit are predicted.")
    ] = None,
    out: Out = None,
    to: Annotated[Path | None, typer.Option(help="Where the predictions go. Default: into the result.")] = None,
    key: Key = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Draw from the posterior predictive distribution of a result, and keep it there or in another file."""
    del quiet, debug
    from bayeskit.cli.run import predict_from

    plan = override(plan_of(target, data, out), {"key": key}, {})
    plan = replace(plan, predictive=tuple(predictive)) if predictive else plan
    predict_from(plan, to)
