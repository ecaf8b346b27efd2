"""Formulas of awkward tables: names that clash, small integers, levels that read alike, cells that do not fit."""

from __future__ import annotations

import pickle
import re

import jax
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
import pytest

import bayeskit as bk
from bayeskit.errors import DataError, ModelError

pytest.importorskip("formulae")
RNG = np.random.default_rng(1)
FRAME = pd.DataFrame(
    {
        "x": RNG.normal(size=30),
        "z": RNG.normal(size=30) + 2.0,
        "w": RNG.uniform(size=30),
        "site": np.tile(["a", "b", "c"], 10),
        "plot": np.tile([1, 2], 15),
        "count": RNG.poisson(3.0, 30),
        "y": RNG.normal(size=30),
        "small": RNG.integers(60, 120, 30).astype(np.int8),
        "tally": RNG.integers(0, 9, 30).astype(np.uint32),
    }
)


def mean_of(model, frame):
    """The mean of the response in one draw from the prior, and that draw."""
    seeded = numpyro.handlers.seed(model.function, jax.random.key(0))
    trace = numpyro.handlers.trace(seeded).get_trace(**model.arguments(frame))
    return np.asarray(trace["y"]["fn"].mean), {name: np.asarray(site["value"]) for name, site in trace.items()}


@pytest.mark.parametrize("other", ["mean_x", "b_x", "sd_site", "u_site", "z_site", "num_site", "eta", "b_mean_x"])
def test_columns_named_like_variables_of_the_source(other):
    frame = FRAME.rename(columns={"w": other})
    found, draw = mean_of(bk.formula(f"y ~ x + {other} + (1 | site)", frame), frame)
    groups = draw["1|site"][np.tile([0, 1, 2], 10)]
    expected = draw["Intercept"] + draw["x"] * frame["x"] + draw[other] * frame[other] + groups
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_small_integers_do_not_wrap():
    for term, values in {
        "I(small ** 2)": FRAME["small"].astype(float) ** 2,
        "I(tally - 9)": FRAME["tally"] - 9.0,
    }.items():
        model = bk.formula(f"y ~ 0 + {term}", FRAME)
        (argument,) = model.arguments(FRAME).keys() - {"y"}
        np.testing.assert_array_equal(model.arguments(FRAME)[argument], values)
        np.testing.assert_array_equal(model.arguments(FRAME.head(3))[argument], values[:3])


def test_a_group_that_is_a_whole_number_may_come_as_a_float():
    model = bk.formula("y ~ (1 | plot)", FRAME)
    found = model.arguments(pd.DataFrame({"plot": [2.0, 1.0]}))
    assert found["plot"].tolist() == [1, 0]
    assert found["num_plot"] == 2


def test_a_level_without_a_row_is_new():
    frame = FRAME.assign(site=pd.Categorical(FRAME["site"], list("abcd")))
    model = bk.formula("y ~ (1 | site)", frame)
    with pytest.raises(DataError, match="'site' is 'd' in row 1, of which the fit has no row"):
        model.arguments(pd.DataFrame({"site": ["a", "d"]}))
    assert model.arguments(pd.DataFrame({"site": ["a", "d"]}), new_levels="prior")["num_site"] == 4


def test_a_mean_has_the_digits_that_its_spread_needs():
    frame = FRAME.assign(x=FRAME["x"] + 2.0e8)
    with (
        jax.enable_x64(False),
        pytest.warns(UserWarning, match=r"'x' differ in digits that single precision .* center\(x\)"),
    ):
        model = bk.formula("y ~ x", frame)
    found = re.search(r"mean_x = (\S+)", model.source)
    assert found is not None
    assert abs(float(found[1]) - frame["x"].mean()) < 1e-3 * frame["x"].std()


def test_a_formula_can_be_pickled():
    model = bk.formula("y ~ bs(x, df=4) + (1 | site)", FRAME)
    again = pickle.loads(pickle.dumps(model))
    assert again.source == model.source
    for name, value in model.arguments(FRAME.head(4)).items():
        np.testing.assert_array_equal(again.arguments(FRAME.head(4))[name], value)


@pytest.mark.parametrize(
    ("text", "changes", "error", "message"),
    [
        ("y ~ x | site", {}, ModelError, r"in brackets, as in \(1 \+ x \| site\)"),
        ("y ~ x + y", {}, ModelError, "'y' is the response and a predictor too"),
        ("y ~ sigma", {"sigma": FRAME["z"]}, ModelError, "'sigma' has the name of a parameter"),
        ("y ~ Intercept", {"Intercept": 1.0}, ModelError, "'Intercept' is the name of a parameter"),
        ("y ~ foo(x)", {}, ModelError, "'foo' is neither a column nor a function"),
        ("y ~ log(x)", {}, DataError, r"the term 'log\(x\)' is not finite in \d+ rows, the first of them \d"),
        ("y ~ site", {"site": "a"}, DataError, "'site' has one level"),
        ("y ~ (x | site)", {"x": 1.0}, ModelError, r"that of 'x\|site_sigma' cannot scale with a constant column"),
        ("y ~ (1 | site:kind)", {"site": ["a:b", "a"] * 15, "kind": ["c", "b:c"] * 15}, DataError, "read alike"),
    ],
)
def test_what_cannot_be_is_named(text, changes, error, message):
    with pytest.raises(error, match=message):
        bk.formula(text, FRAME.assign(**changes))


def test_a_response_has_the_level_that_is_asked_for():
    with pytest.raises(DataError, match="column 'site' has no level 'z'; they are a, b, c"):
        bk.formula("site['z'] ~ x", FRAME, family="bernoulli")


@pytest.mark.parametrize(
    ("text", "options", "new", "message"),
    [
        ("y ~ x", {}, {"x": ["a", "b"]}, "column 'x' .* it holds 'a' in row 0, and it was no text in the fit"),
        ("y ~ x", {}, {"x": [0.0, np.inf]}, "the term 'x' is not finite in 1 rows, the first of them 1"),
        ("y ~ log(z + 9)", {}, {"z": [-50.0]}, "is not finite"),
        ("y ~ C(plot)", {}, {"plot": [1, 7]}, r"'C\(plot\)': .*7"),
        (
            "y ~ site",
            {},
            {"site": ["q"]},
            "column 'site' has the level 'q' in row 0.*a predictor has no prior for another",
        ),
        ("count ~ x", {"family": "poisson"}, {"x": [1.0], "count": [2.5]}, "values that are not whole, such as 2.5"),
    ],
)
def test_another_table_that_does_not_fit_is_refused(text, options, new, message):
    with pytest.raises(DataError, match=message):
        bk.formula(text, FRAME, **options).arguments(pd.DataFrame(new), new_levels="prior")


def test_a_table_of_the_first_level_fits_an_ordinal_response():
    frame = FRAME.assign(grade=pd.Categorical(FRAME["site"], ordered=True))
    model = bk.formula("grade ~ x", frame, family="ordinal")
    assert model.arguments(frame[frame["site"] == "a"].head(2))["grade"].tolist() == [0, 0]


def test_a_prior_that_is_not_finite_is_refused():
    with pytest.raises(ModelError, match="'x' has a value that is not finite"):
        bk.formula("y ~ x", FRAME, priors={"x": dist.Normal(0.0, np.inf)})


def test_the_source_executed_in_a_bare_namespace_is_a_model():
    model = bk.formula("y ~ x", FRAME)
    namespace: dict[str, object] = {}
    exec(model.source, namespace)
    values = {"Intercept_at_means": 0.3, "x": 0.1, "sigma": 1.2}
    found = bk.log_density(bk.bind(namespace["model"], model.arguments(FRAME)), values)
    np.testing.assert_allclose(found, bk.log_density(bk.bind(model, FRAME), values), rtol=1e-12)
