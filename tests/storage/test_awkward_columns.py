"""Columns of awkward tables: names that mean two things, other clocks, types that hold what a model cannot take."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import bayeskit as bk
from bayeskit.errors import DataError


def model(site, a_b, num_site):
    """Never run."""


def test_days_are_counted_from_the_day_zero_of_the_fit():
    fit = bk.columns({"day": ["2024-01-01", "2024-01-05"]}, dates={"day": "days"})
    new = {"day": ["2024-01-11", "2024-01-12"]}
    for table in (
        new,
        bk.columns(new),
        bk.columns(new, dates={"day": "days"}),
        bk.columns(new, dates={"day": "weeks"}),
    ):
        np.testing.assert_allclose(fit.encode(table)["day"], [10.0, 11.0])


def test_text_where_the_fit_had_numbers_is_refused():
    fit = bk.columns({"x": [1.0, 2.0]})
    with pytest.raises(DataError, match=r"column 'x' .* it holds '2.x' in row 1, and it was no text in the fit"):
        fit.encode({"x": [None, "2.x"]})["x"]


def test_names_that_mean_two_things_are_refused_where_a_model_takes_them():
    frame = pd.DataFrame({"a b": [1, 2], "a.b": [3, 4], "site": ["u", "v"]})
    with pytest.raises(DataError, match=r"'a_b' may be the column 'a b' or the column 'a\.b'; rename a column"):
        bk.columns(frame).for_model(model)
    frame = pd.DataFrame({"a_b": [1, 2], "a.b": [3, 4], "site": ["u", "v"], "num_site": [5, 6]})
    assert bk.columns(frame)["a_b"].tolist() == [1, 2]  # the column that has the very name
    with pytest.raises(DataError, match="'num_site' may be the column 'num_site' or the number of levels of 'site'"):
        bk.columns(frame).for_model(model)


def test_names_that_are_none_in_python():
    data = bk.columns(pd.DataFrame({"lambda": [1.0], "2010": [2.0]})).for_model(lambda lambda_, _2010: None)
    assert {name: value.tolist() for name, value in data.items()} == {"lambda_": [1.0], "_2010": [2.0]}


def test_intervals_and_dates_as_categories_are_named_as_they_print():
    data = bk.columns(pd.DataFrame({"size": pd.cut([1.0, 2.0, 9.0], [0.0, 5.0, 10.0])}))
    assert data.levels["size"] == ("(0.0, 5.0]", "(5.0, 10.0]")
    assert "(0.0, 5.0]" in data.record()["encoding"]
    assert data.encode(data.frame)["size"].tolist() == [0, 0, 1]


def test_what_no_argument_can_hold_is_named():
    with pytest.raises(DataError, match="'id' holds 9223372036854775813"):
        bk.columns(pd.DataFrame({"id": np.array([2**63 + 5, 1], np.uint64)}))["id"]
    with pytest.raises(DataError, match="groups: column 'mixed' of a table holds mixed"):
        bk.columns(pd.DataFrame({"mixed": ["a", 1]}), groups=["mixed"])
    with pytest.raises(DataError, match="dates: a mapping"):
        bk.columns({"day": ["2024-01-01"]}, dates=["day"])


def test_polars_frames_that_are_not_computed_and_cells_that_are_lists():
    polars = pytest.importorskip("polars")
    data = bk.columns(polars.DataFrame({"x": [1, 2], "many": [[1], [2, 3]]}).lazy())
    assert data["x"].tolist() == [1, 2]
    assert data.left_aside == ("many",)
