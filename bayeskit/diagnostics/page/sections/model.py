"""The model: what it says of itself, its sites, its graph, its source."""

from __future__ import annotations

import importlib.util
import shutil
from typing import Any

import numpyro

from bayeskit.diagnostics.page.blocks import Block, Code, Plot, Section, Table, Text
from bayeskit.diagnostics.page.drawn import data_uri
from bayeskit.diagnostics.page.model_at_hand import ModelAtHand
from bayeskit.diagnostics.page.subject import Subject
from bayeskit.diagnostics.page.wording import counted

MOST_IN_GRAPH = 40
_STARS = {"latent": "latent", "observed": "observed", "deterministic": "computed"}


def model(subject: Subject) -> Section | None:
    """The model behind draws."""
    if not subject.has("posterior"):
        return None
    found = subject.model
    blocks: list[Block] = []
    if found.about:
        blocks.append(Code(found.about, "What it says of itself", is_prose=True))
    if found.sites:
        blocks += _graph(found)
        blocks.append(_sites(found))
    source = found.source
    if source:
        blocks.append(
            Code(source, f"Source, {counted(len(source.splitlines()), 'line')}", is_folded=source.count("\n") > 40)
        )
    if formula := str(subject.attrs.get("formula", "")):
        blocks.insert(0, Code(formula, "Formula"))
    if found.missing:
        name = subject.attrs.get("model", "")
        blocks.append(Text(f"{f'The model was {name}. ' if name else ''}{found.missing}", is_note=True))
    return Section("Model", blocks) if blocks else None


def _sites(found: ModelAtHand) -> Table:
    rows = [
        [
            site.name,
            site.distribution or "computed",
            ", ".join(site.depends_on) or "–",
            " × ".join(map(str, site.shape)) or "number",
            ", ".join(site.plates) or "–",
            _STARS[site.kind],
        ]
        for site in found.sites
    ]
    return Table(["site", "distribution", "depends on", "shape", "plates", "kind"], rows, "Sites", is_words=True)


def _graph(found: ModelAtHand) -> list[Block]:
    """The graph as NumPyro draws it, where graphviz is there and it is small enough to be read."""
    if shutil.which("dot") is None or importlib.util.find_spec("graphviz") is None or len(found.sites) > MOST_IN_GRAPH:
        return []
    try:
        graph: Any = numpyro.render_model(found.program)
        graph.attr(bgcolor="white", fontname="Helvetica")
        content: bytes = graph.pipe(format="svg")
    except Exception:  # an ornament: the table below says the same
        return []
    caption = "Grey: observed. A box repeats what is in it. Dashed: computed from others."
    return [Plot("Graph", caption, "Graph of the sites; the table below says the same", data_uri(content, "svg+xml"))]
