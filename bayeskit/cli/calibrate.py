"""The command that judges a method. What takes time to import is imported inside."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bayeskit.cli.errors import BAD_VERDICT, UsageError, reports_errors
from bayeskit.cli.options import Data, Debug, Json, NoProgress, Quiet, Target
from bayeskit.cli.stores import plan_of

if TYPE_CHECKING:
    import xarray as xr

SHOWN = 12
"""Rows of the table; those that are off come first."""


@reports_errors
def sbc(
    target: Target,
    data: Data = None,
    num_replicates: Annotated[int, typer.Option(help="Data sets to simulate and fit.")] = 300,
    num_draws: Annotated[int, typer.Option(help="The most draws kept of each fit.")] = 99,
    executor: Annotated[
        str | None, typer.Option(help="A number of worker processes, local, or the address of a Dask scheduler.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Where the ranks go. Default: NAME.ranks.nc.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the ranks into this file.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace ranks that are there.")] = False,
    no_progress: NoProgress = False,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Fit data that the model simulates, and say whether the method draws from the posterior.

    Exit codes are those of `bayeskit run`.
    """
    del as_json, quiet, debug
    plan = plan_of(target, data, None)
    place = out or Path(plan.out).with_suffix(".ranks.nc")
    if place.exists() and not overwrite:
        raise UsageError(f"{place} is there; --overwrite replaces it, --out writes elsewhere")

    from bayeskit.cli.inputs import read_inputs
    from bayeskit.cli.methods import make_method
    from bayeskit.cli.output import for_reader
    from bayeskit.cli.process import set_precision
    from bayeskit.errors import Interrupted
    from bayeskit.inference.calibration.sbc import sbc as calibrate

    set_precision(None if plan.precision is None else plan.precision == "float32")
    method, loaded = make_method(plan.method, plan.settings), read_inputs(plan)
    workers = int(executor) if executor is not None and executor.lstrip("-").isdigit() else executor
    settings = {"num_draws": num_draws, "executor": workers, "progress": not no_progress and for_reader()}
    try:
        ranks = calibrate(loaded.file.model, loaded.arguments, method, num_replicates, plan.key, **settings)  # type: ignore[arg-type]
    except Interrupted as stop:
        if stop.post is not None:
            _keep(stop.post, place)
        raise
    _keep(ranks, place)
    raise typer.Exit(0 if _show(ranks, plot) else BAD_VERDICT)


def _keep(ranks: xr.DataTree, place: Path) -> None:
    from bayeskit.cli.show import show_written
    from bayeskit.storage import save

    save(ranks, place)
    show_written("ranks", place)


def _show(ranks: xr.DataTree, plot: Path | None) -> bool:
    """Print the table and the verdict; whether it is good."""
    from bayeskit.cli.show import show_numbers, show_verdict, show_written
    from bayeskit.diagnostics.calibration import calibration
    from bayeskit.diagnostics.calibration_plot import plot_calibration
    from bayeskit.errors import StorageError

    try:
        show_numbers("calibration", calibration(ranks), limit=SHOWN)
        if plot is not None:
            plot_calibration(ranks).savefig(plot)
            show_written("plot", plot)
    except StorageError:  # too few ranks: the verdict says why
        pass
    return show_verdict(ranks)
