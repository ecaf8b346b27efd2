from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr

from bayeskit.errors import DataError
from bayeskit.storage import read_data


def write(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def same(found, expected):
    assert list(found) == list(expected)
    for name, value in expected.items():
        if isinstance(value, np.ndarray):
            assert found[name].dtype.kind == value.dtype.kind
            assert found[name].dtype.itemsize == value.dtype.itemsize
            np.testing.assert_array_equal(found[name], value)
        else:
            assert type(found[name]) is type(value)
            assert found[name] == value


def test_json(tmp_path):
    content = {
        "J": 8,
        "y": [1, 2.5],
        "n": [[1, 2], [3, 4]],
        "s": "x",
        "b": True,
        "names": ["a", "bb"],
        "w": None,
        "e": [],
        "flags": [True, False],
        "x": 0.5,
    }
    same(
        read_data(write(tmp_path, "d.json", json.dumps(content))),
        {
            "J": 8,
            "y": np.array([1.0, 2.5]),
            "n": np.array([[1, 2], [3, 4]]),
            "s": "x",
            "b": True,
            "names": np.array(["a", "bb"]),
            "w": None,
            "e": np.array([]),
            "flags": np.array([True, False]),
            "x": 0.5,
        },
    )


def test_csv(tmp_path):
    text = (
        'county,"y, log",n,miss,big,id\n"AITKIN, MN",0.5,1,,2.0,00123456789012345678901\n'
        "ANOKA,-1e3,2,NA,3,x\n\nC,inf,3,7,4,\n"
    )
    same(
        read_data(write(tmp_path, "d.csv", "\ufeff" + text)),
        {
            "county": np.array(["AITKIN, MN", "ANOKA", "C"]),
            "y, log": np.array([0.5, -1000.0, np.inf]),
            "n": np.array([1, 2, 3]),
            "miss": np.array([np.nan, np.nan, 7.0]),
            "big": np.array([2.0, 3.0, 4.0]),
            "id": np.array(["00123456789012345678901", "x", ""]),
        },
    )


def test_blank_lines_at_the_end_of_one_column(tmp_path):
    same(read_data(write(tmp_path, "d.csv", "y\n1\n3\n\n\n")), {"y": np.array([1, 3])})


def test_npz_and_netcdf(tmp_path):
    arrays = {"y": np.array([1.5, 2.5]), "n": np.arange(3, dtype=np.int32), "flag": np.array([True])}
    np.savez(tmp_path / "d.npz", J=np.int64(3), **arrays)
    same(read_data(tmp_path / "d.npz"), {"J": 3, **arrays})
    dataset = xr.Dataset({name: (f"{name}_i", array) for name, array in arrays.items()})
    dataset["name"] = ("k", np.array(["a", "bé"]))
    dataset["J"] = 3
    dataset.to_netcdf(tmp_path / "d.nc", engine="h5netcdf")
    same(read_data(tmp_path / "d.nc"), {**arrays, "name": np.array(["a", "bé"]), "J": 3})
    xr.Dataset({"y": ("i", arrays["y"])}).to_netcdf(tmp_path / "old.nc", engine="scipy")
    same(read_data(tmp_path / "old.nc"), {"y": arrays["y"].astype(">f8").astype(float)})


BAD = {
    "none.json": (None, "cannot be read: No such file"),
    "none.txt": (None, r"end in \.json, .*, not '\.txt'"),
    "none": (None, "not 'nothing'"),
    "empty.json": ("", "is empty"),
    "empty.csv": ("", "is empty"),
    "blank.csv": ("\n\n", "is empty"),
    "syntax.json": ('{"a": 1,\n "b": [1,, 2]}', "line 2, column 10"),
    "truncated.json": ('{"a": [1, 2', "line 1"),
    "list.json": ("[1, 2]", "this is a list"),
    "twice.json": ('{"a": 1, "a": 2}', "the name 'a' appears twice"),
    "nothing.json": ("{}", "no variables"),
    "nested.json": ('{"data": {"y": [1]}}', "'data' is an object"),
    "ragged.json": ('{"n": [[1, 2], [3]]}', r"'n' is ragged: n\[1\] has shape \(1,\), not \(2,\)"),
    "depth.json": ('{"n": [[1], 3]}', "'n' is ragged"),
    "null.json": ('{"n": [1, null]}', r"n\[1\] is null"),
    "mixed.json": ('{"n": [1, "a"]}', "'n' mixes numbers and strings"),
    "bools.json": ('{"n": [1, true]}', "'n' mixes booleans and numbers"),
    "huge.json": ('{"n": [123456789012345678901234567890]}', "'n' holds whole numbers beyond 64 bits"),
    "huge_scalar.json": ('{"n": 123456789012345678901234567890}', "'n' is a whole number beyond 64 bits"),
    "digits.json": ('{"n": ' + "1" * 5000 + "}", "digits"),
    "latin.json": ('{"a": "é"}'.encode("latin-1"), "not text in UTF-8"),
    "latin.csv": ("a\né\n".encode("latin-1"), "not text in UTF-8"),
    "ragged.csv": ("a,b\n1,2\n3\n", "line 3: 1 cells, but the header has 2"),
    "long.csv": ("a,b\n1,2,3\n", "line 2: 3 cells"),
    "twice.csv": ("a,b,a\n1,2,3\n", "the column 'a' appears twice"),
    "unnamed.csv": (",a\n1,2\n", "column 1 has no name"),
    "headless.csv": ("1,2\n3,4\n", "must be a header"),
    "rowless.csv": ("a,b\n", "no rows"),
    "hole.csv": ("y\n1\n\n3\n", "line 3: blank, which with one column is a missing value"),
    "quote.csv": ('a,b\n1,"2\n3,4\n', "line 3"),
    "text.npz": ("hello", "not an NPZ file"),
    "text.nc": ("hello", "not a NetCDF file"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files(tmp_path, name):
    content, match = BAD[name]
    path = tmp_path / name if content is None else write(tmp_path, name, content)
    with pytest.raises(DataError, match=match) as caught:
        read_data(path)
    assert name in str(caught.value)


def test_bad_arrays(tmp_path):
    np.savez(tmp_path / "object.npz", a=np.array([None, 1], dtype=object))
    with pytest.raises(DataError, match="'a' cannot be read"):
        read_data(tmp_path / "object.npz")
    np.savez(tmp_path / "time.npz", a=np.array(["2020-01-01"], dtype="datetime64[D]"))
    with pytest.raises(DataError, match="'a' has dtype datetime64"):
        read_data(tmp_path / "time.npz")
    np.save(tmp_path / "one.npy", np.ones(3))
    (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    with pytest.raises(DataError, match="one array without a name"):
        read_data(tmp_path / "one.npz")


@pytest.mark.parametrize("share", [0.2, 0.5, 0.95])
def test_truncated_binaries(tmp_path, share):
    np.savez(tmp_path / "d.npz", a=np.arange(1000.0))
    xr.Dataset({"a": ("i", np.arange(1000.0))}).to_netcdf(tmp_path / "d.nc", engine="h5netcdf")
    for name in ("d.npz", "d.nc"):
        content = (tmp_path / name).read_bytes()
        write(tmp_path, f"cut-{name}", content[: int(share * len(content))])
        with pytest.raises(DataError, match=f"cut-{name}"):
            read_data(tmp_path / f"cut-{name}")


def test_a_result_is_no_data_file(tmp_path):
    xr.DataTree.from_dict({"/posterior": xr.Dataset({"mu": ("i", [1.0])})}).to_netcdf(
        tmp_path / "post.nc", engine="h5netcdf"
    )
    with pytest.raises(DataError, match="no variables in its root group"):
        read_data(tmp_path / "post.nc")
