"""What the commands print: tables, the verdict, and the report that they write."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bayeskit._spelling import did_you_mean
from bayeskit.cli.errors import UsageError
from bayeskit.errors import StorageError

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

_TITLES = {
    "mean": "mean",
    "sd": "sd",
    "q5": "5%",
    "q95": "95%",
    "ess_bulk": "ESS bulk",
    "ess_tail": "ESS tail",
    "r_hat": "R-hat",
}

console = Console(highlight=False)


def read_result(path: Path) -> xr.DataTree:
    """The result at `path`, or the draws so far of a run that has not ended, or the record of a fit.

    Raises:
        StorageError: there is none, or what is there has nothing to judge.
    """
    import xarray as xr

    from bayeskit.storage import load

    found = load(path)
    tree = found if isinstance(found, xr.DataTree) else getattr(found, "tree", None)
    if tree is None:
        raise StorageError(f"{path} holds a {type(found).__name__}, which has neither draws nor a record of its fit")
    return tree


def is_unfinished(post: xr.DataTree) -> bool:
    """Whether these are the draws so far of a run that has not ended."""
    return "unfinished" in post.attrs


def show_progress(post: xr.DataTree) -> None:
    """Say how far a run is that has not ended."""
    if is_unfinished(post):
        drawn, wanted = post.attrs["num_draws"], post.attrs["num_draws_wanted"]
        console.print(f"unfinished: {drawn} of {wanted} draws a chain so far", style="yellow")


def show_summary(post: xr.DataTree, *, sites: list[str] | None, limit: int | None, source: str = "") -> None:
    """Print the summary table.

    Args:
        post: the result.
        sites: only these; all by default.
        limit: rows to print at most; scalars come first, so that a long vector does not hide them.
        source: the file, for the line that says how to see the other rows.
    """
    from bayeskit.diagnostics import summary
    from bayeskit.diagnostics.tables import note_on_angles

    if "posterior" not in post.children:
        raise StorageError("there are no draws to sum up, but the record of a fit, which `bayeskit check` judges")
    known = [str(name) for name in post["posterior"].data_vars]
    for name in sites or []:
        if name not in known:
            raise UsageError(f"the posterior has no site {name!r}{did_you_mean(name, known, 'known:')}")
    rows = summary(post, sites)
    if limit is not None:
        rows = rows.loc[sorted(rows.index, key=lambda name: "[" in name)]  # stable: scalars first
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    table.add_column("site", no_wrap=True)
    for title in _TITLES.values():
        table.add_column(title, justify="right", no_wrap=True)
    for site, row in rows.iloc[:limit].iterrows():
        table.add_row(Text(str(site)), *_cells(row))
    Console(width=1000).print(table)  # at its natural width: a terminal too narrow wraps lines, but no number is cut
    if limit is not None and len(rows) > limit:
        console.print(f"and {len(rows) - limit} more: bayeskit summary {source}\n")
    if note := note_on_angles(post, sites):
        console.print(f"{note}\n", markup=False)


def _cells(row: pd.Series) -> list[str]:
    """The numbers of a row. The standard deviation decides the decimals: more than three of its digits say nothing."""
    scale = float(row["sd"])
    decimals = min(max(2 - math.floor(math.log10(scale)), 0), 8) if math.isfinite(scale) and scale > 0 else 3
    formats = {"ess_bulk": ".0f", "ess_tail": ".0f", "r_hat": ".3f"}
    return [format(float(row[name]), formats.get(name, f".{decimals}f")) for name in _TITLES]


def show_verdict(post: xr.DataTree) -> bool:
    """Print the verdict in colour where the terminal has it; whether it is good."""
    from bayeskit.diagnostics import check

    verdict = check(post, quiet=True)
    head, _, rest = str(verdict).partition("\n")
    colour = "red" if not verdict.ok else "yellow" if verdict.findings else "green"
    console.print(Text(head, style=f"bold {colour}"))
    if rest:
        console.print(Text(rest), soft_wrap=True)
    return verdict.ok


def write_report(post: xr.DataTree, path: Path) -> None:
    """Write the report and say where it is."""
    from bayeskit.diagnostics import report

    report(post, path)
    console.print(f"report  {path}")


def show_methods() -> None:
    """Print every method with its settings and their defaults."""
    from bayeskit.cli.methods import all_methods, default_of, settings_of

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("method", "what it is", "settings and defaults"):
        table.add_column(title, overflow="fold")
    for name, cls in all_methods().items():
        about = (cls.__doc__ or "").strip().partition("\n")[0]
        settings = ", ".join(f"{item.name}={default_of(item) or 'none'}" for item in settings_of(cls))
        table.add_row(Text(name, style="bold"), about, settings)
    console.print(table)
