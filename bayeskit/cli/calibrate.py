"""The commands that judge a method and compare models. What takes time to import is imported inside."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bayeskit.cli.errors import BAD_VERDICT, UsageError, reports_errors
from bayeskit.cli.stores import Data, Debug, NoProgress, Target, plan_of

if TYPE_CHECKING:
    import pandas as pd
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
    out: Annotated[Path | None, typer.Option(help="Where the ranks go. Default: NAME.ranks.nc.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the ranks into this file.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace ranks that are there.")] = False,
    no_progress: NoProgress = False,
    debug: Debug = False,
) -> None:
    """Fit data that the model simulates, and say whether the method draws from the posterior.

    Exit codes are those of `bayeskit run`.
    """
    del debug
    plan = plan_of(target, data, None)
    place = out or Path(plan.out).with_suffix(".ranks.nc")
    if place.exists() and not overwrite:
        raise UsageError(f"{place} is there; --overwrite replaces it, --out writes elsewhere")

    from bayeskit.cli.methods import make_method
    from bayeskit.cli.process import set_precision
    from bayeskit.cli.run import read_inputs
    from bayeskit.errors import Interrupted
    from bayeskit.inference.calibration.sbc import sbc as calibrate

    set_precision(None if plan.precision is None else plan.precision == "float32")
    method, loaded = make_method(plan.method, plan.settings), read_inputs(plan)
    workers = int(executor) if executor is not None and executor.lstrip("-").isdigit() else executor
    settings = {"num_draws": num_draws, "executor": workers, "progress": not no_progress}
    try:
        ranks = calibrate(loaded.file.model, loaded.arguments, method, num_replicates, plan.key, **settings)  # type: ignore[arg-type]
    except Interrupted as stop:
        if stop.post is not None:
            _keep(stop.post, place)
        raise
    _keep(ranks, place)
    raise typer.Exit(0 if _show(ranks, plot) else BAD_VERDICT)


def _keep(ranks: xr.DataTree, place: Path) -> None:
    from bayeskit.cli.show import console
    from bayeskit.storage import save

    save(ranks, place)
    console.print(f"ranks  {place}", soft_wrap=True)


def _show(ranks: xr.DataTree, plot: Path | None) -> bool:
    """Print the table and the verdict; whether it is good."""
    from bayeskit.cli.show import console, show_verdict
    from bayeskit.diagnostics.calibration import calibration
    from bayeskit.diagnostics.calibration_plot import plot_calibration
    from bayeskit.errors import StorageError

    try:
        _print(calibration(ranks).iloc[:SHOWN])
        if plot is not None:
            plot_calibration(ranks).savefig(plot)
            console.print(f"plot  {plot}", soft_wrap=True)
    except StorageError:  # too few ranks: the verdict says why
        pass
    return show_verdict(ranks)


@reports_errors
def compare(
    posteriors: Annotated[list[Path], typer.Argument(metavar="A.zarr B.zarr ...", help="Results of the same data.")],
    site: Annotated[str | None, typer.Option(help="The observed site, where there are several.")] = None,
    debug: Debug = False,
) -> None:
    """Compare models by leave-one-out predictive accuracy, the best first."""
    del debug
    from bayeskit.cli.show import is_unfinished, read_result
    from bayeskit.diagnostics.predictive import compare as by_loo

    posts = {str(path): read_result(path) for path in posteriors}
    if len(posts) < 2:
        raise UsageError("give two results or more, of different files: bayeskit compare a.zarr b.zarr")
    for name, post in posts.items():
        if is_unfinished(post):
            raise UsageError(f"{name} has not ended; bayeskit resume goes on with it")
    _print(by_loo(posts, site))


def _print(table: pd.DataFrame) -> None:
    """A table of numbers at its natural width."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    shown.add_column("", no_wrap=True)
    for title in table.columns:
        shown.add_column(str(title), justify="right", no_wrap=True)
    for name, row in table.iterrows():
        shown.add_row(Text(str(name)), *(value if isinstance(value, str) else format(value, ".3g") for value in row))
    Console(width=1000).print(shown)
