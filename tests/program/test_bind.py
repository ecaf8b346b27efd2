from __future__ import annotations

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
import pytest
import xarray as xr
from scipy import stats

import bayeskit as bk
from bayeskit.errors import DataError


def model(x, n=3, flag=False, y=None):
    return x, n, flag, y


@pytest.mark.parametrize(
    "value",
    [
        [1.0, 2.0],
        (1.0, 2.0),
        np.array([1.0, 2.0]),
        jnp.array([1.0, 2.0]),
        pd.Series([1.0, 2.0]),
        xr.DataArray([1.0, 2.0]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_arrays(value):
    program = bk.bind(model, {"x": value})
    assert isinstance(program.arrays["x"], jax.Array)
    np.testing.assert_array_equal(program.arrays["x"], [1.0, 2.0])
    assert program.arrays["x"].dtype == jnp.float64


def test_sizes_and_switches_are_static_and_floats_are_not():
    program = bk.bind(model, {"x": 1.5, "n": np.int64(4), "flag": np.bool_(True), "y": None})
    assert dict(program.settings) == {"n": 4, "flag": True, "y": None}
    assert type(dict(program.settings)["n"]) is int
    assert program.arrays["x"].shape == ()
    assert program() == (program.arrays["x"], 4, True, None)
    assert set(program.data) == {"x", "n", "flag", "y"}


def test_compile_keys():
    structure = jax.tree.structure
    first, same = bk.bind(model, {"x": [1.0, 2.0]}), bk.bind(model, {"x": [3.0, 4.0]})
    other = bk.bind(model, {"x": [1.0, 2.0], "n": 5})
    assert structure(first) == structure(same)
    assert structure(first) != structure(other)
    assert hash(structure(first)) == hash(structure(same))


def test_types_of_numbers():
    program = bk.bind(model, {"x": np.array([True, False]), "y": np.array([1, 2], np.int8)})
    assert program.arrays["x"].dtype == bool
    assert program.arrays["y"].dtype == np.int64
    with jax.enable_x64(False):
        assert bk.bind(model, {"x": np.array([1.5])}).arrays["x"].dtype == jnp.float32


def aged(age, y, trials=10):
    slope = numpyro.sample("slope", dist.Normal(0.0, 1.0))
    with numpyro.plate("row", 3):
        numpyro.sample("y", dist.Normal(slope * (age - 40), 1.0), obs=y)
        numpyro.sample("k", dist.Binomial(trials, 0.25), obs=age)


@pytest.mark.parametrize("width", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64"])
def test_narrow_integers_do_not_wrap(width):
    """25 - 40 is 241 as an unsigned byte, and the slope of the regression -.003 for .097."""
    age, trials, y = np.array([25, 37, 120]), np.array([127, 40, 125]), np.array([-1.5, 0.2, 8.0])
    program = bk.bind(aged, {"age": age.astype(width), "y": y, "trials": trials.astype(width)})
    expected = stats.norm.logpdf(0.1) + stats.norm.logpdf(y, 0.1 * (age - 40.0)).sum()
    expected += stats.binom.logpmf(age, trials, 0.25).sum()
    np.testing.assert_allclose(bk.log_density(program, {"slope": 0.1}), expected, rtol=1e-12)


def test_narrow_integers_in_a_mapping_do_not_wrap():
    parameters = {"small": np.array([25], np.uint8), "key": np.array([0, 3], np.uint32)}
    bound = bk.bind(lambda p: p, {"p": parameters})()
    assert (bound["small"].dtype, bound["key"].dtype) == (np.int64, np.uint32)


def test_an_integer_that_does_not_fit_is_an_error():
    with pytest.raises(DataError, match="'x' holds integers that do not fit int64; pass them as floats"):
        bk.bind(model, {"x": np.array([2**63], np.uint64)})
    with jax.enable_x64(False), pytest.raises(DataError, match="do not fit int32; enable 64-bit"):
        bk.bind(model, {"x": np.array([2**31], np.uint32)})


TABLES = [pd.DataFrame({"x": [1.0, 2.0], "y": [3, 4]}), SimpleNamespace(x=[1.0, 2.0], y=[3, 4])]


@pytest.mark.parametrize("table", TABLES, ids=["pandas", "namespace"])
def test_a_program_and_a_target_take_no_table(table):
    bound = bk.bind(model, {"x": [1.0]})
    with pytest.raises(DataError, match="already bound"):
        bk.bind(bound, table)


@pytest.mark.parametrize("table", TABLES, ids=["pandas", "namespace"])
def test_columns_of_a_table_are_arguments(table):
    program = bk.bind(model, table)
    np.testing.assert_array_equal(program.arrays["x"], [1.0, 2.0])
    assert program.arrays["y"].dtype == np.int64


def test_masked_array_without_a_masked_value_is_an_array():
    program = bk.bind(model, {"x": np.ma.masked_array([1.0, 2.0], [False, False])})
    np.testing.assert_array_equal(program.arrays["x"], [1.0, 2.0])


def test_a_program_stays_itself():
    program = bk.bind(model, {"x": [1.0]})
    assert bk.bind(program) is program
    assert program.name == "model"
