"""The summary as it is printed: digits by Monte Carlo error, and a table that fits the terminal."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bayeskit.diagnostics import summary
from bayeskit.diagnostics.layout import table_text
from bayeskit.diagnostics.summary_table import Summary, rounded_by
from bayeskit.errors import MethodError, StorageError
from bayeskit.storage import make_tree

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def post():
    return make_tree(
        {
            "posterior": {
                "slope_x": RNG.normal(size=(4, 500)),
                "slope_y": 1e4 + 30 * RNG.normal(size=(4, 500)),
                "theta": RNG.normal(size=(4, 500, 2)),
                "constant": np.full((4, 500), 2.5),
            }
        }
    )


@pytest.mark.parametrize("error", [1e-4, 3e-3, 0.0499, 0.05, 0.6, 7.0, 40.0])
def test_two_errors_change_the_last_digit_and_none_before_it(error):
    text = rounded_by(98765.43219, error)
    mantissa = text.partition("e")[0]
    last = 10.0 ** -len(mantissa.partition(".")[2]) if "." in text else 10.0 ** (len(text) - len(text.rstrip("0")))
    assert last >= 2 * error / 10
    assert abs(float(text) - 98765.43219) <= max(last, 10 ** math.ceil(math.log10(2 * error))) / 2


def test_numbers_stay_whole_and_the_print_is_rounded(post):
    table = summary(post)
    assert type(table) is Summary
    mean = table.loc["slope_y", "mean"]
    assert mean == float(post["posterior/slope_y"].mean())
    row = next(line for line in repr(table).splitlines() if line.startswith("slope_y")).split()
    decimals = -math.floor(math.log10(2 * table.loc["slope_y", "mcse_mean"]))
    assert row[1] == f"{round(mean, decimals):.{max(decimals, 0)}f}"
    assert "constant" in repr(table)
    assert "–" in repr(table)  # R-hat of a constant
    assert "theta[1]" in table._repr_html_()
    assert "mcse_mean" in repr(table[["mean", "mcse_mean"]])  # no longer a summary: as pandas prints it


def test_rounding(post):
    assert summary(post, "slope_x", round_to=2).loc["slope_x", "sd"] == round(summary(post).loc["slope_x", "sd"], 2)
    assert repr(summary(post, round_to="none").loc["slope_x", "mean"].item())[:8] in repr(
        summary(post, round_to="none")
    )
    with pytest.raises(MethodError, match="round_to must be"):
        summary(post, round_to="two")


def test_probability(post):
    table = summary(post, ["slope_x"], prob=0.5)
    assert list(table.columns[2:4]) == ["q25", "q75"]
    draws = post["posterior/slope_x"].values
    np.testing.assert_allclose(table.loc["slope_x", ["q25", "q75"]], np.quantile(draws, [0.25, 0.75]), rtol=1e-6)
    assert table.loc["slope_x", "ess_tail"] == summary(post).loc["slope_x", "ess_tail"]
    assert list(summary(post, prob=0.95).columns[2:4]) == ["q2.5", "q97.5"]
    for wrong in (0.0, 1.0, float("nan"), True):
        with pytest.raises(MethodError, match="prob must be between 0 and 1"):
            summary(post, prob=wrong)


def test_names_by_parts_and_patterns(post):
    assert list(summary(post, "slope", filter_vars="like").index) == ["slope_x", "slope_y"]
    assert list(summary(post, ["^slope", "~_y$"], filter_vars="regex").index) == ["slope_x"]
    assert list(summary(post, ["~slope", "~theta"], filter_vars="like").index) == ["constant"]
    with pytest.raises(StorageError, match="no variable of the posterior matches 'slap'"):
        summary(post, "slap", filter_vars="like")
    with pytest.raises(MethodError, match="not a regular expression"):
        summary(post, "(", filter_vars="regex")
    with pytest.raises(MethodError, match="filter_vars must be None, 'like' or 'regex'"):
        summary(post, "slope", filter_vars="glob")


@pytest.mark.parametrize("width", [24, 30, 60, 80])
def test_a_table_fits_and_loses_nothing(width):
    titles = ["site", "mean", "sd", "ESS bulk"]
    rows = [["a_very_long_name[with, several, labels]", "-123.456", "0.001", "4000"], ["b", "1", "2", "3"]]
    text = table_text(titles, rows, width)
    assert max(map(len, text.splitlines())) <= width
    for cell in ("-123.456", "0.001", "4000"):
        assert cell in text.replace("\n", " ").split()
    assert table_text(titles, rows).splitlines()[2].startswith(rows[0][0])
