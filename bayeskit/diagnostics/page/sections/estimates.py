"""What came out: scalars first, then vectors, and last what only helps the sampler."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from bayeskit.diagnostics.elements import Site
from bayeskit.diagnostics.page.blocks import Block, Section, Table, Text
from bayeskit.diagnostics.page.forest import forest_of_scalars, forest_of_vector
from bayeskit.diagnostics.page.subject import Subject, is_auxiliary
from bayeskit.diagnostics.page.wording import counted, rounded
from bayeskit.diagnostics.tables import note_on_angles, summary

MOST_ROWS, MOST_RAW = 60, 12
MOST_SCALARS = 40
MOST_VECTORS = 8
_SAID = (
    "The point estimate is the mean of the draws; the interval is the central one of 90%, from the 5% to the 95% "
    "quantile (equal tails). In the pictures the point is the median."
)
_HEADINGS = {
    "mean": "mean",
    "sd": "sd",
    "q5": "5%",
    "q95": "95%",
    "mcse_mean": "error of mean",
    "ess_bulk": "ESS bulk",
    "ess_tail": "ESS tail",
    "r_hat": "R-hat",
}


def estimates(subject: Subject) -> Section | None:
    """Tables and intervals of the posterior."""
    if not subject.sites:
        return None
    table = summary(subject.tree)
    columns = _columns(subject)
    blocks: list[Block] = [Text(_SAID)]
    named = [site for site in subject.sites if not is_auxiliary(site.name)]
    scalars = [site for site in named if site.labels == [site.name]]
    if scalars:
        blocks.append(_table([site.name for site in scalars], table, columns, "", note=_note(columns, subject)))
    shown = dict(list(subject.scalars.items())[:MOST_SCALARS])
    if shown:
        blocks.append(forest_of_scalars(shown, "Intervals"))
    vectors = [site for site in named if site.labels != [site.name] and site.shape[2]]
    for site in vectors[:MOST_VECTORS]:
        if elements := subject.drawable(site):
            blocks.append(forest_of_vector(site.name, elements))
    blocks += [_folded(site, table, columns) for site in vectors]
    if len(vectors) > MOST_VECTORS:
        blocks.append(Text(f"Pictures are of the first {MOST_VECTORS} of {len(vectors)} vectors.", is_note=True))
    raw = [site for site in subject.sites if is_auxiliary(site.name) and site.shape[2]]
    if raw:
        names = ", ".join(site.name for site in raw)
        blocks.append(
            Text(f"Raw quantities of the parameterisation, which say nothing by themselves: {names}.", is_note=True)
        )
        blocks += [_folded(site, table, columns, MOST_RAW) for site in raw]
    if angles := note_on_angles(subject.tree):
        blocks.append(Text(angles, is_note=True))
    return Section("Estimates", blocks, starts_page=False)


def _columns(subject: Subject) -> list[str]:
    """Of independent draws and of particles there are no chains that could be compared."""
    kept = ["mean", "sd", "q5", "q95"]
    if subject.is_of_particles:
        return kept
    if subject.is_independent:
        return [*kept, "mcse_mean"]
    return [*kept, "mcse_mean", "ess_bulk", "ess_tail", "r_hat"]


def _note(columns: Sequence[str], subject: Subject) -> str:
    notes = ["sd: the standard deviation of the posterior."]
    if "mcse_mean" in columns:
        notes.append("Error of mean: by how much another run may differ, as a standard error.")
    if "ess_bulk" in columns:
        notes.append("ESS: how many independent draws the middle and the tails are worth.")
    if "r_hat" in columns:
        chains = subject.sites[0].shape[0]
        notes.append(
            "R-hat: 1 where the chains agree." if chains > 1 else "R-hat: 1 where the halves of the chain agree."
        )
    return " ".join(notes)


def _folded(site: Site, table: pd.DataFrame, columns: Sequence[str], most: int = MOST_ROWS) -> Table:
    labels = [label for label in site.labels if label in table.index]
    title = f"{site.name}: {counted(len(labels), 'element')}"
    if len(labels) > most:
        labels = _worst_of(labels, table, most)
        title += f"; shown are the {most} with the smallest effective sample sizes"
    return _table(labels, table, columns, title, is_folded=True)


def _worst_of(labels: list[str], table: pd.DataFrame, most: int) -> list[str]:
    ess = np.nan_to_num(table.loc[labels, ["ess_bulk", "ess_tail"]].to_numpy(dtype=float), nan=-1.0).min(axis=1)
    worst = set(np.argsort(ess, kind="stable")[:most].tolist())
    return [label for place, label in enumerate(labels) if place in worst]


def _table(
    labels: Sequence[str],
    table: pd.DataFrame,
    columns: Sequence[str],
    title: str,
    *,
    note: str = "",
    is_folded: bool = False,
) -> Table:
    rows = [
        [label, *(_cell(column, float(row[column]), float(row["mcse_mean"]), float(row["sd"])) for column in columns)]
        for label, row in ((label, table.loc[label]) for label in labels if label in table.index)
    ]
    return Table(["", *(_HEADINGS[column] for column in columns)], rows, title, note, is_folded)


def _cell(column: str, value: float, error: float, sd: float) -> str:
    """A number with the digits that its Monte Carlo error lets stand."""
    if np.isnan(value):
        return "–"
    if column.startswith("ess"):
        return f"{value:,.0f}"
    if column == "r_hat":
        return f"{value:.3f}"
    if column == "mcse_mean":
        return rounded(value, value, 1)
    return rounded(value, error, 1) if error > 0.0 else rounded(value, sd, 3)
