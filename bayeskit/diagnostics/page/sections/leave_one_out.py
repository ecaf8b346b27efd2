"""How well new observations are predicted: leave-one-out, and whether its weights can be trusted."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from bayeskit.diagnostics.page.blocks import Block, Plot, Section, Table, Text
from bayeskit.diagnostics.page.drawn import BLUE, WIDTH, drawn_plot
from bayeskit.diagnostics.page.subject import Subject
from bayeskit.diagnostics.page.wording import counted
from bayeskit.diagnostics.predictive import loo
from bayeskit.errors import BayeskitError

if TYPE_CHECKING:
    from arviz_stats.utils import ELPDData
    from matplotlib.figure import Figure

MOST = 4
MOST_NAMED = 10
_HOW = (
    "The result holds no log likelihoods of single observations, so that there is no leave-one-out: "
    "bayeskit.infer(..., log_likelihood=True) keeps them, and bayeskit.log_likelihood(model, data, post) adds them."
)


def leave_one_out(subject: Subject) -> Section | None:
    """The estimate of each observed site, and a picture of its Pareto shapes."""
    if subject.has("leave_one_out"):
        return Section("Leave-one-out", [_exact(subject)], starts_page=False)
    if not subject.has("posterior"):
        return None
    if not subject.has("log_likelihood"):
        return (
            Section("Leave-one-out", [Text(_HOW, is_note=True)], starts_page=False)
            if subject.has("observed_data")
            else None
        )
    rows: list[list[str]] = []
    blocks: list[Block] = []
    for name in [str(name) for name in subject.tree["log_likelihood"].data_vars][:MOST]:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                fit = loo(subject.tree, name)
        except (BayeskitError, ValueError) as error:
            blocks.append(Text(f"There is no leave-one-out of {name}: {error}.", is_note=True))
            continue
        shapes = np.asarray(fit.pareto_k, dtype=float)
        bad = ~(shapes <= fit.good_k)
        rows.append(
            [
                name,
                f"{shapes.size:,}",
                *(f"{x:,.1f}".replace("-", "−") for x in (fit.elpd, fit.se, fit.p)),
                str(int(bad.sum())),
            ]
        )
        blocks += [Text(_judged(name, fit, bad)), _picture(name, fit)]
        if bad.any():
            blocks.append(_worst(name, shapes, bad))
    if rows:
        note = (
            "elpd: the sum of the log densities of each observation given all others; larger is better, and only "
            "differences between models of the same data mean something. p: the effective number of parameters."
        )
        columns = ["observed", "observations", "elpd", "standard error", "p", "Pareto k too large"]
        blocks.insert(0, Table(columns, rows, note=note))
    return Section("Leave-one-out", blocks, starts_page=False)


def _exact(subject: Subject) -> Block:
    """Of a network, which predicts each row from all others by itself."""
    density = np.asarray(subject.tree["leave_one_out/log_density"].values, dtype=float)
    error = float(np.std(density) * np.sqrt(density.size))
    row = ["all rows", f"{density.size:,}", f"{density.sum():,.1f}".replace("-", "−"), f"{error:,.1f}"]
    note = "elpd: the sum of the log densities of each row, predicted from all others; no weights stand in for that."
    return Table(["", "rows", "elpd", "standard error"], [row], note=note)


def _judged(name: str, fit: ELPDData, bad: np.ndarray) -> str:
    if not bad.any():
        return f"Every Pareto k of {name} is below {fit.good_k:.2f}: the estimate can be trusted."
    return (
        f"The estimate cannot be trusted at {counted(int(bad.sum()), 'observation')} of {name}, whose Pareto k is "
        f"above {fit.good_k:.2f}: these pull the posterior strongly. Use K-fold cross-validation, or "
        "bayeskit.loo(post, refit=...), which fits again without them."
    )


def _worst(name: str, shapes: np.ndarray, bad: np.ndarray) -> Table:
    order = np.argsort(np.where(bad, -np.nan_to_num(shapes, nan=np.inf), np.inf), axis=None)[
        : min(MOST_NAMED, int(bad.sum()))
    ]
    places = [np.unravel_index(int(i), shapes.shape) for i in order]
    rows = [[f"{name}[{', '.join(str(int(i)) for i in at)}]", f"{shapes[at]:.2f}"] for at in places]
    return Table(["observation", "Pareto k"], rows, "Observations that pull hardest")


def _picture(name: str, fit: ELPDData) -> Plot:
    return drawn_plot(
        lambda: _draw(np.asarray(fit.pareto_k, dtype=float).ravel(), float(fit.good_k)),
        title=f"Pareto k of {name}",
        caption="One point an observation. Above the dashed line, leaving it out cannot be computed from these draws.",
        alt=f"Pareto k of each observation of {name}",
    )


def _draw(shapes: np.ndarray, limit: float) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, 2.6), layout="constrained")
    axes = figure.subplots()
    size = 10.0 if len(shapes) < 300 else 3.0
    high = ~(shapes <= limit)
    axes.scatter(np.arange(len(shapes))[~high], shapes[~high], s=size, color=BLUE, rasterized=len(shapes) > 2000)
    axes.scatter(np.arange(len(shapes))[high], shapes[high], s=3 * size, color="#b42318", marker="^")
    axes.axhline(limit, color="0.3", ls="--", lw=1)
    axes.text(len(shapes), limit, f" {limit:.2f}", va="center", fontsize=9)
    axes.set(xlabel="observation", ylabel="Pareto k", xlim=(-0.01 * len(shapes) - 0.5, len(shapes) - 0.5))
    axes.set_ylim(top=max(limit + 0.1, np.nanmax(shapes) * 1.05))
    return figure
