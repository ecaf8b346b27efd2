"""The report: one HTML page that says what the draws are worth and what they say."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from jinja2 import Environment, PackageLoader, StrictUndefined

from bayeskit.diagnostics.angles import unrolled
from bayeskit.diagnostics.check import check
from bayeskit.diagnostics.elements import Site, group_sites, hidden, posterior_sites
from bayeskit.diagnostics.plots import Plot, energy_plot, forest_plot, predictive_plot, rank_plot, trace_plot
from bayeskit.diagnostics.tables import note_on_angles, summary
from bayeskit.diagnostics.verdict import number
from bayeskit.storage.atomic import replace_file

MOST_ROWS = 60
MOST_TRACES = 6
MOST_IN_FOREST = 40
MOST_PREDICTIVE = 4
_PROVENANCE = (
    "created_at",
    "model",
    "method",
    "device",
    "float_dtype",
    "wall_time",
    "warmup_time",
    "compile_time",
)


def report(post: xr.DataTree, path: str | os.PathLike[str], *, title: str | None = None) -> Path:
    """Write a self-contained HTML page: verdict, summary, plots, settings and versions.

    The page holds its style and its pictures, runs no script and loads nothing; it reads well on a phone.

    Args:
        post: the result of a run.
        path: the file to write; an older one is replaced when the new one is complete.
        title: heading of the page; by default the name of the model.

    Returns:
        The path.

    Raises:
        StorageError: there is no posterior, or the file cannot be written.

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
    sites = posterior_sites(post)
    table = summary(post)
    rows, row_note = _rows(table)
    environment = Environment(
        loader=PackageLoader("bayeskit.diagnostics", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = environment.get_template("report.html.j2").render(
        title=title or f"{post.attrs.get('model', 'Posterior')}",
        verdict=check(post, quiet=True),
        number=number,
        columns=list(table.columns),
        rows=rows,
        row_note=row_note,
        angle_note=note_on_angles(post),
        plots=_plots(post, sites, table),
        predictive_hint=_predictive_hint(post),
        provenance={name: _shown(post.attrs[name]) for name in _PROVENANCE if name in post.attrs},
        settings=_settings(post),
        data=_data(post),
    )
    replace_file(path, lambda temporary: _write(temporary, text))
    return path


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


# ---------------------------------------------------------------- the table


def _rows(table: pd.DataFrame) -> tuple[list[tuple[str, list[str]]], str]:
    """The rows of the summary as text, and a note when only the worst are shown."""
    note = ""
    if len(table) > MOST_ROWS:
        worst = set(_worst_first(table)[:MOST_ROWS])
        note = (
            f"{MOST_ROWS} of {len(table)} rows: those with the smallest effective sample sizes. "
            "bayeskit.summary(post) gives all of them."
        )
        table = table.loc[[label in worst for label in table.index]]
    values = table.to_numpy(dtype=float)
    labels = [str(label) for label in table.index]
    columns = [str(column) for column in table.columns]
    return [
        (label, [_cell(column, value) for column, value in zip(columns, row, strict=True)])
        for label, row in zip(labels, values, strict=True)
    ], note


def _worst_first(table: pd.DataFrame) -> list[str]:
    ess = np.nan_to_num(table[["ess_bulk", "ess_tail"]].to_numpy(dtype=float), nan=-1.0).min(axis=1)
    return [str(table.index[i]) for i in np.argsort(ess, kind="stable")]


def _cell(column: str, value: float) -> str:
    if np.isnan(value):
        return "–"
    if column.startswith("ess"):
        return f"{value:.0f}"
    return f"{value:.3f}" if column == "r_hat" else f"{value:#.3g}".rstrip(".") if abs(value) < 1e3 else f"{value:.5g}"


# ---------------------------------------------------------------- the plots


def _plots(post: xr.DataTree, sites: list[Site], table: pd.DataFrame) -> list[Plot]:
    drawable = _drawable(sites)
    plots: list[Plot] = []
    if drawable:
        worst = {label: drawable[label] for label in _worst_first(table) if label in drawable}
        worst = dict(list(worst.items())[:MOST_TRACES])
        plots.append(trace_plot(post, worst))
        if next(iter(worst.values())).shape[0] > 1:
            plots.append(rank_plot(worst))
        shown = dict(list(drawable.items())[:MOST_IN_FOREST])
        plots.append(forest_plot(shown, len(drawable) - len(shown)))
    plots += _predictive_plots(post)
    plots += _prediction_plots(post)
    energy = _energy(post)
    if energy is not None:
        plots.append(energy_plot(energy))
    return plots


def _drawable(sites: list[Site]) -> dict[str, np.ndarray]:
    """Draws of the elements that are finite, move and are judged, by label: latent sites first, angles in one piece."""
    if sites[0].shape[1] < 4:
        return {}
    shown = [unrolled(site) for site in sites if site.name not in hidden(sites)]
    ordered = sorted(shown, key=lambda site: not site.latent)  # stable
    return {
        label: site.element(k)
        for site in ordered
        for k, label in enumerate(site.labels)
        if site.finite[k] and not site.constant[k]
    }


def _predictive_plots(post: xr.DataTree) -> list[Plot]:
    names = _predicted_names(post)[:MOST_PREDICTIVE]
    predicted, observed = (post[group].to_dataset() if names else None for group in _PREDICTIVE_GROUPS)
    if predicted is None or observed is None:
        return []
    return [predictive_plot(name, predicted[name], observed[name]) for name in names]


def _prediction_plots(post: xr.DataTree) -> list[Plot]:
    """Intervals of what is predicted for new inputs, which no observation can check."""
    if "predictions" not in post.children:
        return []
    drawable = _drawable(group_sites(post, "predictions"))
    if not drawable:
        return []
    shown = dict(list(drawable.items())[:MOST_IN_FOREST])
    return [forest_plot(shown, len(drawable) - len(shown), "Predictions for new inputs", "predictions")]


_PREDICTIVE_GROUPS = ("posterior_predictive", "observed_data")


def _predicted_names(post: xr.DataTree) -> list[str]:
    if any(group not in post.children for group in _PREDICTIVE_GROUPS):
        return []
    observed = post["observed_data"].data_vars
    return [str(name) for name in post["posterior_predictive"].data_vars if name in observed]


def _predictive_hint(post: xr.DataTree) -> str:
    if _predicted_names(post):
        return ""
    return (
        "There is no posterior predictive check: the result holds no posterior predictive draws of the observed data. "
        "bayeskit.predict adds them."
    )


def _energy(post: xr.DataTree) -> np.ndarray | None:
    if "sample_stats" not in post.children or "energy" not in post["sample_stats"].data_vars:
        return None
    values = np.asarray(post["sample_stats"].to_dataset()["energy"].transpose("chain", "draw", ...).values, dtype=float)
    return values if values.shape[1] > 1 and np.isfinite(values).all() else None


# ---------------------------------------------------------------- settings and data


def _settings(post: xr.DataTree) -> dict[str, dict[str, str]]:
    """The other attributes in blocks: JSON objects by key, everything else under ``run``."""
    blocks: dict[str, dict[str, str]] = {"run": {}}
    for name, value in post.attrs.items():
        if name in _PROVENANCE:
            continue
        nested = _json_object(value)
        if nested is None:
            blocks["run"][str(name)] = _shown(value)
        else:
            blocks[str(name).replace("_", " ")] = {key: _shown(item) for key, item in nested.items()}
    return {name: block for name, block in blocks.items() if block}


def _json_object(value: object) -> Mapping[str, object] | None:
    if not isinstance(value, str) or not value.startswith("{"):
        return None
    try:
        content = json.loads(value)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _data(post: xr.DataTree) -> list[tuple[str, str, str, str]]:
    """Group, name, shape and range of what the model was given."""
    rows: list[tuple[str, str, str, str]] = []
    for group in ("observed_data", "constant_data", "predictions_constant_data"):
        if group not in post.children:
            continue
        for name, variable in post[group].to_dataset().data_vars.items():
            values = np.asarray(variable.values)
            shape = " × ".join(str(size) for size in values.shape) or "number"
            extent = f"{values.min():.4g} to {values.max():.4g}" if values.size and values.dtype.kind in "iuf" else ""
            rows.append((group.replace("_", " "), str(name), f"{shape}, {values.dtype}", extent))
    return rows
