"""The commands that look at results. What takes time to import is imported inside."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bayeskit.cli.errors import FAILED, UNFINISHED, UsageError, reports_errors
from bayeskit.cli.options import Debug, Json, Posterior, Quiet, Site


@reports_errors
def summary(
    posterior: Posterior,
    site: Site = None,
    filter_vars: Annotated[
        str | None, typer.Option(metavar="like|regex", help="Sites are given by parts of names, or by patterns.")
    ] = None,
    prob: Annotated[float, typer.Option(help="The probability between the two quantiles.")] = 0.9,
    round_to: Annotated[
        str, typer.Option(metavar="N|auto|none", help="Decimals; auto: as many as the Monte Carlo error lets stand.")
    ] = "auto",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Print the table of means, intervals, R-hat and effective sample sizes."""
    del as_json, debug
    from bayeskit.cli.show import read_result, show_progress, show_summary

    rounded = int(round_to) if round_to.lstrip("-").isdigit() else round_to
    post = read_result(posterior)
    show_progress(post)
    show_summary(post, sites=site or None, limit=None, filter_vars=filter_vars, prob=prob, round_to=rounded)


@reports_errors
def check(posterior: Posterior, as_json: Json = False, quiet: Quiet = False, debug: Debug = False) -> None:
    """Print the verdict; exit code 1 when it is bad, 4 when it is good so far but the run has not ended."""
    del as_json, quiet, debug
    from bayeskit.cli.show import is_unfinished, read_result, show_progress, show_verdict

    post = read_result(posterior)
    show_progress(post)
    if not show_verdict(post):
        raise typer.Exit(FAILED)
    if is_unfinished(post):
        raise typer.Exit(UNFINISHED)


@reports_errors
def report(
    posterior: Posterior,
    out: Annotated[Path, typer.Option("--out", "-o", help="The page to write.")] = Path("report.html"),
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write a self-contained HTML report."""
    del quiet, debug
    from bayeskit.cli.show import read_result, show_progress, write_report

    post = read_result(posterior)
    show_progress(post)
    write_report(post, out)


@reports_errors
def plot(
    posterior: Posterior,
    kind: Annotated[str, typer.Option(help="trace, rank, forest, pair, or ppc (a predictive check).")] = "trace",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The file, .png, .svg or .pdf. Default: NAME_KIND.png.")
    ] = None,
    site: Site = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Draw the posterior, or data drawn from it beside those observed."""
    del quiet, debug
    from bayeskit.cli.show import check_sites, console, read_result, show_progress, show_written
    from bayeskit.diagnostics.pictures import picture

    post = read_result(posterior)
    show_progress(post)
    if kind != "ppc" and "posterior" in post.children:
        check_sites(post, site)
    place = out or Path(f"{posterior.name.partition('.')[0]}_{kind}.png")
    shown, known = picture(post, kind, place, site or None)
    if shown < known:
        console.print(f"shown are {shown} of {known}; --site chooses")
    show_written("plot", place)


@reports_errors
def compare(
    posteriors: Annotated[list[Path], typer.Argument(metavar="A.zarr B.zarr ...", help="Results of the same data.")],
    site: Annotated[str | None, typer.Option(help="The observed site, where there are several.")] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Compare models by leave-one-out predictive accuracy, the best first."""
    del as_json, debug
    from bayeskit.cli.show import is_unfinished, read_result, show_numbers
    from bayeskit.diagnostics.predictive import compare as by_loo

    posts = {str(path): read_result(path) for path in posteriors}
    if len(posts) < 2:
        raise UsageError("give two results or more, of different files: bayeskit compare a.zarr b.zarr")
    for name, post in posts.items():
        if is_unfinished(post):
            raise UsageError(f"{name} has not ended; bayeskit resume goes on with it")
    show_numbers("comparison", by_loo(posts, site))


@reports_errors
def export(
    posterior: Posterior,
    to: Annotated[
        Path, typer.Option("--to", "-o", help="The file: .csv or .parquet with one row a draw, or .nc or .zarr.")
    ],
    site: Site = None,
    stats: Annotated[bool, typer.Option("--stats", help="Add the statistics of the sampler to a table.")] = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write the draws of a result as a table, or the result in another format."""
    del quiet, debug
    from bayeskit.cli.export import export_result
    from bayeskit.cli.show import read_result, show_written

    export_result(read_result(posterior), to, sites=site or None, stats=stats)
    show_written("table" if to.suffix.lower() in (".csv", ".parquet") else "result", to)
