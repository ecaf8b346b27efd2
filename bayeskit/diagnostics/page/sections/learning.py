"""How an optimisation went: the loss, and the weights by which an approximation is checked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bayeskit.diagnostics.page.blocks import Block, Plot, Section, Table, Text
from bayeskit.diagnostics.page.drawn import BLUE, WIDTH, drawn_plot
from bayeskit.diagnostics.page.subject import Subject, json_object
from bayeskit.diagnostics.page.wording import counted
from bayeskit.diagnostics.verdict import number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TRACES = ("loss", "gradient_norm", "held_out")
_SMOOTH = 50


def learning(subject: Subject) -> Section | None:
    """The loss at every step, of a fit or of a training."""
    if subject.has("training"):
        traces = {str(n): np.asarray(v.values) for n, v in subject.tree["training"].data_vars.items()}
    else:
        traces = subject.stages
    blocks: list[Block] = []
    if subject.is_independent and subject.has("posterior"):
        blocks += _weights(subject)
    if traces.get("loss", np.zeros(0)).size > 1:
        looks = subject.tree["training"].coords.get("look") if subject.has("training") else None
        blocks.append(_picture(traces, None if looks is None else np.asarray(looks.values)))
    if subject.has("training"):
        blocks += _record(subject)
    return Section("Optimisation", blocks) if blocks else None


def _weights(subject: Subject) -> list[Block]:
    """What importance weights say of an approximation."""
    rows = [
        [measure.name, number(measure.value), number(measure.threshold)]
        for measure in subject.verdict.measures
        if "Pareto" in measure.name or "importance" in measure.name
    ]
    stats = subject.tree["sample_stats"]
    if "log_weight" in stats.data_vars:
        bounds = np.asarray(stats["log_weight"].values, dtype=float).mean(axis=1)
        rows += [
            [
                f"bound on the log evidence, fit {i}" if len(bounds) > 1 else "bound on the log evidence (ELBO)",
                f"{bound:,.2f}".replace("-", "−"),
                "–",
            ]
            for i, bound in enumerate(bounds)
        ]
    if not rows:
        return []
    note = (
        "Pareto k compares the approximation with the exact density by the weights of its draws: below 0.5 they are "
        "near to each other, and above 0.7 the draws cannot stand for the posterior."
    )
    return [Table(["", "value", "limit"], rows, "Approximation", note)]


def _picture(traces: dict[str, np.ndarray], looks: np.ndarray | None) -> Plot:
    kept = {name: traces[name] for name in _TRACES if traces.get(name, np.zeros(0)).size > 1}
    held = " Orange: the held-out loss." if "held_out" in kept else ""
    return drawn_plot(
        lambda: _draw(kept, looks),
        title="Loss",
        caption="The loss at each step, light, and its running mean, dark; a fit that has ended well is flat at the "
        f"end.{held}",
        alt="Loss and norm of the gradient against the step",
    )


def _draw(kept: dict[str, np.ndarray], looks: np.ndarray | None) -> Figure:
    from matplotlib.figure import Figure

    rows = 1 + ("gradient_norm" in kept)
    figure = Figure(figsize=(WIDTH, 0.6 + 2.0 * rows), layout="constrained")
    panels = figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0]
    for run in np.atleast_2d(kept["loss"]):
        panels[0].plot(run, color=BLUE, lw=0.6, alpha=0.35)
        width = max(1, min(_SMOOTH, run.size // 20))
        smooth = np.convolve(run, np.full(width, 1 / width), mode="valid")
        panels[0].plot(np.arange(len(smooth)) + width // 2, smooth, color=BLUE, lw=1.4)
    if "held_out" in kept:
        at = np.arange(kept["held_out"].size) if looks is None else looks
        panels[0].plot(at, kept["held_out"], color="#c4620a", marker=".", lw=1)
    finite = kept["loss"][np.isfinite(kept["loss"])]
    low, high = np.quantile(finite, (0.0, 0.98))
    panels[0].set_ylim(low - 0.05 * (high - low + 1e-12), high + 0.05 * (high - low + 1e-12))
    panels[0].set_ylabel("loss")
    if rows == 2:
        for run in np.atleast_2d(kept["gradient_norm"]):
            panels[1].plot(run, color=BLUE, lw=0.6)
        panels[1].set(yscale="log", ylabel="norm of gradient")
    panels[-1].set_xlabel("step")
    figure.align_ylabels()
    return figure


def _record(subject: Subject) -> list[Block]:
    phases = json_object(subject.attrs.get("phases"))
    rows = [[name, f"{steps:,}"] for name, steps in phases.items() if isinstance(steps, int)]
    blocks: list[Block] = []
    total = subject.verdict.num_steps
    if total and (stopped := str(subject.attrs.get("stopped", ""))):
        blocks.append(Text(f"It ended after {counted(total, 'step')} because {stopped}."))
    if len(rows) > 1:
        blocks.append(Table(["phase", "steps"], rows))
    return blocks
