"""Checks of the model: data that it makes against the data that were observed."""

from __future__ import annotations

import xarray as xr

from bayeskit.diagnostics.page.blocks import Block, Section, Text
from bayeskit.diagnostics.page.model_at_hand import HOW
from bayeskit.diagnostics.page.simulated import replicated
from bayeskit.diagnostics.page.subject import Subject
from bayeskit.diagnostics.plots import predictive_plot

MOST = 4
_HINT = (
    "There is no posterior predictive check: the result holds no posterior predictive draws of the observed data, and "
    f"the model is not at hand. bayeskit.predict adds them, and {HOW} makes them."
)


def predictive(subject: Subject) -> Section | None:
    """One picture for each of the first observed sites."""
    if not subject.has("observed_data"):
        return Section("Predictive check", [Text(_HINT, is_note=True)], starts_page=False) if subject.sites else None
    observed = subject.tree["observed_data"].to_dataset()
    drawn, note = _drawn(subject, [str(name) for name in observed.data_vars][:MOST])
    blocks: list[Block] = [Text(note, is_note=True)] if note else []
    for name in [str(name) for name in drawn.data_vars if name in observed][:MOST]:
        if set(drawn[name].dims) >= {"chain", "draw"}:
            blocks.append(predictive_plot(name, drawn[name], observed[name]))
    return Section("Predictive check", blocks) if blocks else None


def _drawn(subject: Subject, names: list[str]) -> tuple[xr.Dataset, str]:
    """Replicated data that the result has, or that the model at hand gives; or what to do."""
    if subject.has("posterior_predictive"):
        kept = subject.tree["posterior_predictive"].to_dataset()
        if any(name in kept for name in names):
            return kept, ""
    if not subject.has("posterior"):
        return xr.Dataset(), ""
    if subject.model.program is None:
        return xr.Dataset(), _HINT
    try:
        return replicated(subject.model.program, subject.tree, names), "Drawn for this report, from some of the draws."
    except Exception as error:  # discrete sites, draws that were not kept: the report is written all the same
        reason = str(error).partition("\n")[0]
        return xr.Dataset(), f"There is no posterior predictive check, for which no data could be drawn: {reason}."
