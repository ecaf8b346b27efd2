"""Predictions for new inputs, which no observation can check."""

from __future__ import annotations

import xarray as xr

from bayeskit.diagnostics.elements import group_sites
from bayeskit.diagnostics.page.blocks import Block, Section, Text
from bayeskit.diagnostics.page.forest import forest_of_vector
from bayeskit.diagnostics.page.subject import Subject

MOST = 4


def predictions(subject: Subject) -> Section | None:
    """Intervals of what is predicted."""
    if not subject.has("predictions"):
        return None
    blocks: list[Block] = [
        Text(
            "These are predictions for new inputs, apart from the checks above: nothing has been "
            "observed that could speak for or against them."
        )
    ]
    draws = [n for n, v in subject.tree["predictions"].data_vars.items() if {"chain", "draw"} <= set(v.dims)]
    group = xr.DataTree.from_dict({"/predictions": subject.tree["predictions"].to_dataset()[draws]})
    for site in group_sites(group, "predictions")[:MOST]:
        if elements := subject.drawable(site):
            blocks.append(forest_of_vector(site.name, elements))
    return Section("Predictions", blocks)
