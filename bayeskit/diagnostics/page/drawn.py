"""Pictures as parts of a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias, cast

from bayeskit.diagnostics.drawing import figure_of, file_backend
from bayeskit.diagnostics.page.blocks import Plot

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Draw: TypeAlias = Callable[[], object]
"""Draws a figure of matplotlib, or what arviz-plots returns, and returns it."""

BLUE, GREY = "#2a6fb0", "#9aa3b0"
WIDTH = 6.4


def drawn_plot(draw: Draw, title: str, caption: str, alt: str, *, raster: bool = False, is_wide: bool = False) -> Plot:
    """Draw one picture. A report must be written of a bad posterior too: a failure becomes a note in its place.

    Args:
        draw: draws it.
        title: heading above it.
        caption: how to read it.
        alt: for who cannot see it.
        raster: whether it has too many points for lines.
        is_wide: whether it needs the whole width of the page.
    """
    kind = "png" if raster else "svg"
    settings = {"dpi": 130} if raster else {"metadata": {"Date": None}}
    content = io.BytesIO()
    import matplotlib

    try:
        with file_backend(), matplotlib.rc_context({"axes.spines.top": False, "axes.spines.right": False}):
            drawn = draw()
            figure = cast("Figure", figure_of(drawn) if hasattr(drawn, "viz") else drawn)
            figure.savefig(content, format=kind, bbox_inches="tight", **settings)
    except Exception as error:
        reason = f"This plot could not be drawn: {error or type(error).__name__}"
        return Plot(title, caption, alt, note=reason, is_wide=is_wide)
    return Plot(title, caption, alt, data_uri(content.getvalue(), "png" if raster else "svg+xml"), is_wide=is_wide)


def data_uri(content: bytes, kind: str) -> str:
    """A picture as part of a page."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def short(label: str, most: int = 26) -> str:
    """A label that fits beside a plot."""
    return label if len(label) <= most else f"{label[: most // 2 - 1]}…{label[-most // 2 :]}"
