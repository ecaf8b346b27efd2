"""What a report shows of a solution."""

from __future__ import annotations

from collections.abc import Iterator

from bayeskit.diagnostics.page.blocks import Picture, pictures_of
from bayeskit.models.spectral_pde.plots import plot
from bayeskit.models.spectral_pde.solution import Solution


@pictures_of.register
def _pictures(solution: Solution) -> Iterator[Picture]:
    """The plot of a solution of up to two coordinates."""
    if len(solution.coordinates) < 3:
        caption = "The posterior of the solution, its standard deviation, and the spectrum that was learned."
        alt = f"The solution over {' and '.join(solution.coordinates)}, with its uncertainty"
        yield Picture("Solution", caption, alt, lambda: plot(solution, num=120))
