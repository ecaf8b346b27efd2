from __future__ import annotations

import datetime
import decimal
import json
import math
import sys
import warnings
from importlib.util import find_spec

import jax
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
import xarray as xr

from bayeskit.errors import DataError
from bayeskit.program import bind
from bayeskit.storage import read_data

needs_arrow = pytest.mark.skipif(find_spec("pyarrow") is None, reason="needs pyarrow")
NaN = np.nan


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
            assert repr(found[name]) == repr(value)


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


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *((f'"{word}"', math.inf) for word in ("Inf", "inf", "Infinity", "+Inf", "+inf", "+Infinity")),
        *((f'"{word}"', -math.inf) for word in ("-Inf", "-inf", "-Infinity")),
        ('"NaN"', math.nan),
        ("Infinity", math.inf),
        ("-Infinity", -math.inf),
        ("NaN", math.nan),
        # neither a number nor one that is not finite
        ('"02139"', "02139"),
        ('"nan"', "nan"),
        ('"NaN "', "NaN "),
        # a whole number is one however it is written, and an int where it can be a size
        ("3.0", 3),
        ("1e+05", 100_000),
        ("-2.0", -2),
        ("2147483647.0", 2**31 - 1),
        ("2147483648.0", 2.0**31),
        ("-0.0", -0.0),
        ("2.5", 2.5),
        ("1e-3", 0.001),
    ],
)
def test_numbers_as_json_has_them(tmp_path, text, value):
    same(read_data(write(tmp_path, "d.json", f'{{"x": {text}}}')), {"x": value})


def test_arrays_as_stan_has_them(tmp_path):
    content = """{
        "y": [1, "NaN", -2, "+inf"], "x": [["-Infinity", 0.5], [1e3, "Inf"]], "all": ["NaN", "Infinity"],
        "s": ["Inf", "Joe"], "codes": ["1", "2"], "whole": [1.0, 2.0], "z": [[1, -2.3], [4.9, 0]]
    }"""
    same(
        read_data(write(tmp_path, "d.json", content)),
        {
            "y": np.array([1, NaN, -2, np.inf]),
            "x": np.array([[-np.inf, 0.5], [1000, np.inf]]),
            "all": np.array([NaN, np.inf]),
            "s": np.array(["Inf", "Joe"]),
            "codes": np.array(["1", "2"]),
            "whole": np.array([1.0, 2.0]),
            "z": np.array([[1, -2.3], [4.9, 0]]),
        },
    )


def test_a_size_may_be_written_as_a_real(tmp_path):
    def model(N, y):
        with numpyro.plate("row", N):
            numpyro.sample("y", dist.Normal(0.0, 1.0), obs=y)

    def sites(program):
        trace = numpyro.handlers.trace(numpyro.handlers.seed(program, 0)).get_trace()
        return trace["y"]["fn"].log_prob(trace["y"]["value"])

    program = bind(model, read_data(write(tmp_path, "d.json", '{"N": 3.0, "y": [1.0, 2.0, 3.0]}')))
    # under a transformation an array could not be a size
    assert jax.eval_shape(sites, program).shape == (3,)


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


ROW_NAMES = "the first column has no name, so it is taken for the names of the rows ({!r}, ...) and left out; give it"
ROW_NAMES = f": {ROW_NAMES} a name to have it read"
SHORT_HEADER = (
    ": the rows have one cell more than the header, so the first is taken for the name of the row ({!r}, ...)"
)
SHORT_HEADER = f"{SHORT_HEADER} and left out"
X = {"x": np.array([0.5, 1.5])}
XN = {**X, "n": np.array([1, 2])}
STRINGS = "is not a number, so the column stays strings"

# content, what is read, and the warning after the path
TABLES = {
    "the index of pandas": (",x\n0,0.5\n1,1.5\n", X, None),
    "the index of R": ('"","x"\n"1",0.5\n"2",1.5\n', X, None),
    "an index of one row": (",n\n1,2\n", {"n": np.array([2])}, None),
    "the index of some rows": (",x\n3,0.5\n7,1.5\n", X, ROW_NAMES.format("3")),
    "names of rows": (",x\nMazda RX4,0.5\nDatsun 710,1.5\n", X, ROW_NAMES.format("Mazda RX4")),
    "a short header": ('"x","n"\n"1",0.5,1\n"2",1.5,2\n', XN, SHORT_HEADER.format("1")),
    "a short header, names": ('"x","n"\n"a",0.5,1\n"b",1.5,2\n', XN, SHORT_HEADER.format("a")),
    "booleans": (
        "a,b,c,d\nTRUE,true,,TRUE\nFALSE,False,TRUE,yes\nTRUE,True,False,\n",
        {
            "a": np.array([True, False, True]),
            "b": np.array([True, False, True]),
            "c": np.array([NaN, 1.0, 0.0]),
            "d": np.array(["TRUE", "yes", ""]),
        },
        None,
    ),
    "semicolons": ('x;n\n0.5;"1"\n1.5;2\n', XN, None),
    "tabs": ("x\tn\n0.5\t1\n1.5\t2\n", XN, None),
    "one column, a semicolon in quotes": ('"x, or y; z"\n1\n2\n', {"x, or y; z": np.array([1, 2])}, None),
    "decimal commas": (
        "x;n;s\n0,5;1;Doe, Jane\n1,5;2;1.2.2020\n",
        {**XN, "s": np.array(["Doe, Jane", "1.2.2020"])},
        None,
    ),
    "decimal commas, sure of one column": ("a;x\n1,500;0,5\n;1,5\n", {"a": np.array([1.5, NaN]), **X}, None),
    "a mark of the byte order": ("\ufeffx,n\n0.5,1\n1.5,2\n", XN, None),
    "UTF-16, as Excel writes text": ("x\ts\n0.5\té\n1.5\tz\n".encode("utf-16"), {**X, "s": np.array(["é", "z"])}, None),
    "Windows-1252": (
        "x,s\n0.5,“é”\n1.5,€\n".encode("cp1252"),
        {**X, "s": np.array(["“é”", "€"])},
        ", line 2: not UTF-8, so the file is read as Windows-1252 (Western European); if letters come out wrong, save "
        "it as UTF-8",
    ),
    "a typing error": (
        "n,x\n1,0.5\n\n2,12.x\n3,NA\n4,1.5\n",
        {"n": np.arange(1, 5), "x": np.array(["0.5", "12.x", "NA", "1.5"])},
        f", line 4, column 'x': '12.x' {STRINGS}",
    ),
    "a typing error beside decimal commas": (
        "n;x\n1;0,5\n2;1,5\n3;2,5\n4;7.y\n",
        {"n": np.arange(1, 5), "x": np.array(["0,5", "1,5", "2,5", "7.y"])},
        f", line 5, column 'x': '7.y' {STRINGS}",
    ),
    "thousands": (
        'n\n"1,234"\n"12,000"\n',
        {"n": np.array(["1,234", "12,000"])},
        f", line 2, column 'n': '1,234' {STRINGS}",
    ),
    "identifiers": ("code\nA1\n12\n", {"code": np.array(["A1", "12"])}, None),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_as_people_have_them(tmp_path, name):
    content, values, warning = TABLES[name]
    path = write(tmp_path, "d.csv", content)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        same(read_data(path), values)
    assert [str(each.message) for each in caught] == ([] if warning is None else [f"{path}{warning}"])
    assert all(each.filename == __file__ for each in caught)


def test_a_table_of_many_columns(tmp_path):
    names = [f"gene_{i}" for i in range(5000)]
    values = read_data(write(tmp_path, "d.csv", "\n".join([",".join(names), ",".join(map(str, range(5000)))])))
    assert list(values) == names
    np.testing.assert_array_equal(np.concatenate(list(values.values())), np.arange(5000))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("x\n0.5\n12.x\n2.5\n", "holds strings, most of them numbers, but '12.x' at [1] is not a number"),
        ("x;n\n0,5;1\n1,5;2\n7.y;3\n", "holds strings, most of them numbers, but '0,5' at [0] is not a number"),
        ("x\nA1\n12\n", "holds strings; encode them as integers, e.g. with numpy.unique(..., return_inverse=True)"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*so the column stays strings")
def test_a_column_with_a_typing_error_is_not_to_be_encoded(tmp_path, content, message):
    columns = read_data(write(tmp_path, "d.csv", content))
    with pytest.raises(DataError) as caught:
        bind(lambda x: None, {"x": columns["x"]})
    assert str(caught.value) == f"data 'x' {message}"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (["1", "2"], "holds numbers as strings, the first '1'; pass numbers"),
        ([["1", "2"], ["3", "x"]], "holds strings, most of them numbers, but 'x' at [1, 1] is not a number"),
        (
            np.array([1.0, 2.0, "12.x"], dtype=object),
            "holds strings, most of them numbers, but '12.x' at [2] is not a number",
        ),
    ],
)
def test_strings_among_numbers_are_named(value, message):
    with pytest.raises(DataError) as caught:
        bind(lambda x: None, {"x": value})
    assert str(caught.value) == f"data 'x' {message}"


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
    "deep.json": ('{"n": ' + "[" * 99 + "]" * 99 + "}", "'n': maximum supported dimension"),
    "null.json": ('{"n": [1, null]}', r"n\[1\] is null"),
    "bools.json": ('{"n": [1, true]}', "'n' mixes booleans and numbers"),
    "huge.json": ('{"n": [123456789012345678901234567890]}', "'n' holds whole numbers beyond 64 bits"),
    "huge_scalar.json": ('{"n": 123456789012345678901234567890}', "'n' is a whole number beyond 64 bits"),
    "digits.json": ('{"n": ' + "1" * 5000 + "}", "digits"),
    "latin.json": ('{"a": "é"}'.encode("latin-1"), "not text in UTF-8"),
    "ragged.csv": ("a,b\n1,2\n3\n", "line 3: 1 cells, but the header has 2"),
    "long.csv": ("a,b\n1,2,3\n", "line 2: 3 cells"),
    "twice.csv": ("a,b,a\n1,2,3\n", "the column 'a' appears twice"),
    "headless.csv": ("1,2\n3,4\n", "must be a header"),
    "rowless.csv": ("a,b\n", "no rows"),
    "hole.csv": ("y\n1\n\n3\n", "line 3: blank, which with one column is a missing value"),
    "quote.csv": ('a,b\n1,"2\n3,4\n', "line 3"),
    "text.npz": ("hello", "not an NPZ file"),
    "text.nc": ("hello", "not a NetCDF file"),
}


NO_INDEX = "column 1 has no name, and it is not an index either, since"
DOUBT = "may stand before decimals or between thousands, and nothing in the file says which; write decimal points, and"
DOUBT = f"{DOUBT} commas between the cells"

# content, and the whole message after the path
REFUSED = {
    "number in quotes.json": ('{"N": "3"}', ": 'N' is the string \"3\"; a number has no quotes, write 3"),
    "real in quotes.json": ('{"N": "-1.5e3"}', ": 'N' is the string \"-1.5e3\"; a number has no quotes, write -1.5e3"),
    "typing error.json": ('{"n": [[1, 2], [3, "4.x"]]}', ': n[1][1] is the string "4.x" among numbers'),
    "booleans.json": ('{"n": [true, "NaN"]}', ": 'n' mixes booleans and numbers"),
    "reals first.csv": (",x\n0.5,1\n1.5,2\n", f", line 1: {NO_INDEX} '0.5' in line 2 is not a whole number"),
    "twice first.csv": (",x\na,1\nb,2\na,3\n", f", line 1: {NO_INDEX} 'a' in line 4 is there twice"),
    "hole first.csv": (",x\na,1\n,2\n", f", line 1: {NO_INDEX} '' in line 3 is missing"),
    "second.csv": ("a,,b\n1,2,3\n", ", line 1: column 2 has no name"),
    "only.csv": ('""\n1\n', ", line 1: column 1 has no name"),
    "no row names.csv": ("x,y\n1821,0.5,2\n1823,1.5,2\n", ", line 2: 3 cells, but the header has 2"),
    "last separator.csv": ("x,y\n1,2,\n2,2,\n", ", line 2: 3 cells, but the header has 2"),
    "one column of decimal commas.csv": ("x\n1,5\n2,5\n", ", line 2: 2 cells, but the header has 1"),
    "sometimes longer.csv": ("x,y\n1,2\n2,2,3\n", ", line 3: 3 cells, but the header has 2"),
    "late header.csv": ("\n\na,a\n1,2\n", ", line 3: the column 'a' appears twice"),
    "both marks.csv": (
        "x;y\n1.5;2\n2,25;3\n",
        " has decimal commas (line 3, column 'x': '2,25') and decimal points (line 2, column 'x': '1.5')",
    ),
    "comma in doubt.csv": ("x;y\n1,500;2\n", f", line 2, column 'x': '1,500': the comma {DOUBT}"),
    "point in doubt.csv": ("x;y\n3;1.500\n", f", line 2, column 'y': '1.500': the point {DOUBT}"),
    "zero.csv": ("x,y\n1,2\n\0,3\n", ", line 3: a zero byte, so this is not text"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_named(tmp_path, name):
    content, message = REFUSED[name]
    path = write(tmp_path, name, content)
    with pytest.raises(DataError) as caught:
        read_data(path)
    assert str(caught.value) == f"{path}{message}"


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


def write_arrow(folder, suffix, columns, names=None):
    import pyarrow as pa
    from pyarrow import feather, parquet

    table = pa.table(columns) if names is None else pa.Table.from_arrays(columns, names=names)
    path = folder / f"d{suffix}"
    {".parquet": parquet.write_table, ".feather": feather.write_feather}[suffix](table, path)
    return path


@needs_arrow
@pytest.mark.parametrize("suffix", [".parquet", ".feather"])
def test_arrow(tmp_path, suffix):
    import pyarrow as pa

    columns = {
        "x": pa.array([0.5, None, 1.5]),
        "n": pa.array([1, None, 2**53], pa.int64()),
        "age": pa.array([25, 40, 255], pa.uint8()),
        "b": [True, False, True],
        "c": [True, None, False],
        "s": ["a", None, "bé"],
        "county": pa.array(["u", "v", "u"]).dictionary_encode(),
        "level": pa.array([10, 20, 10]).dictionary_encode(),
        "price": [decimal.Decimal("1.50"), None, decimal.Decimal("-2.25")],
        "nothing": pa.nulls(3),
    }
    same(
        read_data(write_arrow(tmp_path, suffix, columns)),
        {
            "x": np.array([0.5, NaN, 1.5]),
            "n": np.array([1, NaN, 2.0**53]),
            "age": np.array([25, 40, 255], np.uint8),
            "b": np.array([True, False, True]),
            "c": np.array([1.0, NaN, 0.0]),
            "s": np.array(["a", "", "bé"]),
            "county": np.array(["u", "v", "u"]),
            "level": np.array([10, 20, 10]),
            "price": np.array([1.5, NaN, -2.25]),
            "nothing": np.full(3, NaN),
        },
    )


@needs_arrow
@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            [datetime.datetime(2020, 1, 1)],
            ": 'a' holds timestamp[us]; data are numbers, booleans or strings; bk.columns(path, "
            "dates=...) makes numbers of times",
        ),
        (
            [datetime.timedelta(1)],
            ": 'a' holds duration[us]; data are numbers, booleans or strings; bk.columns(path, "
            "dates=...) makes numbers of times",
        ),
        ([b"x"], ": 'a' holds binary; data are numbers, booleans or strings"),
        (
            [2**53 + 1, None],
            ": 'a' has nulls, so its whole numbers become floats, and some are too large for that",
        ),
        ([], " has columns but no rows"),
    ],
)
def test_what_arrow_holds_and_a_model_cannot_take(tmp_path, values, message):
    path = write_arrow(tmp_path, ".parquet", {"a": values})
    with pytest.raises(DataError) as caught:
        read_data(path)
    assert str(caught.value) == f"{path}{message}"


@needs_arrow
def test_names_in_arrow(tmp_path):
    for names, message in ((["a", "a"], "the column 'a' appears twice"), (["a", ""], "column 2 has no name")):
        path = write_arrow(tmp_path, ".parquet", [[1], [2]], names)
        with pytest.raises(DataError) as caught:
            read_data(path)
        assert str(caught.value) == f"{path}: {message}"
    # what folders are called is no column
    (tmp_path / "year=2020").mkdir()
    same(read_data(write_arrow(tmp_path / "year=2020", ".parquet", {"x": [1]})), {"x": np.array([1])})


@needs_arrow
def test_an_index_without_a_name_in_arrow(tmp_path):
    path = write_arrow(tmp_path, ".parquet", {"x": [1, 2], "__index_level_0__": ["Mazda RX4", "Datsun 710"]})
    with pytest.warns(UserWarning, match="the index has no name") as caught:
        same(read_data(path), {"x": np.array([1, 2])})
    (warning,) = caught
    assert str(warning.message) == (
        f"{path}: the index has no name, so it is taken for the names of the rows ('Mazda RX4', ...) and left out; "
        "give it a name to have it read"
    )
    assert warning.filename == __file__


@pytest.mark.parametrize(("suffix", "kind"), [(".parquet", "Parquet"), (".feather", "Feather")])
def test_the_extra_for_arrow_is_named(tmp_path, monkeypatch, suffix, kind):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    path = write(tmp_path, f"d{suffix}", "PAR1")
    with pytest.raises(DataError) as caught:
        read_data(path)
    assert str(caught.value) == f'{path}: {kind} files need pyarrow: pip install "bayeskit[arrow]"'
