"""The way from the prior to the posterior, and the evidence that it gives."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from bayeskit.diagnostics.page.blocks import Block, Plot, Section, Table
from bayeskit.diagnostics.page.drawn import WIDTH, drawn_plot
from bayeskit.diagnostics.page.subject import Subject, number_in
from bayeskit.diagnostics.verdict import number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NUMBERS = {
    "log_evidence": "log evidence",
    "log_evidence_error": "its standard error",
    "log_evidence_chi2": "spread of the runs around their mean, chi squared",
    "evidence_remaining": "share of the evidence that live points still held",
    "likelihood_ties": "share of points with the likelihood of another",
    "undefined_likelihood": "share of points where the likelihood was NaN",
    "round_trips": "round trips between prior and posterior",
    "barrier": "barrier between prior and posterior",
    "swap_rate": "lowest share of swaps that were accepted",
    "num_modes": "modes found",
    "mode_share": "share of the largest mode",
}
_PANELS = {
    "temperature": ("temperature", "The temperature of the likelihood, from 0 (the prior) to 1 (the posterior)"),
    "ess": ("ESS", "how many particles the weights were worth before they were drawn anew"),
    "moved": ("share moved", "the share of particles that the moves of a stage moved"),
    "ancestors": ("ancestors", "how many draws of the prior the particles descend from"),
}


def particles(subject: Subject) -> Section | None:
    """The evidence with its error, and the stages where there are any."""
    evidence = number_in(subject.attrs, "log_evidence")
    shown = {name: values for name, values in subject.stages.items() if name in _PANELS}
    if not subject.has("posterior") or (not math.isfinite(evidence) and "temperature" not in shown):
        return None
    blocks: list[Block] = []
    rows = [
        [title, _shown(name, number_in(subject.attrs, name))]
        for name, title in _NUMBERS.items()
        if name in subject.attrs
    ]
    if "effective_draws" in subject.stats:
        worth = np.asarray(subject.tree["sample_stats/effective_draws"].values).min()
        rows.append(["independent draws that the points of a run are worth", f"{float(worth):,.0f}"])
    if rows:
        note = (
            "Models of the same data can be compared by the evidence, which their priors decide as well as their fit."
        )
        blocks.append(Table(["", ""], rows, "Evidence" if "temperature" in shown else "", note))
    if "temperature" in shown:
        blocks.append(_picture(shown))
    return Section("Evidence and stages" if len(blocks) > 1 else "Evidence", blocks, starts_page=False)


def _shown(name: str, value: float) -> str:
    return f"{value:,.3f}".replace("-", "−") if name == "log_evidence" else number(value).replace("-", "−")


def _picture(shown: Mapping[str, np.ndarray]) -> Plot:
    kept = {name: shown[name] for name in _PANELS if name in shown}
    return drawn_plot(
        lambda: _draw(kept),
        title="Stages",
        caption="; ".join(_PANELS[name][1] for name in kept) + ". One line a run.",
        alt=f"{', '.join(_PANELS[name][0] for name in kept)} against the stage, by run",
    )


def _draw(shown: Mapping[str, np.ndarray]) -> Figure:
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(WIDTH, 0.5 + 1.15 * len(shown)), layout="constrained")
    panels = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (name, values) in zip(panels, shown.items(), strict=True):
        for run in np.atleast_2d(values):
            axes.plot(np.arange(len(run)), run, marker=".", lw=1)
        axes.set_ylabel(_PANELS[name][0])
        axes.set_ylim(bottom=0)
    panels[-1].set_xlabel("stage")
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.align_ylabels()
    return figure
