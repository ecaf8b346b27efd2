"""The verdict on a result as a piece of a page, for notebooks."""

from __future__ import annotations

import html

import numpy as np
import xarray as xr

from bayeskit.diagnostics.check import check
from bayeskit.diagnostics.verdict import Finding, Verdict
from bayeskit.errors import BayeskitError

MOST = 20_000_000
"""Numbers in a posterior beyond which a look at a result does not judge it, which would take more than seconds."""

_COLOURS = {"good": "#1a7f37", "warned": "#9a6700", "bad": "#cf222e"}


def verdict_html(post: xr.DataTree) -> str:
    """Headline, findings and measures; of a large posterior how to judge it, and nothing where that cannot be done."""
    size = sum(int(np.prod(draws.shape)) for draws in post["posterior"].data_vars.values())
    if size > MOST:
        return f"<p>A posterior of {size:,} numbers: <code>bayeskit.check(post)</code> judges it.</p>"
    try:
        return _page(check(post, quiet=True))
    except BayeskitError:
        return ""


def _page(verdict: Verdict) -> str:
    colour = _COLOURS["bad" if not verdict.ok else "warned" if verdict.findings else "good"]
    lines = [
        f'<div style="border-left: 4px solid {colour}; padding: 0.2em 0.8em; margin: 0.5em 0">',
        f'<strong style="color: {colour}">{html.escape(verdict.headline)}</strong>',
        *(_finding(finding) for finding in verdict.findings),
    ]
    if verdict.measures:
        numbers = "; ".join(str(measure) for measure in verdict.measures)
        lines.append(f'<div style="opacity: 0.8">{html.escape(numbers)}</div>')
    return "\n".join([*lines, "</div>"])


def _finding(finding: Finding) -> str:
    head, meaning, advice = finding.parts
    return (
        f"<details><summary>{html.escape(head)}</summary>"
        f"<div>{html.escape(meaning)}<br>Try: {html.escape(advice)}</div></details>"
    )
