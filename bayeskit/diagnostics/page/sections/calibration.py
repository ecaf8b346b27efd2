"""Whether a method draws from the posterior: the ranks of simulation-based calibration."""

from __future__ import annotations

from bayeskit.diagnostics.calibration import is_of_ranks
from bayeskit.diagnostics.calibration_plot import plot_calibration
from bayeskit.diagnostics.page.blocks import Section
from bayeskit.diagnostics.page.drawn import drawn_plot
from bayeskit.diagnostics.page.subject import Subject


def calibration(subject: Subject) -> Section | None:
    """The ranks against uniform ones."""
    if not is_of_ranks(subject.tree):
        return None
    picture = drawn_plot(
        lambda: plot_calibration(subject.tree),
        title="Ranks",
        caption="The cumulative distribution of the ranks less that of uniform ones. The band holds all of it in 95% "
        "of cases where the method is right; a curve above it on the left and below on the right is of draws that are "
        "too narrow.",
        alt="Ranks of each quantity against uniform ones, with bands",
        is_wide=True,
    )
    return Section("Calibration", [picture])
