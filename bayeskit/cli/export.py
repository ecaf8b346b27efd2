"""Draws as a table: one row a draw, one column an element of a site."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bayeskit._spelling import did_you_mean
from bayeskit.cli.errors import UsageError
from bayeskit.errors import StorageError

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

ROWS = 10_000  # of a table at once


def export_result(post: xr.DataTree, path: Path, *, sites: list[str] | None, stats: bool) -> None:
    """Write a result to a file; the suffix says how.

    Args:
        post: the result.
        path: ``.csv`` or ``.parquet``, a table with the columns ``chain`` and ``draw`` and one for each element of the
            posterior, named as in the summary; or ``.nc`` or ``.zarr``, the result itself.
        sites: only these sites.
        stats: whether a table has the sample statistics too.

    Raises:
        UsageError: another suffix, or a site that is not there.
        StorageError: no posterior, a table of complex numbers, or a refused write.
    """
    if "posterior" not in post.children:
        raise StorageError("there are no draws to export")
    names = [str(name) for name in post["posterior"].data_vars]
    for name in sites or []:
        if name not in names:
            raise UsageError(f"the posterior has no site {name!r}{did_you_mean(name, names, 'known:')}")
    suffix = path.suffix.lower()
    if suffix in (".csv", ".parquet"):
        _write_table(post, path, sites or names, stats)
    elif suffix in (".nc", ".zarr"):
        if stats:
            raise UsageError("--stats is for tables; the result has the statistics of the sampler")
        _save(post, path, sites)
    else:
        raise UsageError(f"--to ends in .csv, .parquet, .nc or .zarr, not {suffix or 'nothing'!r}")


def _save(post: xr.DataTree, path: Path, sites: list[str] | None) -> None:
    import xarray as xr

    from bayeskit.storage import save

    if sites is not None:
        datasets = {node.path: node.to_dataset(inherit=False) for node in post.subtree}
        datasets["/posterior"] = datasets["/posterior"][sites]
        post = xr.DataTree.from_dict(datasets)
    save(post, path)


def _write_table(post: xr.DataTree, path: Path, sites: list[str], stats: bool) -> None:
    from bayeskit.storage.atomic import replace_file
    from bayeskit.storage.formats.arrow import write_parquet

    posterior = post["posterior"].to_dataset()
    columns = {name: posterior[name] for name in sites}
    if stats and "sample_stats" in post.children:
        of_sampler = post["sample_stats"].to_dataset()
        columns |= {f"sample_stats.{name}": variable for name, variable in of_sampler.data_vars.items()}
    frames = _frames(columns)
    write = _write_csv if path.suffix.lower() == ".csv" else write_parquet
    replace_file(path, lambda temporary: write(frames, temporary))


def _frames(columns: dict[str, xr.DataArray]) -> Iterator[pd.DataFrame]:
    """The rows, by chain and draw, some of them at once."""
    import pandas as pd

    from bayeskit.diagnostics.elements import element_labels

    ordered = {name: variable.transpose("chain", "draw", ...) for name, variable in columns.items()}
    labels = {name: element_labels(name, variable) for name, variable in ordered.items()}
    first = next(iter(ordered.values()))
    for chain in range(first.sizes["chain"]):
        for start in range(0, first.sizes["draw"], ROWS):
            draws = first["draw"].values[start : start + ROWS]
            content: dict[str, np.ndarray] = {"chain": np.full(draws.size, first["chain"].values[chain]), "draw": draws}
            for name, variable in ordered.items():
                values = variable[chain, start : start + ROWS].values.reshape(draws.size, -1)
                content |= {label: values[:, k] for k, label in enumerate(labels[name])}
            yield pd.DataFrame(content)


def _write_csv(frames: Iterator[pd.DataFrame], file: Path) -> None:
    with file.open("w", encoding="utf-8", newline="") as handle:
        for number, frame in enumerate(frames):
            frame.to_csv(handle, index=False, header=number == 0)
