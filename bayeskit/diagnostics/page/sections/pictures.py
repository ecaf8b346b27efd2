"""What was learned: its numbers, and the pictures that it has of itself."""

from __future__ import annotations

from bayeskit.diagnostics.page.blocks import Block, Section, Table, Text, pictures_of
from bayeskit.diagnostics.page.drawn import drawn_plot
from bayeskit.diagnostics.page.subject import Subject
from bayeskit.diagnostics.verdict import number

_NUMBERS = {
    "log_evidence": "log evidence",
    "bound": "lower bound on the log evidence",
    "tolerance": "tolerance of the equation, as a share of its size",
    "condition": "condition of the linear equations",
    "gauss_newton_steps": "Gauss-Newton steps",
    "readings_z": "misfit of readings, in standard deviations of their noise",
    "num_conditions": "conditions",
    "prior_p_value": "p-value of the data under the prior",
}


def pictures(subject: Subject) -> Section | None:
    """Of things learned, and of networks that predict."""
    if subject.has("posterior") or subject.has("replicates"):
        return None
    blocks: list[Block] = []
    about = repr(subject.thing) if subject.thing is not None else str(subject.attrs.get("network", ""))
    if about and len(about) < 400 and " object at 0x" not in about:
        blocks.append(Text(about))
    rows = [
        [title, _shown(float(str(subject.attrs[name])))]
        for name, title in _NUMBERS.items()
        if isinstance(subject.attrs.get(name), int | float)
    ]
    if rows:
        blocks.append(Table(["", ""], rows))
    blocks += [
        drawn_plot(one.draw, one.title, one.caption, one.alt, is_wide=True) for one in pictures_of(subject.thing)
    ]
    return Section("What was learned", blocks, starts_page=False) if blocks else None


def _shown(value: float) -> str:
    return (f"{value:.3g}" if abs(value) >= 1e6 else number(value)).replace("-", "−")
