"""How the chains went: traces, ranks, energy."""

from __future__ import annotations

import numpy as np

from bayeskit.diagnostics.page.blocks import Block, Section, Text
from bayeskit.diagnostics.page.subject import Subject
from bayeskit.diagnostics.plots import energy_plot, rank_plot, trace_plot
from bayeskit.diagnostics.tables import summary

MOST_TRACES = 6


def sampling(subject: Subject) -> Section | None:
    """The elements with the smallest effective sample sizes."""
    if not subject.is_of_chains or not subject.sites:
        return None
    drawable = {label: draws for site in subject.sites for label, draws in subject.drawable(site).items()}
    blocks: list[Block] = []
    if drawable:
        table = summary(subject.tree)
        ess = np.nan_to_num(table[["ess_bulk", "ess_tail"]].to_numpy(dtype=float), nan=-1.0).min(axis=1)
        order = [str(table.index[i]) for i in np.argsort(ess, kind="stable")]
        worst = {label: drawable[label] for label in [one for one in order if one in drawable][:MOST_TRACES]}
        blocks.append(trace_plot(subject.tree, worst))
        if next(iter(worst.values())).shape[0] > 1:
            blocks.append(rank_plot(worst))
    energy = _energy(subject)
    if energy is not None:
        blocks.append(energy_plot(energy))
    if not drawable:
        blocks.append(Text("No parameter has finite draws that differ: there is nothing to plot."))
    return Section("Chains", blocks)


def _energy(subject: Subject) -> np.ndarray | None:
    if "energy" not in subject.stats:
        return None
    values = subject.tree["sample_stats"].to_dataset()["energy"].transpose("chain", "draw", ...).values
    numbers = np.asarray(values, dtype=float)
    return numbers if numbers.shape[1] > 1 and np.isfinite(numbers).all() else None
