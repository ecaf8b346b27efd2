"""What the commands print: tables, the verdict, and the report that they write."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text

from bayeskit._spelling import did_you_mean
from bayeskit.cli.errors import UsageError
from bayeskit.cli.output import console, for_reader, record
from bayeskit.errors import StorageError

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from bayeskit.diagnostics import Verdict

__all__ = ["console", "is_unfinished", "print_table", "read_result"]


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
        record("unfinished", lambda: {"num_draws": int(drawn), "num_draws_wanted": int(wanted)})
        console.print(f"unfinished: {drawn} of {wanted} draws a chain so far", style="yellow")


def show_summary(
    post: xr.DataTree, *, sites: Sequence[str] | None, limit: int | None, source: str = "", **settings: Any
) -> None:
    """Print the summary table.

    Args:
        post: the result.
        sites: only these; all by default.
        limit: rows to print at most; scalars come first, so that a long vector does not hide them.
        source: the file, for the line that says how to see the other rows.
        settings: of `bayeskit.summary`.
    """
    from bayeskit.diagnostics import summary
    from bayeskit.diagnostics.layout import table_width
    from bayeskit.diagnostics.summary_table import Summary
    from bayeskit.diagnostics.tables import note_on_angles

    if "posterior" not in post.children:
        raise StorageError("there are no draws to sum up, but the record of a fit, which `bayeskit check` judges")
    if not settings.get("filter_vars"):
        check_sites(post, sites)
    rows = summary(post, sites, **settings)
    record(
        "summary", lambda: [{"site": str(name), **row} for name, row in zip(rows.index, _records(rows), strict=True)]
    )
    if limit is not None:
        rows = Summary(rows.loc[sorted(rows.index, key=lambda name: "[" in name)])  # stable: scalars first
    if settings.get("round_to") == "none":
        _print_whole(rows)
    elif len(rows):
        console.print(f"\n{rows.iloc[:limit].text(table_width(), most=None)}\n", markup=False, soft_wrap=True)
    if limit is not None and len(rows) > limit:
        console.print(f"and {len(rows) - limit} more: bayeskit summary {source}\n", soft_wrap=True)
    if for_reader() and (note := note_on_angles(post, sites if not settings.get("filter_vars") else None)):
        console.print(f"{note}\n", markup=False)


def _records(rows: pd.DataFrame) -> list[dict[str, float]]:
    return [{str(name): float(value) for name, value in row.items()} for row in rows.to_dict("records")]


def _print_whole(rows: pd.DataFrame) -> None:
    titles = ["site", *(str(name) for name in rows.columns)]
    print_table(
        titles, [[str(name), *map(repr, map(float, row))] for name, row in zip(rows.index, rows.values, strict=True)]
    )


def check_sites(post: xr.DataTree, sites: Sequence[str] | None) -> None:
    """Refuse sites that the posterior does not have.

    Raises:
        UsageError: the first of them.
    """
    known = [str(name) for name in post["posterior"].data_vars]
    for name in sites or []:
        if name not in known:
            raise UsageError(f"the posterior has no site {name!r}{did_you_mean(name, known, 'known:')}")


def print_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table of names and numbers that fits the terminal."""
    from bayeskit.diagnostics.layout import table_text, table_width

    console.print(f"\n{table_text(titles, rows, table_width())}\n", markup=False, soft_wrap=True)


def show_numbers(name: str, table: pd.DataFrame, *, limit: int | None = None) -> None:
    """Print a data frame, numbers with three digits."""
    record(name, lambda: [{"name": str(row), **values} for row, values in table.to_dict("index").items()])
    rows = [
        [str(label), *(value if isinstance(value, str) else format(value, ".3g") for value in row)]
        for label, row in table.iloc[:limit].iterrows()
    ]
    print_table(["", *(str(title).replace("_", " ") for title in table.columns)], rows)


def show_verdict(post: xr.DataTree) -> bool:
    """Print the verdict in colour where the terminal has it; whether it is good."""
    from bayeskit.diagnostics import check

    verdict = check(post, quiet=True)
    record("verdict", lambda: _as_record(verdict))
    head, _, rest = str(verdict).partition("\n")
    colour = "red" if not verdict.ok else "yellow" if verdict.findings else "green"
    console.print(Text(head, style=f"bold {colour}"), soft_wrap=True)
    if rest:
        console.print(Text(rest), soft_wrap=True)
    return verdict.ok


def _as_record(verdict: Verdict) -> dict[str, Any]:
    return {
        "ok": verdict.ok,
        "headline": verdict.headline,
        "findings": [asdict(finding) for finding in verdict.findings],
        "measures": [measure._asdict() for measure in verdict.measures],
        "unchecked": list(verdict.unchecked),
        "num_chains": verdict.num_chains,
        "num_draws": verdict.num_draws,
    }


def show_written(name: str, path: object) -> None:
    """Say where something has been written."""
    record(name, lambda: str(path))
    console.print(f"{name}  {path}", soft_wrap=True, markup=False)


def write_report(post: xr.DataTree, path: Path, model: Callable[..., object] | None = None) -> None:
    """Write the report, with the priors and the graph of the model that is at hand, and say where it is."""
    from bayeskit.diagnostics import report

    # a file that is called model.py says nothing; the page is called after the result
    title = path.stem if str(post.attrs.get("model", "")).endswith(".model.model") else None
    report(post, path, model=model, title=title)
    show_written("report", path)


def show_methods() -> None:
    """Print every method with its settings and their defaults."""
    from bayeskit.cli.methods import all_methods, default_of, settings_of
    from bayeskit.diagnostics.layout import paragraph

    for name, cls in all_methods().items():
        about = re.sub(r":\w+:`([^`]*)`", r"\1", (cls.__doc__ or "").strip().partition("\n")[0])
        settings = [f"{item.name}={default_of(item) or 'none'}" for item in settings_of(cls)]
        record(name, lambda cls=cls: {item.name: default_of(item) or None for item in settings_of(cls)})  # type: ignore[misc]
        console.print(Text(name, style="bold"))
        console.print(Text(paragraph(about, "  ", "  ")))
        console.print(Text(paragraph(", ".join(settings), "  ", "  ") + "\n", style="dim"))
