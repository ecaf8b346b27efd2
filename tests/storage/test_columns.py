"""Tables as the arguments of a model."""

from __future__ import annotations

import datetime
import gzip
import json
from importlib.util import find_spec

import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
import pytest

import bayeskit as bk
from bayeskit.errors import DataError, MethodError
from bayeskit.storage.tables import Columns

NaN = np.nan
FRAME = pd.DataFrame(
    {
        "site": ["fen", "bog", "fen", "wood"],
        "size": pd.Categorical(["L", "S", "S", "L"], categories=["S", "M", "L"]),
        "log count": [0.5, 1.0, -1.0, 2.0],
        "n": [3, 1, 2, 5],
        "wet": [True, False, True, True],
        "day": pd.to_datetime(["2024-03-03", "2024-03-01", "2024-03-02", "2024-03-11"]),
    }
)


def as_pandas():
    return FRAME


def as_polars():
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({name: FRAME[name].tolist() for name in FRAME if name != "size"})
    sizes = polars.Series("size", FRAME["size"].tolist(), dtype=polars.Enum(["S", "M", "L"]))
    return frame.with_columns(sizes).select(list(FRAME))


@pytest.mark.parametrize("made", [as_pandas, as_polars])
def test_columns_of_a_frame(made):
    data = bk.columns(made(), dates={"day": "days"})
    np.testing.assert_array_equal(data["site"], [1, 0, 1, 2])
    assert data.levels["site"] == ("bog", "fen", "wood")
    np.testing.assert_array_equal(data["size"], [2, 0, 0, 2])
    assert data.levels["size"] == ("S", "M", "L")
    assert (data["num_site"], data["num_size"], data["num_rows"]) == (3, 3, 4)
    np.testing.assert_array_equal(data["log count"], FRAME["log count"])
    np.testing.assert_array_equal(data["log_count"], FRAME["log count"])
    assert (data["n"].dtype, data["wet"].dtype, data["site"].dtype) == (np.int64, np.bool_, np.int64)
    np.testing.assert_array_equal(data["day"], [2.0, 0.0, 1.0, 10.0])
    assert data.encoding.dates["day"].origin == "2024-03-01T00:00:00+00:00"
    assert data.left_aside == ()


def writers():
    yield "csv", lambda path: FRAME.to_csv(path, index=False)
    yield "csv.gz", lambda path: FRAME.to_csv(path, index=False)
    yield "tsv", lambda path: FRAME.to_csv(path, index=False, sep="\t")
    yield "parquet", lambda path: FRAME.to_parquet(path, index=False)
    yield "feather", lambda path: FRAME.to_feather(path)
    yield "xlsx", lambda path: FRAME.to_excel(path, index=False)


NEEDS = {"parquet": "pyarrow", "feather": "pyarrow", "xlsx": "openpyxl"}


@pytest.mark.parametrize(("suffix", "write"), writers(), ids=[suffix for suffix, _ in writers()])
def test_columns_of_a_file(suffix, write, tmp_path):
    if suffix in NEEDS and find_spec(NEEDS[suffix]) is None:
        pytest.skip(f"needs {NEEDS[suffix]}")
    write(path := tmp_path / f"counts.{suffix}")
    data = bk.columns(path, dates={"day": "days"})
    expected = bk.columns(FRAME, dates={"day": "days"})
    # text has no categories, and levels are sorted
    names = [name for name in expected if "size" not in name or suffix in ("parquet", "feather")]
    for name in names:
        np.testing.assert_array_equal(data[name], expected[name])
    assert data.source == f"counts.{suffix}"


@pytest.mark.parametrize(
    "text",
    [
        "site;x;wet\nA;1,5;TRUE\nB;-2,25;FALSE\n",
        "\ufeffsite\tx\twet\nA\t1.5\tTRUE\nB\t-2.25\tFALSE\n",
        "site,x,wet\nA,1.5,TRUE\nB,-2.25,FALSE\n",
    ],
    ids=["semicolons and decimal commas", "tabs and a byte order mark", "commas"],
)
def test_text_as_spreadsheets_write_it(text, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(text, encoding="utf-8")
    data = bk.columns(path)
    np.testing.assert_array_equal(data["x"], [1.5, -2.25])
    np.testing.assert_array_equal(data["wet"], [True, False])
    assert data.levels["site"] == ("A", "B")


def test_text_in_latin_letters_is_read_with_a_warning(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes("site,x\nTromsø,1\nBodø,2\n".encode("latin-1"))
    with pytest.warns(UserWarning, match="not UTF-8"):
        assert bk.columns(path).levels["site"] == ("Bodø", "Tromsø")


def test_a_packed_file_that_is_cut_short_is_named(tmp_path):
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(b"x,y\n1,2\n" * 50)[:-12])
    with pytest.raises(DataError, match=r"t\.csv\.gz is not a gzip file, or it is truncated"):
        bk.columns(path)


def test_missing_cells_are_dropped_on_request_and_counted():
    frame = pd.DataFrame({"site": ["a", None, "b", "a"], "x": [1.0, 2.0, NaN, 4.0], "note": [None, None, None, "n"]})
    with pytest.raises(
        DataError, match=r"'site' cannot be an argument: 1 of its 4 cells are missing, the first in row 1"
    ):
        bk.columns(frame)["site"]
    data = bk.columns(frame, drop_missing=["site", "x"])
    assert (data.num_rows, data.num_dropped, data.dropped) == (2, 2, {"site": 1, "x": 1})
    np.testing.assert_array_equal(data["x"], [1.0, 4.0])
    assert "2 dropped (site missing in 1, x missing in 1)" in repr(data)
    assert bk.columns(frame, drop_missing=True).num_rows == 1
    with pytest.raises(DataError, match="every row of a table has a missing cell"):
        bk.columns(frame[:3], drop_missing=True)
    with pytest.raises(DataError, match=r"drop_missing: a table has no column 'sit'; did you mean 'site'\?"):
        bk.columns(frame, drop_missing=["sit"])


def test_missing_numbers_are_refused_by_the_model_that_takes_them():
    def model(x):
        numpyro.sample("x", dist.Normal(0.0, 1.0), obs=x)

    with pytest.raises(DataError, match="'x' holds 1 NaN"):
        bk.bind(model, pd.DataFrame({"x": [1.0, None], "site": ["a", None]}))


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (pd.to_datetime(["2024-01-01", "2024-01-02"]), r"it holds dates; dates=\{'x': 'days'\} makes numbers of them"),
        ([1, "a"], "it holds mixed values"),
        ([[1], [2]], "it holds mixed"),
    ],
)
def test_what_cannot_be_an_argument_says_why_when_it_is_asked_for(values, reason):
    frame = pd.DataFrame({"y": [1.0, 2.0]}).assign(x=list(values))
    data = bk.columns(frame)
    assert data.left_aside == ("x",)
    assert list(data) == ["num_rows", "y"]
    with pytest.raises(DataError, match=reason):
        data["x"]
    with pytest.raises(DataError, match=reason):
        data.for_model(lambda x, y: None)
    assert list(data.for_model(lambda y: None)) == ["y"]


def test_a_model_gets_the_arguments_that_it_names():
    data = bk.columns(FRAME).for_model(lambda site, num_site, log_count, y=None, scale=2.0: None)
    assert dict(data).keys() == {"site", "num_site", "log_count"}
    assert data.left_aside == ("size", "n", "wet", "day")
    assert json.loads(data.record()["table"])["left_aside"] == ["size", "n", "wet", "day"]
    assert json.loads(data.record()["encoding"])["levels"] == {"site": ["bog", "fen", "wood"]}
    with pytest.raises(DataError, match=r"a table has no column 'sitte', which the model needs; did you mean 'site'\?"):
        bk.columns(FRAME).for_model(lambda sitte: None)


def test_values_can_be_set_beside_the_columns():
    data = bk.columns(FRAME) | {"flag": True, "n": None}
    assert isinstance(data, Columns)
    found = data.for_model(lambda n, flag, site: None)
    assert (found["n"], found["flag"]) == (None, True)


def test_numbers_can_name_groups():
    data = bk.columns({"id": [7, 3, 7], "x": [1.0, 2.0, 3.0]}, groups=["id"])
    np.testing.assert_array_equal(data["id"], [1, 0, 1])
    assert (data.levels["id"], data["num_id"]) == ((3, 7), 2)


def test_one_value_a_level():
    frame = {"site": ["b", "a", "b"], "height": [10.0, 20.0, 10.0], "y": [1, 2, 3]}
    data = bk.columns(frame, per={"height": "site"})
    np.testing.assert_array_equal(data["height"], [20.0, 10.0])
    np.testing.assert_array_equal(data.encode({"site": ["a"], "y": [3]})["height"], [20.0, 10.0])
    more = data.encode({"site": ["c", "a"], "height": [5.0, 20.0]}, new_levels="prior")
    np.testing.assert_array_equal(more["height"], [20.0, 10.0, 5.0])
    with pytest.raises(DataError, match=r"'height' of a table is 10\.0 and 11\.0 in site 'b'"):
        bk.columns({**frame, "height": [10.0, 20.0, 11.0]}, per={"height": "site"})


def test_another_table_is_encoded_alike():
    data = bk.columns(FRAME, dates={"day": "hours"})
    again = data.encode(pd.DataFrame({"site": ["wood", "bog"], "day": ["2024-03-02", "2024-02-29"]}))
    np.testing.assert_array_equal(again["site"], [2, 0])
    assert again["num_site"] == 3
    np.testing.assert_array_equal(again["day"], [24.0, -24.0])
    message = (
        r"column 'site' has the level 'bogg' in row 1, which is none of the 3 levels of the fit; did you mean 'bog'\?"
    )
    with pytest.raises(DataError, match=message):
        data.encode({"site": ["bog", "bogg"]})
    new = data.encode({"site": ["moor", "bog", "moor"]}, new_levels="prior")
    np.testing.assert_array_equal(new["site"], [3, 0, 3])
    assert new["num_site"] == 4
    with pytest.raises(MethodError, match="new_levels must be one of 'error', 'prior'"):
        data.encode({"site": ["bog"]}, new_levels="skip")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dates": {"day": "fortnights"}}, "the unit of 'day' is 'fortnights'; units are seconds"),
        ({"dates": {"site": "days"}}, r"'site' of a table is not written as 2025-12-31 \(ISO 8601\)"),
        ({"dates": {"n": "days"}}, "'n' of a table holds numbers, not dates"),
        ({"dates": {"dday": "days"}}, "dates: a table has no column 'dday'"),
        ({"groups": ["sites"]}, r"groups: a table has no column 'sites'; did you mean 'site'\?"),
        ({"per": {"n": "place"}}, "per: a table has no column 'place'"),
    ],
)
def test_wrong_settings_are_named(arguments, message):
    with pytest.raises(DataError, match=message):
        bk.columns(FRAME, **arguments)


def test_what_is_no_table_is_refused():
    with pytest.raises(DataError, match="names of columns must be strings, got 0"):
        bk.columns(pd.DataFrame([[1, 2]]))
    with pytest.raises(DataError, match="the column 'x' appears twice"):
        bk.columns(pd.DataFrame([[1, 2]], columns=["x", "x"]))
    with pytest.raises(DataError, match="a table has no rows"):
        bk.columns(FRAME[:0])
    with pytest.raises(DataError, match="its arrays have several lengths"):
        bk.columns({"x": [1, 2], "y": [1, 2, 3]})
    with pytest.raises(DataError, match=r"'x' has shape \(1, 2\)"):
        bk.columns({"x": [[1, 2]]})
    with pytest.raises(DataError, match="or the path of a file, got int"):
        bk.columns(3)


def test_durations_and_dates_of_python():
    frame = pd.DataFrame({"took": [datetime.timedelta(hours=1)] * 2, "at": [datetime.date(2024, 1, d) for d in (1, 8)]})
    data = bk.columns(frame, dates={"took": "minutes", "at": "weeks"})
    np.testing.assert_array_equal(data["took"], [60.0, 60.0])
    np.testing.assert_array_equal(data["at"], [0.0, 1.0])


# ---------------------------------------------------------------- through infer and predict


def model(site, num_site, x, y=None):
    tau = numpyro.sample("tau", dist.HalfNormal(2.0))
    slope = numpyro.sample("slope", dist.Normal(0.0, 1.0))
    with numpyro.plate("site", num_site):
        z = numpyro.sample("z", dist.Normal(0.0, 1.0))
        level = numpyro.deterministic("level", tau * z)
    with numpyro.plate("row", len(x)):
        numpyro.sample("y", dist.Normal(level[site] + slope * x, 0.3), obs=y)


def simulated():
    rng = np.random.default_rng(0)
    site = rng.choice(list("abcd"), 40)
    level = dict(zip("abcd", (0.0, 1.0, 2.0, 3.0), strict=True))
    x = rng.normal(size=40)
    y = np.array([level[s] for s in site]) + 0.5 * x + 0.3 * rng.normal(size=40)
    return pd.DataFrame({"site": site, "x": x, "y": y, "note": "n"})


METHOD = bk.HMC(num_chains=2, num_warmup=150, num_draws=100, chain_method="vectorized")


@pytest.fixture(scope="module")
def fit():
    return bk.infer(model, simulated(), METHOD, key=0, progress=False)


def test_levels_are_coordinates_and_the_record_says_the_rest(fit):
    assert fit["posterior/level"].dims == ("chain", "draw", "site")
    assert fit["posterior"]["site"].values.tolist() == list("abcd")
    assert json.loads(fit.attrs["table"]) == {
        "source": "a table",
        "num_rows": 40,
        "num_dropped": 0,
        "dropped": {},
        "left_aside": ["note"],
    }


def test_a_table_and_its_columns_give_the_same_fit(fit, tmp_path):
    simulated().to_csv(path := tmp_path / "t.csv", index=False)
    for data in (path, str(path), bk.columns(simulated())):
        bound = bk.bind(model, data)
        np.testing.assert_array_equal(bound.arrays["site"], fit["constant_data/site"])


def test_predictions_use_the_levels_of_the_fit(fit):
    new = pd.DataFrame({"site": ["d"], "x": [0.0]})
    found = bk.predict(model, new, fit, key=1)
    level = fit["posterior/level"].sel(site="d")
    # the noise of the predictions is all that differs
    z = (found["predictions/y"].values[..., 0] - level.values) / 0.3
    assert abs(z.mean()) * np.sqrt(z.size) < 4
    # columns made from the new table alone have other codes, and are encoded again
    again = bk.predict(model, bk.columns(new), fit, key=1)
    np.testing.assert_array_equal(again["predictions/y"], found["predictions/y"])


def test_new_levels_are_refused_or_drawn_from_their_prior(fit):
    new = pd.DataFrame({"site": ["p", "a", "q", "p"], "x": np.zeros(4)})
    with pytest.raises(DataError, match="column 'site' has the level 'p' in row 0"):
        bk.predict(model, new, fit, key=1)
    found = bk.predict(model, new, fit, key=1, new_levels="prior")["predictions"]
    assert found["site"].values.tolist() == ["a", "b", "c", "d", "p", "q"]
    np.testing.assert_array_equal(found["level"].values[..., :4], fit["posterior/level"].values)
    z = (found["level"].sel(site=["p", "q"]) / fit["posterior/tau"]).values
    draws = z.size // 2
    assert np.all(np.abs(z.mean((0, 1))) * np.sqrt(draws) < 4)
    assert np.all(np.abs((z**2).mean((0, 1)) - 1.0) * np.sqrt(draws / 2.0) < 4)
    # two new sites are two draws, and two rows of one site share it
    y = found["y"].values
    assert np.abs(y[..., 0] - y[..., 3]).max() < 0.3 * 8
    assert abs(np.corrcoef(z[..., 0].ravel(), z[..., 1].ravel())[0, 1]) * np.sqrt(draws) < 4
    with pytest.raises(MethodError, match="new_levels='prior' is for tables"):
        bk.predict(model, {"site": np.array([0]), "num_site": 4, "x": np.zeros(1)}, fit, key=1, new_levels="prior")


def test_log_likelihoods_of_other_rows_use_the_levels_of_the_fit(fit):
    whole = bk.log_likelihood(model, simulated(), fit)["log_likelihood/y"].values
    rows = np.flatnonzero(simulated()["site"] == "c")
    part = bk.log_likelihood(model, simulated().iloc[rows], fit)["log_likelihood/y"].values
    np.testing.assert_allclose(part, whole[..., rows], rtol=1e-10)
