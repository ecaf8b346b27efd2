"""What every data format must do: a row in the table, a writer for its first suffix, gets all tests."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr

from bayeskit.errors import DataError
from bayeskit.storage import read_data
from bayeskit.storage.formats import FORMATS

from .extras import rows

X, Y = [1, 2, 3], [0.5, -1.25, 1e-3]


def as_table(path, separator):
    lines = [f"x{separator}y", *(f"{x}{separator}{y}" for x, y in zip(X, Y, strict=True))]
    path.write_text("\n".join(lines))


def as_parquet(path):
    from pyarrow import parquet, table

    parquet.write_table(table({"x": X, "y": Y}), path)


def as_feather(path):
    from pyarrow import feather, table

    feather.write_feather(table({"x": X, "y": Y}), path)


def as_excel(path):
    import pandas as pd

    pd.DataFrame({"x": X, "y": Y}).to_excel(path, index=False)


WRITERS = {
    ".json": lambda path: path.write_text(json.dumps({"x": X, "y": Y})),
    ".csv": lambda path: as_table(path, ","),
    ".tsv": lambda path: as_table(path, "\t"),
    ".npz": lambda path: np.savez(path, x=X, y=Y),
    ".nc": lambda path: xr.Dataset({"x": ("row", X), "y": ("row", Y)}).to_netcdf(path, engine="h5netcdf"),
    ".parquet": as_parquet,
    ".feather": as_feather,
    ".xlsx": as_excel,
}
NEEDS = {".parquet": "pyarrow", ".feather": "pyarrow", ".xlsx": "openpyxl"}
by_suffix = pytest.mark.parametrize("suffix", rows(WRITERS, needs=NEEDS))


def test_every_format_is_here():
    assert {each.suffixes[0] for each in FORMATS} == set(WRITERS)


@by_suffix
def test_values_come_back_with_names_order_and_types(suffix, tmp_path):
    path = tmp_path / f"data{suffix}"
    WRITERS[suffix](path)
    values = read_data(path)
    assert list(values) == ["x", "y"]
    np.testing.assert_array_equal(values["x"], X)
    np.testing.assert_array_equal(values["y"], Y)
    assert (values["x"].dtype, values["y"].dtype) == (np.int64, np.float64)


@by_suffix
def test_a_file_that_is_cut_short_is_named(suffix, tmp_path):
    """But for a table that is cut short at the end of a number, which cannot be told from a shorter one."""
    path = tmp_path / f"data{suffix}"
    WRITERS[suffix](path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    if suffix in (".csv", ".tsv"):
        assert len(read_data(path)["x"]) < len(X)
        return
    with pytest.raises(DataError, match=path.name):
        read_data(path)


@by_suffix
def test_missing_and_empty_files_are_named(suffix, tmp_path):
    path = tmp_path / f"data{suffix}"
    with pytest.raises(DataError, match="cannot be read"):
        read_data(path)
    path.write_bytes(b"")
    with pytest.raises(DataError, match=f"{path.name} is empty"):
        read_data(path)
