"""`report`: one HTML page that says what was fitted, what came out, and what it is worth."""

from __future__ import annotations

import os
from pathlib import Path

import xarray as xr
from jinja2 import Environment, PackageLoader, StrictUndefined

from bayeskit._typing import Data, Model
from bayeskit.diagnostics.amortised import P_VALUE
from bayeskit.diagnostics.check import Learned
from bayeskit.diagnostics.page.sections import SECTIONS
from bayeskit.diagnostics.page.sections.reading import reading
from bayeskit.diagnostics.page.subject import Subject, subject_of
from bayeskit.diagnostics.page.wording import breakable
from bayeskit.diagnostics.verdict import number
from bayeskit.storage.atomic import replace_file

_TITLE_BLOCK = {"model": "Model", "method": "Method", "created_at": "Fitted", "bayeskit_version": "bayeskit"}


def report(
    post: xr.DataTree | Learned,
    path: str | os.PathLike[str],
    *,
    title: str | None = None,
    model: Model | None = None,
    data: Data | None = None,
) -> Path:
    """Write a self-contained HTML page about a result, for a colleague who was not there.

    It says what was fitted to what and whether that can be trusted, in sentences to be read aloud; then the estimates
    with their intervals, a predictive check of the kind that suits the data (a rootogram of counts, proportions of what
    is yes or no, densities otherwise), leave-one-out, the priors and how far the data have moved them, the model with
    its graph and source, the data, how the run went, and settings and versions. The page holds its style and its
    pictures, runs no script and loads nothing; it reads well on a phone and on paper.

    Source, graph and priors are those of the model, which is not in the result: it is the one given, or else the
    function of the name in the record, if that has been imported. What the result lacks (draws from the prior,
    replicated data) is drawn with the model's help; where that cannot be, the page says how to get it.

    Args:
        post: the result of a run, whatever the method; ranks of :func:`bayeskit.sbc`; or something learned, such as a
            bridge, the solution of a differential equation, or a trained network.
        path: the file to write; an older one is replaced when the new one is complete.
        title: heading of the page; by default the name of the model.
        model: the model that was fitted.
        data: its arguments; by default those that the result holds.

    Returns:
        The path.

    Raises:
        StorageError: there is nothing to report (a result of the prior alone, say), or the file cannot be written.
        TypeError: `post` is neither a result nor something learned, such as a kernel; it says what to report instead.
        ModelError: `model` is not that of the result, or there are `data` and no `model`.
        DataError: `data` are not arguments of the model.

    Example:
        >>> import tempfile, numpy as np
        >>> from bayeskit.storage import make_tree
        >>> draws = np.random.default_rng(0).normal(size=(2, 100))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     page = report(make_tree({"posterior": {"mu": draws}}), f"{folder}/report.html")
        ...     page.read_text().startswith("<!doctype html>")
        True
    """
    path = Path(path)
    text = _text(subject_of(post, model, data), title)
    replace_file(path, lambda temporary: _write(temporary, text))
    return path


def _text(subject: Subject, title: str | None) -> str:
    environment = Environment(
        loader=PackageLoader("bayeskit.diagnostics.page", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["breakable"] = breakable
    found = [section for section in (make(subject) for make in SECTIONS) if section is not None]
    page = environment.get_template("report.html.j2").render(
        title=title or _title(subject),
        facts=[(label, subject.attrs[name]) for name, label in _TITLE_BLOCK.items() if name in subject.attrs],
        reading=reading(subject),
        verdict=subject.verdict,
        headline=_headline(subject),
        unchecked=[one for one in subject.verdict.unchecked if subject.is_of_chains or "sample_stats" not in one],
        measures=[one for one in subject.verdict.measures if _is_shown(subject, one.name)],
        number=number,
        sections=found,
    )
    return page.lstrip()


def _headline(subject: Subject) -> str:
    """That of the verdict, in the words of the method."""
    line = subject.verdict.headline
    if subject.is_of_particles:
        return line.replace(" chain", " run").replace(" draws", " particles")
    if P_VALUE in subject.attrs:
        return line.replace("1 chain of ", "")
    return line.replace(" chain", " fit") if subject.is_independent else line


def _is_shown(subject: Subject, measure: str) -> bool:
    """R-hat and what autocorrelation leaves are of chains; independent draws and particles have none."""
    return (
        subject.is_of_chains
        or not subject.has("posterior")
        or measure not in ("max R-hat", "min bulk ESS", "min tail ESS")
    )


def _title(subject: Subject) -> str:
    if formula := str(subject.attrs.get("formula", "")):
        return formula
    name = str(subject.attrs.get("model", ""))
    if not name and subject.thing is not None:
        name = type(subject.thing).__name__
    return name.removesuffix(".model").rpartition(".")[2] or "Posterior"


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
