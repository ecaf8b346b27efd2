"""The priors as they are written, and how far the data have moved them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bayeskit.diagnostics.page.blocks import Block, Section, Table, Text
from bayeskit.diagnostics.page.densities import density_panels
from bayeskit.diagnostics.page.model_at_hand import HOW
from bayeskit.diagnostics.page.simulated import prior_draws
from bayeskit.diagnostics.page.subject import Subject
from bayeskit.diagnostics.page.wording import rounded
from bayeskit.storage import site_values

MOST = 12
_DRAWS = (
    f"Prior and posterior are not compared here: {HOW} draws from the prior, and so does "
    "post['prior'] = bayeskit.predict(model, data, key=1)['prior'] before the report."
)


def priors(subject: Subject) -> Section | None:
    """A table of priors, and the densities before and after."""
    if not subject.has("posterior"):
        return None
    blocks: list[Block] = []
    latent = subject.model.of_kind("latent")
    if latent:
        rows = [[site.name, site.distribution, ", ".join(site.depends_on) or "–"] for site in latent]
        blocks.append(Table(["site", "prior", "depends on"], rows, "As written", is_words=True))
    elif written := {n: text for n, text in subject.model.priors.items() if n in subject.tree["posterior"]}:
        blocks.append(Table(["site", "prior"], [[n, text] for n, text in written.items()], "As written", is_words=True))
    elif subject.model.missing:
        blocks.append(Text(f"The priors are not recorded in the result. {subject.model.missing}", is_note=True))
    names = [name for name in subject.scalars if not latent or any(one.name == name for one in subject.model.sites)]
    drawn, note = _drawn(subject, names[:MOST])
    found = {n: v.ravel()[np.isfinite(v.ravel())] for n, v in drawn.items() if n in subject.scalars}
    pairs = {n: (found[n], subject.scalars[n].ravel()) for n in subject.scalars if n in found and found[n].size > 20}
    if pairs:
        blocks.append(density_panels(pairs))
        blocks.append(_compared(pairs))
    if note:
        blocks.append(Text(note, is_note=True))
    return Section("Priors", blocks) if blocks else None


def _drawn(subject: Subject, names: list[str]) -> tuple[Mapping[str, np.ndarray], str]:
    """Draws of the prior that the result has, or that the model at hand gives; or what to do."""
    if subject.has("prior"):
        return site_values(subject.tree, "prior"), ""
    if not names:
        return {}, ""
    if subject.model.program is None:
        return {}, _DRAWS
    try:
        return prior_draws(subject.model.program, names), ""
    except Exception as error:  # an improper prior, a model with loops: the report is written all the same
        return {}, f"The prior could not be drawn from ({type(error).__name__}: {str(error).partition(chr(10))[0]})."


def _compared(pairs: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Table:
    rows = [
        [name, _interval(before), _interval(after), _share(before, after)] for name, (before, after) in pairs.items()
    ]
    note = "Left over: the width of the posterior's interval as a share of the prior's; at 100%, the data are silent."
    return Table(
        ["", "prior, central 90%", "posterior, central 90%", "left over"], rows, "Prior against posterior", note
    )


def _interval(draws: np.ndarray) -> str:
    low, high = np.quantile(draws, (0.05, 0.95))
    return f"{rounded(float(low), float(high - low))} to {rounded(float(high), float(high - low))}"


def _share(before: np.ndarray, after: np.ndarray) -> str:
    widths = [float(np.ptp(np.quantile(draws, (0.05, 0.95)))) for draws in (after, before)]
    share = widths[0] / widths[1] if widths[1] > 0 else np.nan
    return "–" if np.isnan(share) else f"{share:.0%}" if share >= 0.1 else f"{100 * share:.2g}%"
